"""Generate the sync clients from the async ones."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from unasync import Rule, unasync_files

PACKAGE = Path(__file__).parents[1] / "ehg_tasks"
BY_HAND = {"runtime.py"}  # written by hand on both sides
NAMES = {
    "AsyncAgentTasks": "AgentTasks",
    "AsyncBackendTasks": "BackendTasks",
    "AsyncDashboardTasks": "DashboardTasks",
    "AsyncClient": "Client",
    "AsyncClientOptions": "ClientOptions",
    "_async": "_sync",
    "aclose": "close",
    "aread": "read",
}
HEADER = "# Generated from ehg_tasks/_async by `make generated`. Do not edit.\n"


SOURCES = [file for file in sorted((PACKAGE / "_async").glob("*.py")) if file.name not in BY_HAND]


def sync_client(source: Path) -> str:
    """The text of the sync module for a module of `ehg_tasks/_async`."""
    with tempfile.TemporaryDirectory() as name:
        copy, result = (Path(name) / side / source.name for side in ("_async", "_sync"))
        copy.parent.mkdir()
        copy.write_text(HEADER + source.read_text("utf-8"), "utf-8")
        rule = Rule(f"{copy.parent}/", f"{result.parent}/", additional_replacements=NAMES)
        unasync_files([str(copy)], [rule])
        ruff = [sys.executable, "-m", "ruff", "--config", str(PACKAGE.parent / "pyproject.toml")]
        subprocess.run([*ruff, "check", "--quiet", "--select", "I", "--fix", result], check=True)
        subprocess.run([*ruff, "format", "--quiet", result], check=True)
        return result.read_text("utf-8")
