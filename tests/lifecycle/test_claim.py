"""claim_task_contract and renew_task_contract."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.lifecycle.helpers import (
    Database,
    claim,
    claimed,
    contract,
    create,
    end_lease,
    end_wait,
    leases,
)
from tests.sql import Caller, refused


def test_a_claim_returns_the_contract_and_its_lease(anon: Caller, database: Database) -> None:
    artifact, agent = uuid4(), uuid4()
    contract_id = create(
        anon, input_summary="in", input_artifacts=[artifact], constraints={"a": 1}, max_tokens=9,
        timeout_minutes=7, output_schema={"type": "object"}, priority=3, expected_output_type="report",
    )  # fmt: skip
    row = claim(anon, agent_id=agent)
    [lease] = leases(database)
    assert {name: row[name] for name in ("contract_id", "objective", "input_summary", "input_artifacts")} == {
        "contract_id": contract_id, "objective": "o", "input_summary": "in", "input_artifacts": [artifact],
    }  # fmt: skip
    assert (row["constraints"], row["max_tokens"], row["timeout_minutes"]) == ({"a": 1}, 9, 7)
    assert (row["parent_agent"], row["target_agent"], row["attempt"]) == ("P", "T", 1)
    assert (row["output_schema"], row["expected_output_type"]) == ({"type": "object"}, "report")
    assert (row["priority"], row["max_retries"]) == (3, 2)
    assert row["claim_token"] == lease["claim_token"]
    assert row["lease_expires_at"] == lease["expires_at"]
    assert lease["agent_id"] == agent
    after = contract(database, contract_id)
    assert (after["status"], after["started_at"]) == ("in_progress", lease["claimed_at"])
    assert lease["expires_at"] - lease["claimed_at"] == timedelta(minutes=7)


def test_the_first_columns_are_those_that_earlier_clients_read(anon: Caller) -> None:
    create(anon)
    assert list(claim(anon))[:7] == [
        "contract_id", "objective", "input_summary", "input_artifacts", "constraints", "max_tokens",
        "timeout_minutes",
    ]  # fmt: skip


def test_highest_priority_first_and_oldest_within_it(anon: Caller) -> None:
    for objective, priority in [("low", 1), ("high 1", 9), ("high 2", 9), ("middle", 5), ("high 3", 9)]:
        create(anon, objective=objective, priority=priority)
    order = [claim(anon)["objective"] for _ in range(2)]
    order += [row["objective"] for row in anon("claim_task_contract", target_agent="T", limit=100)]
    assert order == ["high 1", "high 2", "high 3", "middle", "low"]


def test_equal_times_are_taken_in_order_of_id(anon: Caller, database: Database) -> None:
    ids = sorted(create(anon) for _ in range(5))
    database.execute("update public.agent_task_contracts set created_at = '2026-01-01'")
    assert [claim(anon)["contract_id"] for _ in range(5)] == ids


def test_only_pending_contracts_of_the_named_agent(anon: Caller, database: Database) -> None:
    create(anon, target_agent="OTHER")
    for status in ("in_progress", "completed", "failed", "cancelled"):
        contract_id = create(anon)
        database.execute(
            "update public.agent_task_contracts set status = %s, started_at = now() where id = %s",
            [status, contract_id],
        )
    assert anon("claim_task_contract", target_agent="T") == []
    assert leases(database) == []


def test_no_more_than_the_limit(anon: Caller, database: Database) -> None:
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
def test_bad_arguments(anon: Caller, database: Database, fields: dict[str, Any], code: str) -> None:
    contract_id = create(anon)
    with refused(code):
        anon("claim_task_contract", **fields)
    assert contract(database, contract_id)["status"] == "pending"


@pytest.mark.parametrize("minutes", [None, 0, -5])
def test_a_lease_lasts_at_least_a_minute(anon: Caller, database: Database, minutes: int | None) -> None:
    """The table itself takes any timeout; null counts as the column's default."""
    database.execute(
        "insert into public.agent_task_contracts (parent_agent, target_agent, objective, timeout_minutes)"
        " values ('P', 'T', 'o', %s)",
        [minutes],
    )
    claim(anon)
    [lease] = leases(database)
    expected = timedelta(minutes=30 if minutes is None else 1)
    assert lease["expires_at"] - lease["claimed_at"] == expected


