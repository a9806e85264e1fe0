"""Who may call each function, whose rights it runs with, and that its search path is fixed."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg import Connection

from tests.access import matrix
from tests.access.catalog import functions
from tests.access.matrix import ROLES
from tests.access.operations import call, run_in_sql, run_over_http
from tests.access.profiles import PROFILES, RLS_ALONE
from tests.conftest import Project

# Functions may fix their plans (`test_plans.py`), and change no other setting.
PLANS = {
    "plan_cache_mode=force_generic_plan",
    "enable_seqscan=off",
    "enable_bitmapscan=off",
    "enable_sort=off",
    "enable_hashjoin=off",
    "enable_mergejoin=off",
    "jit=off",
}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("function", matrix.FUNCTIONS)
@pytest.mark.parametrize("state", PROFILES)
def test_a_role_calls_a_function_in_sql(
    seeded: Connection[Any], state: str, function: str, role: str
) -> None:
    seeded.execute(PROFILES[state][0].encode() or b"select")
    assert run_in_sql(seeded, role, call("public", function)) == matrix.FUNCTIONS[function].outcome(role)


@pytest.mark.usefixtures("profile")
@pytest.mark.parametrize("role", ROLES)
def test_a_role_calls_every_function_over_http(
    project: Project,
    credentials: dict[str, tuple[str, str | None]],
    database: Connection[Any],
    role: str,
) -> None:
    api = project.api(*credentials[role])
    outcomes = {
        name: run_over_http(
            database, api.rpc(name, {f"p_{n}": value for n, value in function.arguments.items()}).execute
        )
        for name, function in matrix.FUNCTIONS.items()
    }
    assert outcomes == {name: function.outcome(role) for name, function in matrix.FUNCTIONS.items()}


@pytest.mark.parametrize("role", ROLES)
def test_a_role_calls_every_function_of_the_engine(seeded: Connection[Any], role: str) -> None:
    """All arguments are null: a role that holds EXECUTE gets an answer or one of the engine's errors."""
    for function in functions(seeded):
        if function.schema != "ehg_tasks":
            continue
        nulls = ", ".join(f"null::{name}" for name in function.argument_types)
        outcome = run_in_sql(seeded, role, f"select ehg_tasks.{function.name}({nulls})")
        if role in matrix.engine_callers(function.name):
            assert outcome == "ok" or outcome.startswith("TC0"), function.name
        else:
            assert outcome == matrix.NO, function.name


@pytest.mark.parametrize("role", ROLES)
def test_read_task_contract_obeys_row_level_security(seeded: Connection[Any], role: str) -> None:
    seeded.execute(RLS_ALONE)
    rows = {"anon": "0 rows", "authenticated": "1 rows", "service_role": "1 rows"}
    assert run_in_sql(seeded, role, call("public", "read_task_contract"), "result") == rows[role]


def test_every_search_path_is_fixed(connection: Connection[Any]) -> None:
    for function in functions(connection):
        path, *others = function.settings or [""]
        assert path == "search_path=pg_catalog, pg_temp", function.name
        assert set(others) <= PLANS, function.name


def test_only_entry_points_of_the_engine_run_with_their_owners_rights(connection: Connection[Any]) -> None:
    """Entry points are what functions and views in public call, and triggers. Helpers run as their caller."""
    definers = {(function.schema, function.name) for function in functions(connection) if function.definer}
    assert definers == {
        (function.schema, function.name)
        for function in functions(connection)
        if function.schema == "ehg_tasks" and (matrix.engine_callers(function.name) or function.is_trigger)
    }


@pytest.mark.parametrize("name", [name for name in matrix.FUNCTIONS if name != "read_task_contract"])
def test_a_function_in_public_is_one_call_of_the_engine(connection: Connection[Any], name: str) -> None:
    [body] = [each.body for each in functions(connection) if (each.schema, each.name) == ("public", name)]
    assert body.count("ehg_tasks.") == 1
    assert body.lower().count("select") == 1
