"""The plugin's fixtures on the project that all tests run on, and pytest as a program of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from ehg_tasks import testing
from tests import conftest

# A user's project knows nothing of ours.
KEPT = ("PATH", "HOME", "LANG", "TMPDIR")


@pytest.fixture(scope="session")
def supabase_stack(project: conftest.Project) -> testing.Project:
    return testing.Project(
        project.url, project.publishable_key, project.secret_key, project.database_url, project.jwt_secret
    )


@dataclass(frozen=True)
class Run:
    code: int
    text: str

    @property
    def outcomes(self) -> dict[str, int]:
        """Of the last line: {"passed": 3, "errors": 1}."""
        return {what: int(count) for count, what in re.findall(r"(\d+) (\w+)", self.text.splitlines()[-1])}


@dataclass(frozen=True)
class UserProject:
    """A project of a user, who runs pytest in it."""

    folder: Path

    def write(self, name: str, text: str) -> Path:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def pytest(self, *arguments: str, **env: str) -> Run:
        given = {name: os.environ[name] for name in KEPT if name in os.environ}
        # With a folder of its own: in the shared one it would, as root, lock our stacks out of theirs.
        temp = self.folder.with_name("temp")
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--basetemp={temp}", *arguments],
            cwd=self.folder,
            env=given | env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
        )
        return Run(done.returncode, done.stdout + done.stderr)


@pytest.fixture
def user_project(tmp_path: Path) -> UserProject:
    project = UserProject(tmp_path / "project")
    project.write("pytest.ini", "[pytest]\naddopts = -W error -p no:asyncio -p no:anyio\n")
    return project
