"""The matrix is complete: it knows all that the catalog holds, and names nothing that is not there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection

from ehg_tasks.testing.catalog import items
from tests.access import matrix
from tests.access.matrix import ROLES

# privilege -> the operations that need it; a role that is refused all of them does not hold it
NEEDED_BY = {
    "SELECT": ("select",),
    "INSERT": ("insert",),
    "UPDATE": ("update one", "update all"),
    "DELETE": ("delete all",),
    "TRUNCATE": ("truncate",),
}
VIEW = "public.task_contract_stats"


def known() -> Iterator[str]:
    """What the matrix says that the catalog holds, in the words of `ehg_tasks.testing.catalog`."""
    for schema, roles in matrix.SCHEMAS.items():
        yield from (f"schema {schema} {role} USAGE" for role in roles)
    for relation, operations in matrix.SPECIFIED.items():
        if relation != VIEW:
            yield f"rls {relation}"
        for place, role in enumerate(ROLES):
            for privilege, needing in NEEDED_BY.items():
                outcomes = [operations[name][place] for name in needing if name in operations]
                if any(outcome != matrix.NO for outcome in outcomes):
                    yield f"grant {relation} {role} {privilege}"
    for relation, policies in matrix.POLICIES.items():
        yield from (f'policy {relation} "{name}"' for name in policies)
    yield from (f'trigger public.agent_task_contracts "{name}"' for name in matrix.TRIGGERS)
    for schema, functions in (("public", matrix.FUNCTIONS), ("ehg_tasks", matrix.ENGINE_FUNCTIONS)):
        for name, allowed in functions.items():
            for role, outcome in zip(ROLES, allowed, strict=True):
                if outcome == "ok" or (schema, name, role) in matrix.REFUSED_BEHIND_THE_DOOR:
                    yield f"execute {schema}.{name} {role}"


def live(connection: Connection[Any]) -> set[str]:
    """What the catalog holds; functions without their arguments, of which none has two versions."""
    return {
        re.sub(r"\(.*\)", "", item) if item.startswith("execute ") else item
        for item in items(connection, matrix.SCHEMAS)
    }


def test_nothing_in_the_catalog_is_without_a_row(connection: Connection[Any]) -> None:
    assert sorted(live(connection) - set(known())) == []


def test_no_row_names_what_is_not_there(connection: Connection[Any]) -> None:
    assert sorted(set(known()) - live(connection)) == []


@pytest.mark.parametrize("relation", matrix.POLICIES)
def test_each_policy_has_its_case(relation: str) -> None:
    for operation, role in matrix.POLICIES[relation].values():
        assert operation in matrix.RLS_ALONE[relation]
        assert role in ROLES


def test_each_trigger_has_its_tests() -> None:
    root = Path(__file__).parents[2]
    for file in matrix.TRIGGERS.values():
        assert (root / file).exists()


def test_every_layer_knows_every_relation() -> None:
    assert list(matrix.RLS_ALONE) == list(matrix.SPECIFIED)
    for differing, base in (
        (matrix.HARDENED, matrix.SPECIFIED),
        (matrix.HARDENED_RLS_ALONE, matrix.RLS_ALONE),
    ):
        for relation, operations in differing.items():
            assert operations.keys() <= base[relation].keys()
