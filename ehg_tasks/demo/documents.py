"""What the demo's agents do: check a Markdown document and estimate its reading time.

Rules:

- ``heading-order``: a heading skips a level, as an h4 after an h2 does.
- ``broken-link``: a relative link or image leads to no file, to no anchor, or out of the folder.
- ``fence-language``: a fenced code block names no language.
- ``document``: the document cannot be checked, or has too many findings to list.

Links with a scheme or a host are not followed.
"""

from __future__ import annotations

import html
import os
import posixpath
import re
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

from markdown_it import MarkdownIt, rules_inline
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from pydantic import BaseModel, ConfigDict, Field

WORDS_PER_MINUTE = 200
MAX_BYTES = 5_000_000
MAX_FINDINGS = 1000  # with MAX_SHOWN, it keeps a report below the 1 MiB of a contract's output
MAX_SHOWN = 120  # characters of a link in a message
SUFFIXES = {".md", ".markdown"}
SKIPPED_FOLDERS = {"node_modules", "venv", "build", "dist", "target", "_build"}

Rule = Literal["heading-order", "broken-link", "fence-language", "document"]


class Finding(BaseModel):
    """Something to mend in a document."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    line: int = Field(ge=1, description="Counts from 1.")
    rule: Rule
    message: str


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
    page = _read(path)
    findings = sorted([*page.findings, *_broken_links(page, path, folder)], key=lambda finding: finding.line)
    if len(findings) > MAX_FINDINGS:
        message = f"{len(findings) - MAX_FINDINGS} more findings from here on"
        findings[MAX_FINDINGS:] = [_finding(findings[MAX_FINDINGS].line, "document", message)]
    return DocumentReport(
        path=name,
        words=page.words,
        reading_minutes=round(page.words / WORDS_PER_MINUTE, 2),
        headings=len(page.headings),
        findings=findings,
    )


def _finding(line: int, rule: Rule, message: str) -> Finding:
    return Finding(line=line, rule=rule, message=message)


# --- Links ---

_EXTERNAL = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)


def _broken_links(page: _Page, path: Path, folder: Path) -> Iterator[Finding]:
    pages = {path: page}
    for line, href in page.links:
        fault = None if _EXTERNAL.match(href) else _fault(href, path, folder, pages)
        if fault:
            shown = "".join(char if char.isprintable() else "\ufffd" for char in unquote(href)[:MAX_SHOWN])
            yield _finding(line, "broken-link", f"{fault}: {shown}" if shown else fault)


def _fault(href: str, path: Path, folder: Path, pages: dict[Path, _Page]) -> str | None:
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
                pages[target] = _read(target)
        except (OSError, ValueError):  # missing, not ours to read, too long, or no name for a file
            return "no such file"
    page = pages.get(target)
    if page is None or page.unread or anchor in {"", "top"} or unquote(anchor) in page.anchors:
        return None
    return "no such anchor"


# --- Reading Markdown ---

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(?![ \t]*\n)(?:.*?\n)??(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.S)
_HIDDEN_HTML = re.compile(r"<!--.*?(?:-->|\Z)|<(pre|script|style)\b.*?(?:</\1|\Z)", re.S | re.I)
_HTML_HEADING = re.compile(r"<h([1-6])\b[^<>]*>(.{0,300}?)</h\1", re.S | re.I)
_TAG = re.compile(r"</?[a-z][^<>]*>", re.I)
_ATTRIBUTE = re.compile(r"""\s(id|name|href|src)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""", re.I)
_IN_SLUG = {"Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "Pc"}  # letters to connectors
_URL = re.compile(r"\b(?:https?|ftp)://\S+", re.I)


@dataclass
class _Page:
    """What a document holds."""

    headings: list[tuple[int, int, str]] = field(default_factory=list)  # line, level, text
    links: list[tuple[int, str]] = field(default_factory=list)  # line, target
    anchors: set[str] = field(default_factory=set)
    words: int = 0
    unread: bool = False  # the file could not be checked: the rest is empty
    findings: list[Finding] = field(default_factory=list)


def _read(path: Path) -> _Page:
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        fault = _finding(1, "document", "not checked: the file is larger than 5 MB")
        return _Page(unread=True, findings=[fault])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return _Page(
            unread=True, findings=[_finding(line, "document", "not checked: this is not UTF-8 text")]
        )
    return _parse(_FRONT_MATTER.sub(_blank, re.sub("\r\n?", "\n", text)))


def _blank(match: re.Match[str]) -> str:
    """Nothing, on as many lines."""
    return "\n" * match[0].count("\n")


def _with_offset(rule: Callable[[StateInline, bool], bool]) -> Callable[[StateInline, bool], bool]:
    """Let an inline rule note where its tokens start, because markdown-it gives lines to blocks only."""

    def noting(state: StateInline, silent: bool) -> bool:
        start, before = state.pos, len(state.tokens)
        found = rule(state, silent)
        for token in state.tokens[before:]:
            token.meta.setdefault("offset", start)
        return found

    return noting


_MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])
for _name in ("link", "image", "html_inline"):
    _MARKDOWN.inline.ruler.at(_name, _with_offset(getattr(rules_inline, _name)))


def _parse(text: str) -> _Page:
    page = _Page()
    visible = []
    level = 0  # of the heading that is open
    for token in _MARKDOWN.parse(text):
        line = token.map[0] + 1 if token.map else 1
        match token.type:
            case "fence" if not token.info.strip():
                message = "no language: write one after the opening fence (text, if there is none)"
                page.findings.append(_finding(line, "fence-language", message))
            case "heading_open":
                level = int(token.tag[1])
            case "heading_close":
                level = 0
            case "html_block":
                visible.append(_add_html(page, token.content, line))
            case "inline":
                visible.append(_add_inline(page, token, line))
                if level:
                    page.headings.append((line, level, visible[-1]))
    for (_, above, _), (line, level, _) in pairwise(page.headings):
        if level > above + 1:
            page.findings.append(
                _finding(line, "heading-order", f"h{level} after h{above}: use h{above + 1}")
            )
    page.anchors.update(_slugs(text for _, _, text in page.headings))
    words = _URL.sub("", "\n".join(visible)).split()
    page.words = sum(any(map(str.isalnum, word)) for word in words)
    return page


def _add_inline(page: _Page, token: Token, first_line: int) -> str:
    """Note what a paragraph, heading or cell holds, and return its visible text."""
    parts = []
    line_at = _line_counter(token.content, first_line)
    for child in token.children or []:
        offset = child.meta.get("offset", 0)
        match child.type:
            case "link_open" if not token.content.startswith("[^", offset):  # a footnote is no link
                page.links.append((line_at(offset), str(child.attrs["href"])))
            case "image":
                page.links.append((line_at(offset), str(child.attrs["src"])))
            case "html_inline":
                _add_html(page, child.content, line_at(offset))
            case "softbreak" | "hardbreak":
                parts.append("\n")
            case "text" | "code_inline":
                parts.append(child.content)
    return "".join(parts)


def _add_html(page: _Page, source: str, first_line: int) -> str:
    """Note what a piece of HTML holds, and return its visible text."""
    source = _HIDDEN_HTML.sub(_blank, source)
    line_at = _line_counter(source, first_line)
    for tag in _TAG.finditer(source):
        for attribute in _ATTRIBUTE.finditer(tag[0]):
            value = html.unescape("".join(attribute.groups("")[1:]))
            if attribute[1].lower() in {"id", "name"}:
                page.anchors.add(value)
            else:
                page.links.append((line_at(tag.start()), value))
    for match in _HTML_HEADING.finditer(source):
        text = " ".join(html.unescape(_TAG.sub("", match[2])).split())
        page.headings.append((line_at(match.start()), int(match[1]), text))
    return html.unescape(_TAG.sub("", source))


def _line_counter(text: str, first_line: int) -> Callable[[int], int]:
    """A function from an offset in ``text`` to its line in the document."""
    breaks = [match.start() for match in re.finditer("\n", text)]
    return lambda offset: first_line + bisect_left(breaks, offset)


def _slugs(headings: Iterable[str]) -> Iterator[str]:
    """The anchors that GitHub gives to headings; repeats get -1, -2 and so on."""
    used: dict[str, int] = {}
    for heading in headings:
        kept = (char for char in heading.lower() if char in "- " or unicodedata.category(char) in _IN_SLUG)
        slug = plain = "".join(kept).replace(" ", "-")
        while slug in used:
            used[plain] += 1
            slug = f"{plain}-{used[plain]}"
        used[slug] = 0
        yield slug
