"""Runs `ehg-tasks` as a person would: a program of its own, with nothing but its environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.conftest import Project

# What a program needs of the environment that the tests run in.
KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV")


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document that it printed; nothing else was printed."""
        assert (self.code, self.err) == (0, "")
        return json.loads(self.out)


@dataclass(frozen=True)
class Program:
    """`ehg-tasks` in a folder, with the keys of one role."""

    folder: Path
    env: dict[str, str] = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)

    def __call__(self, *arguments: str, given: str = "", **env: str) -> Answer:
        done = subprocess.run(
            self.command(*arguments),
            input=given,
            capture_output=True,
            text=True,
            encoding="utf-8",
            cwd=self.folder,
            env=self.env | env,
            timeout=120,
        )
        for secret in self.secrets:
            assert secret not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return Answer(done.returncode, done.stdout, done.stderr)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "ehg_tasks", *arguments]

    def refuses(self, code: int, *arguments: str, given: str = "", **env: str) -> str:
        """It ends with this exit code, prints no data, and says why in one line, which is returned."""
        answer = self(*arguments, given=given, **env)
        assert answer.code == code, answer
        assert answer.out == ""
        [line] = answer.err.splitlines()
        assert line.startswith("ehg-tasks: ")
        return line

    def with_env(self, **env: str) -> Program:
        return Program(self.folder, self.env | env, self.secrets)


@pytest.fixture
def program(project: Project, database: psycopg.Connection[Any], tmp_path: Path) -> Program:
    """Without any key."""
    env = {name: os.environ[name] for name in KEPT if name in os.environ} | {"SUPABASE_URL": project.url}
    return Program(tmp_path, env, (project.publishable_key, project.secret_key))


@pytest.fixture
def as_agent(program: Program, project: Project) -> Program:
    return program.with_env(SUPABASE_PUBLISHABLE_KEY=project.publishable_key)


@pytest.fixture
def as_backend(program: Program, project: Project) -> Program:
    return program.with_env(SUPABASE_SECRET_KEY=project.secret_key)


@pytest.fixture
def as_user(as_agent: Program, user_token: str) -> Program:
    return as_agent.with_env(SUPABASE_ACCESS_TOKEN=user_token)


@pytest.fixture
def row(database: psycopg.Connection[Any]) -> Callable[[str], dict[str, Any]]:
    """A contract as the table holds it."""

    def read(contract_id: str) -> dict[str, Any]:
        with database.cursor(row_factory=psycopg.rows.dict_row) as cursor:
            found = cursor.execute(
                "select * from public.agent_task_contracts where id = %s", [contract_id]
            ).fetchone()
        assert found is not None
        return found

    return read
