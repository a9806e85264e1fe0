"""Rules that several functions share, at their limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.lifecycle.helpers import Database, artifact, artifacts, claimed, contract, create, held
from tests.sql import Caller, jsonb, refused

Contracts = Callable[[], list[dict[str, Any]]]
ROW = {"parent_agent": "P", "target_agent": "T", "objective": "o"}


def nested(levels: int) -> Any:
    """A JSON value with this many levels of arrays."""
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


class TestJson:
    """The contract and its field `constraints` are two of the 64 levels."""

    @pytest.mark.parametrize("value", [nested(62), 10**399], ids=["64 levels", "400 digits"])
    def test_json_at_the_limits_is_accepted(self, anon: Caller, value: Any) -> None:
        create(anon, constraints={"a": value})

    @pytest.mark.parametrize("value", [nested(63), 10**400], ids=["65 levels", "401 digits"])
    def test_json_beyond_the_limits_is_refused(self, anon: Caller, database: Database, value: Any) -> None:
        with refused("TC006"):
            create(anon, constraints={"a": value})


@pytest.mark.parametrize(("function", "parameter"), [("renew", "claims"), ("complete", "results")])
def test_a_bulk_call_needs_an_array(anon: Caller, function: str, parameter: str) -> None:
    with refused("TC005", "must be an array"):
        anon(f"{function}_task_contracts", **{parameter: None})


@pytest.mark.parametrize("summary", [None, "", " \t\n"])
def test_an_output_without_a_summary_gets_one(anon: Caller, database: Database, summary: str | None) -> None:
    row = claimed(anon)
    anon("complete_task_contract", **held(row), result_summary=summary, output={})
    assert artifacts(database)[0]["summary"] == f"Output of task contract {row['contract_id']}"


class TestCreate:
    """Contracts take a short way into the table if nothing about them needs a closer look."""

    def test_every_field_is_stored_on_the_short_way(self, anon: Caller, database: Database) -> None:
        session_id = uuid4()
        fields: dict[str, Any] = {
            "session_id": session_id,
            "sd_id": "SD-1",
            "constraints": {"a": 1},
            "input_summary": "i",
            "expected_output_type": "text",
            "priority": 7,
            "max_tokens": 8,
            "timeout_minutes": 9,
            "max_retries": 1,
            "created_by": "me",
        }
        database.execute("insert into public.strategic_directives_v2 (id) values ('SD-1')")
        row = contract(database, create(anon, **fields))
        assert {name: row[name] for name in fields} == fields

    @pytest.mark.parametrize(
        ("fields", "code", "message"),
        [
            ({"unknown": 1}, "TC005", "unknown field: unknown"),
            ({"parent_agent": "\u200b"}, "TC005", "parent_agent holds an invisible character"),
            ({"target_agent": "\u200b"}, "TC005", "target_agent holds an invisible character"),
            ({"target_agent": None}, "TC005", "target_agent must not be empty"),
            ({"objective": " "}, "TC005", "objective must not be empty"),
            ({"sd_id": "x" * 51}, "TC005", "sd_id is longer than 50 characters"),
            (
                {"expected_output_type": "x" * 51},
                "TC005",
                "expected_output_type is longer than 50 characters",
            ),
            ({"created_by": "x" * 101}, "TC005", "created_by is longer than 100 characters"),
            ({"output_schema": 1}, "TC005", "output_schema must be a JSON Schema"),
            ({"objective": "x" * 65537}, "TC006", "objective is too large"),
            ({"constraints": nested(64)}, "TC006", "a contract is nested more than 64 levels deep"),
            ({"on_dependency_failure": "ignore"}, "TC005", "on_dependency_failure must be"),
            ({"priority": "high"}, "22P02", "invalid input syntax for type integer"),
        ],
        ids=lambda value: ", ".join(value) if isinstance(value, dict) else None,
    )
    def test_one_of_several_contracts_is_named_by_its_refusal(
        self, anon: Caller, contracts: Contracts, fields: dict[str, Any], code: str, message: str
    ) -> None:
        with refused(code, f"contract 2 of 2: {message}"):
            anon("create_task_contracts", contracts=jsonb([ROW, ROW | fields]))
        assert contracts() == []

    def test_the_refusal_of_a_single_contract_does_not_number_it(self, anon: Caller) -> None:
        with pytest.raises(psycopg.Error, match=r"^depends_on: there is no earlier task contract"):
            create(anon, depends_on=[uuid4()])

    def test_a_missing_id_among_the_dependencies_is_refused(self, anon: Caller) -> None:
        with refused("TC005", "depends_on must not hold null"):
            create(anon, depends_on=[create(anon), None])

    def test_a_contract_that_is_cancelled_at_once_has_an_end(self, anon: Caller, database: Database) -> None:
        first = create(anon)
        anon("cancel_task_contract", contract_id=first)
        after = contract(database, create(anon, depends_on=[first]))
        assert (after["status"], after["completed_at"] is not None) == ("cancelled", True)

    def test_the_summary_has_the_first_100_characters_of_the_objective(self, anon: Caller) -> None:
        fields = ROW | {"objective": "x" * 101}
        [short] = anon("create_task_contract", **fields)
        [row, _] = anon("create_task_contracts", contracts=jsonb([fields, fields]))
        assert short["contract_summary"] == row["contract_summary"] == "P -> T: " + "x" * 100


def test_the_first_time_that_is_neither_missing_infinite_nor_in_the_future_counts(database: Database) -> None:
    past = "select ehg_tasks.past_time(array[null, '-infinity', 'infinity', now() + interval '1 day', {}])"
    for times, expected in {"'2021-01-01', '2020-01-01'": 2021, "'2020-01-01', '2021-01-01'": 2020}.items():
        row = database.execute(past.format(times).encode()).fetchone()
        assert row is not None
        assert row[0].year == expected


@pytest.mark.parametrize("column", ["status", "output_artifact_id"])
def test_an_agent_inserts_neither_an_unknown_status_nor_an_output(
    anon: Caller, database: Database, contracts: Contracts, column: str
) -> None:
    value = None if column == "status" else artifact(database)
    with refused("TC005", "must be pending, without a result"):
        anon.run(
            f"insert into public.agent_task_contracts (parent_agent, target_agent, objective, {column})"
            " values ('P', 'T', 'o', %s)",
            [value],
        )
    assert contracts() == []


class TestBulkCompletion:
    """What is out of the ordinary is recorded or refused as by a single call, also where no other item is."""

    @pytest.mark.parametrize(
        ("fields", "code"),
        [
            ({"execution_tokens": -1}, "TC005"),
            ({"result_summary": "x" * 65537}, "TC006"),
            ({"output": {}, "output_artifact_id": "00000000-0000-0000-0000-000000000001"}, "TC005"),
        ],
        ids=["tokens", "summary", "outputs"],
    )
    def test_it_refuses_what_a_single_call_refuses(
        self, anon: Caller, database: Database, fields: dict[str, Any], code: str
    ) -> None:
        row = claimed(anon)
        item = {name: str(value) for name, value in held(row).items()} | fields
        [answer] = anon("complete_task_contracts", results=jsonb([item]))
        assert (answer["success"], answer["code"]) == (False, code)
        assert contract(database, row["contract_id"])["status"] == "in_progress"

    def test_it_records_an_error_message_of_a_success(self, anon: Caller, database: Database) -> None:
        row = claimed(anon)
        item = {name: str(value) for name, value in held(row).items()} | {"error_message": "but slowly"}
        [answer] = anon("complete_task_contracts", results=jsonb([item]))
        assert answer["success"] is True
        assert contract(database, row["contract_id"])["error_message"] == "but slowly"

    def test_the_end_is_recorded(self, anon: Caller, database: Database) -> None:
        row = claimed(anon)
        item = {name: str(value) for name, value in held(row).items()}
        anon("complete_task_contracts", results=jsonb([item]))
        assert contract(database, row["contract_id"])["completed_at"] is not None
