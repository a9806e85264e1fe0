"""What the demo's agents do: check a Markdown document and estimate its reading time.

Rules:

- ``heading-order``: a heading skips a level, as an h4 after an h2 does.
- ``broken-link``: a relative link or image leads to no file, to no anchor, or out of the folder.
- ``fence-language``: a fenced code block names no language.
- ``document``: the document cannot be checked, or has too many findings to list.

Links with a scheme or a host are not followed.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from pydantic import BaseModel, ConfigDict, Field

from ehg_tasks.demo.markdown import Finding, Page, finding, read

WORDS_PER_MINUTE = 200
MAX_FINDINGS = 1000  # with MAX_SHOWN, it keeps a report below the 1 MiB of a contract's output
MAX_SHOWN = 120  # characters of a link in a message
SUFFIXES = {".md", ".markdown"}
SKIPPED_FOLDERS = {"node_modules", "venv", "build", "dist", "target", "_build"}


class DocumentReport(BaseModel):
    """What a check found in one document."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field(description="Relative to the folder, with forward slashes.")
    words: int = Field(ge=0, description="Visible ones: no code blocks, no URLs.")
    reading_minutes: float = Field(ge=0, description="At 200 words a minute.")
    headings: int = Field(ge=0)
    findings: list[Finding] = Field(description="In the order of their lines.")


DOCUMENT_REPORT_SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    **DocumentReport.model_json_schema(mode="serialization"),
}


def samples_folder() -> Path:
    """Return the folder of the sample documents that come with the package."""
    return Path(__file__).parent / "samples"


def find_documents(folder: Path) -> list[Path]:
    """Return the Markdown files below ``folder``, sorted.

    Passes over hidden files and folders, node_modules, virtual environments, build output and
    symbolic links.

    Raises:
        OSError: the folder does not exist, is no folder, or cannot be read.
        ValueError: the name of a document is not UTF-8, so no contract can hold it.
    """
    if not folder.exists():
        raise FileNotFoundError(f"there is no folder {folder}: check its name")
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is no folder: name the folder that holds the documents")

    def refuse(error: OSError) -> None:
        raise error

    documents = []
    for name, subfolders, files in os.walk(folder, onerror=refuse):
        here = Path(name)
        subfolders[:] = [sub for sub in subfolders if not _is_skipped(here / sub)]
        for path in (here / file for file in files):
            if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
                continue
            if re.search("[\ud800-\udfff]", str(path.relative_to(folder))):
                raise ValueError(f"the name of {str(path)!a} is not UTF-8: rename it")
            if path.is_file() and not path.is_symlink():
                documents.append(path)
    return sorted(documents)


def _is_skipped(folder: Path) -> bool:
    return folder.name.startswith(".") or folder.name in SKIPPED_FOLDERS or (folder / "pyvenv.cfg").exists()


def check_document(path: Path, folder: Path) -> DocumentReport:
    """Check one document; nothing outside ``folder`` is read.

    Raises:
        FileNotFoundError: there is no such document.
        OSError: it cannot be read.
        ValueError: it lies outside ``folder``.
    """
    path, folder = path.resolve(), folder.resolve()
    name = path.relative_to(folder).as_posix()
    page = read(path)
    findings = sorted([*page.findings, *_broken_links(page, path, folder)], key=lambda found: found.line)
    if len(findings) > MAX_FINDINGS:
        message = f"{len(findings) - MAX_FINDINGS} more findings from here on"
        findings[MAX_FINDINGS:] = [finding(findings[MAX_FINDINGS].line, "document", message)]
    return DocumentReport(
        path=name,
        words=page.words,
        reading_minutes=round(page.words / WORDS_PER_MINUTE, 2),
        headings=len(page.headings),
        findings=findings,
    )


_EXTERNAL = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)


def _broken_links(page: Page, path: Path, folder: Path) -> Iterator[Finding]:
    pages = {path: page}
    for line, href in page.links:
        fault = None if _EXTERNAL.match(href) else _fault(href, path, folder, pages)
        if fault:
            shown = "".join(char if char.isprintable() else "\ufffd" for char in unquote(href)[:MAX_SHOWN])
            yield finding(line, "broken-link", f"{fault}: {shown}" if shown else fault)


def _fault(href: str, path: Path, folder: Path, pages: dict[Path, Page]) -> str | None:
    """What is wrong with a relative link of the document at ``path``; ``pages`` are those read so far."""
    if not href:
        return "link without a target"
    place, _, anchor = href.partition("#")
    target = path
    if place := unquote(place.partition("?")[0]):
        # As on GitHub, a leading slash means the top folder. Dots are resolved as text, so that
        # nothing outside the folder is looked at.
        start = "" if place.startswith("/") else path.parent.relative_to(folder).as_posix()
        place = posixpath.normpath(posixpath.join(start, place.lstrip("/")))
        if place.split("/")[0] == "..":
            return "link leaves the folder"
        try:
            target = Path(os.path.realpath(folder / place))
            if not target.is_relative_to(folder):  # by a symbolic link
                return "link leaves the folder"
            target.stat()
            if anchor and target not in pages and target.suffix.lower() in SUFFIXES and target.is_file():
                pages[target] = read(target)
        except (OSError, ValueError):  # missing, not ours to read, too long, or no name for a file
            return "no such file"
    page = pages.get(target)
    if page is None or page.unread or anchor in {"", "top"} or unquote(anchor) in page.anchors:
        return None
    return "no such anchor"
