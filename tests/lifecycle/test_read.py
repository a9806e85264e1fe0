"""Reading: outcomes by id, inputs for the holder of a claim, contracts for anyone who may read the table."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.lifecycle.helpers import Database, artifact, claimed, contract, create, held
from tests.sql import Caller, refused


class TestOutcomes:
    def test_a_pending_contract_has_no_result(self, anon: Caller) -> None:
        contract_id = create(anon)
        [outcome] = anon("task_contract_outcomes", contract_ids=[contract_id])
        assert outcome["status"] == "pending"
        assert {name for name, value in outcome.items() if value is not None} == {
            "contract_id",
            "status",
            "retry_count",
            "waiting",
            "omitted",
        }
        assert (outcome["waiting"], outcome["omitted"]) == ("ready", False)

    def test_a_completed_contract_has_its_result(self, anon: Caller, database: Database) -> None:
        row = claimed(anon)
        result = {"output": {"a": 1}, "result_summary": "done", "execution_tokens": 9}
        [answer] = anon("complete_task_contract", **held(row), **result)
        after = contract(database, row["contract_id"])
        assert anon("task_contract_outcomes", contract_ids=[row["contract_id"]]) == [
            {
                "contract_id": row["contract_id"],
                "status": "completed",
                "error_message": None,
                "output_artifact_id": answer["output_artifact_id"],
                "retry_count": 0,
                "started_at": after["started_at"],
                "completed_at": after["completed_at"],
                "attempt": 1,
                "progress": None,
                "waiting": None,
                "next_attempt_at": None,
                "waits_for": None,
                "omitted": False,
                **result,
            }
        ]

    def test_an_output_that_is_not_json_is_returned_as_text(self, anon: Caller, database: Database) -> None:
        row = claimed(anon)
        report = artifact(database, "# A report\n\nplain")
        anon("complete_task_contract", **held(row), output_artifact_id=report)
        [outcome] = anon("task_contract_outcomes", contract_ids=[row["contract_id"]])
        assert (outcome["output"], outcome["output_artifact_id"]) == ("# A report\n\nplain", report)

    @pytest.mark.parametrize(
        "content",
        ["[" * 100_000, "[" * 66 + "]" * 66, "[1e131071]"],
        ids=["too deep to read", "too deep", "a huge number"],
    )
    def test_an_output_that_would_break_its_readers_is_text(
        self, anon: Caller, database: Database, content: str
    ) -> None:
        """Another program may have written the artifact."""
        row = claimed(anon)
        anon("complete_task_contract", **held(row), output_artifact_id=artifact(database, content))
        [outcome] = anon("task_contract_outcomes", contract_ids=[row["contract_id"]])
        assert outcome["output"] == content

    def test_outcomes_have_the_order_of_the_ids_without_repeats_and_unknown_ids(self, anon: Caller) -> None:
        first, second = create(anon), create(anon)
        answers = anon("task_contract_outcomes", contract_ids=[second, uuid4(), first, second])
        assert [row["contract_id"] for row in answers] == [second, first]

    def test_an_empty_list_of_ids_returns_no_outcomes(self, anon: Caller) -> None:
        create(anon)
        assert anon("task_contract_outcomes", contract_ids=[]) == []

    def test_null_and_more_than_1000_ids_are_refused(self, anon: Caller) -> None:
        with refused("TC005", "p_contract_ids"):
            anon("task_contract_outcomes", contract_ids=None)
        with refused("TC006", "1001"):
            anon("task_contract_outcomes", contract_ids=[uuid4()] * 1001)
        assert anon("task_contract_outcomes", contract_ids=[uuid4()] * 1000) == []


class TestInputs:
    def test_the_holder_of_the_claim_reads_them_in_full_and_in_order(
        self, anon: Caller, database: Database
    ) -> None:
        second, first = artifact(database, "two"), artifact(database, "1" * 10_000)
        row = claimed(anon, input_artifacts=[first, second, first])
        inputs = anon("task_contract_inputs", **held(row))
        assert [(i["artifact_id"], i["content_text"], i["omitted"]) for i in inputs] == [
            (first, "1" * 10_000, False),
            (second, "two", False),
        ]

    def test_only_the_artifacts_asked_for_are_returned(self, anon: Caller, database: Database) -> None:
        first, second, other = (artifact(database, text) for text in ("one", "two", "not an input"))
        row = claimed(anon, input_artifacts=[first, second])
        inputs = anon("task_contract_inputs", **held(row), artifact_ids=[second, other])
        assert [i["artifact_id"] for i in inputs] == [second]

    def test_an_input_that_no_longer_exists_is_an_error(self, anon: Caller, database: Database) -> None:
        """A worker that does not notice would do its work on nothing and succeed."""
        first, gone = artifact(database, "one"), artifact(database, "gone")
        row = claimed(anon, input_artifacts=[first, gone])
        database.execute("delete from public.agent_artifacts where id = %s", [gone])
        for fields in ({}, {"artifact_ids": [first]}):
            with refused("TC001", f"input artifact {gone}"):
                anon("task_contract_inputs", **held(row), **fields)


class TestRead:
    def test_users_and_the_service_role_see_previews_of_the_inputs(
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

    def test_an_unknown_id_returns_no_row(self, service: Caller) -> None:
        assert service("read_task_contract", contract_id=uuid4()) == []
