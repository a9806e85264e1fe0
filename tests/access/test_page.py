"""docs/access-rules.md is what the matrix says."""

from __future__ import annotations

from tests.access.render import PAGE, page


def test_the_page_is_fresh() -> None:
    assert PAGE.read_text() == page(), "stale: run `make docs`"
