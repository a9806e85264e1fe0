"""The processes of a stack: Node.js, which serves the API, and its child Postgres."""

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
from ehg_tasks.local.folder import START_SECONDS, STOP_SECONDS, command
from ehg_tasks.local.keys import Keys
from ehg_tasks.local.postgres import Postgres


class PortTaken(LocalStackError):  # noqa: N818 - named for what happened, as in `errors`
    """Another program took a port between its choice and its use."""


class Processes:
    """Starts the processes and sends them commands; `server.mjs` documents the protocol.

    Unless detached, the processes end when their standard input is closed: by `stop`, or by the
    operating system when this program ends.

    Args:
        node: the Node.js program.
        server: the script that it runs.
        logs: folder of the logs.
        alive: a named pipe, which the Node.js process keeps open for reading as long as it lives.
    """

    def __init__(self, node: Path, server: Path, logs: Path, alive: Path) -> None:
        self._logs = logs
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue()
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
                self._answers.put(json.loads(line))
        self._answers.put({"error": "the API server exited", "code": "END"})
        self.node.wait()

    def _send(self, command: str, value: Any) -> Any:
        """Send a command and return its result."""
        assert self.node.stdin is not None
        with suppress(BrokenPipeError):  # if the process has ended, its last answer says why
            self.node.stdin.write(json.dumps({command: value}).encode() + b"\n")
            self.node.stdin.flush()
        try:
            answer = self._answers.get(timeout=START_SECONDS)
        except queue.Empty:
            answer = {"error": f"no answer within {START_SECONDS:.0f} s", "code": "TIMEOUT"}
        if "error" in answer:
            self._raise(answer)
        return answer[command]

    def _raise(self, answer: dict[str, Any]) -> None:
        log = self._logs / ("postgres.log" if answer["code"] == "POSTGRES" else "api.log")
        text = log.read_text(errors="replace") if log.exists() else ""
        if answer["code"] == "EADDRINUSE" or "Address already in use" in text:
            raise PortTaken("a port was taken while the stack was starting", hint="Start the stack again.")
        messages = re.findall(r"(?:FATAL|PANIC): +(?!the database system is starting)(.+)", text)
        reason = f": {messages[-1]}" if messages else ""
        raise LocalStackError(
            f"the stack failed: {answer['error']}{reason}",
            hint=f"See {log}. If the data is damaged, create an empty database:"
            f" {command('reset', self._logs.parent)}.",
        )

    def start_postgres(self, postgres: Postgres, port: int) -> int:
        """Start Postgres, wait until it accepts connections, and return its process id."""
        user = postgres.user
        identity = {"uid": user.pw_uid, "gid": user.pw_gid} if user else {}
        command = {"command": postgres.command(port), "log": str(self._logs / "postgres.log"), **identity}
        pid = int(self._send("postgres", command))
        deadline = time.monotonic() + START_SECONDS
        # A connection would prove nothing: another server may have the port.
        while not postgres.is_ready(pid):
            if not self._answers.empty():
                self._raise(self._answers.get())
            if time.monotonic() > deadline:
                raise LocalStackError(
                    f"Postgres is not ready after {START_SECONDS:.0f} s",
                    hint=f"See {self._logs / 'postgres.log'}.",
                )
            time.sleep(0.02)
        return pid

    def create_auth_schema(self, keys: Keys, db_port: int) -> None:
        """Create the auth server's tables and functions."""
        self._send("auth", {"database": db_port, "authLogin": _auth_login(keys)})

    def serve(self, keys: Keys, api_port: int, db_port: int) -> None:
        """Serve the API."""
        command = {
            "port": api_port,
            "database": db_port,
            "login": {"user": "authenticator", "password": keys.authenticator_password},
            "authLogin": _auth_login(keys),
            "schemaLogin": {"user": "postgres", "password": keys.postgres_password},
            "jwtSecret": keys.jwt_secret,
            "keys": [
                {"type": "publishable", "key": keys.publishable_key},
                {"type": "publishable", "key": keys.anon_jwt},
                {"type": "secret", "key": keys.secret_key},
                {"type": "secret", "key": keys.service_role_jwt},
            ],
        }
        self._send("api", command)

    def detach(self) -> None:
        """Let the processes outlive this program. They no longer end with their standard input."""
        self._send("detach", True)
        assert self.node.stdin is not None
        self.node.stdin.close()

    def wait(self) -> int:
        """Wait until the processes have ended."""
        return self.node.wait()

    def stop(self) -> None:
        """Stop the processes. Committed data is kept."""
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
