"""The project that users' tests run on: an embedded Supabase, or one that the environment names."""

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

PACKAGED = "packaged"  # in `ehg_tasks_migrations`: the package's own
_MIGRATION = re.compile(r"(\d+)_.+\.sql")  # as the Supabase CLI knows them


@dataclass(frozen=True)
class Project:
    """Where the tests run.

    Attributes:
        url: SUPABASE_URL.
        publishable_key: the key of agents and users.
        secret_key: the key of backend jobs.
        database_url: a login that row level security does not bind.
        jwt_secret: what tokens are signed with, to make bad ones; None where it is not known.
    """

    url: str
    publishable_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    database_url: str = field(repr=False)
    jwt_secret: str | None = field(default=None, repr=False)

    def settings(self) -> Settings:
        """What the clients take, the asynchronous ones too."""
        from pydantic import SecretStr

        from ehg_tasks import Settings

        publishable, secret = SecretStr(self.publishable_key), SecretStr(self.secret_key)
        return Settings(url=self.url, publishable_key=publishable, secret_key=secret)

    def env(self) -> dict[str, str]:
        """The environment of a program that works on the project, with every key."""
        return {
            "SUPABASE_URL": self.url,
            "SUPABASE_PUBLISHABLE_KEY": self.publishable_key,
            "SUPABASE_SECRET_KEY": self.secret_key,
            "SUPABASE_DB_URL": self.database_url,
        }

    def connect(self, *, autocommit: bool = False) -> Connection[Any]:
        """A connection that sees and may do everything."""
        try:
            import psycopg
        except ImportError:
            fail("superuser, clean_contracts and sql_as need psycopg. Run: pip install 'ehg-tasks[testing]'")
        return psycopg.connect(self.database_url, autocommit=autocommit)


def existing() -> Project:
    """The project that the environment names; fails the test where it is named in part."""
    if int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")) > 1:
        fail("with EHG_TASKS_TEST_PROJECT=1 workers would spoil each other's rows. Run without -n.")
    from ehg_tasks import Settings, TaskContractError

    try:
        # The environment alone: a .env file here may well name the project that people work with.
        settings = Settings.from_env(dotenv=False)
        publishable, secret = settings.key("publishable"), settings.key("secret")
    except TaskContractError as error:
        fail(f"EHG_TASKS_TEST_PROJECT=1 and {error}")
    database = os.environ.get("SUPABASE_DB_URL")
    if not database:
        fail("EHG_TASKS_TEST_PROJECT=1 and SUPABASE_DB_URL is not set. Set it in the environment.")
    return Project(
        url=settings.url,
        publishable_key=publishable.get_secret_value(),
        secret_key=secret.get_secret_value(),
        database_url=database,
        jwt_secret=os.environ.get("SUPABASE_JWT_SECRET"),
    )


@contextmanager
def embedded(folder: Path, migrations: Path) -> Iterator[Project]:
    """An embedded Supabase with these migrations; fails the test where it does not start."""
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
    """Empty a kept folder whose database other migrations made; refuse one that is somebody else's."""
    from ehg_tasks import __version__

    note = stack.folder / "tests.json"
    if stack.folder.is_dir() and any(stack.folder.iterdir()):
        if not note.exists():
            fail(f"{stack.folder} was not made by --ehg-tasks-stack. Choose another folder.")
        if stack.running():
            fail(f"the stack in {stack.folder} runs already. Wait for its end, or choose another folder.")
    wanted = [["ehg-tasks", __version__]]
    wanted += [[file.name, hashlib.sha256(file.read_bytes()).hexdigest()] for file in migrations]
    made = json.loads(note.read_text()) if note.exists() else []
    if made != wanted[: len(made)]:
        shutil.rmtree(stack.folder)
    stack.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    note.write_text(json.dumps(wanted))


def gather(places: list[str], root: Path, into: Path) -> None:
    """Bring the migrations of several folders into one, each version once.

    Args:
        places: folders, from `root`; 'packaged' is the package's own. None are the usual ones.
        root: the folder of the user's project.
        into: the folder to make.
    """
    from ehg_tasks import migrations

    into.mkdir()
    own = "supabase/migrations"
    names: dict[str, str] = {}
    for place in places or [PACKAGED, *([own] if (root / own).is_dir() else [])]:
        folder = root / place
        if place != PACKAGED and not folder.is_dir():
            fail(f"ehg_tasks_migrations names {folder}, which is no folder. Correct the setting.")
        for file in migrations.migrations() if place == PACKAGED else sorted(folder.glob("*.sql")):
            found = _MIGRATION.fullmatch(file.name)
            if not found:
                continue
            name = names.setdefault(found[1], file.name)
            if name != file.name:
                fail(f"two migrations have one version: {name} and {file.name}. Rename one of them.")
            # A copy that the project keeps of a packaged one goes before it: that is what it deploys.
            shutil.copyfile(file, into / file.name)


def fail(reason: str) -> NoReturn:
    """Fail the test in one line."""
    pytest.fail(f"ehg-tasks: {reason}", pytrace=False)
