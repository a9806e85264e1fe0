"""The lease and the time limit: how long silence is believed, and how long an attempt may take."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from tests.lifecycle.helpers import (
    Database,
    attempts,
    claim,
    claimed,
    contract,
    create,
    end_lease,
    held,
    leases,
    reach_time_limit,
)
from tests.sql import Caller, Row, refused

AT_THE_LIMIT = "the attempt reached its time limit of 7 min"


def length(lease: Row) -> timedelta:
    duration = lease["expires_at"] - lease["claimed_at"]
    assert isinstance(duration, timedelta)
    return duration


class TestLength:
    @pytest.mark.parametrize(
        ("lease_seconds", "timeout_minutes", "expected"),
        [
            (None, 7, timedelta(minutes=7)),
            (60, 7, timedelta(seconds=60)),
            (5, 7, timedelta(seconds=5)),
            (600, 7, timedelta(minutes=7)),
            (2**31 - 1, 7, timedelta(minutes=7)),
        ],
    )
    def test_a_lease_lasts_as_long_as_asked_and_never_longer_than_the_time_limit(
        self,
        anon: Caller,
        database: Database,
        lease_seconds: int | None,
        timeout_minutes: int,
        expected: timedelta,
    ) -> None:
        create(anon, timeout_minutes=timeout_minutes)
        row = claim(anon, lease_seconds=lease_seconds)
        [lease] = leases(database)
        assert (row["lease_expires_at"], length(lease)) == (lease["expires_at"], expected)
        assert contract(database, row["contract_id"])["started_at"] == lease["claimed_at"]

    @pytest.mark.parametrize("lease_seconds", [4, 0, -1])
    def test_less_than_five_seconds_are_refused(
        self, anon: Caller, database: Database, lease_seconds: int
    ) -> None:
        create(anon)
        with refused("TC005", "p_lease_seconds must be at least 5"):
            claim(anon, lease_seconds=lease_seconds)
        assert leases(database) == []


class TestRenew:
    def test_it_never_goes_past_the_time_limit(self, anon: Caller, database: Database) -> None:
        create(anon, timeout_minutes=7)
        row = claim(anon, lease_seconds=60)
        database.execute(
            "update ehg_tasks.attempts set claimed_at = claimed_at - interval '6 minutes 30 seconds'"
        )
        for _ in range(2):
            [renewed] = anon("renew_task_contract", **held(row))
            [lease] = leases(database)
            assert renewed["lease_expires_at"] == lease["expires_at"]
            assert length(lease) == timedelta(minutes=7)

    def test_without_a_lease_length_it_changes_nothing(self, anon: Caller, database: Database) -> None:
        row = claimed(anon, timeout_minutes=7)
        before = leases(database)
        anon("renew_task_contract", **held(row))
        assert leases(database) == before

    @pytest.mark.parametrize(("timeout", "minutes"), [(7, 7), (None, 30), (0, 1)])
    def test_at_the_time_limit_it_is_refused(
        self, anon: Caller, database: Database, timeout: int | None, minutes: int
    ) -> None:
        row = claimed(anon)
        database.execute("update public.agent_task_contracts set timeout_minutes = %s", [timeout])
        reach_time_limit(database, row["contract_id"])
        before = leases(database)
        with refused("TC002", f"has reached its time limit of {minutes} min"):
            anon("renew_task_contract", **held(row), progress={"percent": 99})
        assert leases(database) == before


class TestEnd:
    """By the next claim of the agent, or by clean-up."""

    @pytest.mark.parametrize("by", ["claim", "cleanup"])
    @pytest.mark.parametrize(
        ("end", "outcome", "message"),
        [
            (end_lease, "expired", "the lease expired before a result was recorded"),
            (reach_time_limit, "timed_out", AT_THE_LIMIT),
        ],
    )
    def test_an_attempt_ends_with_an_error_that_says_which_clock_ran_out(
        self,
        anon: Caller,
        service: Caller,
        database: Database,
        end: object,
        outcome: str,
        message: str,
        by: str,
    ) -> None:
        assert callable(end)
        create(anon, timeout_minutes=7, max_retries=0)
        row = claim(anon, lease_seconds=60)
        end(database, row["contract_id"])
        if by == "claim":
            assert anon("claim_task_contract", target_agent="T") == []
        else:
            service("cleanup_stale_contracts")
        after = contract(database, row["contract_id"])
        assert (after["status"], after["error_message"]) == ("failed", message)
        [attempt] = attempts(database, row["contract_id"])
        assert (attempt["outcome"], attempt["error_message"]) == (outcome, message)
        assert attempt["ended_at"] >= attempt["expires_at"]

    def test_with_retries_left_it_is_claimed_again_at_once(self, anon: Caller, database: Database) -> None:
        create(anon, timeout_minutes=7)
        row = claim(anon, lease_seconds=60)
        reach_time_limit(database, row["contract_id"])
        second = claim(anon)
        assert (second["contract_id"], second["attempt"]) == (row["contract_id"], 2)
        assert contract(database, row["contract_id"])["error_message"] == AT_THE_LIMIT

    def test_a_result_at_the_time_limit_is_recorded_if_nobody_has_noticed(
        self, anon: Caller, database: Database
    ) -> None:
        row = claimed(anon)
        reach_time_limit(database, row["contract_id"])
        [answer] = anon("complete_task_contract", **held(row))
        assert answer["status"] == "completed"


class TestAttemptNumbers:
    """They never repeat, so an old token never fits a new attempt."""

    def test_after_each_kind_of_end_the_next_attempt_has_the_next_number(
        self, anon: Caller, service: Caller, database: Database
    ) -> None:
        contract_id = create(anon, max_retries=0)
        numbers = []
        for end in ("release", "direct", "requeue", "expire", "requeue", "complete", "requeue"):
            row = claim(anon)
            numbers.append(row["attempt"])
            if end == "release":
                anon("release_task_contract", **held(row))
            elif end == "direct":
                service.run("update public.agent_task_contracts set status = 'pending', retry_count = 0")
            elif end == "expire":
                end_lease(database, contract_id)
                service("cleanup_stale_contracts")
                service("requeue_task_contract", contract_id=contract_id)
            elif end == "complete":
                anon("complete_task_contract", **held(row))
                service("requeue_task_contract", contract_id=contract_id)
            else:
                anon("fail_task_contract", **held(row), error_message="e")
                service("requeue_task_contract", contract_id=contract_id)
        assert numbers == [1, 2, 3, 4, 5, 6, 7]
        assert [a["outcome"] for a in attempts(database, contract_id)] == [
            "released", "interrupted", "failed", "expired", "failed", "completed", "failed"
        ]  # fmt: skip

    @pytest.mark.parametrize("reset", ["direct", "requeue"])
    def test_an_old_token_cannot_complete_a_new_attempt(
        self, anon: Caller, service: Caller, database: Database, reset: str
    ) -> None:
        first = claimed(anon)
        if reset == "direct":
            service.run("update public.agent_task_contracts set status = 'pending'")
        else:
            anon("cancel_task_contract", contract_id=first["contract_id"])
            service("requeue_task_contract", contract_id=first["contract_id"])
        for _ in ("while it is pending", "while another holds it"):
            before = contract(database, first["contract_id"]), leases(database)
            for function in ("complete_task_contract", "renew_task_contract", "release_task_contract"):
                with refused("TC002"):
                    anon(function, **held(first))
            with refused("TC002"):
                anon("fail_task_contract", **held(first), error_message="e")
            assert (contract(database, first["contract_id"]), leases(database)) == before
            anon("claim_task_contract", target_agent="T")

    @pytest.mark.parametrize("reset", ["direct", "requeue", "expire", "release"])
    def test_an_old_request_key_never_returns_the_token_of_a_new_holder(
        self, anon: Caller, service: Caller, database: Database, reset: str
    ) -> None:
        contract_id, key = create(anon), uuid4()
        first = claim(anon, request_key=key)
        if reset == "direct":
            service.run("update public.agent_task_contracts set status = 'pending'")
        elif reset == "requeue":
            anon("complete_task_contract", **held(first))
            service("requeue_task_contract", contract_id=contract_id)
        elif reset == "expire":
            end_lease(database, contract_id)
        else:
            anon("release_task_contract", **held(first))
        second = claim(anon, request_key=uuid4())
        assert second["contract_id"] == contract_id
        assert anon("claim_task_contract", target_agent="T", request_key=key) == []
        assert [lease["claim_token"] for lease in leases(database)] == [second["claim_token"]]

    def test_a_contract_that_was_deleted_and_created_again_does_not_know_the_old_token(
        self, anon: Caller, service: Caller
    ) -> None:
        contract_id = UUID(int=77)
        create(anon, contract_id=contract_id)
        first = claim(anon)
        service.run("delete from public.agent_task_contracts")
        create(anon, contract_id=contract_id)
        second = claim(anon)
        assert second["claim_token"] != first["claim_token"]
        with refused("TC002"):
            anon("complete_task_contract", **held(first))


def test_the_lease_mark_of_another_agent_does_not_hide_an_expired_lease(
    anon: Caller, database: Database
) -> None:
    row = claimed(anon)
    end_lease(database, row["contract_id"])
    database.execute("insert into ehg_tasks.lease_marks (target_agent, expires_at) values ('U', 'infinity')")
    assert claim(anon)["attempt"] == 2
