"""New contracts are checked before they are sent."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Required, get_origin, get_type_hints

import pytest
from pydantic import BaseModel

from ehg_tasks.errors import BadArgument
from ehg_tasks.new_contract import NewContract, NewContractFields

REQUIRED: dict[str, Any] = {"parent_agent": "P", "target_agent": "T", "objective": "o"}
ID = "522ca660-a73e-41ef-b63c-9c59f4ae59f1"


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"parent_agent": ""}, "parent_agent"),
        ({"target_agent": "   "}, "target_agent"),
        ({"target_agent": "x" * 51}, "target_agent"),
        ({"objective": "\n"}, "objective"),
        ({"objective": None}, "objective"),
        ({"objective": 5}, "objective"),
        ({"sd_id": "x" * 51}, "sd_id"),
        ({"session_id": "not a uuid"}, "session_id"),
        ({"constraints": [1]}, "constraints"),
        ({"constraints": {"a": b"x"}}, "constraints"),
        ({"input_artifacts": ["x"]}, "input_artifacts"),
        ({"input_artifacts": [ID] * 1001}, "input_artifacts"),
        ({"priority": 2**31}, "priority"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"timeout_minutes": 0}, "timeout_minutes"),
        ({"timeout_minutes": 10_081}, "timeout_minutes"),
        ({"max_retries": -1}, "max_retries"),
        ({"max_retries": 101}, "max_retries"),
        ({"not_before": datetime(2026, 1, 1)}, "not_before"),  # noqa: DTZ001
        ({"not_before": "tomorrow"}, "not_before"),
        ({"depends_on": ID}, "depends_on"),
        ({"depends_on": ["x"]}, "depends_on"),
        ({"depends_on": [ID] * 101}, "depends_on"),
        ({"on_dependency_failure": "retry"}, "on_dependency_failure"),
        ({"created_by": "x" * 101}, "created_by"),
        ({"status": "completed"}, "status"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bad_field_is_refused_by_name_in_one_line(fields: dict[str, Any], name: str) -> None:
    with pytest.raises(BadArgument, match=f"^not a contract: {name}") as raised:
        NewContract(**REQUIRED | fields)
    assert "\n" not in str(raised.value)


def test_white_space_around_a_name_is_no_part_of_it() -> None:
    contract = NewContract(**REQUIRED | {"target_agent": " T\u00a0" + " " * 50})
    assert contract.target_agent == "T"


def test_a_missing_field_is_refused_by_name() -> None:
    with pytest.raises(BadArgument, match="target_agent: Field required"):
        NewContract(parent_agent="P", objective="o")  # type: ignore[call-arg]


def test_the_keywords_of_create_are_the_fields_of_a_contract() -> None:
    assert list(NewContractFields.__annotations__) == list(NewContract.model_fields)
    hints = get_type_hints(NewContractFields, include_extras=True)
    for name, field in NewContract.model_fields.items():
        assert (get_origin(hints[name]) is Required) == field.is_required(), name


def test_a_pydantic_model_may_be_given_as_the_output_schema() -> None:
    class Page(BaseModel):
        title: str

    contract = NewContract.model_validate(REQUIRED | {"output_schema": Page})
    assert contract.output_schema == Page.model_json_schema()


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "color"}, r"output_schema: .*not a JSON Schema: \$\.type: 'color'"),
        ({"required": "all"}, "not a JSON Schema"),
        ({"$schema": ["x"]}, "not a JSON Schema"),
        (int, "output_schema"),
    ],
)
def test_a_schema_that_is_not_a_json_schema_is_refused(schema: Any, message: str) -> None:
    with pytest.raises(BadArgument, match=message) as raised:
        NewContract.model_validate(REQUIRED | {"output_schema": schema})
    assert "\n" not in str(raised.value)
