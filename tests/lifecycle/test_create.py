"""create_task_contract and create_task_contracts: what is stored, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.lifecycle.helpers import Database, artifact, contract, create
from tests.sql import Caller, jsonb, refused

Contracts = Callable[[], list[dict[str, Any]]]
FIELDS = {"parent_agent": "P", "target_agent": "T", "objective": "o"}


def test_every_field_is_stored(anon: Caller, database: Database) -> None:
    database.execute("insert into public.strategic_directives_v2 (id) values ('SD-1')")
    given = {
        "session_id": uuid4(), "sd_id": "SD-1", "input_artifacts": [artifact(database)],
        "input_summary": "in",
        "constraints": {"no": ["internet"]}, "expected_output_type": "report", "priority": 7,
        "max_tokens": 9, "contract_id": uuid4(), "output_schema": {"type": "object"},
        "timeout_minutes": 3, "max_retries": 0, "created_by": "me",
    }  # fmt: skip
    [answer] = anon("create_task_contract", **FIELDS, **given)
    assert answer == {"contract_id": given["contract_id"], "contract_summary": "P -> T: o", "created": True}
    row = contract(database, answer["contract_id"])
    given["id"] = given.pop("contract_id")
    assert {name: row[name] for name in FIELDS | given} == FIELDS | given
    assert (row["status"], row["retry_count"], row["started_at"]) == ("pending", 0, None)


def test_a_repeat_with_the_same_id_creates_nothing(anon: Caller, contracts: Contracts) -> None:
    contract_id = create(anon)
    before = contracts()
    [answer] = anon("create_task_contract", **FIELDS, contract_id=contract_id)
    assert answer == {"contract_id": contract_id, "contract_summary": "P -> T: o", "created": False}
    assert contracts() == before


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("parent_agent", "other"),
        ("target_agent", "other"),
        ("objective", "other"),
        ("session_id", UUID(int=1)),
        ("sd_id", "SD-1"),
        ("constraints", {"a": 1}),
        ("input_summary", "other"),
        ("expected_output_type", "other"),
        ("output_schema", {"type": "object"}),
        ("priority", 51),
        ("max_tokens", 4001),
        ("timeout_minutes", 31),
        ("max_retries", 3),
        ("created_by", "other"),
    ],
)
def test_a_repeat_with_another_value_in_any_field_is_refused(
    anon: Caller, database: Database, contracts: Contracts, field: str, value: Any
) -> None:
    database.execute("insert into public.strategic_directives_v2 (id) values ('SD-1')")
    contract_id = create(anon)
    before = contracts()
    with refused("TC004"):
        anon("create_task_contract", **(FIELDS | {field: value}), contract_id=contract_id)
    assert contracts() == before


def test_a_repeat_in_bulk_compares_the_fields_that_it_gives(anon: Caller, contracts: Contracts) -> None:
    contract_id = create(anon, priority=70)
    repeat = FIELDS | {"contract_id": str(contract_id)}
    [answer] = anon("create_task_contracts", contracts=jsonb([repeat]))
    assert answer["created"] is False
    with refused("TC004"):
        anon("create_task_contracts", contracts=jsonb([repeat | {"priority": 71}]))
    assert [row["priority"] for row in contracts()] == [70]


def test_a_repeat_succeeds_after_an_input_artifact_was_deleted(anon: Caller, database: Database) -> None:
    fields: dict[str, Any] = FIELDS | {"contract_id": uuid4(), "input_artifacts": [artifact(database)]}
    for created in (True, False):
        [answer] = anon("create_task_contract", **fields)
        assert answer["created"] is created
        database.execute("delete from public.agent_artifacts")


def test_an_unknown_input_artifact_is_refused_and_nothing_is_created(
    anon: Caller, database: Database, contracts: Contracts
) -> None:
    unknown = uuid4()
    with refused("TC005", f"there is no artifact {unknown}"):
        anon("create_task_contract", **FIELDS, input_artifacts=[artifact(database), unknown])
    assert contracts() == []


INVALID: list[tuple[dict[str, Any], str]] = [
    ({"parent_agent": ""}, "TC005"),
    ({"target_agent": " "}, "TC005"),
    ({"objective": "\n"}, "TC005"),
    ({"objective": None}, "TC005"),
    ({"target_agent": None}, "TC005"),
    ({"parent_agent": "x" * 51}, "TC005"),
    ({"target_agent": "x" * 51}, "TC005"),
    ({"sd_id": "x" * 51}, "TC005"),
    ({"expected_output_type": "x" * 51}, "TC005"),
    ({"created_by": "x" * 101}, "TC005"),
    ({"timeout_minutes": 0}, "TC005"),
    ({"max_tokens": 0}, "TC005"),
    ({"max_retries": -1}, "TC005"),
    ({"priority": None}, "23502"),
    ({"expected_output_type": None}, "23502"),
    ({"sd_id": "SD-unknown"}, "23503"),
    ({"objective": "x" * 65537}, "TC006"),
    ({"objective": "é" * 32769}, "TC006"),
    ({"input_summary": "x" * 65537}, "TC006"),
    ({"constraints": {"x": "x" * 65537}}, "TC006"),
    ({"output_schema": {"x": "x" * 65537}}, "TC006"),
    ({"input_artifacts": [UUID(int=n) for n in range(1001)]}, "TC006"),
]


@pytest.mark.parametrize(("fields", "code"), INVALID, ids=lambda value: str(value)[:40])
def test_an_invalid_field_is_refused_and_nothing_is_created(
    anon: Caller, contracts: Contracts, fields: dict[str, Any], code: str
) -> None:
    with refused(code):
        anon("create_task_contract", **(FIELDS | fields))
    assert contracts() == []


def test_a_contract_at_the_limits_is_accepted(anon: Caller, database: Database, contracts: Contracts) -> None:
    create(
        anon, objective="x" * 65536, input_summary="x" * 65536, constraints={"x": "y" * 65527},
        input_artifacts=[artifact(database)] * 1000, max_retries=0, timeout_minutes=1, max_tokens=1,
        parent_agent="x" * 50, created_by="x" * 100,
    )  # fmt: skip
    assert len(contracts()) == 1


class TestBulk:
    def test_contracts_are_created_in_the_order_given(self, anon: Caller, contracts: Contracts) -> None:
        given = [FIELDS | {"objective": f"o{n}"} for n in range(1000)]
        answers = anon("create_task_contracts", contracts=jsonb(given))
        assert [row["contract_summary"] for row in answers] == [f"P -> T: o{n}" for n in range(1000)]
        assert [row["id"] for row in contracts()] == [row["contract_id"] for row in answers]

    def test_white_space_may_make_a_name_longer_than_its_column(
        self, anon: Caller, contracts: Contracts
    ) -> None:
        padded = FIELDS | {"parent_agent": " " * 60 + "P", "target_agent": "T" + " " * 60}
        anon("create_task_contracts", contracts=jsonb([padded, padded]))
        assert [(row["parent_agent"], row["target_agent"]) for row in contracts()] == [("P", "T")] * 2

    def test_omitted_fields_get_the_defaults_of_the_table(self, anon: Caller, contracts: Contracts) -> None:
        anon("create_task_contracts", contracts=jsonb([FIELDS | {"max_tokens": None}]))
        [row] = contracts()
        assert (row["priority"], row["timeout_minutes"], row["max_retries"]) == (50, 30, 2)
        assert (row["constraints"], row["input_artifacts"], row["max_tokens"]) == ({}, [], None)

    @pytest.mark.parametrize(
        ("second", "code", "message"),
        [
            (FIELDS | {"objektive": "o"}, "TC005", "contract 2 of 2: unknown field: objektive"),
            (FIELDS | {"id": str(uuid4())}, "TC005", "unknown field: id"),
            (FIELDS | {"status": "completed"}, "TC005", "unknown field: status"),
            ("text", "TC005", "contract 2 of 2: a contract must be a JSON object"),
            (FIELDS | {"sd_id": "SD-unknown"}, "23503", "Key (sd_id)=(SD-unknown) is not present"),
            (FIELDS | {"priority": "high"}, "22P02", "contract 2 of 2"),
            (FIELDS | {"contract_id": "1"}, "22P02", "contract 2 of 2"),
            (FIELDS | {"priority": 2**31}, "22003", "contract 2 of 2"),
            (FIELDS | {"input_artifacts": ["1"]}, "22P02", "contract 2 of 2"),
            (FIELDS | {"objective": "x" * 65537}, "TC006", "contract 2 of 2: objective is too large"),
            ({"parent_agent": "P"}, "TC005", "must not be empty"),
        ],
    )
    def test_one_invalid_contract_rejects_the_whole_call(
        self, anon: Caller, contracts: Contracts, second: Any, code: str, message: str
    ) -> None:
        with refused(code, message):
            anon("create_task_contracts", contracts=jsonb([FIELDS, second]))
        assert contracts() == []

    @pytest.mark.parametrize(
        ("given", "code"),
        [(None, "TC005"), ([], "TC005"), ({}, "TC005"), ("x", "TC005"), ([FIELDS] * 1001, "TC006")],
        ids=["null", "empty", "object", "text", "1001"],
    )
    def test_anything_but_an_array_of_1_to_1000_contracts_is_refused(
        self, anon: Caller, contracts: Contracts, given: Any, code: str
    ) -> None:
        with refused(code):
            anon("create_task_contracts", contracts=jsonb(given))
        assert contracts() == []

    def test_a_repeat_of_the_call_creates_nothing(self, anon: Caller, contracts: Contracts) -> None:
        given = [FIELDS | {"contract_id": str(uuid4())} for _ in range(3)]
        anon("create_task_contracts", contracts=jsonb(given))
        before = contracts()
        answers = anon("create_task_contracts", contracts=jsonb(given))
        assert [row["created"] for row in answers] == [False] * 3
        assert contracts() == before
