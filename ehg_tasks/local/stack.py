"""`LocalStack`: a Supabase project in a folder, without containers."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from ehg_tasks import migrations as packaged
from ehg_tasks.errors import LocalStackError
from ehg_tasks.local.folder import Folder, command
from ehg_tasks.local.keys import Keys
from ehg_tasks.local.node import find_node, install_server
from ehg_tasks.local.ports import choose_port
from ehg_tasks.local.postgres import Postgres
from ehg_tasks.local.processes import PortTaken, Processes
from ehg_tasks.settings import Settings

API_PORT, DB_PORT = 54321, 54322  # as `supabase start` uses


def _ignore(text: str) -> None:
    pass


class LocalStack:
    """An embedded Supabase: Postgres, REST and auth API on loopback, with this package's migrations.

        with LocalStack() as stack:
            agent = AgentTasks(stack.settings())

    Data, keys and ports are kept in the folder between starts. If the folder's stack is already
    running (`ehg-tasks local start`), `start` joins it and `stop` leaves it running. Otherwise the
    stack stops with `stop`, and whenever this program ends, even if it is killed. The first start on
    a machine installs the API's packages from npm.

    If this program runs as root, Postgres runs as a system user, and the data may be elsewhere (see
    `ehg_tasks.local.postgres.Postgres`).

    Args:
        folder: where data, keys and logs are kept; created if it does not exist.
        migrations: folder of SQL files to apply instead of this package's.
        project_migrations: folder of a project's own SQL files, to apply after those. As with the Supabase
            CLI, a file is named by a version and a name, and a version that is applied is skipped.
        api_port: port of the API; by default that of the last start, else 54321, else a free one.
        db_port: port of Postgres; by default that of the last start, else 54322, else a free one.
        postgres_bin: folder of the programs of another Postgres (15 or newer).
        progress: called with each line of progress.

    Raises:
        LocalStackError: another user owns the folder or may write to it.
    """

    def __init__(
        self,
        folder: str | Path = ".ehg-tasks",
        *,
        migrations: Path | None = None,
        project_migrations: Path | None = None,
        api_port: int | None = None,
        db_port: int | None = None,
        postgres_bin: Path | None = None,
        progress: Callable[[str], None] = _ignore,
    ) -> None:
        self.folder = Path(folder).absolute()
        self.progress = progress
        self._migrations = migrations
        self._project_migrations = project_migrations
        self._folder = Folder(self.folder)
        self._api_port, self._db_port = api_port, db_port
        self._postgres_bin = postgres_bin
        self._processes: Processes | None = None
        self._lock = ExitStack()
        self._keys: Keys | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # --- properties -------------------------------------------------------------------------------

    @property
    def keys(self) -> Keys:
        """Every key, password and port of the stack.

        Raises:
            LocalStackError: there is no stack in the folder yet.
        """
        if self._keys is None:
            if not self._folder.keys.exists():
                raise LocalStackError(
                    f"there is no stack in {self.folder}", hint=f"Start one: {command('start', self.folder)}."
                )
            self._keys = Keys.load(self._folder.keys)
        return self._keys

    @property
    def url(self) -> str:
        """URL of the API (SUPABASE_URL)."""
        return f"http://127.0.0.1:{self.keys.api_port}"

    @property
    def db_url(self) -> str:
        """Connection URL of `postgres`, the project's owner, which is not a superuser."""
        return f"postgresql://postgres:{self.keys.postgres_password}@127.0.0.1:{self.keys.db_port}/postgres"

    @property
    def superuser_url(self) -> str:
        """Connection URL of `supabase_admin`, the superuser."""
        keys = self.keys
        return f"postgresql://supabase_admin:{keys.superuser_password}@127.0.0.1:{keys.db_port}/postgres"

    def env(self) -> dict[str, str]:
        """Return the environment variables for a program that uses this stack, including the secret key."""
        return self.settings().env() | {"SUPABASE_DB_URL": self.db_url}

    def settings(self) -> Settings:
        """Return settings for the clients, with both keys."""
        return Settings.of(self.url, self.keys.publishable_key, self.keys.secret_key)

    def running(self) -> dict[str, Any] | None:
        """Return the running stack's process ids and port, or None if it is not running or still starting."""
        return self._folder.running()

    # --- actions ----------------------------------------------------------------------------------

    def start(self, *, detach: bool = False) -> None:
        """Start the stack, or join the one that runs in the folder; return when it is ready.

        Args:
            detach: leave the stack running when this program ends, until `stop_running`.

        Raises:
            LocalStackError: the stack does not start; the hint says what to do.
        """
        self._folder.create()
        with ExitStack() as lock:
            if not self._folder.acquire(lock.enter_context(self._folder.lock.open("ab"))):
                self._keys = None
                return
            for attempts_left in (2, 1, 0):
                try:
                    self._start(detach)
                    break
                except PortTaken:
                    if not attempts_left:
                        raise
                    self.progress("A port was taken in the meantime. Trying others ...")
            if not detach:
                self._lock = lock.pop_all()

    def stop(self) -> None:
        """Stop the stack if this object started it. A stack that it joined keeps running."""
        if self._processes:
            self._processes.stop()
            self._processes = None
            self._folder.state.unlink(missing_ok=True)
            self._lock.close()

    def wait(self) -> None:
        """Wait until another program stops the stack that this object started."""
        if self._processes:
            self._processes.wait()

    def stop_running(self) -> bool:
        """Stop the folder's stack, even if another program started it; return whether it was running.

        Raises:
            LocalStackError: the stack is still starting, or does not stop.
        """
        state = self.running()
        if state is None and self._folder.is_alive():
            raise LocalStackError("the stack is still starting", hint="Try again in a moment.")
        if state:
            os.kill(state["pid"], signal.SIGTERM)
            self._folder.wait_for_end()
            self._folder.state.unlink(missing_ok=True)
        if self._folder.data.exists():
            Postgres(self._folder.data, self._postgres_bin).stop_orphan()  # if the API died without it
        return state is not None

    def reset(self) -> None:
        """Empty the database and apply the migrations. Keys are kept; a running stack is restarted.

        Raises:
            LocalStackError: another program is using the stack and would lose it.
        """
        state = None if self._processes else self.running()
        if state and not state["detached"]:
            raise LocalStackError(
                f"another program (process {state['started_by']}) is using this stack",
                hint="Stop that program first.",
            )
        ours = self._processes is not None
        self.stop()
        self.stop_running()
        self._folder.create()
        Postgres(self._folder.data, self._postgres_bin).remove()
        self.start(detach=state is not None)
        if not ours and state is None:
            self.stop()

    def _start(self, detach: bool) -> None:
        postgres = Postgres(self._folder.data, self._postgres_bin)
        node = find_node()
        server = install_server(node, self.progress)
        keys = Keys.load(self._folder.keys)
        postgres.stop_orphan()
        files = self._files()
        keys.api_port = self._choose_port("api-port", self._api_port, keys.api_port, API_PORT)
        keys.db_port = self._choose_port("db-port", self._db_port, keys.db_port, DB_PORT)
        fresh = not postgres.marker.exists()
        if fresh:
            self.progress("Creating the database ...")
            postgres.initialise(keys)
        keys.write(self._folder.keys)

        for log in self._folder.logs.glob("*.log"):
            log.replace(log.with_suffix(".old"))
        processes = Processes(node.program, server, self._folder.logs, self._folder.alive)
        try:
            self.progress("Starting Postgres ...")
            postgres_pid = processes.start_postgres(postgres, keys.db_port)
            if fresh:
                postgres.create_roles(keys.db_port, keys)
                processes.create_auth_schema(keys, keys.db_port)
                postgres.marker.touch()
            for name in postgres.migrate(keys.db_port, keys, files):
                self.progress(f"Applied {name}")
            self.progress("Starting the API ...")
            processes.serve(keys, keys.api_port, keys.db_port)
            if detach:
                processes.detach()
            state = {
                "pid": processes.node.pid,
                "postgres": postgres_pid,
                "started_by": os.getpid(),
                "detached": detach,
                "api_port": keys.api_port,
            }
            self._folder.state.write_text(json.dumps(state))
        except BaseException:
            processes.stop()
            raise
        self._keys = keys
        if not detach:
            self._processes = processes

    def _files(self) -> list[Path]:
        """The migrations in the order in which they apply."""
        files = sorted(self._migrations.glob("*.sql")) if self._migrations else packaged.migrations()
        if self._project_migrations is None:
            return files
        own = sorted(self._project_migrations.glob("*.sql"))
        if not own:
            raise LocalStackError(
                f"there are no migrations (*.sql) in {self._project_migrations}",
                hint="A project keeps them in supabase/migrations.",
            )
        return files + own

    def _choose_port(self, option: str, requested: int | None, last: int, default: int) -> int:
        """Choose a port (see `choose_port`), and say so if it is not the one that a caller would expect."""
        port = choose_port(option, requested, last, default)
        if requested is None and port != (last or default):
            self.progress(f"Port {last or default} is in use, so port {port} is used instead.")
            if last:
                self.progress(f"Update .env files that name it: {command('env', self.folder)}.")
        return port
