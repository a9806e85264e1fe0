"""task_contract_history: the attempts of a contract, without their tokens."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from tests.lifecycle.helpers import (
    Database,
    attempts,
    claim,
    claimed,
    create,
    end_lease,
    end_wait,
    held,
    leases,
    reach_time_limit,
)
from tests.sql import Caller, refused


def test_an_attempt_in_progress_has_no_end(anon: Caller, database: Database) -> None:
    create(anon)
    row = claim(anon, agent_id=(agent := uuid4()))
    [lease] = leases(database)
    assert anon("task_contract_history", contract_id=row["contract_id"]) == [
        {
            "contract_id": row["contract_id"],
            "attempt": 1,
            "agent_id": agent,
            "claimed_at": lease["claimed_at"],
            "lease_expires_at": lease["expires_at"],
            "ended_at": None,
            "outcome": None,
            "error_message": None,
            "execution_tokens": None,
            "next_attempt_at": None,
            "progress": None,
        }
    ]


def test_it_tells_how_each_attempt_ended(anon: Caller, service: Caller, database: Database) -> None:
    contract_id = create(anon, max_retries=9)

    def start() -> dict[str, object]:
        end_wait(database, contract_id)
        return held(claim(anon))

    failed = anon("fail_task_contract", **start(), error_message="no paper")[0]
    anon("release_task_contract", **start())
    start()
    end_lease(database, contract_id)
    start()
    reach_time_limit(database, contract_id)
    start()
    service.run("update public.agent_task_contracts set status = 'pending'")
    start()
    anon("cancel_task_contract", contract_id=contract_id, reason="not needed")
    service("requeue_task_contract", contract_id=contract_id)
    anon("complete_task_contract", **start(), success=False, error_message="cannot", execution_tokens=5)
    service("requeue_task_contract", contract_id=contract_id)
    anon("complete_task_contract", **start(), execution_tokens=7)

    history = anon("task_contract_history", contract_id=contract_id)
    told = [
        (row["attempt"], row["outcome"], row["error_message"], row["execution_tokens"]) for row in history
    ]
    limit = "the attempt reached its time limit of 30 min"
    assert told == [
        (1, "failed", "no paper", None),
        (2, "released", None, None),
        (3, "expired", "the lease expired before a result was recorded", None),
        (4, "timed_out", limit, None),
        (5, "interrupted", None, None),
        (6, "cancelled", "not needed", None),
        (7, "failed", "cannot", 5),
        (8, "completed", None, 7),
    ]
    assert [row["next_attempt_at"] for row in history] == [failed["next_attempt_at"], *[None] * 7]
    assert all(row["ended_at"] >= row["claimed_at"] for row in history)


def test_it_holds_the_last_hundred_attempts(anon: Caller, database: Database) -> None:
    row = claimed(anon)
    database.execute(
        "insert into ehg_tasks.attempts"
        " (contract_id, attempt, target_agent, claim_token, claimed_at, expires_at, ended_at, outcome)"
        " select %s, n, 'T', gen_random_uuid(), now(), now(), now(), 'released'"
        " from generate_series(2, 150) as n",
        [row["contract_id"]],
    )
    history = anon("task_contract_history", contract_id=row["contract_id"])
    assert [attempt["attempt"] for attempt in history] == list(range(51, 151))


def test_a_contract_that_nobody_has_claimed_has_no_attempts(anon: Caller) -> None:
    assert anon("task_contract_history", contract_id=create(anon)) == []


@pytest.mark.parametrize("contract_id", [UUID(int=1), None])
def test_an_unknown_contract_is_refused(anon: Caller, contract_id: UUID | None) -> None:
    with refused("TC001", "there is no task contract"):
        anon("task_contract_history", contract_id=contract_id)


def test_no_column_holds_a_token(anon: Caller, authenticated: Caller, service: Caller) -> None:
    create(anon)
    row = claim(anon, request_key=(key := uuid4()))
    for caller in (anon, authenticated, service):
        [attempt] = caller("task_contract_history", contract_id=row["contract_id"])
        assert not {row["claim_token"], key} & set(attempt.values())


def test_it_is_deleted_with_its_contract(anon: Caller, service: Caller, database: Database) -> None:
    row = claimed(anon)
    anon("complete_task_contract", **held(row))
    service("prune_task_contracts", older_than_days=0)
    assert attempts(database, row["contract_id"]) == []
