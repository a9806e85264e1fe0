"""The demo's document checker: what it finds, on which line, and what it leaves alone."""

from __future__ import annotations

import os
from pathlib import Path
from textwrap import dedent

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from ehg_tasks.demo.documents import (
    DOCUMENT_REPORT_SCHEMA,
    MAX_FINDINGS,
    DocumentReport,
    check_document,
    find_documents,
    samples_folder,
)
from ehg_tasks.demo.markdown import MAX_BYTES


def write(folder: Path, name: str, text: str | bytes = "") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else dedent(text).encode())
    return path


def check(folder: Path, text: str | bytes, name: str = "doc.md") -> DocumentReport:
    return check_document(write(folder, name, text), folder)


def found(folder: Path, text: str | bytes, name: str = "doc.md") -> list[tuple[int, str, str]]:
    return [(item.line, item.rule, item.message) for item in check(folder, text, name).findings]


def faults(folder: Path, text: str, name: str = "doc.md") -> list[str]:
    """The messages about links; nothing else may be found."""
    findings = found(folder, text, name)
    assert {rule for _, rule, _ in findings} <= {"broken-link"}
    return [message for _, _, message in findings]


# --- Finding documents ---


def test_documents_are_found_in_order_and_other_things_passed_over(tmp_path: Path) -> None:
    for name in ("b.md", "a.MD", "sub/deep/c.markdown", "sub/a.md"):
        write(tmp_path, name)
    for name in (
        "notes.txt", ".hidden.md", ".git/a.md", "node_modules/p/README.md", "sub/dist/a.md", "build/a.md",
        "my-env/lib/a.md", "folder.md/inner.txt",
    ):  # fmt: skip
        write(tmp_path, name)
    write(tmp_path, "my-env/pyvenv.cfg")
    names = [path.relative_to(tmp_path).as_posix() for path in find_documents(tmp_path)]
    assert names == ["a.MD", "b.md", "sub/a.md", "sub/deep/c.markdown"]


def test_the_named_folder_itself_is_never_passed_over(tmp_path: Path) -> None:
    document = write(tmp_path, ".hidden/build/a.md")
    assert find_documents(document.parent) == [document]


def test_symbolic_links_are_not_followed(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "docs"
    secret = write(outside, "secret.md")
    document = write(folder, "a.md")
    (folder / "file.md").symlink_to(secret)
    (folder / "folder").symlink_to(outside, target_is_directory=True)
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    assert find_documents(folder) == [document]


def test_an_empty_folder_has_no_documents(tmp_path: Path) -> None:
    assert find_documents(tmp_path) == []


def test_a_missing_folder_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"^there is no folder \S+missing: check its name$"):
        find_documents(tmp_path / "missing")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError, match=r"a\.md is no folder: name the folder"):
        find_documents(write(tmp_path, "a.md"))


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    try:
        (tmp_path / os.fsdecode(b"caf\xe9.md")).touch()
    except OSError:
        return  # this file system takes UTF-8 names only
    with pytest.raises(ValueError, match=r"caf\\udce9\.md' is not UTF-8: rename it"):
        find_documents(tmp_path)


# --- heading-order ---


@pytest.mark.parametrize(
    "text",
    [
        "# a\n## b\n### c\n# d\n## e\n",
        "### starts deep\n",
        "# a\n\nb\n-\n\n### c\n",
        "# a\n\n# b\n",
        "#no heading\n",
    ],
)
def test_headings_in_order(tmp_path: Path, text: str) -> None:
    assert found(tmp_path, text) == []


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("# a\n\ntext\n\n### b\n", 5, "h3 after h1: use h2"),
        ("## a\n#### b\n", 2, "h4 after h2: use h3"),
        ("a\n=\n\n> quoted\n>\n> ### b\n", 6, "h3 after h1: use h2"),
        ("- # a\n\n  text\n\n  #### b\n", 5, "h4 after h1: use h2"),
        ('<h1 align="center">a</h1>\n\n### b\n', 3, "h3 after h1: use h2"),
        ("# a\r\n\r\n### b\r\n", 3, "h3 after h1: use h2"),
    ],
)
def test_a_skipped_level(tmp_path: Path, text: str, line: int, message: str) -> None:
    assert found(tmp_path, text) == [(line, "heading-order", message)]