def test_lease_times_come_from_the_clock_and_not_from_the_start_of_the_transaction(
    anon: Caller, database: Database
) -> None:
    create(anon)
    with anon.connection.transaction():
        anon.connection.execute("select pg_sleep(0.2)")
        anon.connection.execute("set local role anon")
        anon.connection.execute("select * from public.claim_task_contract('T')")
        [begun] = anon.connection.execute("select now()").fetchone() or []
    [lease] = leases(database)
    assert lease["claimed_at"] - begun >= timedelta(seconds=0.2)
    with anon.connection.transaction():
        anon.connection.execute("select pg_sleep(0.2)")
        anon("renew_task_contract", contract_id=lease["contract_id"], claim_token=lease["claim_token"])
        [begun] = anon.connection.execute("select now()").fetchone() or []
    [renewed] = leases(database)
    assert renewed["expires_at"] - begun >= timedelta(minutes=30, seconds=0.2)


class TestRequestKey:
    def test_a_repeat_returns_the_same_claim(self, anon: Caller, database: Database) -> None:
        for _ in range(3):
            create(anon)
        key = uuid4()
        first = anon("claim_task_contract", target_agent="T", limit=2, request_key=key)
        again = anon("claim_task_contract", target_agent="T", limit=2, request_key=key)
        assert len(first) == 2
        assert again == first
        assert len(leases(database)) == 2

    def test_another_key_claims_other_contracts(self, anon: Caller) -> None:
        for _ in range(2):
            create(anon)
        ids = {claim(anon, request_key=uuid4())["contract_id"] for _ in range(2)}
        assert len(ids) == 2

    def test_the_key_of_another_agents_claim_is_refused(self, anon: Caller, database: Database) -> None:
        create(anon)
        create(anon, target_agent="OTHER")
        key = uuid4()
        claim(anon, request_key=key)
        with refused("TC004"):
            claim(anon, target_agent="OTHER", request_key=key)
        assert len(leases(database)) == 1

    def test_a_key_whose_claim_ran_out_claims_anew(self, anon: Caller, database: Database) -> None:
        contract_id = create(anon)
        key = uuid4()
        first = claim(anon, request_key=key)
        end_lease(database, contract_id)
        second = claim(anon, request_key=key)
        assert (second["contract_id"], second["attempt"]) == (contract_id, 2)
        assert second["claim_token"] != first["claim_token"]


class TestTakeOver:
    def test_an_expired_claim_is_taken_over_at_once(self, anon: Caller, database: Database) -> None:
        first = claimed(anon)
        end_lease(database, first["contract_id"])
        second = claim(anon)
        assert second["contract_id"] == first["contract_id"]
        assert second["claim_token"] != first["claim_token"]
        assert second["attempt"] == 2
        assert contract(database, first["contract_id"])["retry_count"] == 1

    def test_without_retries_left_it_fails_instead(self, anon: Caller, database: Database) -> None:
        first = claimed(anon, max_retries=0)
        end_lease(database, first["contract_id"])
        assert anon("claim_task_contract", target_agent="T") == []
        row = contract(database, first["contract_id"])
        assert (row["status"], row["retry_count"]) == ("failed", 0)
        assert row["error_message"] == "the lease expired before a result was recorded"
        assert row["completed_at"] is not None
        assert leases(database) == []

    def test_a_claim_that_runs_is_left_alone(self, anon: Caller, database: Database) -> None:
        first = claimed(anon)
        assert anon("claim_task_contract", target_agent="T") == []
        assert [lease["claim_token"] for lease in leases(database)] == [first["claim_token"]]

    def test_claims_of_other_agents_are_left_to_them(self, anon: Caller, database: Database) -> None:
        first = claimed(anon)
        end_lease(database, first["contract_id"])
        assert anon("claim_task_contract", target_agent="OTHER") == []
        assert contract(database, first["contract_id"])["status"] == "in_progress"

    def test_an_old_lease_left_behind_by_a_direct_write_is_replaced(
        self, anon: Caller, service: Caller
    ) -> None:
        first = claimed(anon)
        service.run("update public.agent_task_contracts set status = 'pending'")
        second = claim(anon)
        assert second["claim_token"] != first["claim_token"]
        with refused("TC002"):
            anon("renew_task_contract", contract_id=first["contract_id"], claim_token=first["claim_token"])


