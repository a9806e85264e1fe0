"""p_not_before: a contract that cannot be claimed before a time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.lifecycle.helpers import Database, claim, claimed, contract, create, end_wait, held
from tests.lifecycle.invariants import check_invariants
from tests.sql import Caller, jsonb, refused

Contracts = Callable[[], list[dict[str, Any]]]
FIELDS = {"parent_agent": "P", "target_agent": "T", "objective": "o"}
TOMORROW = datetime.now(UTC) + timedelta(days=1)


def ready(caller: Caller) -> list[Any]:
    return [row["contract_id"] for row in caller("claim_task_contract", target_agent="T", limit=100)]


def test_a_contract_is_not_claimed_before_its_time(anon: Caller, database: Database) -> None:
    contract_id = create(anon, not_before=TOMORROW)
    assert ready(anon) == []
    assert anon("claim_task_contract", target_agent="T", contract_id=contract_id) == []
    [outcome] = anon("task_contract_outcomes", contract_ids=[contract_id])
    assert (outcome["waiting"], outcome["next_attempt_at"]) == ("delayed", TOMORROW)
    check_invariants(database)


def test_it_is_claimed_when_its_time_has_come(anon: Caller, database: Database) -> None:
    contract_id = create(anon, not_before=TOMORROW)
    end_wait(database, contract_id)
    assert ready(anon) == [contract_id]
    check_invariants(database)


def test_it_takes_its_place_by_priority_and_creation(anon: Caller, database: Database) -> None:
    """The time of the wait does not count."""
    delayed = create(anon, not_before=TOMORROW)
    create(anon)
    urgent = create(anon, priority=90)
    end_wait(database, delayed)
    assert [claim(anon)["contract_id"] for _ in range(2)] == [urgent, delayed]


def test_a_time_in_the_past_does_not_delay(anon: Caller) -> None:
    contract_id = create(anon, not_before=datetime.now(UTC) - timedelta(days=1))
    assert ready(anon) == [contract_id]


def test_both_the_time_and_the_dependencies_are_waited_for(anon: Caller, database: Database) -> None:
    for time_first in (True, False):
        first = create(anon, "OTHER")
        second = create(anon, depends_on=[first], not_before=TOMORROW)
        for time in (time_first, not time_first):
            assert ready(anon) == []
            if time:
                end_wait(database, second)
            else:
                anon("complete_task_contract", **held(claim(anon, "OTHER")))
            check_invariants(database)
        assert ready(anon) == [second]


def test_a_delayed_contract_can_be_cancelled(anon: Caller, database: Database) -> None:
    contract_id = create(anon, not_before=TOMORROW)
    anon("cancel_task_contract", contract_id=contract_id)
    assert contract(database, contract_id)["status"] == "cancelled"
    check_invariants(database)


def test_a_retry_does_not_wait_for_it_again(anon: Caller, database: Database) -> None:
    contract_id = create(anon, not_before=TOMORROW)
    end_wait(database, contract_id)
    row = claim(anon)
    anon("release_task_contract", **held(row))
    assert ready(anon) == [contract_id]


def test_requeued_contracts_do_not_wait_for_it_again(anon: Caller, service: Caller) -> None:
    contract_id = create(anon, not_before=TOMORROW)
    anon("cancel_task_contract", contract_id=contract_id)
    service("requeue_task_contract", contract_id=contract_id)
    assert ready(anon) == [contract_id]


@pytest.mark.parametrize(
    "not_before",
    ["infinity", "-infinity", datetime.now(UTC) + timedelta(days=400)],
    ids=["infinity", "-infinity", "in 400 days"],
)
def test_a_time_that_is_not_within_the_next_year_is_refused(
    anon: Caller, contracts: Contracts, not_before: Any
) -> None:
    with refused("TC005", "not_before must be a time within the next year"):
        anon("create_task_contract", **FIELDS, not_before=not_before)
    assert contracts() == []


def test_what_is_not_a_time_is_refused(anon: Caller, contracts: Contracts) -> None:
    items = [FIELDS, FIELDS | {"not_before": "soon"}]
    with refused("22007", "contract 2 of 2"):
        anon("create_task_contracts", contracts=jsonb(items))
    assert contracts() == []


class TestRepeat:
    @pytest.mark.parametrize(
        ("first", "second"),
        [(TOMORROW, TOMORROW + timedelta(days=1)), (TOMORROW, None), (None, TOMORROW)],
        ids=["another time", "no time", "a time"],
    )
    def test_another_time_is_another_request(
        self, anon: Caller, contracts: Contracts, first: datetime | None, second: datetime | None
    ) -> None:
        contract_id = create(anon, not_before=first)
        before = contracts()
        with refused("TC004"):
            anon("create_task_contract", **FIELDS, contract_id=contract_id, not_before=second)
        assert contracts() == before

    def test_the_same_time_is_the_same_request_before_and_after_it_has_come(
        self, anon: Caller, database: Database
    ) -> None:
        contract_id = create(anon, not_before=TOMORROW)
        fields: dict[str, Any] = FIELDS | {"contract_id": contract_id}
        [answer] = anon("create_task_contract", **fields, not_before=TOMORROW)
        assert answer["created"] is False
        end_wait(database, contract_id)
        for past in (None, datetime.now(UTC) - timedelta(hours=1)):
            [answer] = anon("create_task_contract", **fields, not_before=past)
            assert answer["created"] is False

    def test_the_wait_of_a_retry_is_not_compared(self, anon: Caller) -> None:
        row = claimed(anon)
        anon("fail_task_contract", **held(row), error_message="e")
        [answer] = anon("create_task_contract", **FIELDS, contract_id=row["contract_id"])
        assert answer["created"] is False

    def test_a_contract_that_is_final_or_in_progress_is_not_compared(self, anon: Caller) -> None:
        contract_id = create(anon, not_before=TOMORROW)
        anon("cancel_task_contract", contract_id=contract_id)
        [answer] = anon("create_task_contract", **FIELDS, contract_id=contract_id, not_before=TOMORROW)
        assert answer["created"] is False

    def test_in_bulk_a_time_that_is_not_given_is_not_compared(self, anon: Caller) -> None:
        contract_id = create(anon, not_before=TOMORROW)
        item = FIELDS | {"contract_id": str(contract_id)}
        [answer] = anon("create_task_contracts", contracts=jsonb([item]))
        assert answer["created"] is False
        with refused("TC004"):
            anon("create_task_contracts", contracts=jsonb([item | {"not_before": None}]))
