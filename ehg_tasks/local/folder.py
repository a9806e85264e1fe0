"""A stack's folder: its files, its lock, and whether its stack is running."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import stat
import time
from pathlib import Path
from typing import Any, BinaryIO

import httpx

from ehg_tasks.errors import LocalStackError

START_SECONDS = 60.0
STOP_SECONDS = 20.0


def command(verb: str, folder: Path) -> str:
    """The command of `ehg-tasks local` to name in a hint about the stack in this folder."""
    is_default = folder == Path(".ehg-tasks").absolute()
    return f"ehg-tasks local {verb}" + ("" if is_default else f" --dir {shlex.quote(str(folder))}")


class Folder:
    """The folder of one stack.

    stack.json   keys, passwords and ports, readable only by the owner
    state.json   process ids of the running stack
    lock         held by the program that is starting the stack, or that runs its own stack
    alive        a named pipe that the stack's process keeps open for reading
    postgres/    the data, or a link to it (see `Postgres`)
    logs/        logs of this run (.log) and of the previous one (.old)

    Raises:
        LocalStackError: another user owns the folder or may write to it, and so could change what this
            user runs and connects to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.keys = path / "stack.json"
        self.state = path / "state.json"
        self.lock = path / "lock"
        self.alive = path / "alive"
        self.data = path / "postgres"
        self.logs = path / "logs"
        self._check_owner()

    def _check_owner(self) -> None:
        try:
            status = self.path.stat()
        except OSError:
            return  # it does not exist yet, or `create` reports what is wrong
        if status.st_uid != os.geteuid():
            raise LocalStackError(
                f"{self.path} belongs to another user", hint="Choose a folder of your own (--dir)."
            )
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise LocalStackError(
                f"other users may write to {self.path}",
                hint=f"Check what is in it, then run: chmod go-w {shlex.quote(str(self.path))}",
            )

    def create(self) -> None:
        """Create the folder and what is missing in it.

        Raises:
            LocalStackError: this user may not write there.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._check_owner()
            if os.geteuid() == 0:  # Postgres runs as another user, who has to enter this folder
                self.path.chmod(stat.S_IMODE(self.path.stat().st_mode) | stat.S_IXOTH)
            self.logs.mkdir(mode=0o700, exist_ok=True)
            if not (self.path / ".gitignore").exists():
                (self.path / ".gitignore").write_text("*\n")
            self.lock.touch(mode=0o600)
            if not self.alive.exists():
                os.mkfifo(self.alive, mode=0o600)
        except OSError as error:
            raise LocalStackError(
                f"cannot write to {self.path}: {error.strerror}",
                hint="Choose a folder that this user can write to (--dir).",
            ) from None

    def is_alive(self) -> bool:
        """Return whether the stack has a process: a named pipe opens for writing only if it has a reader."""
        try:
            os.close(os.open(self.alive, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            return False
        return True

    def running(self) -> dict[str, Any] | None:
        """Return the running stack's process ids and port, or None if it is not running or still starting."""
        if not self.is_alive():
            return None
        try:
            state: dict[str, Any] = json.loads(self.state.read_text())
        except (OSError, ValueError):
            return None
        return state

    def is_serving(self) -> bool:
        """Return whether the API responds. A process that was killed may be alive for a moment longer."""
        state = self.running()
        if state is None:
            return False
        url = f"http://127.0.0.1:{state['api_port']}/health"
        try:
            return httpx.get(url, timeout=START_SECONDS, trust_env=False).is_success
        except httpx.HTTPError:
            return False

    def wait_for_end(self) -> None:
        """Wait until the stack has no process.

        Raises:
            LocalStackError: it does not stop in time.
        """
        deadline = time.monotonic() + STOP_SECONDS
        while self.is_alive():
            if time.monotonic() > deadline:
                raise LocalStackError(f"the stack in {self.path} did not stop within {STOP_SECONDS:.0f} s")
            time.sleep(0.05)

    def acquire(self, lock: BinaryIO) -> bool:
        """Take the lock, waiting while another program starts the stack.

        Returns:
            False if there is a running stack to join instead.

        Raises:
            LocalStackError: the other program does not finish in time.
        """
        deadline = time.monotonic() + 5 * START_SECONDS  # the other program may be installing packages
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if self.is_serving():
                    return False
            else:
                state = self.running()
                if state and state["detached"] and self.is_serving():
                    return False
                self.wait_for_end()  # the previous owner may have died a moment ago
                self.state.unlink(missing_ok=True)
                return True
            if time.monotonic() > deadline:
                raise LocalStackError(
                    f"another program is starting the stack in {self.path}, without success"
                )
            time.sleep(0.1)
