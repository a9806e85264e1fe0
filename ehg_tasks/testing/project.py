"""The project that the tests run against: an embedded Supabase, or one that the environment names."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from psycopg import Connection

    from ehg_tasks import Settings
    from ehg_tasks.local import LocalStack

PACKAGED = "packaged"  # in `ehg_tasks_migrations`: the migrations of this package
_MIGRATION = re.compile(r"(\d+)_.+\.sql")  # the file names that the Supabase CLI accepts


@dataclass(frozen=True)
class Project:
    """A project and the keys to it.

    Attributes:
        url: URL of the API (SUPABASE_URL).
        publishable_key: key for agents and users.
        secret_key: key for backend jobs.
        database_url: connection URL of a role that bypasses row level security.
        jwt_secret: the secret that signs tokens, or None if it is unknown.
    """

    url: str
    publishable_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    database_url: str = field(repr=False)
    jwt_secret: str | None = field(default=None, repr=False)

    def settings(self) -> Settings:
        """Return settings for a client, synchronous or asynchronous, with both keys."""
        from ehg_tasks import Settings

        return Settings.of(self.url, self.publishable_key, self.secret_key)

    def env(self) -> dict[str, str]:
        """Return the environment variables for a program that uses the project, including the secret key."""
        return self.settings().env() | {"SUPABASE_DB_URL": self.database_url}

    def connect(self, *, autocommit: bool = False) -> Connection[Any]:
        """Return a connection that can read and change everything."""
        try:
            import psycopg
        except ImportError:
            fail("superuser, clean_contracts and sql_as need psycopg. Run: pip install 'ehg-tasks[testing]'")
        return psycopg.connect(self.database_url, autocommit=autocommit)


def existing() -> Project:
    """Return the project that the environment names. Fail the test if a variable is missing."""
    if int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")) > 1:
        fail(
            "with EHG_TASKS_TEST_PROJECT=1, parallel workers would delete each other's rows. Run without -n."
        )
    from ehg_tasks import Settings, TaskContractError

    try:
        # Not from .env: that file may name the project that people work with.
        settings = Settings.from_env(dotenv=False)
        publishable, secret = settings.key("publishable"), settings.key("secret")
    except TaskContractError as error:
        fail(f"EHG_TASKS_TEST_PROJECT=1 is set, but {error}")
    database = os.environ.get("SUPABASE_DB_URL")
    if not database:
        fail("EHG_TASKS_TEST_PROJECT=1 is set, but SUPABASE_DB_URL is not. Set it in the environment.")
    return Project(
        url=settings.url,
        publishable_key=publishable.get_secret_value(),
        secret_key=secret.get_secret_value(),
        database_url=database,
        jwt_secret=os.environ.get("SUPABASE_JWT_SECRET"),
    )


@contextmanager
def embedded(folder: Path, migrations: Path) -> Iterator[Project]:
    """Run an embedded Supabase with these migrations. Fail the test if it does not start."""
    from ehg_tasks.errors import LocalStackError
    from ehg_tasks.local import LocalStack

    stack = LocalStack(folder, migrations=migrations, progress=print)
    try:
        _prepare(stack, sorted(migrations.iterdir()))
        stack.start()
    except LocalStackError as error:
        fail(str(error))
    try:
        keys = stack.keys
        yield Project(stack.url, keys.publishable_key, keys.secret_key, stack.superuser_url, keys.jwt_secret)
    finally:
        stack.stop()


def _prepare(stack: LocalStack, migrations: list[Path]) -> None:
    """Delete a kept stack if its migrations have changed; refuse a folder that is not the plugin's."""
    from ehg_tasks import __version__

    record = stack.folder / "tests.json"  # the migrations of the kept stack
    if stack.folder.is_dir() and any(stack.folder.iterdir()):
        if not record.exists():
            fail(f"{stack.folder} was not created by --ehg-tasks-stack. Choose another folder.")
        if stack.running():
            fail(f"the stack in {stack.folder} is already running. Stop it, or choose another folder.")
    current = [["ehg-tasks", __version__]]
    current += [[file.name, hashlib.sha256(file.read_bytes()).hexdigest()] for file in migrations]
    applied = json.loads(record.read_text()) if record.exists() else []
    if applied != current[: len(applied)]:
        shutil.rmtree(stack.folder)
    stack.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    record.write_text(json.dumps(current))


def collect_migrations(sources: list[str], root: Path, target: Path) -> None:
    """Copy the migrations of several folders into one, without duplicate versions.

    Args:
        sources: folders relative to `root`; 'packaged' stands for this package's migrations. If empty:
            'packaged', and `supabase/migrations` if it exists.
        root: folder of the user's project.
        target: folder to create.
    """
    from ehg_tasks import migrations

    target.mkdir()
    own = "supabase/migrations"
    names: dict[str, str] = {}
    for source in sources or [PACKAGED, *([own] if (root / own).is_dir() else [])]:
        folder = root / source
        if source != PACKAGED and not folder.is_dir():
            fail(f"ehg_tasks_migrations names {folder}, which is not a folder. Correct the setting.")
        for file in migrations.migrations() if source == PACKAGED else sorted(folder.glob("*.sql")):
            match = _MIGRATION.fullmatch(file.name)
            if not match:
                continue
            name = names.setdefault(match[1], file.name)
            if name != file.name:
                fail(f"two migrations have the same version: {name} and {file.name}. Rename one of them.")
            # The project's copy of a packaged migration replaces it, because that is what it deploys.
            shutil.copyfile(file, target / file.name)


def fail(reason: str) -> NoReturn:
    """Fail the test with one line and no traceback."""
    pytest.fail(f"ehg-tasks: {reason}", pytrace=False)
