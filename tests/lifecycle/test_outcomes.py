"""task_contract_outcomes on contracts that wait: why, until when, and for how many others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from tests.lifecycle.helpers import Database, claim, claimed, create, end_lease, end_wait, held
from tests.sql import Caller

TOMORROW = datetime.now(UTC) + timedelta(days=1)


def waiting(caller: Caller, contract_id: UUID) -> tuple[Any, Any, int]:
    [outcome] = caller("task_contract_outcomes", contract_ids=[contract_id])
    return outcome["waiting"], outcome["next_attempt_at"], outcome["waits_for"] or 0


def test_a_contract_that_can_be_claimed_is_ready(anon: Caller) -> None:
    assert waiting(anon, create(anon)) == ("ready", None, 0)


def test_a_failed_attempt_is_a_retry_until_it_is_due(anon: Caller, database: Database) -> None:
    row = claimed(anon)
    [failed] = anon("fail_task_contract", **held(row), error_message="e")
    assert waiting(anon, row["contract_id"]) == ("retry", failed["next_attempt_at"], 0)
    end_wait(database, row["contract_id"])
    assert waiting(anon, row["contract_id"]) == ("ready", None, 0)


def test_a_contract_that_may_not_start_yet_is_delayed(anon: Caller, database: Database) -> None:
    contract_id = create(anon, not_before=TOMORROW)
    assert waiting(anon, contract_id) == ("delayed", TOMORROW, 0)
    end_wait(database, contract_id)
    assert waiting(anon, contract_id) == ("ready", None, 0)


def test_a_contract_waits_for_dependencies_before_anything_else(anon: Caller) -> None:
    first, second = create(anon), create(anon)
    last = create(anon, "OTHER", depends_on=[first, second], not_before=TOMORROW)
    assert waiting(anon, last) == ("dependencies", TOMORROW, 2)
    for left in (1, 0):
        anon("complete_task_contract", **held(claim(anon)))
        assert waiting(anon, last) == ("dependencies" if left else "delayed", TOMORROW, left)


def test_the_work_of_a_paused_agent_is_paused(anon: Caller, service: Caller) -> None:
    ready, delayed = create(anon), create(anon, not_before=TOMORROW)
    row = claimed(anon, priority=90)
    other = create(anon, "OTHER")
    service("pause_task_agent", name="T")
    assert waiting(anon, ready) == ("paused", None, 0)
    assert waiting(anon, delayed) == ("paused", TOMORROW, 0)
    assert waiting(anon, row["contract_id"])[0] is None
    assert waiting(anon, other)[0] == "ready"
    service("resume_task_agent", name="T")
    assert waiting(anon, ready) == ("ready", None, 0)


def test_a_contract_that_is_not_pending_does_not_wait(anon: Caller, database: Database) -> None:
    row = claimed(anon)
    assert waiting(anon, row["contract_id"]) == (None, None, 0)
    anon("complete_task_contract", **held(row))
    assert waiting(anon, row["contract_id"]) == (None, None, 0)


def test_the_last_attempt_is_told(anon: Caller, database: Database) -> None:
    def attempt() -> Any:
        return anon("task_contract_outcomes", contract_ids=[contract_id])[0]["attempt"]

    contract_id = create(anon)
    assert attempt() is None
    claim(anon)
    assert attempt() == 1
    end_lease(database, contract_id)
    second = claim(anon)
    assert attempt() == 2
    anon("release_task_contract", **held(second))
    assert attempt() == 2