def test_headings_in_code_are_none(tmp_path: Path) -> None:
    report = check(tmp_path, "# a\n\n```md\n### b\n```\n\n    ### c\n")
    assert (report.headings, report.findings) == (1, [])


# --- fence-language ---


@pytest.mark.parametrize("text", ["```sh\nls\n```\n", "~~~ python\n~~~\n", "    indented\n", "a ``b`` c\n"])
def test_a_block_with_a_language(tmp_path: Path, text: str) -> None:
    assert found(tmp_path, text) == []


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\n\n```\nls\n```\n", 3),
        ("~~~  \nls\n~~~\n", 1),
        ("1. a\n\n   > b\n   >\n   > ```\n   > ls\n   > ```\n", 5),
        ("```\nnever closed\n", 1),
    ],
)
def test_a_block_without_a_language(tmp_path: Path, text: str, line: int) -> None:
    [(at, rule, message)] = found(tmp_path, text)
    assert (at, rule) == (line, "fence-language")
    assert message.startswith("no language: write one")


# --- broken-link: files ---


@pytest.mark.parametrize(
    "link",
    [
        "other.md", "./other.md", "sub/../other.md", "/other.md", "sub", "sub/", "with%20space.md",
        "<with space.md>", "other.md?plain=1", "%C3%BCber.md", "über.md", "50%.md", "image.png#L3",
        "https://example.com/missing.md", "HTTP://example.com", "//example.com/x", "mailto:a@example.com",
        "tel:+1", "#", "#top", "doc.md",
    ],
)  # fmt: skip
def test_a_link_that_leads_somewhere(tmp_path: Path, link: str) -> None:
    for name in ("other.md", "sub/x.md", "with space.md", "über.md", "50%.md", "image.png"):
        write(tmp_path, name)
    assert faults(tmp_path, f"[a]({link}) ![b]({link})\n") == []


@pytest.mark.parametrize(
    ("link", "message"),
    [
        ("missing.md", "no such file: missing.md"),
        ("sub/missing.png", "no such file: sub/missing.png"),
        ("/missing.md", "no such file: /missing.md"),
        ("doc.md/x", "no such file: doc.md/x"),
        ("a%20b.md#c", "no such file: a b.md#c"),
        ("fehlt-%C3%BC.md", "no such file: fehlt-ü.md"),
        ("a%00%1Bb.md", "no such file: a\ufffd\ufffdb.md"),
        ("a" * 300, f"no such file: {'a' * 120}"),
        ("", "link without a target"),
    ],
)
def test_a_link_or_image_that_leads_nowhere(tmp_path: Path, link: str, message: str) -> None:
    assert faults(tmp_path, f"[a]({link})\n\n![b]({link})\n") == [message, message]


@pytest.mark.parametrize(
    "link", ["../secret.md", "../secret.md#a", "sub/../../x", "/../x", "..", "%2e%2e/x", "../docs/doc.md"]
)
def test_a_link_that_leaves_the_folder(tmp_path: Path, link: str) -> None:
    write(tmp_path, "secret.md", "# a\n")
    [message] = faults(tmp_path / "docs", f"[a]({link})\n")
    assert message.startswith("link leaves the folder: ")


def test_a_link_from_a_subfolder_may_go_up_inside_the_folder(tmp_path: Path) -> None:
    write(tmp_path, "a.md")
    assert faults(tmp_path, "[a](../a.md) [b](../../a.md)\n", "sub/doc.md") == [
        "link leaves the folder: ../../a.md"
    ]


