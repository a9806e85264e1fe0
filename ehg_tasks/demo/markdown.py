"""What a Markdown document holds: headings, links, anchors, words, and faults of its own."""

from __future__ import annotations

import html
import re
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Literal

from markdown_it import MarkdownIt, rules_inline
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from pydantic import BaseModel, ConfigDict, Field

MAX_BYTES = 5_000_000

Rule = Literal["heading-order", "broken-link", "fence-language", "document"]


class Finding(BaseModel):
    """Something to mend in a document."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    line: int = Field(ge=1, description="Counts from 1.")
    rule: Rule
    message: str


def finding(line: int, rule: Rule, message: str) -> Finding:
    """A `Finding`, by position."""
    return Finding(line=line, rule=rule, message=message)


_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(?![ \t]*\n)(?:.*?\n)??(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.S)
_HIDDEN_HTML = re.compile(r"<!--.*?(?:-->|\Z)|<(pre|script|style)\b.*?(?:</\1|\Z)", re.S | re.I)
_HTML_HEADING = re.compile(r"<h([1-6])\b[^<>]*>(.{0,300}?)</h\1", re.S | re.I)
_TAG = re.compile(r"</?[a-z][^<>]*>", re.I)
_ATTRIBUTE = re.compile(r"""\s(id|name|href|src)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""", re.I)
_IN_SLUG = {"Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "Pc"}  # letters to connectors
_URL = re.compile(r"\b(?:https?|ftp)://\S+", re.I)


@dataclass
class Page:
    """What a document holds."""

    headings: list[tuple[int, int, str]] = field(default_factory=list)  # line, level, text
    links: list[tuple[int, str]] = field(default_factory=list)  # line, target
    anchors: set[str] = field(default_factory=set)
    words: int = 0
    unread: bool = False  # the file could not be checked: the rest is empty
    findings: list[Finding] = field(default_factory=list)


def read(path: Path) -> Page:
    """Read a document. Raises OSError where it cannot be read."""
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        fault = finding(1, "document", "not checked: the file is larger than 5 MB")
        return Page(unread=True, findings=[fault])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return Page(unread=True, findings=[finding(line, "document", "not checked: this is not UTF-8 text")])
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


def _parse(text: str) -> Page:
    page = Page()
    visible = []
    level = 0  # of the heading that is open
    for token in _MARKDOWN.parse(text):
        line = token.map[0] + 1 if token.map else 1
        match token.type:
            case "fence" if not token.info.strip():
                message = "no language: write one after the opening fence (text, if there is none)"
                page.findings.append(finding(line, "fence-language", message))
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
            page.findings.append(finding(line, "heading-order", f"h{level} after h{above}: use h{above + 1}"))
    page.anchors.update(_slugs(text for _, _, text in page.headings))
    words = _URL.sub("", "\n".join(visible)).split()
    page.words = sum(any(map(str.isalnum, word)) for word in words)
    return page


def _add_inline(page: Page, token: Token, first_line: int) -> str:
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


def _add_html(page: Page, source: str, first_line: int) -> str:
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
