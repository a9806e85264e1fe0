"""The grants that the access matrix expects, and those in the catalog, in the same notation.

Policies and triggers are not compared here: the specification lists them by name, and the matrix by what
they allow.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from psycopg import Connection

from ehg_tasks.testing.catalog import items
from tests.access import matrix
from tests.access.matrix import ROLES
from tests.access.operations import engine_tables

# Privilege -> the operations that need it. A role that is refused all of them does not hold it.
NEEDED_BY = {
    "SELECT": ("select",),
    "INSERT": ("insert",),
    "UPDATE": ("update one", "update all"),
    "DELETE": ("delete all",),
    "TRUNCATE": ("truncate",),
}


class FunctionFacts(NamedTuple):
    """A function in schema public or ehg_tasks, as the catalog describes it."""

    schema: str
    name: str
    definer: bool
    settings: list[str] | None
    body: str
    is_trigger: bool
    argument_types: list[str]


def functions(connection: Connection[Any]) -> list[FunctionFacts]:
    """Every function in schema public or ehg_tasks."""
    rows = connection.execute(
        "select n.nspname, p.proname, p.prosecdef, p.proconfig, p.prosrc, p.prorettype = 'trigger'::regtype,"
        " array(select format_type(t, null) from unnest(p.proargtypes) as t)"
        " from pg_proc p join pg_namespace n on n.oid = p.pronamespace"
        " where n.nspname in ('public', 'ehg_tasks')"
    )
    return [FunctionFacts(*row) for row in rows]


def expected_grants(connection: Connection[Any]) -> set[str]:
    """Row level security and grants according to the matrix, as `ehg_tasks.testing.catalog` writes them."""
    return set(_expected(connection))


def _expected(connection: Connection[Any]) -> Iterator[str]:
    for schema, roles in matrix.SCHEMAS.items():
        yield from (f"schema {schema} {role} USAGE" for role in roles)
    for relation, operations in matrix.SPECIFIED.items():
        if "insert" in operations:
            yield f"rls {relation}"
        for place, role in enumerate(ROLES):
            for privilege, needing in NEEDED_BY.items():
                outcomes = [operations[name][place] for name in needing if name in operations]
                if any(outcome != matrix.NO for outcome in outcomes):
                    yield f"grant {relation} {role} {privilege}"
    yield from (f"rls {table}" for table in engine_tables(connection))
    for name, function in matrix.FUNCTIONS.items():
        yield from (f"execute public.{name} {role}" for role in function.callers)
    for each in functions(connection):
        if each.schema == "ehg_tasks":
            yield from (f"execute ehg_tasks.{each.name} {role}" for role in matrix.engine_callers(each.name))


def live_grants(connection: Connection[Any]) -> set[str]:
    """Row level security and grants in the catalog; functions without their arguments."""
    return {
        re.sub(r"\(.*\)", "", item) if item.startswith("execute ") else item
        for item in items(connection, matrix.SCHEMAS)
        if not item.startswith(("policy ", "trigger "))
    }
