"""New contracts are checked before they are sent."""

from __future__ import annotations

from typing import Any, Required, get_origin, get_type_hints

import pytest

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
        ({"max_retries": -1}, "max_retries"),
        ({"created_by": "x" * 101}, "created_by"),
        ({"status": "completed"}, "status"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bad_field_is_refused_by_name_in_one_line(fields: dict[str, Any], name: str) -> None:
    with pytest.raises(BadArgument, match=f"^not a contract: {name}") as raised:
        NewContract(**REQUIRED | fields)
    assert "\n" not in str(raised.value)


def test_a_missing_field_is_refused_by_name() -> None:
    with pytest.raises(BadArgument, match="target_agent: Field required"):
        NewContract(parent_agent="P", objective="o")  # type: ignore[call-arg]


def test_the_keywords_of_create_are_the_fields_of_a_contract() -> None:
    assert list(NewContractFields.__annotations__) == list(NewContract.model_fields)
    hints = get_type_hints(NewContractFields, include_extras=True)
    for name, field in NewContract.model_fields.items():
        assert (get_origin(hints[name]) is Required) == field.is_required(), name
