"""The rules of the demo's document checker."""

from __future__ import annotations

from pathlib import Path

import pytest

from ehg_tasks.demo.documents import check_document, find_documents


def write(folder: Path, name: str, text: str | bytes = "") -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


def findings(folder: Path, text: str, name: str = "doc.md") -> list[tuple[int, str, str]]:
    write(folder, name, text)
    return [(item.line, item.rule, item.message) for item in check_document(folder, name).findings]


def test_hidden_files_dependencies_and_symbolic_links_are_skipped(tmp_path: Path) -> None:
    for name in ("b.md", "sub/a.md", "notes.txt", ".hidden.md", ".git/a.md", "node_modules/p/README.md"):
        write(tmp_path, name)
    (tmp_path / "link.md").symlink_to(tmp_path / "b.md")
    (tmp_path / "folder.md").mkdir()
    assert find_documents(tmp_path) == ["b.md", "sub/a.md"]


@pytest.mark.parametrize("text", ["# a\n## b\n### c\n# d\n", "### starts deep\n", "```md\n# a\n### b\n```\n"])
def test_headings_may_go_down_one_level_or_up_any(tmp_path: Path, text: str) -> None:
    assert findings(tmp_path, text) == []


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("# a\n\ntext\n\n### b\n", 5, "h3 after h1: use h2"),
        ("a\n=\n\n> quoted\n>\n> ### b\n", 6, "h3 after h1: use h2"),
        ("# a\r\n## b\r\n##### c\r\n", 3, "h5 after h2: use h3"),
    ],
)
def test_a_heading_that_skips_a_level_is_a_finding(
    tmp_path: Path, text: str, line: int, message: str
) -> None:
    assert findings(tmp_path, text) == [(line, "heading-order", message)]


@pytest.mark.parametrize("text", ["```sh\nls\n```\n", "~~~ python\n~~~\n", "    indented\n"])
def test_a_fence_with_a_language_and_an_indented_block_are_clean(tmp_path: Path, text: str) -> None:
    assert findings(tmp_path, text) == []


@pytest.mark.parametrize(("text", "line"), [("a\n\n```\nls\n```\n", 3), ("1. a\n\n   ~~~ \n   ls\n", 3)])
def test_a_fence_without_a_language_is_a_finding(tmp_path: Path, text: str, line: int) -> None:
    assert findings(tmp_path, text) == [(line, "fence-language", "no language: use `text` if none applies")]


@pytest.mark.parametrize(
    "link",
    ["other.md", "sub/../other.md", "sub/", "with%20space.md", "other.md?plain=1", "other.md#any", "#any",
     "https://example.com/x", "HTTP://[x", "//example.com/x", "mailto:a@example.com", ""],
)  # fmt: skip
def test_a_link_to_a_file_in_the_folder_or_to_a_url_is_clean(tmp_path: Path, link: str) -> None:
    for name in ("other.md", "sub/x.md", "with space.md"):
        write(tmp_path, name)
    assert findings(tmp_path, f"[a]({link}) ![b]({link})\n") == []


@pytest.mark.parametrize(
    ("link", "shown"),
    [
        ("missing.md", "missing.md"),
        ("a%20b.md#c", "a b.md"),
        ("doc.md/x", "doc.md/x"),
        ("../outside.md", "../outside.md"),
        ("/outside.md", "/outside.md"),
        ("way/outside.md", "way/outside.md"),
        ("loop.md", "loop.md"),
        ("a%00b", "a\0b"),
        ("a" * 300, "a" * 300),
    ],
)
def test_a_link_to_a_file_that_is_not_in_the_folder_is_a_finding(
    tmp_path: Path, link: str, shown: str
) -> None:
    write(tmp_path, "outside.md")
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "way").symlink_to(tmp_path, target_is_directory=True)
    (folder / "loop.md").symlink_to("loop.md")
    message = f"not in the folder: {shown}"
    assert findings(folder, f"[a]({link})\n\n![b]({link})\n") == [
        (1, "broken-link", message),
        (3, "broken-link", message),
    ]


def test_a_broken_link_is_reported_on_its_line(tmp_path: Path) -> None:
    text = (
        "One\n**[two](x2)**\\\n![three](x3)\n\n> - [five](x5)\n\n|a|\n|-|\n|[nine](x9)|\n\n[r]\n\n[r]: x11\n"
    )
    assert [(line, message[-2:]) for line, _, message in findings(tmp_path, text)] == [
        (2, "x2"), (3, "x3"), (5, "x5"), (9, "x9"), (11, "11")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("# Two words\n\nand **three** more-than `code`\n", 6),
        ("[visible text](https://example.com/a)\n", 2),
        ("```text\nnot counted\n```\n\n    nor this\n", 0),
    ],
)
def test_words_are_counted_outside_of_code_blocks_and_urls(tmp_path: Path, text: str, words: int) -> None:
    write(tmp_path, "doc.md", text)
    assert check_document(tmp_path, "doc.md").words == words


@pytest.mark.parametrize("name", ["../outside.md", "/etc/hostname", "latin.md"])
def test_a_document_outside_the_folder_or_in_another_encoding_is_refused(tmp_path: Path, name: str) -> None:
    write(tmp_path, "outside.md")
    write(tmp_path, "docs/latin.md", b"caf\xe9")
    with pytest.raises(ValueError, match=r"is outside the folder|'utf-8' codec"):
        check_document(tmp_path / "docs", name)
