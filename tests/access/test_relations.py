"""Every case of the access matrix for tables and views, in SQL and on the Data API."""

from __future__ import annotations

from typing import Any

import pytest
from postgrest import APIError
from psycopg import Connection

from tests.access import matrix
from tests.access.matrix import ROLES, Relations
from tests.access.operations import (
    engine_statements,
    engine_tables,
    request,
    run_in_sql,
    run_over_http,
    snapshot,
    statement,
)
from tests.access.profiles import PROFILES_AND_RLS_ALONE, RLS_ALONE
from tests.conftest import Project


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("relation", matrix.SPECIFIED)
@pytest.mark.parametrize("state", PROFILES_AND_RLS_ALONE)
def test_a_role_on_a_relation_in_sql(seeded: Connection[Any], state: str, relation: str, role: str) -> None:
    prepare, relations = PROFILES_AND_RLS_ALONE[state]
    seeded.execute(prepare.encode() or b"select")
    outcomes = {}
    for operation in relations[relation]:
        with seeded.transaction(force_rollback=True):
            outcomes[operation] = run_in_sql(seeded, role, statement(relation, operation), relation)
    assert outcomes == {name: expected[ROLES.index(role)] for name, expected in relations[relation].items()}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("relation", matrix.SPECIFIED)
def test_a_role_on_a_relation_over_http(
    project: Project,
    credentials: dict[str, tuple[str, str | None]],
    database: Connection[Any],
    profile: Relations,
    relation: str,
    role: str,
) -> None:
    api = project.api(*credentials[role])
    outcomes, expected = {}, {}
    for operation in profile[relation]:
        act = request(api, relation, operation)
        if act is None or (role == "service_role" and operation.endswith(" all")):
            continue  # hosted projects refuse the latter, self-hosted ones need not
        reads = operation.startswith("select")
        outcomes[operation] = run_over_http(database, act, relation, reads=reads)
        expected[operation] = profile[relation][operation][ROLES.index(role)]
    assert outcomes == expected


@pytest.mark.parametrize("role", ROLES)
def test_the_engines_tables_are_closed_to_every_role(seeded: Connection[Any], role: str) -> None:
    for table, column in engine_tables(seeded).items():
        for operation, sql in engine_statements(table, column).items():
            assert run_in_sql(seeded, role, sql, table) == matrix.NO, f"{operation} on {table}"


@pytest.mark.parametrize("role", ["anon", "authenticated"])
def test_no_policy_gives_access_to_the_engines_tables(seeded: Connection[Any], role: str) -> None:
    seeded.execute(RLS_ALONE)
    for table, column in engine_tables(seeded).items():
        assert snapshot(seeded)[table], f"seed.py adds no row to {table}"
        sql = engine_statements(table, column)
        outcomes = {
            name: run_in_sql(seeded, role, sql[name], table) for name in matrix.ENGINE_TABLES_RLS_ALONE
        }
        assert outcomes == matrix.ENGINE_TABLES_RLS_ALONE, table


@pytest.mark.parametrize("schema", ["ehg_tasks", "auth", "supabase_migrations"])
def test_no_schema_but_public_is_exposed(project: Project, schema: str) -> None:
    for key in (project.publishable_key, project.secret_key):
        with pytest.raises(APIError) as raised:
            project.api(key).schema(schema).table("attempts").select("*").execute()
        assert raised.value.code == "PGRST106"
