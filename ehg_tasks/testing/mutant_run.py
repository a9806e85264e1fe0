"""Runs the tests of a project against each mutant of its database: `pytest --ehg-tasks-mutants TEXT`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence

import pytest

from ehg_tasks.testing.project import Project

OPTION = "--ehg-tasks-mutants"
FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)


def run(project: Project, text: str, arguments: Sequence[str]) -> int:
    """Apply the mutants one after the other, and print which test notices each.

    Args:
        project: an embedded project, whose database is changed and mended again.
        text: mutants whose name contains it are tried.
        arguments: those of pytest; they choose the tests.

    Returns:
        0 if a test fails for every mutant, and 1 if not.

    Raises:
        pytest.UsageError: pglast is missing, no mutant has such a name, or a test fails without a mutant.
    """
    try:
        from ehg_tasks.testing.mutants import mutants
    except ImportError:
        raise pytest.UsageError(f"{OPTION} needs pglast. Run: pip install 'ehg-tasks[mutants]'") from None
    with project.connect(autocommit=True) as connection:
        chosen = [mutant for mutant in mutants(connection) if text in mutant.name]
        if not chosen:
            raise pytest.UsageError(f"no mutant in schema public has {text!r} in its name")
        unchanged = _pytest(project, arguments)
        if unchanged.returncode != 0:
            raise pytest.UsageError(f"the tests fail on the unchanged database:\n{unchanged.stdout}")
        survivors = 0
        for mutant in chosen:
            connection.execute(mutant.sql.encode())
            try:
                answer = _pytest(project, arguments)
            finally:
                connection.execute(mutant.undo.encode())
            failed = FAILED.search(answer.stdout)
            survivors += answer.returncode == 0
            by = "survived" if answer.returncode == 0 else f"noticed by {failed[1] if failed else 'pytest'}"
            print(f"{mutant.title}: {by}", flush=True)  # noqa: T201
    print(f"{len(chosen) - survivors} of {len(chosen)} mutants noticed")  # noqa: T201
    return 1 if survivors else 0


def _pytest(project: Project, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run pytest on the project until a test fails."""
    env = os.environ | project.env() | {"EHG_TASKS_TEST_PROJECT": "1"}
    if project.jwt_secret:
        env["SUPABASE_JWT_SECRET"] = project.jwt_secret
    command = [sys.executable, "-m", "pytest", *_others(arguments), "-x", "-q", "--tb=no", "-rfE"]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)  # noqa: S603


def _others(arguments: Sequence[str]) -> list[str]:
    """The arguments without this option."""
    rest = [argument for argument in arguments if not argument.startswith(f"{OPTION}=")]
    if OPTION in rest:
        place = rest.index(OPTION)
        del rest[place : place + 2]
    return rest
