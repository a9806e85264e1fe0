"""The work that the demo's agents do: check a Markdown document.

Rules:

- `heading-order`: a heading skips a level, such as an h4 after an h2.
- `fence-language`: a fenced code block names no language.
- `broken-link`: a relative link or image does not lead to a file in the folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token
from pydantic import BaseModel, Field

SAMPLES = Path(__file__).parent / "samples"
_MARKDOWN = MarkdownIt("commonmark").enable("table")
_NOT_A_FILE = re.compile(r"[a-z][a-z0-9+.-]*:|//|#|$", re.IGNORECASE)  # a URL, or an anchor in this document


class Finding(BaseModel):
    """Something to fix in a document; lines count from 1."""

    line: int = Field(ge=1)
    rule: Literal["heading-order", "fence-language", "broken-link"]
    message: str


class DocumentReport(BaseModel):
    """The result of checking one document; code blocks have no words."""

    words: int = Field(ge=0)
    findings: list[Finding]


def find_documents(folder: Path) -> list[str]:
    """Return the paths of the Markdown files in `folder`, relative to it and sorted.

    Hidden files and folders, `node_modules` and symbolic links are skipped.
    """
    files = (path for path in folder.rglob("*.md") if path.is_file() and not path.is_symlink())
    paths = (path.relative_to(folder) for path in files)
    skipped = re.compile(r"\.|node_modules$")
    return sorted(path.as_posix() for path in paths if not any(map(skipped.match, path.parts)))


def check_document(folder: Path, name: str) -> DocumentReport:
    """Check the document `name`, a path relative to `folder`. Reads nothing outside the folder.

    Raises:
        OSError: the document cannot be read.
        ValueError: it is outside the folder, or is not UTF-8 text.
    """
    folder = folder.resolve()
    path = (folder / name).resolve()
    if not path.is_relative_to(folder):
        raise ValueError(f"{name!r} is outside the folder")
    tokens = _MARKDOWN.parse(path.read_text(encoding="utf-8-sig"))
    inline = [child for token in tokens for child in token.children or []]
    words = sum(len(child.content.split()) for child in inline if child.type in {"text", "code_inline"})
    return DocumentReport(words=words, findings=list(_findings(tokens, path.parent, folder)))


def _findings(tokens: Iterable[Token], here: Path, folder: Path) -> Iterator[Finding]:
    above = 6  # the first heading may have any level
    for token in tokens:
        line = token.map[0] + 1 if token.map else 1
        if token.type == "heading_open":
            level = int(token.tag[1])
            if level > above + 1:
                message = f"h{level} after h{above}: use h{above + 1}"
                yield Finding(line=line, rule="heading-order", message=message)
            above = level
        if token.type == "fence" and not token.info.strip():
            message = "no language: use `text` if none applies"
            yield Finding(line=line, rule="fence-language", message=message)
        for child in token.children or []:
            line += child.type in {"softbreak", "hardbreak"}
            target = str(child.attrs.get("href") or child.attrs.get("src") or "")
            name = unquote(re.split("[?#]", target)[0])
            if not _NOT_A_FILE.match(target) and not _is_in(folder, here / name):
                yield Finding(line=line, rule="broken-link", message=f"not in the folder: {name}")


def _is_in(folder: Path, path: Path) -> bool:
    try:
        return path.resolve().is_relative_to(folder) and path.exists()
    except (OSError, ValueError, RuntimeError):  # too long, a NUL, a loop of symbolic links
        return False
