"""The real Supabase CLI, at the version that the lock file beside this names."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from ehg_tasks.local import api

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


class SupabaseCLI:
    """Runs the CLI in the project's folder, with a home of its own."""

    def __init__(self, home: Path) -> None:
        node, npm = api.node()
        # The lock file names the CLI for Linux on x64; npm adds another platform's where it is needed.
        installed = api.packages(npm, HERE, "cli", list, verb="install")
        self.program = installed / "node_modules" / ".bin" / "supabase"
        path = os.pathsep.join([str(node.parent), os.environ["PATH"]])
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SUPABASE_")}
        self.environment = kept | {"HOME": str(home), "PATH": path, "DO_NOT_TRACK": "1"}

    def run(self, *arguments: str, workdir: Path = ROOT) -> subprocess.CompletedProcess[str]:
        """Run it and require that it succeeds."""
        answer = subprocess.run(
            [str(self.program), *arguments, "--workdir", str(workdir), "--agent", "no", "--yes"],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert answer.returncode == 0, answer.stderr + answer.stdout
        return answer

    def json(self, *arguments: str, workdir: Path = ROOT) -> Any:
        """What it prints in its JSON form."""
        return json.loads(self.run(*arguments, "--output-format", "json", workdir=workdir).stdout)
