"""Workers in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import IO, Any
from uuid import UUID

import pytest

from tests.conftest import Project
from tests.reliability.helpers import Database


class Process:
    """A running `worker_process`, and the lines that it has printed so far."""

    def __init__(self, project: Project, mode: str, options: dict[str, Any]) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SUPABASE_")}
        environment |= {"SUPABASE_URL": project.url, "SUPABASE_PUBLISHABLE_KEY": project.publishable_key}
        command = [sys.executable, "-m", "tests.reliability.worker_process", mode, json.dumps(options)]
        self.popen = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.lines: list[str] = []
        self.agent_id = UUID(self.read_until("agent ").split()[1])

    def read_until(self, start: str) -> str:
        """Read up to the next line with this start, and return it."""
        for line in _pipe(self.popen.stdout):
            self.lines.append(line.rstrip("\n"))
            if line.startswith(start):
                return self.lines[-1]
        raise AssertionError(f"no line {start!r} in {self.lines}")

    def read(self, start: str) -> list[str]:
        """Return what follows this word in the lines read so far."""
        return [line.removeprefix(start).strip() for line in self.lines if line.startswith(start)]

    def finish_handlers(self) -> None:
        """Let the handlers of mode `hold` return."""
        stdin = _pipe(self.popen.stdin)
        stdin.write("finish\n")
        stdin.flush()

    def counters(self) -> dict[str, int]:
        """Wait for the end of the process, and return its counters that are not zero."""
        counters: dict[str, int] = json.loads(self.read_until("counters ").removeprefix("counters "))
        assert self.popen.wait(60) == 0
        return {name: count for name, count in counters.items() if count}

    def end(self) -> None:
        """Kill the process if it still runs, and close its pipes."""
        self.popen.kill()
        self.popen.wait()
        _pipe(self.popen.stdin).close()
        _pipe(self.popen.stdout).close()


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


Start = Callable[..., Process]


@pytest.fixture
def start(project: Project, database: Database) -> Iterator[Start]:
    processes: list[Process] = []

    def start(mode: str, **options: Any) -> Process:
        processes.append(Process(project, mode, {"poll_seconds": 0.05} | options))
        return processes[-1]

    yield start
    for process in processes:
        process.end()
