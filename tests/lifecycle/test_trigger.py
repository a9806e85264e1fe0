"""The specified trigger sets `updated_at` on every update, and changes nothing else."""

from __future__ import annotations

from datetime import timedelta

import pytest
from psycopg.types.json import Jsonb

from tests.lifecycle.helpers import Database, contract, create
from tests.sql import Caller

CHANGES = {
    "priority": 7,
    "objective": "another",
    "constraints": Jsonb({"a": 1}),
    "status": "completed",
    "completed_at": "2026-01-01 00:00:00+00",
    "parent_agent": "Q",
}


@pytest.mark.parametrize("column", CHANGES)
def test_an_update_changes_only_its_own_column_and_updated_at(
    service: Caller, database: Database, column: str
) -> None:
    contract_id = create(service)
    database.execute("update public.agent_task_contracts set updated_at = now() - interval '1 day'")
    before = contract(database, contract_id)
    service.run(f"update public.agent_task_contracts set {column} = %s", [CHANGES[column]])
    after = contract(database, contract_id)
    assert {name for name in before if before[name] != after[name]} <= {"updated_at", column}
    assert before[column] != after[column]
    assert after["updated_at"] >= before["updated_at"]


def test_an_update_cannot_set_updated_at(service: Caller, database: Database) -> None:
    contract_id = create(service)
    before = contract(database, contract_id)["updated_at"]
    service.run("update public.agent_task_contracts set updated_at = '2001-01-01'")
    after = contract(database, contract_id)["updated_at"]
    assert before < after < before + timedelta(hours=1)
