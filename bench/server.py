"""A Postgres server for one run of the benchmark: in memory if possible, on a Unix socket only."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

import ehg_tasks.local
from ehg_tasks.local.postgres import Postgres

Connection = psycopg.Connection[tuple[Any, ...]]

SUPERUSER = "supabase_admin"
TMPFS = Path("/dev/shm")
START_SECONDS = 60.0
SETTINGS = {
    "shared_buffers": "1GB",
    "max_wal_size": "4GB",  # so that no checkpoint for lack of space falls into a measurement
    "checkpoint_timeout": "30min",
    "synchronous_commit": "on",
    "fsync": "on",
    "full_page_writes": "on",
    "autovacuum": "on",
    "max_connections": "100",
}


class BenchError(Exception):
    """The benchmark cannot go on. The message says why, in one line."""


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        programs: folder of the wheel's programs.
        socket: folder of the Unix socket.
        scratch: folder for temporary files.
        place: where the data is, in words.
    """

    programs: Path
    socket: Path
    scratch: Path
    place: str

    def connect(self, database: str, user: str) -> Connection:
        """Connect in autocommit mode."""
        return psycopg.connect(host=str(self.socket), dbname=database, user=user, autocommit=True)

    def environment(self, database: str, user: str, options: str = "") -> dict[str, str]:
        """Return the environment in which a client program connects."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        where = {"PGHOST": str(self.socket), "PGDATABASE": database, "PGUSER": user}
        return ours | where | {"PGOPTIONS": options}


@contextmanager
def running(space: int) -> Iterator[Server]:
    """Start a server with the roles of a Supabase project; at the end, stop it and delete its data.

    Args:
        space: how many bytes the data needs.

    Raises:
        BenchError: the server does not start.
    """
    folder, place = _folder(space)
    process: subprocess.Popen[bytes] | None = None
    try:
        postgres = Postgres(folder / "data")
        identity = _identity(postgres)
        socket = folder / "socket"
        socket.mkdir(mode=0o700)  # trusts every role, so no other user may enter
        if postgres.user:
            for path in (folder, socket):
                os.chown(path, postgres.user.pw_uid, postgres.user.pw_gid)
        log = folder / "log"
        initdb = [
            "initdb",
            "--username",
            SUPERUSER,
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        ]
        with log.open("ab") as output:
            subprocess.run(
                [postgres.programs / initdb[0], *initdb[1:], "--pgdata", postgres.data],
                cwd="/", stdout=output, stderr=output, check=True, **identity,
            )  # fmt: skip
            settings = SETTINGS | {"listen_addresses": "", "unix_socket_directories": str(socket)}
            options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
            # In a session of its own: Ctrl-C must reach this program only, which then stops the server.
            process = subprocess.Popen(
                [postgres.programs / "postgres", "-D", postgres.data, *options],
                cwd="/", stdout=output, stderr=output, start_new_session=True, **identity,
            )  # fmt: skip
        server = Server(postgres.programs, socket, folder, place)
        _wait(server, process, log)
        _create_roles(server)
        yield server
    except subprocess.CalledProcessError as error:
        raise BenchError(f"{Path(error.cmd[0]).name} failed: {_last_line(folder / 'log')}") from None
    finally:
        if process is not None:
            _stop(process)
        shutil.rmtree(folder)


def _folder(space: int) -> tuple[Path, str]:
    """Return an empty folder in memory, or in the folder for temporary files, and its place in words."""
    if os.access(TMPFS, os.W_OK) and shutil.disk_usage(TMPFS).free >= space:
        return Path(tempfile.mkdtemp(prefix="ehg-bench-", dir=TMPFS)), f"{TMPFS} (in memory)"
    folder = Path(tempfile.mkdtemp(prefix="ehg-bench-"))
    return folder, f"{folder.parent} ({TMPFS} has no {space >> 30} GiB to write to, so the disk counts)"


def _identity(postgres: Postgres) -> dict[str, Any]:
    if postgres.user is None:
        return {}
    return {"user": postgres.user.pw_uid, "group": postgres.user.pw_gid, "extra_groups": []}


def _wait(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            server.connect("postgres", SUPERUSER).close()
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise BenchError(f"Postgres does not start: {_last_line(log)}") from None
            time.sleep(0.05)
        else:
            return


def _create_roles(server: Server) -> None:
    passwords = {f"EHG_{name}_PASSWORD": "unused" for name in ("POSTGRES", "AUTHENTICATOR", "AUTH")}
    roles = Path(ehg_tasks.local.__file__).parent / "roles.sql"
    subprocess.run(
        [server.programs / "psql", "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--file", roles],
        env=server.environment("postgres", SUPERUSER) | passwords, check=True, capture_output=True,
    )  # fmt: skip


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)  # Postgres's fast shutdown
    try:
        process.wait(START_SECONDS)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGQUIT)  # an immediate one; SIGKILL would leave its children behind
        process.wait()


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "no reason was logged")
