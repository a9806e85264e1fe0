"""The matrix is complete: it knows all that the catalog holds, and names nothing that is not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection

from tests.access import matrix
from tests.access.known import known, live
from tests.access.matrix import ROLES


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
