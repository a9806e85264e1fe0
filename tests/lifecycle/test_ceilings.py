"""An answer holds at most 8 MiB of texts. It says what it leaves out, which can be asked for again."""

from __future__ import annotations

from uuid import UUID

import pytest

from tests.lifecycle.helpers import Database, artifact, claim, claimed, create, held, leases
from tests.sql import Caller, Row, jsonb

CEILING = 8 * 1024 * 1024
KIB_64 = 65536
LARGEST = {
    "parent_agent": "P",
    "target_agent": "T",
    "objective": "x" * KIB_64,
    "input_summary": "y" * KIB_64,
    "constraints": {"a": "z" * (KIB_64 - 9)},
    "output_schema": {"a": "s" * (KIB_64 - 9)},
}


def create_largest(caller: Caller, count: int) -> None:
    caller("create_task_contracts", contracts=jsonb([LARGEST] * count))


class TestClaims:
    def test_a_claim_hands_out_as_many_contracts_as_fit(self, anon: Caller, database: Database) -> None:
        for _ in range(4):
            create_largest(anon, 25)
        sizes = []
        while rows := anon("claim_task_contract", target_agent="T", limit=100):
            sizes.append(len(rows))
        assert sizes == [32, 32, 32, 4]
        assert len(leases(database)) == 100

    @pytest.mark.parametrize("limit", [27, 28, 30])
    def test_no_limit_lets_an_answer_grow_past_it(self, anon: Caller, database: Database, limit: int) -> None:
        inputs = [artifact(database)] * 1000
        create_largest(anon, 30)
        database.execute("update public.agent_task_contracts set input_artifacts = %s", [inputs])
        rows = anon("claim_task_contract", target_agent="T", limit=limit)
        assert len(rows) == 27
        assert len(rows) * (4 * KIB_64 + 40 * 1000) <= CEILING

    def test_the_most_urgent_contracts_are_handed_out_first(self, anon: Caller) -> None:
        create_largest(anon, 32)
        urgent = create(anon, priority=90)
        rows = anon("claim_task_contract", target_agent="T", limit=100)
        assert (rows[0]["contract_id"], len(rows)) == (urgent, 32)

    def test_one_contract_is_handed_out_whatever_its_size(
        self, anon: Caller, service: Caller, database: Database
    ) -> None:
        create(anon)
        for _ in range(2):
            service.run(
                "insert into public.agent_task_contracts (parent_agent, target_agent, objective)"
                " values ('P', 'T', repeat('x', %s))",
                [CEILING + 1],
            )
        sizes = [len(anon("claim_task_contract", target_agent="T", limit=100)) for _ in range(4)]
        assert sizes == [1, 1, 1, 0]


class TestOutcomes:
    @pytest.fixture
    def ids(self, anon: Caller) -> list[UUID]:
        """Twelve contracts, each with an output of 1 MiB."""
        return [self.complete_with(anon, "x" * (1024 * 1024 - 2)) for _ in range(12)]

    @staticmethod
    def complete_with(anon: Caller, output: str) -> UUID:
        row = claimed(anon)
        anon("complete_task_contract", **held(row), output=jsonb(output))
        contract_id = row["contract_id"]
        assert isinstance(contract_id, UUID)
        return contract_id

    @staticmethod
    def outcomes(anon: Caller, ids: list[UUID]) -> tuple[list[Row], list[Row]]:
        """The outcomes in full, and those that are left out."""
        rows = anon("task_contract_outcomes", contract_ids=ids)
        assert [row["contract_id"] for row in rows] == ids
        return [row for row in rows if not row["omitted"]], [row for row in rows if row["omitted"]]

    def test_what_does_not_fit_comes_without_its_output(self, anon: Caller, ids: list[UUID]) -> None:
        given, omitted = self.outcomes(anon, ids)
        assert (len(given), len(omitted)) == (8, 4)
        assert all(len(row["output"]) == 1024 * 1024 - 2 for row in given)
        for row in omitted:
            assert (row["output"], row["result_summary"], row["error_message"]) == (None, None, None)
            assert (row["status"], row["output_artifact_id"] is not None) == ("completed", True)

    def test_it_can_be_asked_for_again(self, anon: Caller, ids: list[UUID]) -> None:
        _, omitted = self.outcomes(anon, ids)
        given, rest = self.outcomes(anon, [row["contract_id"] for row in omitted])
        assert (len(given), rest) == (4, [])
        assert all(row["output"] for row in given)

    def test_one_output_is_given_whatever_its_size(
        self, anon: Caller, service: Caller, database: Database
    ) -> None:
        """An artifact that another program wrote may be of any size."""
        row, large = claimed(anon), artifact(database, "x" * (CEILING + 1))
        anon("complete_task_contract", **held(row), output_artifact_id=large)
        small = self.complete_with(anon, "y")
        given, omitted = self.outcomes(anon, [row["contract_id"], small])
        assert [len(outcome["output"]) for outcome in given] == [CEILING + 1]
        assert [outcome["contract_id"] for outcome in omitted] == [small]

    def test_summaries_errors_and_progress_count_too(self, anon: Caller, database: Database) -> None:
        rows = [claimed(anon) for _ in range(70)]
        progress = {"message": "p" * 4000}
        for row in rows:
            anon("renew_task_contract", **held(row), progress=progress)
        for row in rows:
            texts = {"result_summary": "s" * KIB_64, "error_message": "e" * KIB_64}
            anon("complete_task_contract", **held(row), success=False, **texts)
        given, omitted = self.outcomes(anon, [row["contract_id"] for row in rows])
        per_row = 2 * KIB_64 + len('{"message": ""}') + 4000
        assert len(given) == CEILING // per_row
        assert {row["progress"] is None for row in omitted} == {True}


class TestInputs:
    def test_what_does_not_fit_comes_without_its_content(self, anon: Caller, database: Database) -> None:
        inputs = [artifact(database, "x" * (2 * 1024 * 1024), summary="") for _ in range(6)]
        row = claimed(anon, input_artifacts=inputs)
        rows = anon("task_contract_inputs", **held(row))
        assert [r["artifact_id"] for r in rows] == inputs
        assert [r["omitted"] for r in rows] == [False] * 4 + [True] * 2
        assert [r["content_text"] is None for r in rows] == [False] * 4 + [True] * 2
        again = anon("task_contract_inputs", **held(row), artifact_ids=inputs[4:])
        assert [(r["artifact_id"], r["omitted"]) for r in again] == [(i, False) for i in inputs[4:]]
        assert all(len(r["content_text"]) == 2 * 1024 * 1024 for r in again)

    def test_summaries_count(self, anon: Caller, database: Database) -> None:
        half = "x" * (CEILING // 2)
        inputs = [artifact(database, half, summary=half), artifact(database, "y", summary="")]
        rows = anon("task_contract_inputs", **held(claimed(anon, input_artifacts=inputs)))
        assert [r["omitted"] for r in rows] == [False, True]

    def test_one_input_is_given_whatever_its_size(self, anon: Caller, database: Database) -> None:
        inputs = [artifact(database, "x" * (CEILING + 1)), artifact(database, "y")]
        create(anon, input_artifacts=inputs)
        rows = anon("task_contract_inputs", **held(claim(anon)))
        assert [r["omitted"] for r in rows] == [False, True]
