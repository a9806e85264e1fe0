"""Helpers that bring contracts into a state and read it back."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from psycopg import Connection
from psycopg.rows import dict_row

from tests.sql import Caller, Row

Database = Connection[Any]


def create(caller: Caller, target_agent: str = "T", **fields: Any) -> UUID:
    """Create a contract and return its id."""
    fields = {"parent_agent": "P", "target_agent": target_agent, "objective": "o", **fields}
    [answer] = caller("create_task_contract", **fields)
    assert answer["created"] is True
    contract_id = answer["contract_id"]
    assert isinstance(contract_id, UUID)
    return contract_id


def artifact(database: Database, content: str | None = None, summary: str = "s") -> UUID:
    """Insert an artifact and return its id."""
    row = database.execute(
        "insert into public.agent_artifacts (type, summary, content_text, token_count)"
        " values ('contract_input', %s, %s, 3) returning id",
        [summary, content],
    ).fetchone()
    assert row is not None
    artifact_id = row[0]
    assert isinstance(artifact_id, UUID)
    return artifact_id


def claim(caller: Caller, target_agent: str = "T", **fields: Any) -> Row:
    """Claim one contract for the agent; fail if there is none to claim."""
    [row] = caller("claim_task_contract", target_agent=target_agent, **fields)
    return row


def claimed(caller: Caller, **fields: Any) -> Row:
    """Create a contract, claim it and return the claim."""
    contract_id = create(caller, **fields)
    row = claim(caller)
    assert row["contract_id"] == contract_id
    return row


def held(row: Row) -> dict[str, Any]:
    """The parameters that identify the holder of a claim."""
    return {"contract_id": row["contract_id"], "claim_token": row["claim_token"]}


def contract(database: Database, contract_id: UUID) -> Row:
    """Read a contract from the table."""
    with database.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(
            "select * from public.agent_task_contracts where id = %s", [contract_id]
        ).fetchone()
    assert row is not None
    return row


def leases(database: Database) -> list[Row]:
    """Read the attempts that have not ended: the leases."""
    with database.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            "select * from ehg_tasks.attempts where ended_at is null order by contract_id"
        ).fetchall()


def attempts(database: Database, contract_id: UUID) -> list[Row]:
    """Read all attempts of a contract, oldest first."""
    with database.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            "select * from ehg_tasks.attempts where contract_id = %s order by attempt", [contract_id]
        ).fetchall()


def artifacts(database: Database) -> list[Row]:
    """Read all artifacts."""
    with database.cursor(row_factory=dict_row) as cursor:
        return cursor.execute("select * from public.agent_artifacts order by created_at").fetchall()


def end_lease(database: Database, contract_id: UUID, seconds_ago: float = 1) -> None:
    """Move the end of a lease into the past."""
    database.execute("delete from ehg_tasks.lease_marks")  # a lease never ends before its mark
    database.execute(
        "update ehg_tasks.attempts set expires_at = clock_timestamp() - make_interval(secs => %s)"
        " where contract_id = %s and ended_at is null",
        [seconds_ago, contract_id],
    )


def reach_time_limit(database: Database, contract_id: UUID) -> None:
    """Move the whole attempt into the past, so that its time limit is reached now."""
    database.execute(
        "update ehg_tasks.attempts a"
        " set claimed_at = clock_timestamp() - l.limit, expires_at = least(a.expires_at, clock_timestamp())"
        " from (select id, ehg_tasks.time_limit(timeout_minutes) as limit"
        "       from public.agent_task_contracts) as l"
        " where a.contract_id = %s and a.ended_at is null and l.id = a.contract_id",
        [contract_id],
    )


def end_wait(database: Database, contract_id: UUID) -> None:
    """Let the time come before which a held contract cannot be claimed."""
    database.execute(
        "update ehg_tasks.held set not_before = clock_timestamp() where contract_id = %s", [contract_id]
    )


def waited(database: Database, contract_id: Any, hours: int) -> None:
    """Move the time since when a contract can be claimed into the past."""
    database.execute(
        "update ehg_tasks.ready set claimable_since = clock_timestamp() - make_interval(hours => %s)"
        " where contract_id = %s",
        [hours, contract_id],
    )
