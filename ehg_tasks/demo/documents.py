"""What the demo's agents do: check a Markdown document and estimate its reading time.

Rules:

- ``heading-order``: a heading skips a level, as an h4 below an h2 does.
- ``broken-link``: a relative link or image leads to no file, to no anchor, or out of the folder.
- ``fence-language``: a fenced code block names no language.
- ``document``: the document as a whole cannot be checked, or has too many findings to list.

Nothing is fetched: links with a scheme or a host are not followed.
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
MAX_FINDINGS = 1000  # keeps the report below the size limit of a contract's output
MAX_SHOWN = 120  # characters of a link in a message
SUFFIXES = {".md", ".markdown"}
SKIPPED_FOLDERS = {"node_modules", "venv", "build", "dist", "target", "_build", "__pycache__"}


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Finding(_Model):
    """Something to mend in a document."""

    line: int = Field(ge=1, description="Counts from 1.")
    rule: Literal["heading-order", "broken-link", "fence-language", "document"]
    message: str


class DocumentReport(_Model):
    """What a check found in one document."""

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

    Hidden files and folders, node_modules, virtual environments, build output and symbolic links
    are passed over.

    Raises:
        OSError: the folder does not exist, is no folder, or cannot be read.
        ValueError: the name of a document is not UTF-8, so no contract can hold it.
    """
    if not folder.is_dir():
        if folder.exists():
            raise NotADirectoryError(f"{folder} is no folder: name the folder that holds the documents")
        raise FileNotFoundError(f"there is no folder {folder}")
    documents = []
    for name, subfolders, files in os.walk(folder, onerror=_refuse):
        here = Path(name)
        subfolders[:] = [sub for sub in subfolders if not _is_skipped(here / sub)]
        documents += [here / file for file in files if Path(file).suffix.lower() in SUFFIXES]
    documents = [
        path for path in documents if path.name[0] != "." and path.is_file() and not path.is_symlink()
    ]
    for path in documents:
        if not _is_utf8(str(path.relative_to(folder))):
            raise ValueError(f"the name of {ascii(str(path))} is not UTF-8: rename it")
    return sorted(documents)


def _refuse(error: OSError) -> None:
    raise error


def _is_skipped(folder: Path) -> bool:
    return folder.name.startswith(".") or folder.name in SKIPPED_FOLDERS or (folder / "pyvenv.cfg").exists()


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_document(path: Path, folder: Path) -> DocumentReport:
    """Check one document. Nothing outside ``folder`` is read.

    Raises:
        FileNotFoundError: there is no such document.
        OSError: it cannot be read.
        ValueError: it lies outside ``folder``.
    """
    path, folder = path.resolve(), folder.resolve()
    name = path.relative_to(folder).as_posix()
    page = _read(path)
    if isinstance(page, Finding):
        return DocumentReport(path=name, words=0, reading_minutes=0, headings=0, findings=[page])
    findings = [
        *_skipped_levels(page),
        *_broken_links(page, path, folder),
        *(Finding(line=line, rule="fence-language", message=_NO_LANGUAGE) for line in page.bare_fences),
    ]
    findings.sort(key=lambda finding: finding.line)
    if (more := len(findings) - MAX_FINDINGS) > 0:
        last = Finding(
            line=findings[MAX_FINDINGS].line, rule="document", message=f"{more} more findings from here on"
        )
        findings[MAX_FINDINGS:] = [last]
    return DocumentReport(
        path=name,
        words=page.words,
        reading_minutes=round(page.words / WORDS_PER_MINUTE, 2),
        headings=len(page.headings),
        findings=findings,
    )


_NO_LANGUAGE = "the code block names no language: write one after the opening fence, such as text"


def _skipped_levels(page: _Page) -> Iterator[Finding]:
    for above, heading in pairwise(page.headings):
        if heading.level > above.level + 1:
            message = f"h{heading.level} follows h{above.level}: use h{above.level + 1}"
            yield Finding(line=heading.line, rule="heading-order", message=message)


def _broken_links(page: _Page, path: Path, folder: Path) -> Iterator[Finding]:
    pages: dict[Path, _Page | Finding] = {path: page}
    for line, href in page.links:
        fault = None if _EXTERNAL.match(href) else _fault(href, path, folder, pages)
        if fault:
            shown = "".join(
                char if char.isprintable() else "\ufffd" for char in unquote(href[: 3 * MAX_SHOWN])
            )
            message = f"{fault}: {shown[:MAX_SHOWN]}" if shown else fault
            yield Finding(line=line, rule="broken-link", message=message)


_EXTERNAL = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)


def _fault(href: str, path: Path, folder: Path, pages: dict[Path, _Page | Finding]) -> str | None:
    """What is wrong with a relative link of the document at ``path``. ``pages`` holds those read so far."""
    if not href:
        return "link without a target"
    place, _, anchor = href.partition("#")
    target = path
    if place := unquote(place.partition("?")[0]):
        # As on GitHub, a leading slash means the top folder. The dots are resolved as text: nothing
        # outside the folder is looked at.
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
    if isinstance(page, _Page) and anchor not in {"", "top"} and unquote(anchor) not in page.anchors:
        return "no such anchor"
    return None


