"""Reading: outcomes for those who know the ids, inputs for the holder of a claim, a view for readers."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.lifecycle.helpers import Database, claimed, create
from tests.sql import Caller, jsonb, refused


def artifact(database: Database, content: str | None, summary: str = "s") -> UUID:
    row = database.execute(
        "insert into public.agent_artifacts (type, summary, content_text, token_count)"
        " values ('contract_input', %s, %s, 3) returning id",
        [summary, content],
    ).fetchone()
    assert row is not None
    found = row[0]
    assert isinstance(found, UUID)
    return found


class TestOutcomes:
    def test_what_is_pending_has_no_result(self, anon: Caller) -> None:
        contract_id = create(anon)
        [outcome] = anon("task_contract_outcomes", contract_ids=[contract_id])
        assert outcome["status"] == "pending"
        assert {name for name, value in outcome.items() if value is not None} == {
            "contract_id",
            "status",
            "retry_count",
        }

    @pytest.mark.parametrize("output", [{"a": [1, None]}, [1], "text", "5", 5, True])
    def test_a_completed_one_tells_its_output(self, anon: Caller, output: Any) -> None:
        row = claimed(anon)
        anon(
            "complete_task_contract",
            contract_id=row["contract_id"],
            claim_token=row["claim_token"],
            output=jsonb(output),
            result_summary="done",
            execution_tokens=9,
        )
        [outcome] = anon("task_contract_outcomes", contract_ids=[row["contract_id"]])
        assert outcome["output"] == output
        assert (outcome["status"], outcome["result_summary"], outcome["execution_tokens"]) == (
            "completed",
            "done",
            9,
        )
        assert outcome["started_at"] <= outcome["completed_at"]

    def test_an_artifact_that_is_no_json_comes_as_text(self, anon: Caller, database: Database) -> None:
        row = claimed(anon)
        report = artifact(database, "# A report\n\nplain")
        anon(
            "complete_task_contract",
            contract_id=row["contract_id"],
            claim_token=row["claim_token"],
            output_artifact_id=report,
        )
        [outcome] = anon("task_contract_outcomes", contract_ids=[row["contract_id"]])
        assert (outcome["output"], outcome["output_artifact_id"]) == ("# A report\n\nplain", report)

    def test_they_come_in_the_order_asked_each_once_and_unknown_ones_not_at_all(self, anon: Caller) -> None:
        first, second = create(anon), create(anon)
        answers = anon("task_contract_outcomes", contract_ids=[second, uuid4(), first, second])
        assert [row["contract_id"] for row in answers] == [second, first]

    def test_none_asked_is_none_told(self, anon: Caller) -> None:
        create(anon)
        assert anon("task_contract_outcomes", contract_ids=[]) == []

    def test_null_and_too_many_are_refused(self, anon: Caller) -> None:
        with refused("TC005", "p_contract_ids"):
            anon("task_contract_outcomes", contract_ids=None)
        with refused("TC006", "1001"):
            anon("task_contract_outcomes", contract_ids=[uuid4()] * 1001)
        assert anon("task_contract_outcomes", contract_ids=[uuid4()] * 1000) == []

    def test_users_are_refused(self, authenticated: Caller) -> None:
        with refused("42501"):
            authenticated("task_contract_outcomes", contract_ids=[])


class TestInputs:
    def test_the_holder_of_the_claim_reads_them_whole_and_in_order(
        self, anon: Caller, database: Database
    ) -> None:
        second, first = artifact(database, "two"), artifact(database, "1" * 10_000)
        row = claimed(anon, input_artifacts=[first, uuid4(), second])
        inputs = anon("task_contract_inputs", contract_id=row["contract_id"], claim_token=row["claim_token"])
        assert [(i["artifact_id"], i["content_text"]) for i in inputs] == [
            (first, "1" * 10_000),
            (second, "two"),
        ]

    def test_nobody_else_does(self, anon: Caller, database: Database) -> None:
        row = claimed(anon, input_artifacts=[artifact(database, "secret")])
        with refused("TC002"):
            anon("task_contract_inputs", contract_id=row["contract_id"], claim_token=uuid4())
        with refused("TC002", "no claim token"):
            anon("task_contract_inputs", contract_id=row["contract_id"], claim_token=None)
        with refused("TC001"):
            anon("task_contract_inputs", contract_id=uuid4(), claim_token=row["claim_token"])

    def test_after_the_end_it_is_too_late(self, anon: Caller, database: Database) -> None:
        row = claimed(anon, input_artifacts=[artifact(database, "secret")])
        held = {"contract_id": row["contract_id"], "claim_token": row["claim_token"]}
        anon("complete_task_contract", **held)
        with refused("TC003"):
            anon("task_contract_inputs", **held)


class TestRead:
    def test_users_and_the_service_role_see_previews(
        self, anon: Caller, authenticated: Caller, service: Caller, database: Database
    ) -> None:
        one, two = artifact(database, "x" * 500, "long"), artifact(database, None, "empty")
        contract_id = create(anon, input_artifacts=[two, one], max_tokens=7)
        for caller in (authenticated, service):
            [row] = caller("read_task_contract", contract_id=contract_id)
            assert (row["contract_id"], row["max_tokens"], row["status"]) == (contract_id, 7, "pending")
            assert row["input_artifact_contents"] == [
                {
                    "id": str(two),
                    "summary": "empty",
                    "type": "contract_input",
                    "token_count": 3,
                    "content_preview": None,
                },
                {
                    "id": str(one),
                    "summary": "long",
                    "type": "contract_input",
                    "token_count": 3,
                    "content_preview": "x" * 200,
                },
            ]

    def test_an_unknown_id_is_no_row(self, service: Caller) -> None:
        assert service("read_task_contract", contract_id=uuid4()) == []

    def test_an_agent_is_refused_as_on_the_table(self, anon: Caller) -> None:
        with refused("42501", "agent_task_contracts"):
            anon("read_task_contract", contract_id=create(anon))
