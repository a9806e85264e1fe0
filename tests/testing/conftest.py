"""The plugin's fixtures on the project of this test run, and pytest in a project of a user."""

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

# The variables that a user's pytest inherits; it must not see how these tests are configured.
VARIABLES = ("PATH", "HOME", "LANG", "TMPDIR")


@pytest.fixture(scope="session")
def supabase_stack(project: conftest.Project) -> testing.Project:
    """Overrides the plugin's fixture, so that its other fixtures use the shared project."""
    return project


@dataclass(frozen=True)
class Run:
    """The exit code and the output of a run of pytest."""

    code: int
    text: str

    @property
    def outcomes(self) -> dict[str, int]:
        """The counts in the last line, such as {"passed": 3, "errors": 1}."""
        return {
            outcome: int(count) for count, outcome in re.findall(r"(\d+) (\w+)", self.text.splitlines()[-1])
        }


@dataclass(frozen=True)
class UserProject:
    """A folder with the project of a user of the plugin."""

    folder: Path

    def write(self, name: str, text: str) -> Path:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def pytest(self, *arguments: str, **env: str) -> Run:
        variables = {name: os.environ[name] for name in VARIABLES if name in os.environ}
        # Not the default: starting there would close the folders of these tests to other users.
        temp = self.folder.with_name("temp")
        result = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--basetemp={temp}", *arguments],
            cwd=self.folder,
            env=variables | env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
        )
        return Run(result.returncode, result.stdout + result.stderr)


@pytest.fixture
def user_project(tmp_path: Path) -> UserProject:
    """A project with nothing but a pytest.ini, which makes warnings errors."""
    project = UserProject(tmp_path / "project")
    project.write("pytest.ini", "[pytest]\naddopts = -W error -p no:asyncio -p no:anyio\n")
    return project