def test_a_failed_attempt_waits_before_the_next_claim(anon: Caller, database: Database) -> None:
    row = claimed(anon)
    anon(
        "fail_task_contract",
        contract_id=row["contract_id"],
        claim_token=row["claim_token"],
        error_message="e",
    )
    assert anon("claim_task_contract", target_agent="T") == []
    end_wait(database, row["contract_id"])
    assert claim(anon)["attempt"] == 2


class TestRenew:
    def test_the_lease_runs_timeout_minutes_from_now(self, anon: Caller, database: Database) -> None:
        row = claimed(anon, timeout_minutes=5)
        database.execute("update ehg_tasks.leases set expires_at = clock_timestamp() + interval '1 second'")
        [now] = database.execute("select clock_timestamp()").fetchone() or []
        [renewed] = anon(
            "renew_task_contract", contract_id=row["contract_id"], claim_token=row["claim_token"]
        )
        assert renewed["lease_expires_at"] >= now + timedelta(minutes=5)
        assert renewed["lease_expires_at"] == leases(database)[0]["expires_at"]
        assert renewed["attempt"] == 1

    def test_a_late_renewal_counts_while_nobody_took_over(self, anon: Caller, database: Database) -> None:
        row = claimed(anon)
        end_lease(database, row["contract_id"])
        anon("renew_task_contract", contract_id=row["contract_id"], claim_token=row["claim_token"])
        assert anon("claim_task_contract", target_agent="T") == []

    @pytest.mark.parametrize("token", [None, UUID(int=1)])
    def test_another_token_is_refused(self, anon: Caller, database: Database, token: UUID | None) -> None:
        row = claimed(anon)
        before = leases(database)
        with refused("TC002"):
            anon("renew_task_contract", contract_id=row["contract_id"], claim_token=token)
        assert leases(database) == before


class TestInEachOthersWay:
    def test_a_claim_passes_over_what_another_transaction_holds(
        self, call_as: Callable[[str], Caller], database: Database
    ) -> None:
        first, second = call_as("anon"), call_as("anon")
        ids = [create(first), create(first)]
        second.connection.execute("set lock_timeout = '2s'")
        with first.connection.transaction():
            held = claim(first)
            other = claim(second)
        assert [held["contract_id"], other["contract_id"]] == ids
        assert claim_none(second)

    def test_a_repeat_waits_for_the_call_that_it_repeats(
        self, call_as: Callable[[str], Caller], database: Database
    ) -> None:
        first, second = call_as("anon"), call_as("anon")
        create(first)
        create(first)
        key = UUID(int=3)
        second.connection.execute("set lock_timeout = '100ms'")
        with first.connection.transaction():
            held = claim(first, request_key=key)
            with refused("55P03"):
                second("claim_task_contract", target_agent="T", request_key=key)
        [again] = second("claim_task_contract", target_agent="T", request_key=key)
        assert again["claim_token"] == held["claim_token"]

    def test_take_over_passes_over_a_renewal_that_is_on_its_way(
        self, call_as: Callable[[str], Caller], database: Database
    ) -> None:
        """The lease has run out, and its holder is just renewing it: it stays the holder's."""
        holder, other = call_as("anon"), call_as("anon")
        row = claimed(holder)
        end_lease(database, row["contract_id"])
        other.connection.execute("set lock_timeout = '2s'")
        with holder.connection.transaction():
            holder("renew_task_contract", contract_id=row["contract_id"], claim_token=row["claim_token"])
            assert claim_none(other)
        assert claim_none(other)
        assert leases(database)[0]["claim_token"] == row["claim_token"]

    @pytest.mark.parametrize(
        "act", ["complete_task_contract", "renew_task_contract", "release_task_contract"]
    )
    def test_acts_on_one_contract_wait_for_each_other(
        self, call_as: Callable[[str], Caller], database: Database, act: str
    ) -> None:
        first, second = call_as("anon"), call_as("anon")
        row = claimed(first)
        held = {"contract_id": row["contract_id"], "claim_token": row["claim_token"]}
        second.connection.execute("set lock_timeout = '100ms'")
        with first.connection.transaction():
            first(act, **held)
            with refused("55P03"):
                second("cancel_task_contract", contract_id=row["contract_id"])


def claim_none(caller: Caller) -> bool:
    return caller("claim_task_contract", target_agent="T") == []
