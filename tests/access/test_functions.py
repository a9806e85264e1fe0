"""How the functions are made: whose rights they run with, and that nobody can bend their search path."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg import Connection

from tests.access import matrix

# Of the engine, what runs with its owner's rights: what the API calls, and the two guards. The helpers
# are called from there and need no rights of their own.
DEFINERS = {name for name, roles in matrix.ENGINE_FUNCTIONS.items() if "ok" in roles} | {
    "guard_anon_rows",
    "guard_anon_sizes",
}


def functions(connection: Connection[Any]) -> dict[tuple[str, str], tuple[bool, list[str] | None, str]]:
    return {
        (schema, name): (definer, settings, body)
        for schema, name, definer, settings, body in connection.execute(
            "select n.nspname, p.proname, p.prosecdef, p.proconfig, p.prosrc"
            " from pg_proc p join pg_namespace n on n.oid = p.pronamespace"
            " where n.nspname in ('public', 'ehg_tasks')"
        )
    }


def test_the_matrix_knows_every_function(connection: Connection[Any]) -> None:
    known = {("public", name) for name in (*matrix.FUNCTIONS, *matrix.TRIGGER_FUNCTIONS)}
    assert set(functions(connection)) == known | {("ehg_tasks", name) for name in matrix.ENGINE_FUNCTIONS}


def test_every_search_path_is_fixed(connection: Connection[Any]) -> None:
    assert {settings[0] if settings else None for _, settings, _ in functions(connection).values()} == {
        "search_path=pg_catalog, pg_temp"
    }


def test_definers_stand_in_the_engine_alone(connection: Connection[Any]) -> None:
    found = {key for key, (definer, _, _) in functions(connection).items() if definer}
    assert found == {("ehg_tasks", name) for name in DEFINERS}


@pytest.mark.parametrize("name", [name for name in matrix.FUNCTIONS if name != "read_task_contract"])
def test_a_function_of_the_api_is_one_call_of_the_engine(connection: Connection[Any], name: str) -> None:
    _, _, body = functions(connection)["public", name]
    assert body.count("ehg_tasks.") == 1
    assert body.lower().count("select") == 1


def test_the_figures_are_counted_with_the_readers_rights(connection: Connection[Any]) -> None:
    [(options,)] = connection.execute(
        "select reloptions from pg_class where oid = 'public.task_contract_stats'::regclass"
    ).fetchall()
    assert options == ["security_invoker=true"]
