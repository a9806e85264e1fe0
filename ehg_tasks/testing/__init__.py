"""A pytest plugin: tests of your own project on a real Supabase, with a client for every role.

    def test_dashboard_users_see_new_work(clean_contracts, as_agent, as_dashboard_user):
        as_agent.create(parent_agent="PLANNER", target_agent="DESIGN", objective="Draw the start page")
        assert as_dashboard_user("ana").count(status="pending") == 1

Once `ehg-tasks[testing]` is installed, pytest loads the plugin. Nothing starts until a test requests a
fixture. `assert_covered` fails on policies, grants and functions that no test covers (docs/testing.md), and
`pytest --ehg-tasks-mutants` breaks them to see whether a test notices (docs/mutation-testing.md).
"""

# pytest imports this module in every run, so heavy imports are inside the functions that need them.
from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest

from ehg_tasks.testing.catalog import Gaps, assert_covered, uncovered
from ehg_tasks.testing.project import Project, collect_migrations, embedded, existing
from ehg_tasks.testing.users import Users

if TYPE_CHECKING:
    from psycopg import Connection
    from supabase import Client

    from ehg_tasks import AgentTasks, BackendTasks, DashboardTasks

__all__ = ["Gaps", "Project", "assert_covered", "uncovered"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register the setting `ehg_tasks_migrations`, `--ehg-tasks-stack` and `--ehg-tasks-mutants`."""
    parser.addini(
        "ehg_tasks_migrations",
        "Folders of migrations for supabase_stack; 'packaged' stands for those of ehg-tasks. "
        "Default: packaged, and supabase/migrations if it exists.",
        type="args",
    )
    group = parser.getgroup("ehg-tasks")
    group.addoption(
        "--ehg-tasks-stack",
        metavar="DIR",
        help="Keep the embedded Supabase in DIR between runs, for a faster start.",
    )
    group.addoption(
        "--ehg-tasks-mutants",
        metavar="TEXT",
        help="Break each rule of the database whose description contains TEXT, and run the tests each time.",
    )


def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """With `--ehg-tasks-mutants`, run the tests once for each mutant instead of once."""
    text = config.getoption("--ehg-tasks-mutants")
    if text is None:
        return None
    if os.environ.get("EHG_TASKS_TEST_PROJECT") == "1":
        raise pytest.UsageError("mutants break the rules of a database: unset EHG_TASKS_TEST_PROJECT")
    from ehg_tasks.testing.mutant_run import run

    try:
        with _embedded(config) as project:
            return run(project, text, config.invocation_params.args)
    except pytest.fail.Exception as error:
        raise pytest.UsageError(str(error)) from None


@pytest.fixture(scope="session")
def supabase_stack(pytestconfig: pytest.Config) -> Iterator[Project]:
    """The embedded Supabase with your migrations, or the project that the environment names."""
    if os.environ.get("EHG_TASKS_TEST_PROJECT") == "1":
        yield existing()
        return
    with _embedded(pytestconfig) as project:
        yield project


@contextmanager
def _embedded(config: pytest.Config) -> Iterator[Project]:
    kept = config.getoption("--ehg-tasks-stack")
    # Not in tmp_path: if root runs pytest, Postgres runs as another user, who must be able to enter the
    # folders above its data, and each start of pytest closes its folder to other users.
    with TemporaryDirectory(prefix="ehg-tasks-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o711)
        migrations, folder = Path(name) / "migrations", Path(name) / "stack"
        collect_migrations(config.getini("ehg_tasks_migrations"), config.rootpath, migrations)
        if kept:
            # One stack for each worker of pytest-xdist.
            worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
            folder = config.invocation_params.dir / Path(kept).expanduser() / worker
        with embedded(folder, migrations) as project:
            yield project


@pytest.fixture(scope="session")
def as_agent(supabase_stack: Project) -> Iterator[AgentTasks]:
    """A client for agents, with the publishable key."""
    from ehg_tasks import AgentTasks

    with AgentTasks(supabase_stack.settings()) as agent:
        yield agent


@pytest.fixture(scope="session")
def as_backend(supabase_stack: Project) -> Iterator[BackendTasks]:
    """A client for backend jobs, with the secret key."""
    from ehg_tasks import BackendTasks

    with BackendTasks(supabase_stack.settings()) as backend:
        yield backend


@pytest.fixture(scope="session")
def _ehg_tasks_users(supabase_stack: Project) -> Iterator[Users]:
    with ExitStack() as resources:
        yield Users(supabase_stack, resources)


@pytest.fixture(scope="session")
def as_dashboard_user(_ehg_tasks_users: Users) -> Callable[[str], DashboardTasks]:
    """A function: `as_dashboard_user("ana")` returns a dashboard client that is signed in as Ana.

    Each name has one client during a run.
    """
    return _ehg_tasks_users.dashboard


@pytest.fixture(scope="session")
def as_role(_ehg_tasks_users: Users) -> Callable[[str], Client]:
    """A function: `as_role("ana")` returns a plain supabase-py client, for your own tables.

    "anon" and "service_role" are the roles. Any other name is a signed-in user, the same user as in
    `as_dashboard_user`. Each name has one client during a run.
    """
    return _ehg_tasks_users.client


@pytest.fixture(scope="session")
def sql_as(
    supabase_stack: Project, _ehg_tasks_users: Users
) -> Callable[[str], AbstractContextManager[Connection[Any]]]:
    """A function: `with sql_as("ana") as connection: ...` runs a SQL transaction in a role.

    It takes the same names as `as_role`. The transaction is committed at the end of the block, or
    rolled back if the block raises.
    """

    @contextmanager
    def transaction(name: str) -> Iterator[Connection[Any]]:
        role, claims = name, {"role": name}
        if name not in ("anon", "service_role"):
            user, role = _ehg_tasks_users.user(name), "authenticated"
            claims = {"role": role, "sub": user.id, "email": user.email}
        # The API passes a token's claims in these settings. Versions of auth.uid() differ in which they read.
        settings = {"request.jwt.claims": json.dumps(claims)}
        settings |= {f"request.jwt.claim.{claim}": value for claim, value in claims.items()}
        with supabase_stack.connect() as connection:
            for setting in (settings | {"role": role}).items():
                connection.execute("select set_config(%s, %s, true)", setting)
            yield connection

    return transaction


@pytest.fixture(scope="session")
def superuser(supabase_stack: Project) -> Iterator[Connection[Any]]:
    """A connection that can do everything: to prepare rows, and to check that a refusal changed nothing."""
    with supabase_stack.connect(autocommit=True) as connection:
        yield connection


@pytest.fixture
def clean_contracts(superuser: Connection[Any]) -> None:
    """Delete all contracts, and the artifacts that hold their outputs, before the test."""
    superuser.execute("delete from public.agent_task_contracts")
    superuser.execute("delete from public.agent_artifacts where type = 'contract_output'")
