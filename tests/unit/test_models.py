"""Models accept whatever the table can hold, and new contracts are checked before they are sent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Required, get_origin, get_type_hints
from uuid import UUID, uuid4

import pydantic
import pytest

from ehg_tasks.errors import BadArgument
from ehg_tasks.models import Claim, ClaimHandle, ContractStatus, Outcome, TaskContract
from ehg_tasks.new_contract import NewContract, NewContractFields

ONE: dict[str, Any] = {"parent_agent": "P", "target_agent": "T", "objective": "o"}
ID = "522ca660-a73e-41ef-b63c-9c59f4ae59f1"
NULLABLE = """
    session_id sd_id input_artifacts input_summary output_schema constraints max_tokens timeout_minutes
    started_at completed_at output_artifact_id result_summary execution_tokens error_message retry_count
    max_retries created_by completion_idempotency_key completed_by_agent_id
"""
ROW: dict[str, Any] = {
    **dict.fromkeys(NULLABLE.split()), **ONE, "id": ID,
    "expected_output_type": "artifact", "priority": 50, "status": "pending",
    "created_at": "2026-11-23T09:51:21.283456+00:00", "updated_at": "2026-11-23T09:51:21+02:00",
}  # fmt: skip


def test_a_row_may_have_nulls_wherever_the_table_allows_them() -> None:
    row = TaskContract.model_validate(ROW)
    assert row.id == UUID(ID)
    assert row.status is ContractStatus.PENDING
    assert row.created_at == datetime(2026, 11, 23, 9, 51, 21, 283456, tzinfo=UTC)
    assert row.updated_at.utcoffset() == timedelta(hours=2)
    assert [name for name in TaskContract.model_fields if name not in ROW] == []


@pytest.mark.parametrize(
    ("text", "year"),
    [
        ("infinity", 9999),
        ("-infinity", 1),
        ("0044-03-15T00:00:00+00:00 BC", 1),
        ("12026-01-01T00:00:00+00:00", 9999),
        ("294276-12-31T23:59:59.999999+00:00", 9999),
        ("0001-01-01T00:00:00+00:00", 1),
        ("2026-11-23T09:51:21+00:00", 2026),
    ],
)
def test_times_beyond_pythons_range_become_the_nearest_that_it_can_hold(text: str, year: int) -> None:
    row = TaskContract.model_validate(ROW | {"created_at": text, "completed_at": text})
    assert row.created_at.year == year
    assert row.created_at.tzinfo is not None
    assert row.completed_at == row.created_at


def test_a_time_without_a_time_zone_is_refused() -> None:
    with pytest.raises(pydantic.ValidationError):
        TaskContract.model_validate(ROW | {"created_at": "2026-11-23T09:51:21"})


@pytest.mark.parametrize("value", [[ID, ID], [[ID], [ID]], [ID, None, ID], [[[ID, None]], [[None, ID]]]])
def test_arrays_are_read_flat_and_without_nulls(value: object) -> None:
    assert TaskContract.model_validate(ROW | {"input_artifacts": value}).input_artifacts == [UUID(ID)] * 2


@pytest.mark.parametrize("value", [None, 1, 1.5, "text", True, [], [{"a": [None]}], {"a": {}}])
def test_constraints_and_schemas_may_be_any_json(value: object) -> None:
    row = TaskContract.model_validate(ROW | {"constraints": value, "output_schema": value})
    assert row.constraints == row.output_schema == value


def test_columns_of_a_later_version_are_ignored() -> None:
    assert TaskContract.model_validate(ROW | {"a_new_one": 1}) == TaskContract.model_validate(ROW)


def test_an_unknown_status_is_refused() -> None:
    with pytest.raises(pydantic.ValidationError):
        TaskContract.model_validate(ROW | {"status": "paused"})


def test_final_statuses() -> None:
    final = {status for status in ContractStatus if status.is_final}
    assert final == {"completed", "failed", "cancelled"}


def test_models_are_immutable() -> None:
    row = TaskContract.model_validate(ROW)
    with pytest.raises(pydantic.ValidationError):
        row.priority = 1


def test_a_claim_is_a_handle_and_does_not_print_its_token() -> None:
    token = uuid4()
    handle = ClaimHandle(contract_id=UUID(ID), claim_token=token)
    row = {name: ROW.get(name) for name in Claim.model_fields}
    claim = Claim.model_validate(
        row | {"contract_id": ID, "claim_token": str(token), "input_artifacts": [], "attempt": 1,
               "lease_expires_at": ROW["created_at"]}
    )  # fmt: skip
    assert (claim.id, claim.claim_token) == (handle.id, handle.claim_token)
    for proof in (claim, handle):
        assert str(token) not in f"{proof} {proof!r}"


def test_an_outcome_of_a_pending_contract_has_no_output() -> None:
    row = dict.fromkeys(Outcome.model_fields) | {"contract_id": ID, "status": "pending"}
    assert Outcome.model_validate(row).output is None


def test_a_new_contract_has_the_defaults_of_the_table() -> None:
    contract = NewContract(**ONE)
    assert (contract.priority, contract.max_tokens, contract.timeout_minutes, contract.max_retries) == (
        50,
        4000,
        30,
        2,
    )
    assert NewContract(**ONE, session_id=ID).session_id == UUID(ID)  # type: ignore[arg-type]


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
        ({"session_id": "no uuid"}, "session_id"),
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
def test_a_bad_field_is_named_in_one_line(fields: dict[str, Any], name: str) -> None:
    with pytest.raises(BadArgument, match=f"^not a contract: {name}") as raised:
        NewContract(**ONE | fields)
    assert "\n" not in str(raised.value)


def test_a_missing_field_is_named() -> None:
    with pytest.raises(BadArgument, match="target_agent: Field required"):
        NewContract(parent_agent="P", objective="o")  # type: ignore[call-arg]


def test_the_keywords_of_create_are_the_fields_of_a_contract() -> None:
    assert list(NewContractFields.__annotations__) == list(NewContract.model_fields)
    hints = get_type_hints(NewContractFields, include_extras=True)
    for name, field in NewContract.model_fields.items():
        assert (get_origin(hints[name]) is Required) == field.is_required(), name
