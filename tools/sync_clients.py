"""Generates the sync clients from the async ones."""

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


def sync_clients() -> dict[Path, str]:
    """The files of `ehg_tasks/_sync` and their text."""
    sources = [file for file in sorted((PACKAGE / "_async").glob("*.py")) if file.name not in BY_HAND]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "_async").mkdir()
        copies = []
        for source in sources:
            copies.append(folder / "_async" / source.name)
            copies[-1].write_text(HEADER + source.read_text("utf-8"), "utf-8")
        rule = Rule(f"{folder}/_async/", f"{folder}/_sync/", additional_replacements=NAMES)
        unasync_files([str(copy) for copy in copies], [rule])
        ruff = [sys.executable, "-m", "ruff", "--config", str(PACKAGE.parent / "pyproject.toml")]
        subprocess.run([*ruff, "check", "--quiet", "--select", "I", "--fix", folder / "_sync"], check=True)
        subprocess.run([*ruff, "format", "--quiet", folder / "_sync"], check=True)
        return {
            PACKAGE / "_sync" / source.name: (folder / "_sync" / source.name).read_text("utf-8")
            for source in sources
        }