def test_a_link_through_a_symbolic_link_out_of_the_folder(tmp_path: Path) -> None:
    write(tmp_path, "outside/secret.md", "# a\n")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/way").symlink_to(tmp_path / "outside", target_is_directory=True)
    (tmp_path / "docs/loop.md").symlink_to("loop.md")
    text = "[a](way/secret.md#a) [b](way/missing.md) [c](loop.md)\n"
    assert faults(tmp_path / "docs", text) == [
        "link leaves the folder: way/secret.md#a",
        "link leaves the folder: way/missing.md",
        "no such file: loop.md",
    ]


def test_what_only_looks_like_a_link(tmp_path: Path) -> None:
    text = """\
        `[a](x.md)` \\[a](x.md) [undefined][x] [^note] <https://example.com/x> <!-- <a href="x.md"> -->

        ```md
        [a](x.md)
        ```

        <!--
        [a](x.md) <img src="x.png">
        -->

        [^note]: https-free-footnote
        """
    assert faults(tmp_path, text) == []


def test_links_are_found_on_their_own_line(tmp_path: Path) -> None:
    text = """\
        ---
        title: "[a](x0)"
        ---
        # A [heading](x4)

        One `code
        span` and **bold
        [two](x8)** lines, [![image](x8.png)
        badge](x8.md)
        and [a reference][ref] there.\\
        [Last](x11)

        > quoted
        > [link](x14)
        >
        > - item
        >   [link](x17)

        | a | b |
        |---|---|
        | c | [d](x21) and ~~[e](x21.md)~~ |

        <p>
          <a href="x24">f</a> <img alt="" src='x24.png'>
        </p>

        text
        and <a href=x28>g</a>

        [ref]: x10
        """
    expected = [4, 8, 8, 8, 10, 11, 14, 17, 21, 21, 24, 24, 28]
    findings = found(tmp_path, text)
    assert [line for line, _, _ in findings] == expected
    assert all(message.startswith(f"no such file: x{line}") for line, _, message in findings)


# --- broken-link: anchors ---

HEADINGS = """\
    # Getting started, quickly!
    ## With `code`, *stress* and a [link](#x)
    ## Same
    ## Same
    ## Same-1
    ## Über Größe_2 & हिन्दी
    ## 🚀 Launch

    Setext heading
    ---

    <a id="explicit"></a> <a name='named'></a> <h2>In HTML</h2> <span id=bare>x</span>

    <h2 align="center">HTML &amp; <em>more</em></h2>

    <a id="x"></a>
    """


@pytest.mark.parametrize(
    "anchor",
    [
        "getting-started-quickly", "with-code-stress-and-a-link", "same", "same-1", "same-1-1",
        "über-größe_2--हिन्दी", "%C3%BCber-gr%C3%B6%C3%9Fe_2--हिन्दी", "-launch",
        "setext-heading", "explicit", "named", "bare", "html--more",
    ],
)  # fmt: skip
def test_an_anchor_that_exists_here_and_elsewhere(tmp_path: Path, anchor: str) -> None:
    write(tmp_path, "sub/other.md", HEADINGS)
    assert faults(tmp_path, f"{dedent(HEADINGS)}\n[a](#{anchor}) [b](doc.md#{anchor})\n") == []
    assert faults(tmp_path, f"[a](sub/other.md#{anchor})\n") == []


@pytest.mark.parametrize("anchor", ["missing", "Same", "same-2", "started", "hidden", "x y"])
def test_an_anchor_that_does_not_exist(tmp_path: Path, anchor: str) -> None:
    text = "# Same\n\n# Same\n\n<!-- <a id='hidden'></a> -->\n\n```html\n<a id='hidden'></a>\n```\n"
    write(tmp_path, "other.md", text)
    links = f"\n[a](<#{anchor}>)\n\n[b](<other.md#{anchor}>)\n"
    assert faults(tmp_path, text + links) == [
        f"no such anchor: #{anchor}",
        f"no such anchor: other.md#{anchor}",
    ]


