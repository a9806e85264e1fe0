"""fail_task_contract, release_task_contract and cancel_task_contract: attempts that end without a result."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tests.lifecycle.helpers import Database, claim, claimed, contract, create, end_wait, held, leases
from tests.sql import Caller, Row, refused


def fail(caller: Caller, row: Row, message: str = "boom", **fields: Any) -> Row:
    """Fail the attempt of a claim."""
    [answer] = caller("fail_task_contract", **held(row), error_message=message, **fields)
    return answer


REPEATED = {"was_duplicate": True, "message": "already recorded"}


class TestFail:
    def test_the_contract_is_retried_until_no_retries_are_left(
        self, anon: Caller, database: Database
    ) -> None:
        row = claimed(anon, max_retries=1)
        failed = fail(anon, row)
        after = contract(database, row["contract_id"])
        assert (failed["status"], failed["retry_count"], failed["was_duplicate"]) == ("pending", 1, False)
        assert (after["status"], after["retry_count"], after["error_message"]) == ("pending", 1, "boom")
        assert (after["started_at"], after["completed_at"]) == (None, None)
        assert leases(database) == []

        end_wait(database, row["contract_id"])
        second = claim(anon)
        assert second["attempt"] == 2
        last = fail(anon, second, "again")
        after = contract(database, row["contract_id"])
        assert (last["status"], last["next_attempt_at"]) == ("failed", None)
        assert (after["status"], after["retry_count"], after["error_message"]) == ("failed", 1, "again")
        assert after["completed_at"] is not None
        assert leases(database) == []

    def test_retry_false_fails_the_contract(self, anon: Caller, database: Database) -> None:
        row = claimed(anon)
        assert fail(anon, row, retry=False)["status"] == "failed"
        assert contract(database, row["contract_id"])["retry_count"] == 0

    def test_a_null_max_retries_counts_as_two(self, anon: Caller, database: Database) -> None:
        database.execute(
            "insert into public.agent_task_contracts"
            " (parent_agent, target_agent, objective, max_retries, retry_count)"
            " values ('P', 'T', 'o', null, null)"
        )
        statuses = []
        for _ in range(3):
            row = claim(anon)
            statuses.append(fail(anon, row)["status"])
            end_wait(database, row["contract_id"])
        assert statuses == ["pending", "pending", "failed"]

    def test_the_wait_doubles_with_each_retry_up_to_five_minutes(self, database: Database) -> None:
        waits = database.execute(
            "select ehg_tasks.retry_wait(n) from unnest(array[0, 1, 2, 3, 7, 30, 2147483647]) as n"
        ).fetchall()
        seconds = [wait.total_seconds() for (wait,) in waits]
        assert seconds == [5, 5, 10, 20, 300, 300, 300]

    def test_the_answer_has_the_time_of_the_next_attempt(self, anon: Caller, database: Database) -> None:
        [before] = database.execute("select clock_timestamp()").fetchone() or []
        failed = fail(anon, claimed(anon))
        [after] = database.execute("select clock_timestamp()").fetchone() or []
        wait = timedelta(seconds=5)
        assert before + wait <= failed["next_attempt_at"] <= after + wait

    def test_a_project_may_replace_the_retry_schedule(self, anon: Caller, database: Database) -> None:
        [original] = (
            database.execute(
                "select pg_get_functiondef('ehg_tasks.retry_wait(integer)'::regprocedure)"
            ).fetchone()
            or []
        )
        database.execute(
            "create or replace function ehg_tasks.retry_wait(p_retry_count integer) returns interval"
            " language sql immutable set search_path = '' as $$ select interval '0' $$"
        )
        try:
            row = claimed(anon)
            fail(anon, row)
            assert claim(anon)["contract_id"] == row["contract_id"]
        finally:
            database.execute(original)

    def test_a_repeat_gets_the_same_answer(self, anon: Caller, database: Database) -> None:
        row = claimed(anon)
        first = fail(anon, row)
        before = contract(database, row["contract_id"])
        assert fail(anon, row) == first | REPEATED
        assert contract(database, row["contract_id"]) == before

    def test_a_repeat_of_the_second_failure_gets_the_same_answer(
        self, anon: Caller, database: Database
    ) -> None:
        row = claimed(anon)
        fail(anon, row)
        end_wait(database, row["contract_id"])
        second = claim(anon)
        answer = fail(anon, second)
        assert fail(anon, second) == answer | REPEATED

    def test_a_failure_that_another_caller_recorded_is_not_a_repeat(
        self, anon: Caller, service: Caller, database: Database
    ) -> None:
        row = claimed(anon)
        service("complete_task_contract", contract_id=row["contract_id"], success=False)
        with refused("TC003", "already failed"):
            fail(anon, row)

    def test_a_repeat_of_a_final_failure_gets_the_same_answer(self, anon: Caller) -> None:
        row = claimed(anon)
        first = fail(anon, row, retry=False)
        assert fail(anon, row, retry=False) == first | REPEATED

    def test_a_repeat_does_not_affect_the_next_claim(self, anon: Caller, database: Database) -> None:
        row = claimed(anon)
        fail(anon, row)
        end_wait(database, row["contract_id"])
        claim(anon)
        before = contract(database, row["contract_id"]), leases(database)
        assert fail(anon, row)["was_duplicate"] is True
        assert (contract(database, row["contract_id"]), leases(database)) == before

    def test_invalid_arguments_are_refused(self, anon: Caller, database: Database) -> None:
        row = claimed(anon)
        before = contract(database, row["contract_id"])
        with refused("TC005"):
            fail(anon, row, retry=None)
        with refused("TC006"):
            fail(anon, row, "x" * 65537)
        assert contract(database, row["contract_id"]) == before


class TestRelease:
    def test_the_contract_is_claimable_at_once_and_no_retry_is_used_up(
        self, anon: Caller, database: Database
    ) -> None:
        row = claimed(anon)
        [released] = anon("release_task_contract", **held(row))
        assert (released["status"], released["was_duplicate"]) == ("pending", False)
        after = contract(database, row["contract_id"])
        assert (after["status"], after["retry_count"], after["started_at"]) == ("pending", 0, None)
        assert leases(database) == []
        second = claim(anon)
        assert (second["contract_id"], second["attempt"]) == (row["contract_id"], 2)

    def test_a_repeat_does_not_affect_the_next_claim(self, anon: Caller, database: Database) -> None:
        row = claimed(anon)
        anon("release_task_contract", **held(row))
        claim(anon)
        before = leases(database)
        [repeat] = anon("release_task_contract", **held(row))
        assert repeat["was_duplicate"] is True
        assert leases(database) == before


class TestCancel:
    def test_a_pending_contract_is_cancelled(self, anon: Caller, database: Database) -> None:
        contract_id = create(anon)
        [cancelled] = anon("cancel_task_contract", contract_id=contract_id, reason="not needed")
        assert (cancelled["status"], cancelled["was_duplicate"]) == ("cancelled", False)
        after = contract(database, contract_id)
        assert (after["status"], after["error_message"]) == ("cancelled", "not needed")
        assert after["completed_at"] is not None
        assert anon("claim_task_contract", target_agent="T") == []

    def test_cancelling_a_contract_in_progress_ends_its_claim(self, anon: Caller, database: Database) -> None:
        row = claimed(anon)
        anon("cancel_task_contract", contract_id=row["contract_id"])
        assert leases(database) == []
        with refused("TC003", "already cancelled"):
            anon("renew_task_contract", **held(row))

    def test_a_repeat_changes_nothing(self, anon: Caller, database: Database) -> None:
        contract_id = create(anon)
        anon("cancel_task_contract", contract_id=contract_id, reason="first")
        before = contract(database, contract_id)
        [repeat] = anon("cancel_task_contract", contract_id=contract_id, reason="second")
        assert repeat["was_duplicate"] is True
        assert contract(database, contract_id) == before

    def test_a_reason_over_the_size_limit_is_refused(self, anon: Caller, database: Database) -> None:
        contract_id = create(anon)
        with refused("TC006"):
            anon("cancel_task_contract", contract_id=contract_id, reason="x" * 65537)
        assert contract(database, contract_id)["status"] == "pending"
