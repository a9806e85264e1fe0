"""The specified trigger moves `updated_at`, and nothing else."""

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
def test_an_update_moves_updated_at_and_its_own_column_only(
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


def test_updated_at_cannot_be_written_by_an_update(service: Caller, database: Database) -> None:
    contract_id = create(service)
    created = contract(database, contract_id)
    service.run("update public.agent_task_contracts set updated_at = '2001-01-01'")
    moved = contract(database, contract_id)["updated_at"]
    assert moved - created["updated_at"] < timedelta(hours=1)
    assert moved > created["updated_at"]


def test_an_insert_keeps_the_times_that_it_brings(service: Caller, database: Database) -> None:
    service.run(
        "insert into public.agent_task_contracts (parent_agent, target_agent, objective, updated_at)"
        " values ('P', 'T', 'o', '2001-01-01')"
    )
    [(year,)] = database.execute("select extract(year from updated_at) from public.agent_task_contracts")
    assert year == 2001
