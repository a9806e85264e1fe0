"""requeue_task_contract: a final contract goes back to the queue."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from tests.lifecycle.helpers import Database, attempts, claim, claimed, contract, create, held
from tests.lifecycle.invariants import check_invariants
from tests.sql import Caller, Row, refused


def finish(anon: Caller, row: Row, status: str) -> None:
    if status == "completed":
        anon("complete_task_contract", **held(row), output={"a": 1}, result_summary="s", execution_tokens=3)
    elif status == "failed":
        anon("fail_task_contract", **held(row), error_message="e", retry=False)
    else:
        anon("cancel_task_contract", contract_id=row["contract_id"], reason="r")


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_it_is_pending_again_with_a_clean_row(
    anon: Caller, service: Caller, database: Database, status: str
) -> None:
    contract_id = create(anon)
    before = contract(database, contract_id)
    finish(anon, claim(anon), status)
    [answer] = service("requeue_task_contract", contract_id=contract_id)
    assert answer == {
        "contract_id": contract_id,
        "status": "pending",
        "message": "task contract requeued",
        "was_duplicate": False,
    }
    after = contract(database, contract_id)
    assert {name for name in before if before[name] != after[name]} == {"updated_at"}
    check_invariants(database)
    assert claim(anon)["attempt"] == 2


def test_all_retries_are_left_again(anon: Caller, service: Caller, database: Database) -> None:
    row = claimed(anon, max_retries=1)
    service.run("update public.agent_task_contracts set retry_count = 1")
    anon("fail_task_contract", **held(row), error_message="e")
    service("requeue_task_contract", contract_id=row["contract_id"])
    [failed] = anon("fail_task_contract", **held(claim(anon)), error_message="e")
    assert (failed["status"], failed["retry_count"]) == ("pending", 1)


@pytest.mark.parametrize(("given", "expected"), [(None, 2), (0, 0), (100, 100)])
def test_the_number_of_retries_may_be_changed(
    anon: Caller, service: Caller, database: Database, given: int | None, expected: int
) -> None:
    contract_id = create(anon)
    anon("cancel_task_contract", contract_id=contract_id)
    service("requeue_task_contract", contract_id=contract_id, max_retries=given)
    assert contract(database, contract_id)["max_retries"] == expected


def test_the_history_stays(anon: Caller, service: Caller, database: Database) -> None:
    row = claimed(anon)
    finish(anon, row, "completed")
    before = attempts(database, row["contract_id"])
    service("requeue_task_contract", contract_id=row["contract_id"])
    assert attempts(database, row["contract_id"]) == before


def test_the_result_of_the_new_attempt_replaces_the_old_one(anon: Caller, service: Caller) -> None:
    row = claimed(anon)
    finish(anon, row, "completed")
    service("requeue_task_contract", contract_id=row["contract_id"])
    second = claim(anon)
    anon("complete_task_contract", **held(second), output={"a": 2}, idempotency_key=row["claim_token"])
    [outcome] = anon("task_contract_outcomes", contract_ids=[row["contract_id"]])
    assert (outcome["output"], outcome["attempt"]) == ({"a": 2}, 2)


def test_a_repeat_changes_nothing(anon: Caller, service: Caller, database: Database) -> None:
    contract_id = create(anon)
    anon("cancel_task_contract", contract_id=contract_id)
    service("requeue_task_contract", contract_id=contract_id)
    before = contract(database, contract_id)
    [repeat] = service("requeue_task_contract", contract_id=contract_id, max_retries=9)
    assert repeat["was_duplicate"] is True
    assert contract(database, contract_id) == before


def test_a_contract_in_progress_is_refused(anon: Caller, service: Caller, database: Database) -> None:
    row = claimed(anon)
    before = contract(database, row["contract_id"])
    with refused("TC003", "is in_progress"):
        service("requeue_task_contract", contract_id=row["contract_id"])
    assert contract(database, row["contract_id"]) == before


@pytest.mark.parametrize(
    ("contract_id", "fields", "code"),
    [
        (UUID(int=1), {}, "TC001"),
        (None, {}, "TC005"),
        ("a cancelled one", {"max_retries": -1}, "TC005"),
        ("a cancelled one", {"max_retries": 101}, "TC005"),
    ],
)
def test_invalid_arguments_are_refused(
    anon: Caller, service: Caller, database: Database, contract_id: Any, fields: dict[str, Any], code: str
) -> None:
    cancelled = create(anon)
    anon("cancel_task_contract", contract_id=cancelled)
    with refused(code):
        service(
            "requeue_task_contract",
            contract_id=cancelled if contract_id == "a cancelled one" else contract_id,
            **fields,
        )
    assert contract(database, cancelled)["status"] == "cancelled"


class TestDependencies:
    def test_what_was_cancelled_with_it_stays_cancelled(
        self, anon: Caller, service: Caller, database: Database
    ) -> None:
        first = create(anon)
        second = create(anon, depends_on=[first])
        anon("cancel_task_contract", contract_id=first)
        service("requeue_task_contract", contract_id=first)
        assert contract(database, second)["status"] == "cancelled"
        check_invariants(database)

    def test_it_still_waits_for_what_is_not_final(
        self, anon: Caller, service: Caller, database: Database
    ) -> None:
        first = create(anon, "OTHER")
        second = create(anon, depends_on=[first])
        anon("cancel_task_contract", contract_id=second)
        service("requeue_task_contract", contract_id=second)
        check_invariants(database)
        assert anon("claim_task_contract", target_agent="T") == []
        anon("complete_task_contract", **held(claim(anon, "OTHER")))
        assert claim(anon)["contract_id"] == second

    def test_a_pipeline_that_is_requeued_runs_in_its_order(
        self, anon: Caller, service: Caller, database: Database
    ) -> None:
        """A contract waits again for a dependency that was requeued before it."""
        first = create(anon)
        second = create(anon, depends_on=[first])
        third = create(anon, depends_on=[second])
        anon("cancel_task_contract", contract_id=first)
        for contract_id in (first, second, third):
            service("requeue_task_contract", contract_id=contract_id)
            check_invariants(database)
        for contract_id in (first, second, third):
            row = claim(anon)
            assert row["contract_id"] == contract_id
            assert anon("claim_task_contract", target_agent="T") == []
            anon("complete_task_contract", **held(row))

    def test_a_contract_whose_dependency_failed_for_good_runs_when_it_is_requeued(
        self, anon: Caller, service: Caller, database: Database
    ) -> None:
        first = create(anon, "OTHER")
        second = create(anon, depends_on=[first])
        anon("cancel_task_contract", contract_id=first)
        service("requeue_task_contract", contract_id=second)
        check_invariants(database)
        assert claim(anon)["contract_id"] == second
