"""Runs `ehg-tasks` as a person would: as a separate process with a minimal environment."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psycopg
import pytest

from ehg_tasks import AgentTasks, cli
from tests.conftest import Project

# The variables that a program inherits from the environment of the tests.
INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV")

CreateContract = Callable[..., str]
ReadRow = Callable[[str], dict[str, Any]]


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The JSON document that was printed, with nothing else and no error."""
        assert (self.code, self.err) == (0, "")
        return json.loads(self.out)

    def refusal(self, code: int) -> str:
        """The one-line error of a command that must exit with `code` and print no data."""
        assert (self.code, self.out) == (code, ""), self
        [line] = self.err.splitlines()
        assert line.startswith("ehg-tasks: ")
        return line


@dataclass(frozen=True)
class Program:
    """`ehg-tasks` in a folder, with the keys of one role."""

    folder: Path
    env: dict[str, str] = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)

    def __call__(self, *arguments: str, stdin: str = "", **env: str) -> Result:
        process = subprocess.run(
            self.command(*arguments),
            input=stdin,
            capture_output=True,
            text=True,
            encoding="utf-8",
            cwd=self.folder,
            env=self.env | env,
            timeout=120,
        )
        return self._checked(process.returncode, process.stdout, process.stderr)

    def _checked(self, code: int, out: str, err: str) -> Result:
        for secret in self.secrets:
            assert secret not in out + err
        assert "Traceback" not in err
        return Result(code, out, err)

    def here(self, *arguments: str) -> Result:
        """Run it in this process, which is faster; not for commands that wait for a signal."""
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
        with (
            patch.dict(os.environ, self.env, clear=True),
            patch.multiple(sys, argv=["ehg-tasks", *arguments], stdin=io.StringIO(), stdout=out, stderr=err),
            contextlib.chdir(self.folder),
            pytest.raises(SystemExit) as ended,
        ):
            cli.run()
        for stream in (out, err):
            stream.seek(0)
        return self._checked(int(ended.value.code or 0), out.read(), err.read())

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "ehg_tasks", *arguments]

    def refuses(self, code: int, *arguments: str, stdin: str = "", **env: str) -> str:
        """Return the one-line error of a command that must exit with `code` and print no data."""
        return self(*arguments, stdin=stdin, **env).refusal(code)

    def at_terminal(
        self,
        *arguments: str,
        columns: int = 80,
        answer: str = "",
        before_answer: Callable[[], object] = lambda: None,
    ) -> Result:
        """Run it at a terminal of this width, where a person answers its question, if it asks one."""
        terminal, end = pty.openpty()
        fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        process = subprocess.Popen(
            self.command(*arguments),
            stdin=end,
            stdout=end,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env=self.env | {"TERM": "dumb", "COLUMNS": str(columns)},
        )
        os.close(end)
        screen, errors = b"", ""
        assert process.stderr is not None
        with process:
            while answer and not errors.endswith("[y/N]: "):
                errors += process.stderr.read(1) or pytest.fail(f"it did not ask: {errors}")
            before_answer()
            os.write(terminal, answer.encode())
            with contextlib.suppress(OSError):  # at the end: nothing holds the other end open
                while chunk := os.read(terminal, 65536):
                    screen += chunk
            errors += process.stderr.read()
        os.close(terminal)
        return self._checked(process.returncode, screen.decode().replace("\r\n", "\n"), errors)

    def with_env(self, **env: str) -> Program:
        return Program(self.folder, self.env | env, self.secrets)


@pytest.fixture
def program(project: Project, database: psycopg.Connection[Any], tmp_path: Path) -> Program:
    """`ehg-tasks` without a key."""
    env = {name: os.environ[name] for name in INHERITED if name in os.environ}
    env["SUPABASE_URL"] = project.url
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
def create(agent: AgentTasks) -> CreateContract:
    """Creates a contract for DESIGN and returns its id."""

    def create_contract(objective: str = "Draw the start page.", **fields: Any) -> str:
        contract = {"parent_agent": "PLANNER", "target_agent": "DESIGN", "objective": objective} | fields
        return str(agent.create(**contract).contract_id)

    return create_contract


@pytest.fixture
def row(database: psycopg.Connection[Any]) -> ReadRow:
    """Reads the row of a contract."""

    def read(contract_id: str) -> dict[str, Any]:
        with database.cursor(row_factory=psycopg.rows.dict_row) as cursor:
            row = cursor.execute(
                "select * from public.agent_task_contracts where id = %s", [contract_id]
            ).fetchone()
        assert row is not None
        return row

    return read


@pytest.fixture
def artifact(database: psycopg.Connection[Any]) -> str:
    """The id of an artifact whose text is "all of it"."""
    [(artifact_id,)] = database.execute(
        "insert into public.agent_artifacts (type, summary, content_text)"
        " values ('analysis', 'a study', 'all of it') returning id::text"
    ).fetchall()
    return str(artifact_id)
