"""The programs in examples/ run as they are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ehg_tasks import BackendTasks
from tests.conftest import Project

EXAMPLE = Path(__file__).parents[2] / "examples" / "planner_and_specialists.py"


def test_a_planner_and_its_specialists(project: Project, backend: BackendTasks, tmp_path: Path) -> None:
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "SUPABASE_URL": project.url,
        "SUPABASE_PUBLISHABLE_KEY": project.publishable_key,
    }
    result = subprocess.run(
        [sys.executable, str(EXAMPLE)],
        cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    ended = {
        row.objective: (
            row.status.value,
            [each.outcome.value for each in backend.history(row.id) if each.outcome],
        )
        for row in backend.list(parent_agent="PLANNER")
    }
    assert ended == {
        "rivers": ("completed", ["expired", "completed"]),
        "lakes": ("completed", ["failed", "completed"]),
        "glaciers": ("completed", ["completed"]),
        "deserts": ("cancelled", []),
        "Write about water": ("completed", ["completed"]),
    }
    assert "all about rivers, all about lakes, all about glaciers" in result.stdout.splitlines()[-1]
    assert len(EXAMPLE.read_text().splitlines()) <= 60
