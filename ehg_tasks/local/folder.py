"""A stack's folder, and what it tells about the stack: who holds it, whether it runs."""

from __future__ import annotations

import fcntl
import json
import os
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, BinaryIO

from ehg_tasks.errors import LocalStackError
from ehg_tasks.local.processes import START_SECONDS, STOP_SECONDS


class Folder:
    """The folder of one stack.

    stack.json   keys, passwords and ports, for their owner alone
    state.json   process ids of the running stack
    lock         held by the program that starts the stack or has one of its own
    alive        a named pipe that the stack's process reads from as long as it lives
    postgres/    the data
    logs/        of this run (.log) and of the one before (.old)
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.keys, self.state, self.lock, self.alive, self.data, self.logs = (
            path / name for name in ("stack.json", "state.json", "lock", "alive", "postgres", "logs")
        )

    def make(self) -> None:
        """Make it where it is missing.

        Raises:
            LocalStackError: this user may not.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.logs.mkdir(mode=0o700, exist_ok=True)
            if not (self.path / ".gitignore").exists():
                (self.path / ".gitignore").write_text("*\n")
            self.lock.touch(mode=0o600)
            if not self.alive.exists():
                os.mkfifo(self.alive, mode=0o600)
        except OSError as error:
            raise LocalStackError(
                f"cannot write to {self.path}: {error.strerror}",
                hint="Choose a folder that this user may write to (--dir).",
            ) from None

    def is_alive(self) -> bool:
        """Whether the stack has a process: a named pipe opens for writing while somebody reads."""
        try:
            os.close(os.open(self.alive, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            return False
        return True

    def running(self) -> dict[str, Any] | None:
        """Process ids and port of the running stack; None where it does not run (yet)."""
        if not self.is_alive():
            return None
        try:
            state: dict[str, Any] = json.loads(self.state.read_text())
        except (OSError, ValueError):
            return None
        return state

    def answers(self) -> bool:
        """Whether the API answers; a process that was killed may still be on its way out."""
        state = self.running()
        if state is None:
            return False
        connection = HTTPConnection("127.0.0.1", state["api_port"], timeout=START_SECONDS)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    def wait_for_end(self) -> None:
        """Wait until the stack has no process.

        Raises:
            LocalStackError: it does not end.
        """
        deadline = time.monotonic() + STOP_SECONDS
        while self.is_alive():
            if time.monotonic() > deadline:
                raise LocalStackError(f"the stack in {self.path} does not end")
            time.sleep(0.05)

    def take(self, lock: BinaryIO) -> bool:
        """Take the lock, after waiting for a program that is just starting the stack.

        Returns:
            False where a stack runs that can be joined.

        Raises:
            LocalStackError: the other program does not get ready.
        """
        deadline = time.monotonic() + 5 * START_SECONDS  # it may be installing the API
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if self.answers():
                    return False
            else:
                state = self.running()
                if state and state["detached"] and self.answers():
                    return False
                self.wait_for_end()  # of one whose program has just died
                self.state.unlink(missing_ok=True)
                return True
            if time.monotonic() > deadline:
                raise LocalStackError(f"another program holds {self.path} and does not get ready")
            time.sleep(0.1)
