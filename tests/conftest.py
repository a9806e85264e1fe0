"""Fixtures that run the tests on a real project: the embedded Supabase, or one that the environment names.

EHG_TASKS_POSTGRES chooses the version of the embedded PostgreSQL (tests/versions). With
EHG_TASKS_TEST_PROJECT=1, SUPABASE_URL, the keys, SUPABASE_DB_URL and SUPABASE_JWT_SECRET must name a
project for tests only: its contracts are deleted before each test.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import psycopg
import pytest
from hypothesis import settings
from supabase import Client, ClientOptions, create_client

from ehg_tasks import AgentTasks, BackendTasks, DashboardTasks, testing
from ehg_tasks.local import LocalStack
from tests import versions
from tests.databases import Databases
from tests.sql import Caller
from tests.supabase_cli import SupabaseCLI

# Number of examples in property-based tests. `make prove` uses --hypothesis-profile=long.
settings.register_profile(
    "default", max_examples=160, stateful_step_count=80, derandomize=True, database=None
)
settings.register_profile("long", max_examples=2500, stateful_step_count=80, database=None)

# These tests need extensions that only Debian's PostgreSQL 15 has (`make test-matrix`).
collect_ignore = [] if versions.CHOSEN == "15" else ["versions/test_debian.py"]
EXTERNAL = os.environ.get("EHG_TASKS_TEST_PROJECT") == "1"


@dataclass(frozen=True, kw_only=True)
class Project(testing.Project):
    """The project that the tests run on, with its legacy keys."""

    jwt_secret: str
    anon_jwt: str
    service_role_jwt: str
    http_clients: list[httpx.Client] = field(default_factory=list)

    def api(self, key: str, token: str | None = None) -> Client:
        """A plain supabase-py client, which sends what any program could send.

        Args:
            key: an API key.
            token: a token to send instead of the key in the Authorization header.
        """
        http = httpx.Client()
        self.http_clients.append(http)
        options = ClientOptions(auto_refresh_token=False, persist_session=False, httpx_client=http)
        if token is not None:
            options.headers["Authorization"] = f"Bearer {token}"
        return create_client(self.url, key, options=options)


@contextmanager
def local_stack(migrations: Path | None = None) -> Iterator[LocalStack]:
    """An embedded Supabase in a temporary folder, which is not pytest's (see `tmp_path`)."""
    with (
        TemporaryDirectory(prefix="ehg-tasks-") as folder,
        LocalStack(folder, migrations=migrations, postgres_bin=versions.programs()) as stack,
    ):
        yield stack


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """An empty folder that other users may enter, unlike pytest's: root runs Postgres as another user."""
    with TemporaryDirectory(prefix="ehg-tasks-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder).resolve()


@pytest.fixture(scope="session")
def project() -> Iterator[Project]:
    """The project that all tests of this run share."""
    with ExitStack() as stack:
        if EXTERNAL:
            project = Project(
                url=os.environ["SUPABASE_URL"],
                publishable_key=os.environ["SUPABASE_PUBLISHABLE_KEY"],
                secret_key=os.environ["SUPABASE_SECRET_KEY"],
                database_url=os.environ["SUPABASE_DB_URL"],
                jwt_secret=os.environ["SUPABASE_JWT_SECRET"],
                anon_jwt=os.environ["SUPABASE_ANON_KEY"],
                service_role_jwt=os.environ["SUPABASE_SERVICE_ROLE_KEY"],
            )
        else:
            local = stack.enter_context(local_stack())
            names = {"publishable_key", "secret_key", "jwt_secret", "anon_jwt", "service_role_jwt"}
            keys = local.keys.model_dump(include=names)
            project = Project(url=local.url, database_url=local.superuser_url, **keys)
        yield project
        for client in project.http_clients:
            client.close()


@pytest.fixture(scope="session")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    """A second server, on which tests create databases whose objects they may change."""
    with local_stack(migrations=tmp_path_factory.mktemp("no-migrations")) as stack:
        yield Databases(stack.superuser_url, stack.db_url)


@pytest.fixture(scope="session")
def supabase_cli(tmp_path_factory: pytest.TempPathFactory) -> SupabaseCLI:
    return SupabaseCLI(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def connection(project: Project) -> Iterator[psycopg.Connection[Any]]:
    """A superuser's connection. Use `database` to start with empty tables."""
    with psycopg.connect(project.database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def database(connection: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    """A superuser's connection, after emptying the three public tables and the registry of agents."""
    connection.execute("delete from public.agent_task_contracts")
    connection.execute("delete from public.agent_artifacts")
    connection.execute("delete from public.strategic_directives_v2")
    connection.execute("delete from ehg_tasks.agents")
    return connection


@pytest.fixture
def contracts(database: psycopg.Connection[Any]) -> Callable[[], list[dict[str, Any]]]:
    """A function that reads all contracts, to compare them before and after a call."""

    def read() -> list[dict[str, Any]]:
        with database.cursor(row_factory=psycopg.rows.dict_row) as cursor:
            return cursor.execute(
                "select * from public.agent_task_contracts order by created_at, id"
            ).fetchall()

    return read


@pytest.fixture
def agent(project: Project, database: psycopg.Connection[Any]) -> Iterator[AgentTasks]:
    """A client for agents, with the publishable key."""
    with AgentTasks(url=project.url, key=project.publishable_key) as agent:
        yield agent


@pytest.fixture
def backend(project: Project, database: psycopg.Connection[Any]) -> Iterator[BackendTasks]:
    """A client for backend jobs, with the secret key."""
    with BackendTasks(url=project.url, key=project.secret_key) as backend:
        yield backend


@pytest.fixture(scope="session")
def user_token(project: Project) -> str:
    """The access token of a signed-in user."""
    api = project.api(project.publishable_key)
    email, password = f"ana-{secrets.token_hex(4)}@example.com", secrets.token_urlsafe(16)
    api.auth.sign_up({"email": email, "password": password})
    answer = api.auth.sign_in_with_password({"email": email, "password": password})
    assert answer.session is not None
    return answer.session.access_token


@pytest.fixture
def dashboard(
    project: Project, database: psycopg.Connection[Any], user_token: str
) -> Iterator[DashboardTasks]:
    """A client for the dashboard, with the token of a signed-in user."""
    with DashboardTasks(url=project.url, key=project.publishable_key, access_token=user_token) as dashboard:
        yield dashboard


@pytest.fixture
def anon_api(project: Project, database: psycopg.Connection[Any]) -> Client:
    """A plain supabase-py client with the publishable key."""
    return project.api(project.publishable_key)


@pytest.fixture
def user_api(project: Project, database: psycopg.Connection[Any], user_token: str) -> Client:
    """A plain supabase-py client with the token of a signed-in user."""
    return project.api(project.publishable_key, user_token)


@pytest.fixture
def service_api(project: Project, database: psycopg.Connection[Any]) -> Client:
    """A plain supabase-py client with the secret key."""
    return project.api(project.secret_key)


@pytest.fixture
def call_as(project: Project, database: psycopg.Connection[Any]) -> Iterator[Callable[[str], Caller]]:
    """`call_as("anon")` returns a caller in SQL with its own connection."""
    with ExitStack() as stack:

        def make(role: str) -> Caller:
            connection = stack.enter_context(psycopg.connect(project.database_url, autocommit=True))
            return Caller(connection, role)

        yield make


@pytest.fixture
def anon(call_as: Callable[[str], Caller]) -> Caller:
    return call_as("anon")


@pytest.fixture
def service(call_as: Callable[[str], Caller]) -> Caller:
    return call_as("service_role")


@pytest.fixture
def authenticated(call_as: Callable[[str], Caller]) -> Caller:
    return call_as("authenticated")
