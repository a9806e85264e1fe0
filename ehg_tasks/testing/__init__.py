"""A pytest plugin: your own project on a real Supabase, with a client for every role.

    def test_handing_over(clean_contracts, as_agent, as_dashboard_user):
        as_agent.create(parent_agent="PLANNER", target_agent="DESIGN", objective="Draw the start page")
        assert as_dashboard_user("ana").count(status="pending") == 1

pytest finds it by itself (`pip install 'ehg-tasks[testing]'`), and nothing starts before a test asks
for it. `assert_covered` holds a list of what is tested against the catalog. All of it: docs/testing.md.
"""

# pytest imports this in every run, so what it needs is imported where it is used.
from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest

from ehg_tasks.testing.catalog import Gaps, assert_covered, uncovered
from ehg_tasks.testing.project import Project, embedded, existing, gather
from ehg_tasks.testing.users import Users

if TYPE_CHECKING:
    from psycopg import Connection
    from supabase import Client

    from ehg_tasks import AgentTasks, BackendTasks, DashboardTasks

__all__ = ["Gaps", "Project", "assert_covered", "uncovered"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the plugin's setting and its option."""
    parser.addini(
        "ehg_tasks_migrations",
        "Folders of migrations for supabase_stack; 'packaged' stands for those of ehg-tasks. "
        "Default: packaged, and supabase/migrations where there is one.",
        type="args",
    )
    parser.getgroup("ehg-tasks").addoption(
        "--ehg-tasks-stack",
        metavar="DIR",
        help="Keep the embedded Supabase in DIR between runs, for a faster start.",
    )


@pytest.fixture(scope="session")
def supabase_stack(pytestconfig: pytest.Config) -> Iterator[Project]:
    """The embedded Supabase with your migrations, or the project that the environment names."""
    if os.environ.get("EHG_TASKS_TEST_PROJECT") == "1":
        yield existing()
        return
    kept = pytestconfig.getoption("--ehg-tasks-stack")
    # Not in pytest's own folder: for root, Postgres runs as another user, who has to come through the
    # folders above its data, and pytest closes its folder to others whenever another run begins.
    with TemporaryDirectory(prefix="ehg-tasks-", ignore_cleanup_errors=True) as name:
        migrations, folder = Path(name) / "migrations", Path(name) / "stack"
        gather(pytestconfig.getini("ehg_tasks_migrations"), pytestconfig.rootpath, migrations)
        if kept:
            # Each worker of pytest-xdist has a stack of its own.
            worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
            folder = pytestconfig.invocation_params.dir / Path(kept).expanduser() / worker
        with embedded(folder, migrations) as project:
            yield project


@pytest.fixture(scope="session")
def as_agent(supabase_stack: Project) -> Iterator[AgentTasks]:
    """An agent, with the publishable key."""
    from ehg_tasks import AgentTasks

    with AgentTasks(supabase_stack.settings()) as agent:
        yield agent


@pytest.fixture(scope="session")
def as_backend(supabase_stack: Project) -> Iterator[BackendTasks]:
    """A backend job, with the secret key."""
    from ehg_tasks import BackendTasks

    with BackendTasks(supabase_stack.settings()) as backend:
        yield backend


@pytest.fixture(scope="session")
def _ehg_tasks_users(supabase_stack: Project) -> Iterator[Users]:
    with ExitStack() as opened:
        yield Users(supabase_stack, opened)


@pytest.fixture(scope="session")
def as_dashboard_user(
    supabase_stack: Project, _ehg_tasks_users: Users
) -> Iterator[Callable[[str], DashboardTasks]]:
    """Maker of dashboards: `as_dashboard_user("ana")` is signed in as Ana, the same for the whole run."""
    from ehg_tasks import DashboardTasks

    with ExitStack() as opened:

        @cache
        def signed_in(name: str) -> DashboardTasks:
            user = _ehg_tasks_users.user(name)
            dashboard = opened.enter_context(DashboardTasks(supabase_stack.settings()))
            dashboard.sign_in(user.email, user.password)
            return dashboard

        yield signed_in


@pytest.fixture(scope="session")
def as_role(_ehg_tasks_users: Users) -> Callable[[str], Client]:
    """Maker of plain supabase-py clients for your own tables: `as_role("anon")`, `as_role("ana")`.

    "anon" and "service_role" are the roles. Any other name is a user's, who is signed up and in: the
    same person as in `as_dashboard_user`. A client is the same for the whole run.
    """
    return _ehg_tasks_users.client


@pytest.fixture(scope="session")
def sql_as(
    supabase_stack: Project, _ehg_tasks_users: Users
) -> Callable[[str], AbstractContextManager[Connection[Any]]]:
    """Maker of transactions in a role, past the API: `with sql_as("ana") as connection: ...`.

    The names are those of `as_role`. The transaction is committed where the block ends, and rolled
    back where it raises.
    """

    @contextmanager
    def transaction(name: str) -> Iterator[Connection[Any]]:
        role, claims = name, {"role": name}
        if name not in ("anon", "service_role"):
            user, role = _ehg_tasks_users.user(name), "authenticated"
            claims = {"role": role, "sub": user.id, "email": user.email}
        # The API tells the database who asks in these settings; auth.uid() reads either form.
        told = {"request.jwt.claims": json.dumps(claims)}
        told |= {f"request.jwt.claim.{claim}": value for claim, value in claims.items()}
        with supabase_stack.connect() as connection:
            for setting in (told | {"role": role}).items():
                connection.execute("select set_config(%s, %s, true)", setting)
            yield connection

    return transaction


@pytest.fixture(scope="session")
def superuser(supabase_stack: Project) -> Iterator[Connection[Any]]:
    """A connection that sees and may do everything: lay out rows, and look what a refusal left."""
    with supabase_stack.connect(autocommit=True) as connection:
        yield connection


@pytest.fixture
def clean_contracts(superuser: Connection[Any]) -> None:
    """No contracts, and no outputs of contracts, when the test begins."""
    superuser.execute("delete from public.agent_task_contracts")
    superuser.execute("delete from public.agent_artifacts where type = 'contract_output'")
