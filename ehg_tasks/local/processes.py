"""The running part of a stack: one Node.js process that serves the API and owns Postgres."""

from __future__ import annotations

import json
import os
import queue
import re
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from ehg_tasks.errors import LocalStackError
from ehg_tasks.local.keys import Keys
from ehg_tasks.local.postgres import Postgres

START_SECONDS = 60.0
STOP_SECONDS = 20.0


class PortTakenError(LocalStackError):
    """Somebody else was faster: a port was free when it was chosen and is taken now."""


class Processes:
    """Starts the processes and speaks with them; `server.mjs` tells the protocol.

    They end when this object's end of their standard input closes, which the operating system does
    too, unless they were detached.

    Args:
        node: the Node.js program.
        server: the script that it runs.
        logs: folder of the logs.
        alive: a named pipe, which they hold open for reading for as long as they live.
    """

    def __init__(self, node: Path, server: Path, logs: Path, alive: Path) -> None:
        self.logs = logs
        self.answers: queue.Queue[dict[str, Any]] = queue.Queue()
        environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        with (logs / "api.log").open("ab") as log:
            self.node = subprocess.Popen(
                [str(node), str(server), str(alive)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment,
                start_new_session=True,
            )  # fmt: skip
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self.node.stdout is not None
        with self.node.stdout as lines:
            for line in lines:
                self.answers.put(json.loads(line))
        self.answers.put({"error": "the API has ended", "code": "END"})
        self.node.wait()

    def _order(self, name: str, value: Any) -> Any:
        """Give an order and wait for its answer."""
        assert self.node.stdin is not None
        with suppress(BrokenPipeError):  # where it has ended, its last answer says why
            self.node.stdin.write(json.dumps({name: value}).encode() + b"\n")
            self.node.stdin.flush()
        try:
            answer = self.answers.get(timeout=START_SECONDS)
        except queue.Empty:
            answer = {"error": f"no answer within {START_SECONDS:.0f} s", "code": "TIMEOUT"}
        if "error" in answer:
            self._raise(answer)
        return answer.get(name) or answer

    def _raise(self, answer: dict[str, Any]) -> None:
        log = self.logs / ("postgres.log" if answer["code"] == "POSTGRES" else "api.log")
        text = log.read_text(errors="replace") if log.exists() else ""
        if answer["code"] == "EADDRINUSE" or "Address already in use" in text:
            raise PortTakenError("a port was taken while the stack was starting", hint="Start it again.")
        faults = re.findall(r"(?:FATAL|PANIC): +(?!the database system is starting)(.+)", text)
        reason = f": {faults[-1]}" if faults else ""
        raise LocalStackError(
            f"the stack cannot run: {answer['error']}{reason}",
            hint=f"See {log}. If the data is damaged, `ehg-tasks local reset` starts with an empty database.",
        )

    def start_postgres(self, postgres: Postgres, port: int) -> int:
        """Start Postgres and wait until it answers; returns its process id."""
        user = postgres.user
        identity = {"uid": user.pw_uid, "gid": user.pw_gid} if user else {}
        order = {"command": postgres.command(port), "log": str(self.logs / "postgres.log"), **identity}
        pid = int(self._order("postgres", order))
        deadline = time.monotonic() + START_SECONDS
        # Asking the port would not do: another server may have it.
        while not postgres.is_ready(pid):
            if not self.answers.empty():
                self._raise(self.answers.get())
            if time.monotonic() > deadline:
                raise LocalStackError(
                    "Postgres does not get ready", hint=f"See {self.logs / 'postgres.log'}."
                )
            time.sleep(0.02)
        return pid

    def make_auth_schema(self, keys: Keys, db_port: int) -> None:
        """Make what the auth server keeps in the database."""
        self._order("auth", {"database": db_port, "authLogin": _auth_login(keys)})

    def serve(self, keys: Keys, api_port: int, db_port: int) -> None:
        """Serve the API; the database must be migrated."""
        known = {
            "publishable": (keys.publishable_key, keys.anon_jwt),
            "secret": (keys.secret_key, keys.service_role_jwt),
        }
        order = {
            "port": api_port,
            "database": db_port,
            "login": {"user": "authenticator", "password": keys.authenticator_password},
            "authLogin": _auth_login(keys),
            "schemaLogin": {"user": "postgres", "password": keys.postgres_password},
            "jwtSecret": keys.jwt_secret,
            "keys": [{"type": kind, "key": key} for kind, names in known.items() for key in names],
        }
        self._order("api", order)

    def detach(self) -> None:
        """Let the processes outlive this program."""
        self._order("detach", True)
        assert self.node.stdin is not None
        self.node.stdin.close()

    def wait(self) -> int:
        """Wait until the processes have ended."""
        return self.node.wait()

    def stop(self) -> None:
        """End the processes; committed data stays."""
        assert self.node.stdin is not None
        with suppress(BrokenPipeError):
            self.node.stdin.close()
        self.node.terminate()
        try:
            self.node.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.node.kill()
            self.node.wait()
        self._listener.join()


def _auth_login(keys: Keys) -> dict[str, str]:
    return {"user": "supabase_auth_admin", "password": keys.auth_password}
