"""Short ways to bring contracts into a state."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from psycopg import Connection
from psycopg.rows import dict_row

from tests.sql import Caller, Row

Database = Connection[Any]


def create(caller: Caller, target_agent: str = "T", **fields: Any) -> UUID:
    """A new contract; returns its id."""
    fields = {"parent_agent": "P", "target_agent": target_agent, "objective": "o", **fields}
    [made] = caller("create_task_contract", **fields)
    assert made["created"] is True
    contract_id = made["contract_id"]
    assert isinstance(contract_id, UUID)
    return contract_id


def claim(caller: Caller, target_agent: str = "T", **fields: Any) -> Row:
    """The one contract that this agent claims."""
    [claimed] = caller("claim_task_contract", target_agent=target_agent, **fields)
    return claimed


def claimed(caller: Caller, **fields: Any) -> Row:
    """A new contract, claimed."""
    contract_id = create(caller, **fields)
    row = claim(caller)
    assert row["contract_id"] == contract_id
    return row


def contract(database: Database, contract_id: UUID) -> Row:
    """The row as it stands."""
    with database.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(
            "select * from public.agent_task_contracts where id = %s", [contract_id]
        ).fetchone()
    assert row is not None
    return row


def leases(database: Database) -> list[Row]:
    """Every lease."""
    with database.cursor(row_factory=dict_row) as cursor:
        return cursor.execute("select * from ehg_tasks.leases order by contract_id").fetchall()


def end_lease(database: Database, contract_id: UUID, seconds_ago: float = 1) -> None:
    """Let a claim have run out."""
    database.execute(
        "update ehg_tasks.leases set expires_at = clock_timestamp() - make_interval(secs => %s)"
        " where contract_id = %s",
        [seconds_ago, contract_id],
    )


def end_wait(database: Database, contract_id: UUID) -> None:
    """Let the wait after a failed attempt be over."""
    database.execute(
        "update ehg_tasks.handbacks set not_before = clock_timestamp() where contract_id = %s", [contract_id]
    )