def test_anchors_of_a_document_that_cannot_be_read_are_not_judged(tmp_path: Path) -> None:
    write(tmp_path, "binary.md", b"\xff\xfe")
    assert faults(tmp_path, "[a](binary.md#x)\n") == []


# --- Counting ---


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("# Two words\n\nand **three** more-than words\n", 6),
        ("un**bro**ken — `code` 3 & !\n", 3),
        ("[visible text](https://example.com/a) ![alt text](https://example.com/b.png)\n", 2),
        ("<https://example.com> https://example.com/a?b=c see\n", 1),
        ("```text\nnot counted\n```\n\n    nor this\n\n<!-- nor that -->\n", 0),
        ("| one | two |\n|---|---|\n| three | four |\n", 4),
        ("<p>one <b>two</b></p>\n<style>p { color: red }</style>\n", 2),
        ("---\ntitle: not counted\n---\none\n", 1),
        ("---\n---\none\n", 1),
        ("---\n\nnot front matter\n\n---\n", 3),
    ],
)
def test_words_are_the_visible_ones(tmp_path: Path, text: str, words: int) -> None:
    assert check(tmp_path, text).words == words


def test_reading_time_is_told_at_200_words_a_minute(tmp_path: Path) -> None:
    report = check(tmp_path, "word " * 500)
    assert (report.words, report.reading_minutes) == (500, 2.5)


# --- Odd files ---


def test_an_empty_document_is_clean(tmp_path: Path) -> None:
    expected = DocumentReport(path="sub/doc.md", words=0, reading_minutes=0, headings=0, findings=[])
    assert check(tmp_path, "", "sub/doc.md") == expected


def test_a_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    assert check(tmp_path, "\ufeff# Title\n").headings == 1


def test_a_document_that_is_not_text(tmp_path: Path) -> None:
    assert found(tmp_path, b"# Title\n\ncaf\xe9\n") == [
        (3, "document", "not checked: this is not UTF-8 text")
    ]


def test_a_document_that_is_too_large(tmp_path: Path) -> None:
    text = b"a\n" * (MAX_BYTES // 2) + b"\n"
    assert found(tmp_path, text) == [(1, "document", "not checked: the file is larger than 5 MB")]


def test_findings_are_listed_up_to_a_limit(tmp_path: Path) -> None:
    findings = found(tmp_path, "[a](x)\n\n" * (MAX_FINDINGS + 5))
    assert len(findings) == MAX_FINDINGS + 1
    assert findings[-1] == (2 * MAX_FINDINGS + 1, "document", "5 more findings from here on")


def test_a_missing_document(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        check_document(tmp_path / "missing.md", tmp_path)


def test_a_document_outside_the_folder(tmp_path: Path) -> None:
    path = write(tmp_path, "a.md")
    (tmp_path / "docs").mkdir()
    with pytest.raises(ValueError, match=r"a\.md"):
        check_document(path, tmp_path / "docs")


# --- Reports and samples ---


def test_a_report_fits_its_schema_and_survives_json(tmp_path: Path) -> None:
    report = check(tmp_path, "# a\n\n### b\n")
    Draft202012Validator.check_schema(DOCUMENT_REPORT_SCHEMA)
    validator = Draft202012Validator(DOCUMENT_REPORT_SCHEMA)
    output = report.model_dump(mode="json")
    validator.validate(output)
    assert not validator.is_valid({**output, "words": -1})
    assert not validator.is_valid({**output, "extra": 1})
    assert DocumentReport.model_validate(output) == report
    with pytest.raises(ValidationError, match="frozen"):
        report.words = 1


def test_the_samples_show_every_rule() -> None:
    folder = samples_folder()
    documents = find_documents(folder)
    reports = [check_document(path, folder) for path in documents]
    rules = {finding.rule for report in reports for finding in report.findings}
    assert rules == {"heading-order", "broken-link", "fence-language"}
    assert any("/" in report.path for report in reports)
    assert any(not report.findings for report in reports)
