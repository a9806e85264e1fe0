"""complete_task_contract: a result is recorded once, by the holder of the claim."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.lifecycle.helpers import (
    Database,
    artifacts,
    claim,
    claimed,
    contract,
    create,
    end_lease,
    held,
    leases,
)
from tests.sql import Caller, Row, jsonb, refused


def complete(caller: Caller, row: Row, **fields: Any) -> Row:
    """Complete the contract of a claim."""
    [answer] = caller("complete_task_contract", **held(row) | fields)
    return answer


def test_the_result_is_recorded(anon: Caller, database: Database) -> None:
    row = claimed(anon, session_id=(session := uuid4()))
    agent, key = uuid4(), uuid4()
    answer = complete(
        anon, row, result_summary="fine", execution_tokens=12, agent_id=agent, idempotency_key=key,
        output={"a": [1]},
    )  # fmt: skip
    after = contract(database, row["contract_id"])
    [artifact] = artifacts(database)
    assert answer == {
        "success": True, "message": "task contract completed", "contract_id": row["contract_id"],
        "status": "completed", "was_duplicate": False, "output_artifact_id": artifact["id"],
    }  # fmt: skip
    assert (after["status"], after["result_summary"], after["execution_tokens"]) == ("completed", "fine", 12)
    assert (after["completion_idempotency_key"], after["completed_by_agent_id"]) == (key, agent)
    assert after["output_artifact_id"] == artifact["id"]
    assert after["completed_at"] >= after["started_at"]
    assert after["error_message"] is None
    assert leases(database) == []
    assert (artifact["type"], artifact["source_tool"]) == ("contract_output", "contract-system")
    assert (artifact["summary"], artifact["content_text"]) == ("fine", '{"a": [1]}')
    assert (artifact["token_count"], artifact["created_by"], artifact["session_id"]) == (12, "T", session)
    assert artifact["metadata"] == {"contract_id": str(row["contract_id"])}


@pytest.mark.parametrize("output", [{}, {"a": [1, None]}, [], [1], "text", "5", 0, 5, False, True], ids=repr)
def test_any_json_can_be_the_output(anon: Caller, output: Any) -> None:
    row = claimed(anon)
    complete(anon, row, output=jsonb(output))
    [outcome] = anon("task_contract_outcomes", contract_ids=[row["contract_id"]])
    assert outcome["output"] == output


def test_an_existing_artifact_can_be_the_output(anon: Caller, database: Database) -> None:
    [artifact] = (
        database.execute(
            "insert into public.agent_artifacts (type, summary) values ('analysis', 's') returning id"
        ).fetchone()
        or []
    )
    row = claimed(anon)
    assert complete(anon, row, output_artifact_id=artifact)["output_artifact_id"] == artifact


def test_the_agent_that_claimed_is_recorded_as_the_one_that_completed(
    anon: Caller, database: Database
) -> None:
    create(anon)
    agent = uuid4()
    row = claim(anon, agent_id=agent)
    complete(anon, row)
    assert contract(database, row["contract_id"])["completed_by_agent_id"] == agent


def test_success_false_fails_the_contract_without_a_retry(anon: Caller, database: Database) -> None:
    row = claimed(anon)
    answer = complete(anon, row, success=False, error_message="no paper")
    assert (answer["success"], answer["status"]) == (True, "failed")
    after = contract(database, row["contract_id"])
    assert (after["status"], after["error_message"], after["retry_count"]) == ("failed", "no paper", 0)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"success": None}, "TC005"),
        ({"execution_tokens": -1}, "TC005"),
        ({"output": {}, "output_artifact_id": UUID(int=1)}, "TC005"),
        ({"output_artifact_id": UUID(int=1)}, "23503"),
        ({"result_summary": "x" * 65537}, "TC006"),
        ({"error_message": "x" * 65537}, "TC006"),
        ({"output": {"x": "x" * 1048577}}, "TC006"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_an_invalid_result_is_refused_and_nothing_changes(
    anon: Caller, database: Database, fields: dict[str, Any], code: str
) -> None:
    row = claimed(anon)
    before = contract(database, row["contract_id"]), leases(database)
    with refused(code):
        complete(anon, row, **fields)
    assert (contract(database, row["contract_id"]), leases(database)) == before
    assert artifacts(database) == []


def test_a_result_at_the_size_limits_is_accepted(anon: Caller) -> None:
    row = claimed(anon)
    complete(anon, row, output=jsonb("x" * (1048576 - 2)), result_summary="x" * 65536)


class TestClaimToken:
    """More rules on the token are in test_claim_token.py."""

    def test_a_worker_that_lost_its_claim_cannot_overwrite_the_next(
        self, anon: Caller, database: Database
    ) -> None:
        late = claimed(anon)
        end_lease(database, late["contract_id"])
        current = claim(anon)
        before = contract(database, late["contract_id"])
        with refused("TC002", "is lost"):
            complete(anon, late, result_summary="late")
        assert contract(database, late["contract_id"]) == before
        complete(anon, current, result_summary="current")
        with refused("TC004"):
            complete(anon, late, result_summary="late")
        assert contract(database, late["contract_id"])["result_summary"] == "current"

    def test_a_late_result_is_accepted_until_another_claim_takes_over(
        self, anon: Caller, database: Database
    ) -> None:
        row = claimed(anon)
        end_lease(database, row["contract_id"])
        assert complete(anon, row)["status"] == "completed"


class TestServiceRole:
    def test_it_may_leave_out_the_token(self, anon: Caller, service: Caller) -> None:
        row = claimed(anon)
        assert complete(service, row, claim_token=None)["status"] == "completed"

    def test_it_may_not_present_a_wrong_token(self, anon: Caller, service: Caller) -> None:
        row = claimed(anon)
        with refused("TC002"):
            complete(service, row, claim_token=UUID(int=1))

    def test_it_completes_a_contract_that_nobody_has_claimed(
        self, service: Caller, database: Database
    ) -> None:
        contract_id = create(service)
        [answer] = service("complete_task_contract", contract_id=contract_id, output={"a": 1})
        assert (answer["success"], answer["status"]) == (True, "completed")
        assert contract(database, contract_id)["output_artifact_id"] == answer["output_artifact_id"]
        assert service("claim_task_contract", target_agent="T") == []

    def test_it_completes_a_contract_that_is_pending_again_after_its_first_attempt(
        self, anon: Caller, service: Caller
    ) -> None:
        row = claimed(anon)
        anon("fail_task_contract", **held(row), error_message="e")
        assert complete(service, row, claim_token=None)["status"] == "completed"

    def test_an_agent_cannot_complete_a_contract_that_nobody_has_claimed(
        self, anon: Caller, database: Database
    ) -> None:
        contract_id = create(anon)
        for token in (None, uuid4()):
            with refused("TC002"):
                anon("complete_task_contract", contract_id=contract_id, claim_token=token)
        assert contract(database, contract_id)["status"] == "pending"

    def test_it_cannot_overrule_the_second_holder(
        self, anon: Caller, service: Caller, database: Database
    ) -> None:
        first = claimed(anon)
        end_lease(database, first["contract_id"])
        second = claim(anon)
        before = contract(database, first["contract_id"]), leases(database)
        with refused("TC002", "more than once"):
            complete(service, first, claim_token=None)
        assert (contract(database, first["contract_id"]), leases(database)) == before
        assert complete(service, second)["status"] == "completed"

    def test_it_completes_a_contract_that_a_direct_write_put_in_progress(self, service: Caller) -> None:
        contract_id = create(service)
        service.run("update public.agent_task_contracts set status = 'in_progress', started_at = now()")
        [answer] = service("complete_task_contract", contract_id=contract_id)
        assert answer["status"] == "completed"


class TestRepeat:
    RESULT: dict[str, Any] = {"result_summary": "fine", "execution_tokens": 3, "output": {"a": 1}}  # noqa: RUF012

    @pytest.mark.parametrize("key", [None, UUID(int=5)], ids=["claim token", "own key"])
    def test_the_same_call_gets_the_same_answer(
        self, anon: Caller, database: Database, key: UUID | None
    ) -> None:
        row = claimed(anon)
        first = complete(anon, row, idempotency_key=key, **self.RESULT)
        before = contract(database, row["contract_id"])
        repeat = complete(anon, row, idempotency_key=key, **self.RESULT)
        assert repeat == first | {"was_duplicate": True, "message": "already recorded"}
        assert contract(database, row["contract_id"]) == before
        assert len(artifacts(database)) == 1

    @pytest.mark.parametrize(
        "other",
        [
            {"result_summary": "other"},
            {"execution_tokens": 4},
            {"output": {"a": 2}},
            {"output": None},
            {"success": False},
            {"error_message": "e"},
            {"agent_id": UUID(int=9)},
        ],
        ids=str,
    )
    def test_another_result_with_the_same_key_is_refused(
        self, anon: Caller, database: Database, other: dict[str, Any]
    ) -> None:
        row = claimed(anon)
        complete(anon, row, **self.RESULT)
        before = contract(database, row["contract_id"])
        with refused("TC004", "another result"):
            complete(anon, row, **(self.RESULT | other))
        assert contract(database, row["contract_id"]) == before
        assert len(artifacts(database)) == 1

    @pytest.mark.parametrize(
        "fields",
        [
            {"execution_tokens": 3},
            {"success": False, "error_message": "no paper"},
            {"agent_id": UUID(int=7)},
            {},
        ],
        ids=str,
    )
    def test_so_does_a_call_without_an_output(self, anon: Caller, fields: dict[str, Any]) -> None:
        create(anon)
        row = claim(anon, agent_id=UUID(int=7))
        first = complete(anon, row, **fields)
        repeat = complete(anon, row, **fields)
        assert repeat == first | {"was_duplicate": True, "message": "already recorded"}

    def test_the_output_of_another_contract_does_not_count(self, anon: Caller) -> None:
        other, row = claimed(anon), claimed(anon)
        complete(anon, other, **(self.RESULT | {"output": {"a": 2}}))
        complete(anon, row, **self.RESULT)
        with refused("TC004", "another result"):
            complete(anon, row, **(self.RESULT | {"output": {"a": 2}}))

    def test_a_backend_job_without_token_and_key_does_not_repeat_a_result(
        self, anon: Caller, service: Caller
    ) -> None:
        row = claimed(anon)
        complete(anon, row, result_summary="fine")
        with refused("TC003"):
            service("complete_task_contract", contract_id=row["contract_id"], result_summary="fine")

    def test_another_key_is_refused(self, anon: Caller) -> None:
        row = claimed(anon)
        complete(anon, row, idempotency_key=UUID(int=5), **self.RESULT)
        with refused("TC004", "another idempotency key"):
            complete(anon, row, idempotency_key=UUID(int=6), **self.RESULT)


def test_the_token_of_another_contract_is_refused(anon: Caller, database: Database) -> None:
    other, row = claimed(anon), claimed(anon)
    with refused("TC002"):
        complete(anon, {**row, "claim_token": other["claim_token"]})
    assert contract(database, row["contract_id"])["status"] == "in_progress"


def test_the_earlier_function_also_requires_an_agent_to_present_its_token(anon: Caller) -> None:
    row = claimed(anon)
    fields = {"contract_id": row["contract_id"], "idempotency_key": uuid4()}
    with refused("TC002"):
        anon("fn_complete_task_contract_idempotent", **fields)
    [answer] = anon("fn_complete_task_contract_idempotent", **fields, claim_token=row["claim_token"])
    assert answer["success"] is True


def test_the_claim_is_checked_before_the_output(anon: Caller, database: Database) -> None:
    """Otherwise a caller without a claim makes the server check an output while the contract is locked."""
    row = claimed(anon)
    for output in (jsonb("x" * 1_048_576), jsonb([[1] * 10_000])):
        with refused("TC002"):
            anon("complete_task_contract", contract_id=row["contract_id"], claim_token=uuid4(), output=output)
        with refused("TC002"):
            anon("complete_task_contract", contract_id=row["contract_id"], output=output)
    assert contract(database, row["contract_id"])["status"] == "in_progress"


def test_an_output_that_is_far_too_large_is_refused_before_it_is_searched(
    anon: Caller, database: Database
) -> None:
    row = claimed(anon)
    with refused("TC006", "p_output, as jsonb, is too large"):
        complete(anon, row, output=jsonb([1] * 1_000_000))
    assert contract(database, row["contract_id"])["status"] == "in_progress"