# --- Reading Markdown ---


@dataclass(frozen=True)
class _Heading:
    line: int
    level: int
    text: str


@dataclass
class _Page:
    """What a document holds, as far as the rules ask."""

    headings: list[_Heading] = field(default_factory=list)
    links: list[tuple[int, str]] = field(default_factory=list)
    bare_fences: list[int] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)
    words: int = 0


def _read(path: Path) -> _Page | Finding:
    """The page, or why the file is none."""
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        return Finding(line=1, rule="document", message="not checked: the file is larger than 5 MB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return Finding(line=line, rule="document", message="not checked: the file is not UTF-8 text")
    return _parse(_FRONT_MATTER.sub(_blank, re.sub("\r\n?", "\n", text)))


_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(?![ \t]*\n)(?:.*?\n)??(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)


def _blank(match: re.Match[str]) -> str:
    """Nothing, on as many lines."""
    return "\n" * match[0].count("\n")


def _with_offset(rule: Callable[[StateInline, bool], bool]) -> Callable[[StateInline, bool], bool]:
    """Let an inline rule note where its tokens start: markdown-it gives lines to blocks only."""

    def noting(state: StateInline, silent: bool) -> bool:
        start, before = state.pos, len(state.tokens)
        found = rule(state, silent)
        if found and not silent:
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
        if token.type == "fence" and not token.info.strip():
            page.bare_fences.append(line)
        elif token.type == "html_block":
            visible.append(_add_html(page, token.content, line))
        elif token.type in {"heading_open", "heading_close"}:
            level = int(token.tag[1]) if token.type == "heading_open" else 0
        elif token.type == "inline":
            visible.append(_add_inline(page, token, line))
            if level:
                page.headings.append(_Heading(line, level, visible[-1]))
    page.anchors.update(_slugs(heading.text for heading in page.headings))
    words = _URL.sub("", "\n".join(visible)).split()
    page.words = sum(any(char.isalnum() for char in word) for word in words)
    return page


_URL = re.compile(r"\b(?:https?|ftp)://\S+", re.IGNORECASE)


def _add_inline(page: _Page, token: Token, first_line: int) -> str:
    """Note the links of a paragraph, heading or cell, and return its visible text."""
    parts = []
    line_at = _line_counter(token.content, first_line)
    for child in token.children or []:
        line = line_at(child.meta.get("offset", 0))
        match child.type:
            case "link_open" if not token.content.startswith(
                "[^", child.meta.get("offset", 0)
            ):  # no footnote
                page.links.append((line, str(child.attrs["href"])))
            case "image":
                page.links.append((line, str(child.attrs["src"])))
            case "html_inline":
                _add_html(page, child.content, line)
            case "softbreak" | "hardbreak":
                parts.append("\n")
            case "text" | "code_inline":
                parts.append(child.content)
    return "".join(parts)


_HIDDEN_HTML = re.compile(r"<!--.*?(?:-->|\Z)|<(pre|script|style)\b.*?(?:</\1|\Z)", re.DOTALL | re.IGNORECASE)
_HTML_HEADING = re.compile(r"<h([1-6])\b[^<>]*>(.{0,300}?)</h\1", re.DOTALL | re.IGNORECASE)
_TAG = re.compile(r"</?[a-z][^<>]*>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"""\s(id|name|href|src)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""", re.IGNORECASE)


def _add_html(page: _Page, source: str, first_line: int) -> str:
    """Note the links, anchors and headings of a piece of HTML, and return its visible text."""
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
        page.headings.append(_Heading(line_at(match.start()), int(match[1]), text))
    return html.unescape(_TAG.sub("", source))


def _line_counter(text: str, first_line: int) -> Callable[[int], int]:
    """A function from an offset in ``text`` to its line in the document."""
    breaks = [match.start() for match in re.finditer("\n", text)]
    return lambda offset: first_line + bisect_left(breaks, offset)


def _slugs(headings: Iterable[str]) -> Iterator[str]:
    """The anchors that GitHub gives to these headings."""
    used: dict[str, int] = {}
    for heading in headings:
        plain = "".join(char for char in heading.lower() if _stays_in_slug(char)).replace(" ", "-")
        slug = plain
        while slug in used:
            used[plain] += 1
            slug = f"{plain}-{used[plain]}"
        used[slug] = 0
        yield slug


def _stays_in_slug(char: str) -> bool:
    """Whether it is a letter, a mark, a digit, a connector such as _, a hyphen or a space."""
    return char in "- " or unicodedata.category(char)[0] in "LM" or unicodedata.category(char) in _IN_SLUG


_IN_SLUG = {"Nd", "Nl", "Pc"}
