"""The grants in the catalog are exactly those of the matrix, whatever a project grants by default."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection

from tests.access import matrix
from tests.access.catalog import expected_grants, live_grants
from tests.databases import Databases

CONFIG = Path(__file__).parents[2] / "supabase" / "config.toml"
OPERATIONS = {
    "SELECT": ["select"],
    "INSERT": ["insert"],
    "UPDATE": ["update all"],
    "DELETE": ["delete all"],
    "ALL": ["select", "insert", "update all", "delete all"],
}


def test_the_grants_are_those_of_the_matrix(connection: Connection[Any]) -> None:
    """A table, function or grant without a row in the matrix fails here.

    So does a row that matches nothing in the catalog.
    """
    assert live_grants(connection) == expected_grants(connection)


@pytest.mark.parametrize("grants_by_default", [False, True], ids=["grants nothing", "grants everything"])
def test_default_privileges_do_not_change_the_grants(databases: Databases, grants_by_default: bool) -> None:
    name = databases.create(grants_by_default=grants_by_default)
    databases.migrate(name)
    with databases.connect(name) as connection:
        assert live_grants(connection) == expected_grants(connection)


def test_every_policy_has_cases_in_the_matrix(connection: Connection[Any]) -> None:
    policies = connection.execute(
        "select schemaname || '.' || tablename, cmd, roles::text[] from pg_policies"
        " where schemaname in ('public', 'ehg_tasks')"
    ).fetchall()
    assert policies
    for relation, command, roles in policies:
        assert matrix.RLS_ALONE[relation].keys() >= set(OPERATIONS[command])
        assert set(roles) <= set(matrix.ROLES)


def test_the_engine_schema_is_not_exposed() -> None:
    assert "ehg_tasks" not in tomllib.loads(CONFIG.read_text())["api"]["schemas"]
