"""The real Supabase CLI, at the version in the lock file in this folder."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from ehg_tasks.local.node import find_node, install_packages

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


class SupabaseCLI:
    """Runs the CLI in this project's folder, with a separate home folder.

    Args:
        home: an empty folder.
    """

    def __init__(self, home: Path) -> None:
        node = find_node()
        # The lock file names the CLI for Linux on x64 only. `npm install` adds it for other platforms.
        installed = install_packages(node, HERE, "cli", verb="install")
        self.program = installed / "node_modules" / ".bin" / "supabase"
        path = os.pathsep.join([str(node.program.parent), os.environ["PATH"]])
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SUPABASE_")}
        self.environment = environment | {"HOME": str(home), "PATH": path, "DO_NOT_TRACK": "1"}

    def run(self, *arguments: str, workdir: Path = ROOT) -> subprocess.CompletedProcess[str]:
        """Run a command of the CLI, and fail the test if the command fails."""
        result = subprocess.run(
            [str(self.program), *arguments, "--workdir", str(workdir), "--agent", "no", "--yes"],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert result.returncode == 0, result.stderr + result.stdout
        return result

    def json(self, *arguments: str, workdir: Path = ROOT) -> Any:
        """Run a command with JSON output, and return the parsed output."""
        return json.loads(self.run(*arguments, "--output-format", "json", workdir=workdir).stdout)
