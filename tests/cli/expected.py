"""Makes `ehg_tasks/expected.json` anew from the migrations: ``python -m tests.cli.expected``."""

from __future__ import annotations

import json
import tempfile
from typing import Any

from ehg_tasks import BackendTasks
from ehg_tasks.local import LocalStack
from ehg_tasks.verify import EXPECTED


def text_of(described: dict[str, Any]) -> str:
    """The file's text for a description of a migrated project."""
    kept = {name: value for name, value in described.items() if name != "row_count"}
    return json.dumps(kept, indent=1, sort_keys=True) + "\n"


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalStack(folder) as stack,
        BackendTasks(stack.settings()) as backend,
    ):
        EXPECTED.write_text(text_of(backend.describe()), "utf-8")


if __name__ == "__main__":
    main()
