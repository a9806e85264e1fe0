"""`LocalStack`: a Supabase project in a folder, without containers."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydantic import SecretStr

from ehg_tasks import migrations as packaged
from ehg_tasks.errors import LocalStackError
from ehg_tasks.local import api, ports
from ehg_tasks.local.folder import Folder
from ehg_tasks.local.keys import Keys
from ehg_tasks.local.postgres import Postgres
from ehg_tasks.local.processes import PortTakenError, Processes
from ehg_tasks.settings import Settings

API_PORT, DB_PORT = 54321, 54322  # those of `supabase start`


def _silent(text: str) -> None:
    pass


class LocalStack:
    """An embedded Supabase: Postgres, REST and auth API on loopback, with this package's migrations.

        with LocalStack() as stack:
            agent = AgentTasks(stack.settings())

    Data, keys and ports stay in the folder between starts. Where the folder's stack runs already
    (`ehg-tasks local start`), `start` joins it and `stop` leaves it running. Otherwise the stack ends
    with this object, and with this program however it ends. On a machine without the API's packages,
    the first start installs them from npm.

    As root, Postgres runs as a system user, which must come through the folders above its data and
    its programs: they get the permission to be passed through (o+x) where they lack it.

    Args:
        folder: where the stack keeps its things; made where it is missing.
        migrations: folder of SQL files to apply in place of this package's.
        api_port: port of the API; by default the one of last time, else 54321, else a free one.
        db_port: port of Postgres; by default the one of last time, else 54322, else a free one.
        postgres_bin: folder of another Postgres' programs (15 or newer).
        progress: is told what happens, a line at a time.
    """

    def __init__(
        self,
        folder: str | Path = ".ehg-tasks",
        *,
        migrations: Path | None = None,
        api_port: int | None = None,
        db_port: int | None = None,
        postgres_bin: Path | None = None,
        progress: Callable[[str], None] = _silent,
    ) -> None:
        self.folder = Path(folder).absolute()
        self.progress = progress
        self._migrations = migrations
        self._folder = Folder(self.folder)
        self._api_port, self._db_port = api_port, db_port
        self._postgres_bin = postgres_bin
        self._processes: Processes | None = None
        self._lock = ExitStack()
        self._keys: Keys | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # --- what it is -------------------------------------------------------------------------------

    @property
    def keys(self) -> Keys:
        """Every key, password and port of the stack.

        Raises:
            LocalStackError: there is no stack in the folder yet.
        """
        if self._keys is None:
            if not self._folder.keys.exists():
                raise LocalStackError(
                    f"there is no stack in {self.folder}", hint="Start one: ehg-tasks local start."
                )
            self._keys = Keys.of(self._folder.keys)
        return self._keys

    @property
    def url(self) -> str:
        """SUPABASE_URL."""
        return f"http://127.0.0.1:{self.keys.api_port}"

    @property
    def db_url(self) -> str:
        """Connection URL of `postgres`, who owns the project and is no superuser."""
        return f"postgresql://postgres:{self.keys.postgres_password}@127.0.0.1:{self.keys.db_port}/postgres"

    @property
    def superuser_url(self) -> str:
        """Connection URL of `supabase_admin`, the superuser."""
        keys = self.keys
        return f"postgresql://supabase_admin:{keys.superuser_password}@127.0.0.1:{keys.db_port}/postgres"

    def env(self) -> dict[str, str]:
        """The environment of a program that works on this stack, every key included."""
        return {
            "SUPABASE_URL": self.url,
            "SUPABASE_PUBLISHABLE_KEY": self.keys.publishable_key,
            "SUPABASE_SECRET_KEY": self.keys.secret_key,
            "SUPABASE_DB_URL": self.db_url,
        }

    def settings(self) -> Settings:
        """What the clients take."""
        publishable, secret = SecretStr(self.keys.publishable_key), SecretStr(self.keys.secret_key)
        return Settings(url=self.url, publishable_key=publishable, secret_key=secret)

    def running(self) -> dict[str, Any] | None:
        """Process ids and port of the folder's running stack; None where it does not run (yet)."""
        return self._folder.running()

    # --- what it does -----------------------------------------------------------------------------

    def start(self, *, detach: bool = False) -> None:
        """Start the stack, or join the one that runs in the folder; returns when it is ready.

        Args:
            detach: leave it running when this program ends; `stop_running` ends it.

        Raises:
            LocalStackError: with what to do about it.
        """
        self._folder.make()
        with ExitStack() as held:
            if not self._folder.take(held.enter_context(self._folder.lock.open("ab"))):
                self._keys = None
                return
            attempts = 3
            while True:
                try:
                    self._start(detach)
                    break
                except PortTakenError:
                    attempts -= 1
                    if not attempts:
                        raise
                    self.progress("A port was taken meanwhile: trying others ...")
            if not detach:
                self._lock = held.pop_all()

    def stop(self) -> None:
        """End what this object started; a stack that it joined goes on."""
        if self._processes:
            self._processes.stop()
            self._processes = None
            self._folder.state.unlink(missing_ok=True)
            self._lock.close()

    def wait(self) -> None:
        """Wait until the stack that this object started is stopped from elsewhere."""
        if self._processes:
            self._processes.wait()

    def stop_running(self) -> bool:
        """End the folder's stack, whoever started it; returns whether it ran.

        Raises:
            LocalStackError: it does not end.
        """
        state = self.running()
        if state is None and self._folder.is_alive():
            raise LocalStackError("the stack is just starting", hint="Try again in a moment.")
        if state:
            os.kill(state["pid"], signal.SIGTERM)
            self._folder.wait_for_end()
            self._folder.state.unlink(missing_ok=True)
        if self._folder.data.exists():
            Postgres(self._folder.data, self._postgres_bin).stop_orphan()  # where the API died alone
        return state is not None

    def reset(self) -> None:
        """Empty the database and apply the migrations; keys stay. A running stack is started again.

        Raises:
            LocalStackError: another program holds the stack and would lose it.
        """
        state = None if self._processes else self.running()
        if state and not state["detached"]:
            raise LocalStackError(
                f"another program (process {state['orderer']}) holds this stack", hint="End it first."
            )
        ours = self._processes is not None
        self.stop()
        self.stop_running()
        self._folder.make()
        Postgres(self._folder.data, self._postgres_bin).remove()
        self.start(detach=state is not None)
        if not ours and state is None:
            self.stop()

    # --- how --------------------------------------------------------------------------------------

    def _start(self, detach: bool) -> None:
        postgres = Postgres(self._folder.data, self._postgres_bin)
        node, npm = api.node()
        server = api.installed(npm, self.progress)
        keys = Keys.of(self._folder.keys)
        postgres.stop_orphan()
        keys.api_port = ports.choose("api-port", self._api_port, keys.api_port, API_PORT)
        keys.db_port = ports.choose("db-port", self._db_port, keys.db_port, DB_PORT)
        fresh = not postgres.initialised
        if fresh:
            self.progress("Making the database ...")
            postgres.initialise(keys)
        keys.write(self._folder.keys)

        for log in self._folder.logs.glob("*.log"):
            log.replace(log.with_suffix(".old"))
        processes = Processes(node, server, self._folder.logs, self._folder.alive)
        try:
            self.progress("Starting Postgres ...")
            postgres_pid = processes.start_postgres(postgres, keys.db_port)
            if fresh:
                postgres.make_roles(keys.db_port, keys)
                processes.make_auth_schema(keys, keys.db_port)
                postgres.mark_initialised()
            files = sorted(self._migrations.glob("*.sql")) if self._migrations else packaged.migrations()
            for name in postgres.migrate(keys.db_port, keys, files):
                self.progress(f"Applied {name}")
            self.progress("Starting the API ...")
            processes.serve(keys, keys.api_port, keys.db_port)
            if detach:
                processes.detach()
            state = {
                "pid": processes.node.pid,
                "postgres": postgres_pid,
                "orderer": os.getpid(),
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
