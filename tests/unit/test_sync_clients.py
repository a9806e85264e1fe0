"""The sync clients are those that `make generated` makes from the async ones."""

from __future__ import annotations

from tools.sync_clients import BY_HAND, PACKAGE, sync_clients


def test_the_sync_clients_are_up_to_date() -> None:
    expected = sync_clients()
    assert {path: path.read_text("utf-8") for path in expected} == expected


def test_the_package_of_the_sync_clients_has_no_other_files() -> None:
    files = {path.name for path in (PACKAGE / "_sync").glob("*.py")}
    assert files == {path.name for path in (PACKAGE / "_async").glob("*.py")}
    assert files >= BY_HAND
