"""claim_task_contract and renew_task_contract: who gets which contract, and for how long."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.lifecycle.helpers import (
    Database,
    artifact,
    claim,
    claimed,
    contract,
    create,
    end_lease,
    end_wait,
    held,
    leases,
)
from tests.sql import Caller, refused


def nothing_to_claim(caller: Caller, target_agent: str = "T") -> bool:
    return caller("claim_task_contract", target_agent=target_agent) == []


def test_a_claim_returns_the_contract_and_its_lease(anon: Caller, database: Database) -> None:
    input_artifact, agent = artifact(database), uuid4()
    contract_id = create(
        anon, input_summary="in", input_artifacts=[input_artifact], constraints={"a": 1}, max_tokens=9,
        timeout_minutes=7, output_schema={"type": "object"}, priority=3, expected_output_type="report",
    )  # fmt: skip
    row = claim(anon, agent_id=agent)
    [lease] = leases(database)
    after = contract(database, contract_id)
    assert row == {
        "contract_id": contract_id, "objective": "o", "input_summary": "in",
        "input_artifacts": [input_artifact],
        "constraints": {"a": 1}, "max_tokens": 9, "timeout_minutes": 7, "claim_token": lease["claim_token"],
        "attempt": 1, "lease_expires_at": lease["expires_at"], "parent_agent": "P", "target_agent": "T",
        "session_id": None, "sd_id": None, "expected_output_type": "report",
        "output_schema": {"type": "object"}, "priority": 3, "max_retries": 2,
        "created_at": after["created_at"],
    }  # fmt: skip
    assert lease["agent_id"] == agent
    assert (after["status"], after["started_at"]) == ("in_progress", lease["claimed_at"])
    assert lease["expires_at"] - lease["claimed_at"] == timedelta(minutes=7)


class TestOrder:
    def test_highest_priority_first_and_oldest_within_it(self, anon: Caller) -> None:
        for objective, priority in [("low", 1), ("high 1", 9), ("high 2", 9), ("middle", 5), ("high 3", 9)]:
            create(anon, objective=objective, priority=priority)
        order = [claim(anon)["objective"] for _ in range(2)]
        order += [row["objective"] for row in anon("claim_task_contract", target_agent="T", limit=100)]
        assert order == ["high 1", "high 2", "high 3", "middle", "low"]

    def test_contracts_of_the_same_age_are_claimed_by_id(self, anon: Caller, database: Database) -> None:
        ids = sorted(create(anon) for _ in range(5))
        database.execute("update public.agent_task_contracts set created_at = '2026-01-01'")
        assert [claim(anon)["contract_id"] for _ in range(5)] == ids


def test_only_pending_contracts_of_the_named_agent_are_claimed(anon: Caller, database: Database) -> None:
    create(anon, target_agent="OTHER")
    for status in ("in_progress", "completed", "failed", "cancelled"):
        contract_id = create(anon)
        database.execute(
            "update public.agent_task_contracts set status = %s, started_at = now() where id = %s",
            [status, contract_id],
        )
    assert nothing_to_claim(anon)
    assert leases(database) == []


def test_a_claim_takes_no_more_than_its_limit(anon: Caller, database: Database) -> None:
    for _ in range(5):
        create(anon)
    assert len(anon("claim_task_contract", target_agent="T", limit=3)) == 3
    assert len(leases(database)) == 3


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"target_agent": ""}, "TC005"),
        ({"target_agent": None}, "TC005"),
        ({"target_agent": "T", "limit": 0}, "TC005"),
        ({"target_agent": "T", "limit": None}, "TC005"),
        ({"target_agent": "T", "limit": 101}, "TC006"),
    ],
)
def test_invalid_arguments_are_refused(
    anon: Caller, database: Database, fields: dict[str, Any], code: str
) -> None:
    contract_id = create(anon)
    with refused(code):
        anon("claim_task_contract", **fields)
    assert contract(database, contract_id)["status"] == "pending"


def test_a_failed_attempt_waits_before_the_next_claim(anon: Caller, database: Database) -> None:
    row = claimed(anon)
    anon("fail_task_contract", **held(row), error_message="e")
    assert nothing_to_claim(anon)
    end_wait(database, row["contract_id"])
    assert claim(anon)["attempt"] == 2


class TestLease:
    @pytest.mark.parametrize(("timeout", "minutes"), [(None, 30), (0, 1), (-5, 1)])
    def test_it_lasts_at_least_a_minute_and_30_without_a_timeout(
        self, anon: Caller, database: Database, timeout: int | None, minutes: int
    ) -> None:
        """The functions refuse such timeouts, but a direct write can store any."""
        database.execute(
            "insert into public.agent_task_contracts (parent_agent, target_agent, objective, timeout_minutes)"
            " values ('P', 'T', 'o', %s)",
            [timeout],
        )
        claim(anon)
        [lease] = leases(database)
        assert lease["expires_at"] - lease["claimed_at"] == timedelta(minutes=minutes)

    def test_its_times_come_from_the_clock_and_not_from_the_start_of_the_transaction(
        self, anon: Caller, database: Database
    ) -> None:
        create(anon)
        with anon.connection.transaction():
            anon.connection.execute("select pg_sleep(0.2)")
            anon.connection.execute("set local role anon")
            anon.connection.execute("select * from public.claim_task_contract('T', p_lease_seconds => 60)")
            [started] = anon.connection.execute("select now()").fetchone() or []
        [lease] = leases(database)
        assert lease["claimed_at"] - started >= timedelta(seconds=0.2)
        with anon.connection.transaction():
            anon.connection.execute("select pg_sleep(0.2)")
            anon("renew_task_contract", **held(lease))
            [started] = anon.connection.execute("select now()").fetchone() or []
        [renewed] = leases(database)
        assert renewed["expires_at"] - started >= timedelta(seconds=60.2)


class TestRenew:
    def test_the_lease_ends_its_length_from_now(self, anon: Caller, database: Database) -> None:
        create(anon)
        row = claim(anon, lease_seconds=60)
        end_lease(database, row["contract_id"], seconds_ago=-1)
        [now] = database.execute("select clock_timestamp()").fetchone() or []
        [renewed] = anon("renew_task_contract", **held(row))
        [lease] = leases(database)
        assert now + timedelta(seconds=60) <= renewed["lease_expires_at"] < now + timedelta(seconds=90)
        assert renewed == {
            "contract_id": row["contract_id"], "lease_expires_at": lease["expires_at"], "attempt": 1
        }  # fmt: skip

    def test_an_expired_lease_can_be_renewed_until_another_claim_takes_over(
        self, anon: Caller, database: Database
    ) -> None:
        row = claimed(anon)
        end_lease(database, row["contract_id"])
        anon("renew_task_contract", **held(row))
        assert nothing_to_claim(anon)


class TestRequestKey:
    def test_a_repeat_returns_the_same_claim(self, anon: Caller, database: Database) -> None:
        for _ in range(3):
            create(anon)
        key = uuid4()
        first = anon("claim_task_contract", target_agent="T", limit=2, request_key=key)
        repeat = anon("claim_task_contract", target_agent="T", limit=2, request_key=key)
        assert len(first) == 2
        assert repeat == first
        assert len(leases(database)) == 2

    def test_another_key_claims_other_contracts(self, anon: Caller) -> None:
        for _ in range(2):
            create(anon)
        ids = {claim(anon, request_key=uuid4())["contract_id"] for _ in range(2)}
        assert len(ids) == 2

    def test_the_key_of_a_claim_for_another_agent_is_refused(self, anon: Caller, database: Database) -> None:
        create(anon)
        create(anon, target_agent="OTHER")
        key = uuid4()
        claim(anon, request_key=key)
        with refused("TC004"):
            claim(anon, target_agent="OTHER", request_key=key)
        assert len(leases(database)) == 1

    def test_a_request_key_whose_claim_expired_makes_a_new_claim(
        self, anon: Caller, database: Database
    ) -> None:
        contract_id = create(anon)
        key = uuid4()
        first = claim(anon, request_key=key)
        end_lease(database, contract_id)
        second = claim(anon, request_key=key)
        assert (second["contract_id"], second["attempt"]) == (contract_id, 2)
        assert second["claim_token"] != first["claim_token"]


class TestOneContract:
    """p_contract_id: that very contract, or nothing."""

    def test_it_is_claimed_ahead_of_its_turn(self, anon: Caller) -> None:
        create(anon, priority=90)
        contract_id = create(anon, priority=1)
        assert claim(anon, contract_id=contract_id)["contract_id"] == contract_id
        assert anon("claim_task_contract", target_agent="T", limit=100, contract_id=contract_id) == []

    def test_a_contract_of_another_agent_or_an_unknown_one_is_not_claimed(
        self, anon: Caller, database: Database
    ) -> None:
        contract_id = create(anon, "OTHER")
        create(anon)
        for wanted in (contract_id, uuid4()):
            assert anon("claim_task_contract", target_agent="T", contract_id=wanted) == []
        assert leases(database) == []

    def test_a_contract_that_waits_for_its_retry_is_claimed_when_that_is_due(
        self, anon: Caller, database: Database
    ) -> None:
        row = claimed(anon)
        anon("fail_task_contract", **held(row), error_message="e")
        wanted = {"target_agent": "T", "contract_id": row["contract_id"]}
        assert anon("claim_task_contract", **wanted) == []
        end_wait(database, row["contract_id"])
        assert anon("claim_task_contract", **wanted)[0]["attempt"] == 2

    def test_a_repeat_with_the_same_request_key_returns_the_same_claim(self, anon: Caller) -> None:
        contract_id, key = create(anon), uuid4()
        fields: dict[str, Any] = {"contract_id": contract_id, "request_key": key}
        assert claim(anon, **fields) == claim(anon, **fields)


class TestExpiredLease:
    def test_the_next_claim_takes_the_contract_over_at_once(self, anon: Caller, database: Database) -> None:
        first = claimed(anon)
        end_lease(database, first["contract_id"])
        second = claim(anon)
        assert (second["contract_id"], second["attempt"]) == (first["contract_id"], 2)
        assert second["claim_token"] != first["claim_token"]
        assert contract(database, first["contract_id"])["retry_count"] == 1

    def test_without_retries_left_the_contract_fails(self, anon: Caller, database: Database) -> None:
        first = claimed(anon, max_retries=0)
        end_lease(database, first["contract_id"])
        assert nothing_to_claim(anon)
        row = contract(database, first["contract_id"])
        assert (row["status"], row["retry_count"]) == ("failed", 0)
        assert row["error_message"] == "the lease expired before a result was recorded"
        assert row["completed_at"] is not None
        assert leases(database) == []

    def test_a_current_lease_is_left_alone(self, anon: Caller, database: Database) -> None:
        first = claimed(anon)
        assert nothing_to_claim(anon)
        assert [lease["claim_token"] for lease in leases(database)] == [first["claim_token"]]

    def test_leases_of_other_agents_are_left_alone(self, anon: Caller, database: Database) -> None:
        first = claimed(anon)
        end_lease(database, first["contract_id"])
        assert nothing_to_claim(anon, "OTHER")
        assert contract(database, first["contract_id"])["status"] == "in_progress"

    def test_a_lease_left_behind_by_a_direct_write_is_replaced(self, anon: Caller, service: Caller) -> None:
        first = claimed(anon)
        service.run("update public.agent_task_contracts set status = 'pending'")
        second = claim(anon)
        assert second["claim_token"] != first["claim_token"]
        with refused("TC002"):
            anon("renew_task_contract", **held(first))


class TestConcurrency:
    def test_a_claim_skips_contracts_that_another_transaction_has_locked(
        self, call_as: Callable[[str], Caller], database: Database
    ) -> None:
        first, second = call_as("anon"), call_as("anon")
        ids = [create(first), create(first)]
        second.connection.execute("set lock_timeout = '2s'")
        with first.connection.transaction():
            rows = [claim(first), claim(second)]
        assert [row["contract_id"] for row in rows] == ids
        assert nothing_to_claim(second)

    def test_a_repeat_waits_for_the_call_it_repeats(
        self, call_as: Callable[[str], Caller], database: Database
    ) -> None:
        first, second = call_as("anon"), call_as("anon")
        create(first)
        create(first)
        key = UUID(int=3)
        second.connection.execute("set lock_timeout = '100ms'")
        with first.connection.transaction():
            row = claim(first, request_key=key)
            with refused("55P03"):
                second("claim_task_contract", target_agent="T", request_key=key)
        [repeat] = second("claim_task_contract", target_agent="T", request_key=key)
        assert repeat["claim_token"] == row["claim_token"]

    def test_an_expired_lease_that_is_being_renewed_is_not_taken_over(
        self, call_as: Callable[[str], Caller], database: Database
    ) -> None:
        holder, other = call_as("anon"), call_as("anon")
        row = claimed(holder)
        end_lease(database, row["contract_id"])
        other.connection.execute("set lock_timeout = '2s'")
        with holder.connection.transaction():
            holder("renew_task_contract", **held(row))
            assert nothing_to_claim(other)
        assert nothing_to_claim(other)
        assert leases(database)[0]["claim_token"] == row["claim_token"]

    @pytest.mark.parametrize(
        "function", ["complete_task_contract", "renew_task_contract", "release_task_contract"]
    )
    def test_calls_for_the_same_contract_wait_for_each_other(
        self, call_as: Callable[[str], Caller], database: Database, function: str
    ) -> None:
        first, second = call_as("anon"), call_as("anon")
        row = claimed(first)
        second.connection.execute("set lock_timeout = '100ms'")
        with first.connection.transaction():
            first(function, **held(row))
            with refused("55P03"):
                second("cancel_task_contract", contract_id=row["contract_id"])
