"""The table in the catalog is as specified: columns, constraints, indexes, policies and triggers."""

from __future__ import annotations

from typing import Any

from psycopg import Connection

from tests.access import specification as spec

TABLE = "'public.agent_task_contracts'::regclass"


def rows(database: Connection[Any], query: str) -> list[tuple[Any, ...]]:
    # PostgreSQL prints the schemas of names only if they are not on the search path.
    database.execute("set search_path = ''")
    try:
        return database.execute(query).fetchall()
    finally:
        database.execute("reset search_path")


def test_the_columns_are_as_specified(database: Connection[Any]) -> None:
    live = rows(
        database,
        """
        select column_name, data_type, coalesce(character_maximum_length, numeric_precision),
               is_nullable = 'YES', column_default
        from information_schema.columns
        where table_schema = 'public' and table_name = 'agent_task_contracts'
        order by ordinal_position
        """,
    )
    assert live == spec.COLUMNS
    [(element,)] = rows(
        database,
        f"select format_type(atttypid, atttypmod) from pg_attribute where attrelid = {TABLE}"
        " and attname = 'input_artifacts'",
    )
    assert element == "uuid[]"


def test_the_constraints_are_as_specified(database: Connection[Any]) -> None:
    live = rows(
        database,
        "select conname, pg_get_constraintdef(oid) from pg_constraint"
        f" where conrelid = {TABLE} and contype <> 'n'",  # PostgreSQL 18 lists NOT NULL too
    )
    assert dict(live) == spec.CONSTRAINTS


def test_the_indexes_are_as_specified(database: Connection[Any]) -> None:
    live = rows(
        database,
        "select indexname, indexdef from pg_indexes"
        " where schemaname = 'public' and tablename = 'agent_task_contracts'",
    )
    assert dict(live) == spec.INDEXES


def test_the_policies_are_as_specified(database: Connection[Any]) -> None:
    live = rows(
        database,
        "select policyname, cmd, roles::text[], qual, with_check, permissive from pg_policies"
        " where schemaname = 'public' and tablename = 'agent_task_contracts'",
    )
    assert {
        (name, cmd, tuple(roles), using, check) for name, cmd, roles, using, check, _ in live
    } == spec.POLICIES
    assert {permissive for *_, permissive in live} == {"PERMISSIVE"}
    [(enabled, forced)] = rows(
        database, f"select relrowsecurity, relforcerowsecurity from pg_class where oid = {TABLE}"
    )
    assert (enabled, forced) == (True, False)


def test_the_triggers_are_as_specified(database: Connection[Any]) -> None:
    live = rows(
        database,
        "select tgname, pg_get_triggerdef(oid) from pg_trigger"
        f" where tgrelid = {TABLE} and not tgisinternal and tgenabled = 'O'",
    )
    assert dict(live) == spec.TRIGGERS | spec.ADDED_TRIGGERS


def test_the_functions_create_contracts_with_the_defaults_of_the_table(database: Connection[Any]) -> None:
    """One function of the engine repeats the defaults of the columns; the two must agree."""
    database.execute(
        "insert into public.agent_task_contracts (parent_agent, target_agent, objective)"
        " values ('P', 'by table', 'o')"
    )
    database.execute("select public.create_task_contract('P', 'by function', 'o')")
    database.execute(
        "select public.create_task_contracts("
        """'[{"parent_agent": "P", "target_agent": "in bulk", "objective": "o"}]')"""
    )
    compared = [
        name for name, *_ in spec.COLUMNS if name not in {"id", "target_agent", "created_at", "updated_at"}
    ]
    created = rows(
        database,
        f"select {', '.join(compared)} from public.agent_task_contracts order by target_agent",
    )
    assert len(created) == 3
    assert created[0] == created[1] == created[2]
