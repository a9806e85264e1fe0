"""Write the files that are generated from other sources: `make generated`.

Each is a function from its inputs to its text. `tests/test_generated.py` fails while a committed file
differs from that text.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from psycopg import Connection

from ehg_tasks.local import LocalStack
from ehg_tasks.testing import catalog
from ehg_tasks.verify import facts
from tests.access import page
from tools import function_reference
from tools.sync_clients import SOURCES, sync_client

ROOT = Path(__file__).parents[1]


def expected(migrated: Connection[Any]) -> str:
    """What `ehg-tasks verify` and `ehg_tasks.testing.catalog` expect of a migrated database."""
    row = migrated.execute("select public.describe_task_contracts()").fetchone()
    assert row is not None
    content = {"facts": facts(row[0]), "items": catalog.items(migrated, ("public", "ehg_tasks"))}
    return _one_line_each(content, levels=3) + "\n"


def _one_line_each(value: Any, levels: int) -> str:
    """JSON with a line for each entry of the outer levels."""
    if levels == 0 or not isinstance(value, dict | list):
        return json.dumps(value)
    if isinstance(value, list):
        return "[\n" + ",\n".join(_one_line_each(item, levels - 1) for item in value) + "\n]"
    entries = (f"{json.dumps(name)}: {_one_line_each(item, levels - 1)}" for name, item in value.items())
    return "{\n" + ",\n".join(entries) + "\n}"


def access_rules(_migrated: Connection[Any]) -> str:
    """The access matrix as a page."""
    return page.text()


def sync_module(source: Path, _migrated: Connection[Any]) -> str:
    """The sync module for a module of `ehg_tasks/_async`."""
    return sync_client(source)


GENERATED: dict[str, Callable[[Connection[Any]], str]] = {
    "ehg_tasks/expected.json": expected,
    "docs/access-rules.md": access_rules,
    "docs/functions.md": function_reference.text,
    **{f"ehg_tasks/_sync/{source.name}": partial(sync_module, source) for source in SOURCES},
}
"""Path in this repository -> the function that returns its text, given a newly migrated database."""


def main() -> None:
    """Write every generated file."""
    with (
        tempfile.TemporaryDirectory(prefix="ehg-tasks-") as folder,
        LocalStack(folder) as stack,
        psycopg.connect(stack.superuser_url, autocommit=True) as migrated,
    ):
        for path, text in GENERATED.items():
            (ROOT / path).write_text(text(migrated), "utf-8")


if __name__ == "__main__":
    main()
