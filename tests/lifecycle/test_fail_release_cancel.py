"""fail_task_contract, release_task_contract, cancel_task_contract."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.lifecycle.helpers import Database, claim, claimed, contract, create, end_wait, leases
from tests.sql import Caller, Row, refused


def held(row: Row) -> dict[str, Any]:
    return {"contract_id": row["contract_id"], "claim_token": row["claim_token"]}


def fail(caller: Caller, row: Row, message: str = "boom", **fields: Any) -> Row:
    [failed] = caller("fail_task_contract", **held(row), error_message=message, **fields)
    return failed


class TestFail:
    def test_back_to_pending_while_retries_are_left(self, anon: Caller, database: Database) -> None:
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

    def test_finally_where_the_caller_says_so(self, anon: Caller, database: Database) -> None:
        row = claimed(anon)
        assert fail(anon, row, retry=False)["status"] == "failed"
        assert contract(database, row["contract_id"])["retry_count"] == 0

    def test_a_null_limit_counts_as_the_default_of_two(self, anon: Caller, database: Database) -> None:
        database.execute(
            "insert into public.agent_task_contracts"
            " (parent_agent, target_agent, objective, max_retries, retry_count)"
            " values ('P', 'T', 'o', null, null)"
        )
        states = []
        for _ in range(3):
            row = claim(anon)
            states.append(fail(anon, row)["status"])
            database.execute("update ehg_tasks.handbacks set not_before = clock_timestamp()")
        assert states == ["pending", "pending", "failed"]

    def test_the_wait_doubles_up_to_five_minutes(self, database: Database) -> None:
        waits = database.execute(
            "select ehg_tasks.retry_wait(n) from unnest(array[0, 1, 2, 3, 7, 30, 2147483647]) as n"
        ).fetchall()
        seconds = [wait.total_seconds() for (wait,) in waits]
        assert seconds == [5, 5, 10, 20, 300, 300, 300]

    def test_the_answer_says_when_the_next_attempt_may_start(self, anon: Caller, database: Database) -> None:
        [before] = database.execute("select clock_timestamp()").fetchone() or []
        failed = fail(anon, claimed(anon))
        [after] = database.execute("select clock_timestamp()").fetchone() or []
        wait = timedelta(seconds=5)
        assert before + wait <= failed["next_attempt_at"] <= after + wait

    def test_a_project_may_set_its_own_waits(self, anon: Caller, database: Database) -> None:
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
        assert fail(anon, row) == first | {"was_duplicate": True, "message": "already recorded"}
        assert contract(database, row["contract_id"]) == before

    def test_a_repeat_of_the_second_failure_gets_the_same_answer(
        self, anon: Caller, database: Database
    ) -> None:
        row = claimed(anon)
        fail(anon, row)
        end_wait(database, row["contract_id"])
        second = claim(anon)
        first_answer = fail(anon, second)
        assert fail(anon, second) == first_answer | {"was_duplicate": True, "message": "already recorded"}
        with refused("TC002"):
            fail(anon, row)

    def test_a_repeat_of_a_final_failure_gets_the_same_answer(self, anon: Caller) -> None:
        row = claimed(anon)
        first = fail(anon, row, retry=False)
        assert fail(anon, row, retry=False) == first | {"was_duplicate": True, "message": "already recorded"}

    def test_a_repeat_leaves_the_next_holder_alone(self, anon: Caller, database: Database) -> None:
        row = claimed(anon)
        fail(anon, row)
        end_wait(database, row["contract_id"])
        claim(anon)
        before = contract(database, row["contract_id"]), leases(database)
        assert fail(anon, row)["was_duplicate"] is True
        assert (contract(database, row["contract_id"]), leases(database)) == before

    def test_bad_arguments(self, anon: Caller, database: Database) -> None:
        row = claimed(anon)
        before = contract(database, row["contract_id"])
        with refused("TC005"):
            fail(anon, row, retry=None)
        with refused("TC006"):
            fail(anon, row, "x" * 65537)
        assert contract(database, row["contract_id"]) == before


class TestRelease:
    def test_back_to_pending_at_once_and_no_retry_is_spent(self, anon: Caller, database: Database) -> None:
        row = claimed(anon)
        [released] = anon("release_task_contract", **held(row))
        assert (released["status"], released["was_duplicate"]) == ("pending", False)
        after = contract(database, row["contract_id"])
        assert (after["status"], after["retry_count"], after["started_at"]) == ("pending", 0, None)
        assert leases(database) == []
        again = claim(anon)
        assert (again["contract_id"], again["attempt"]) == (row["contract_id"], 1)

    def test_a_repeat_leaves_the_next_holder_alone(self, anon: Caller, database: Database) -> None:
        row = claimed(anon)
        anon("release_task_contract", **held(row))
        claim(anon)
        before = leases(database)
        [again] = anon("release_task_contract", **held(row))
        assert again["was_duplicate"] is True
        assert leases(database) == before


class TestCancel:
    def test_what_is_pending(self, anon: Caller, database: Database) -> None:
        contract_id = create(anon)
        [cancelled] = anon("cancel_task_contract", contract_id=contract_id, reason="not needed")
        assert (cancelled["status"], cancelled["was_duplicate"]) == ("cancelled", False)
        after = contract(database, contract_id)
        assert (after["status"], after["error_message"]) == ("cancelled", "not needed")
        assert after["completed_at"] is not None
        assert anon("claim_task_contract", target_agent="T") == []

    def test_what_is_in_progress_and_the_worker_learns_of_it(self, anon: Caller, database: Database) -> None:
        row = claimed(anon)
        anon("cancel_task_contract", contract_id=row["contract_id"])
        assert leases(database) == []
        for function in ("renew_task_contract", "release_task_contract", "complete_task_contract"):
            with refused("TC003", "already cancelled"):
                anon(function, **held(row))
        with refused("TC003", "already cancelled"):
            fail(anon, row)

    def test_a_repeat_changes_nothing(self, anon: Caller, database: Database) -> None:
        contract_id = create(anon)
        anon("cancel_task_contract", contract_id=contract_id, reason="first")
        before = contract(database, contract_id)
        [again] = anon("cancel_task_contract", contract_id=contract_id, reason="second")
        assert again["was_duplicate"] is True
        assert contract(database, contract_id) == before

    def test_a_reason_over_the_limit_is_refused(self, anon: Caller, database: Database) -> None:
        contract_id = create(anon)
        with refused("TC006"):
            anon("cancel_task_contract", contract_id=contract_id, reason="x" * 65537)
        assert contract(database, contract_id)["status"] == "pending"


CALLS: dict[str, dict[str, Any]] = {
    "renew_task_contract": {},
    "complete_task_contract": {},
    "fail_task_contract": {"error_message": "e"},
    "release_task_contract": {},
    "task_contract_inputs": {},
}


@pytest.mark.parametrize("function", [*CALLS, "cancel_task_contract"])
@pytest.mark.parametrize(("contract_id", "code"), [(UUID(int=1), "TC001"), (None, "TC005")])
def test_a_contract_that_is_not_there(
    anon: Caller, function: str, contract_id: UUID | None, code: str
) -> None:
    token = {} if function == "cancel_task_contract" else {"claim_token": UUID(int=2)}
    with refused(code):
        anon(function, contract_id=contract_id, **token, **CALLS.get(function, {}))


@pytest.mark.parametrize("function", CALLS)
@pytest.mark.parametrize(
    ("status", "code"),
    [("pending", "TC002"), ("completed", "TC003"), ("failed", "TC003"), ("cancelled", "TC003")],
)
def test_what_is_not_in_progress_refuses_every_act_of_a_holder(
    anon: Caller, database: Database, function: str, status: str, code: str
) -> None:
    """Even with the token of a lease that a direct write left behind."""
    row = claimed(anon)
    database.execute("update public.agent_task_contracts set status = %s", [status])
    before = contract(database, row["contract_id"]), leases(database)
    with refused(code):
        anon(function, **held(row), **CALLS[function])
    assert (contract(database, row["contract_id"]), leases(database)) == before


@pytest.mark.parametrize("function", CALLS)
@pytest.mark.parametrize("token", [None, UUID(int=1)])
def test_every_act_of_a_holder_needs_the_token(
    anon: Caller, database: Database, function: str, token: UUID | None
) -> None:
    row = claimed(anon)
    before = contract(database, row["contract_id"]), leases(database)
    with refused("TC002"):
        anon(function, contract_id=row["contract_id"], claim_token=token, **CALLS[function])
    assert (contract(database, row["contract_id"]), leases(database)) == before


@pytest.mark.parametrize("status", ["completed", "failed"])
def test_what_is_final_cannot_be_cancelled(anon: Caller, database: Database, status: str) -> None:
    contract_id = create(anon)
    database.execute("update public.agent_task_contracts set status = %s", [status])
    before = contract(database, contract_id)
    with refused("TC003", f"already {status}"):
        anon("cancel_task_contract", contract_id=contract_id)
    assert contract(database, contract_id) == before
