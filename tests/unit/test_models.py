"""Models accept every value that the table can hold."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pydantic
import pytest

from ehg_tasks.errors import ClaimLost
from ehg_tasks.models import (
    AgentToken,
    BulkCompletion,
    Claim,
    ClaimHandle,
    ContractStatus,
    RenewalState,
    TaskContract,
)
from ehg_tasks.worker.attempt import NOT_HELD

ID = "522ca660-a73e-41ef-b63c-9c59f4ae59f1"
NULLABLE = """
    session_id sd_id input_artifacts input_summary output_schema constraints max_tokens timeout_minutes
    started_at completed_at output_artifact_id result_summary execution_tokens error_message retry_count
    max_retries created_by completion_idempotency_key completed_by_agent_id
"""
ROW: dict[str, Any] = {
    **dict.fromkeys(NULLABLE.split()), "id": ID,
    "parent_agent": "P", "target_agent": "T", "objective": "o",
    "expected_output_type": "artifact", "priority": 50, "status": "pending",
    "created_at": "2026-11-23T09:51:21.283456+00:00", "updated_at": "2026-11-23T09:51:21+02:00",
}  # fmt: skip


def test_a_row_may_have_null_in_every_nullable_column() -> None:
    row = TaskContract.model_validate(ROW)
    assert row.id == UUID(ID)
    assert row.status is ContractStatus.PENDING
    assert row.created_at == datetime(2026, 11, 23, 9, 51, 21, 283456, tzinfo=UTC)
    assert row.updated_at == datetime(2026, 11, 23, 7, 51, 21, tzinfo=UTC)
    assert row.updated_at.utcoffset() == timedelta(0)
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
        ("1850-05-31T19:03:58-04:56:02", 1850),  # zones of that century have offsets with seconds
        ("9999-12-31T23:00:00-05:00", 9999),
        ("0001-01-01T01:00:00+05:00", 1),
    ],
)
def test_a_time_beyond_pythons_range_becomes_the_nearest_time_in_it(text: str, year: int) -> None:
    row = TaskContract.model_validate(ROW | {"created_at": text, "completed_at": text})
    assert row.created_at.year == year
    assert row.created_at.tzinfo is UTC
    assert row.completed_at == row.created_at


def test_a_time_without_a_time_zone_is_refused() -> None:
    with pytest.raises(pydantic.ValidationError):
        TaskContract.model_validate(ROW | {"created_at": "2026-11-23T09:51:21"})


@pytest.mark.parametrize("value", [[ID, ID], [[ID], [ID]], [ID, None, ID], [[[ID, None]], [[None, ID]]]])
def test_an_array_of_artifacts_is_flattened_and_loses_its_nulls(value: object) -> None:
    assert TaskContract.model_validate(ROW | {"input_artifacts": value}).input_artifacts == [UUID(ID)] * 2


@pytest.mark.parametrize("value", [None, 1, 1.5, "text", True, [], [{"a": [None]}], {"a": {}}])
def test_constraints_and_schemas_may_be_any_json(value: object) -> None:
    row = TaskContract.model_validate(ROW | {"constraints": value, "output_schema": value})
    assert row.constraints == row.output_schema == value


def test_completed_failed_and_cancelled_are_final() -> None:
    final = {status for status in ContractStatus if status.is_final}
    assert final == {"completed", "failed", "cancelled"}


def test_a_claim_does_not_print_its_token() -> None:
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


def test_an_agent_does_not_print_its_token() -> None:
    agent = AgentToken(name="A", token="agent_HIDDEN", created=True, previous_token_expires_at=None)
    assert "HIDDEN" not in f"{agent} {agent!r}"


def test_a_refused_result_has_the_exception_of_a_single_call() -> None:
    row = {"contract_id": ID, "success": True, "status": "completed", "was_duplicate": False,
           "output_artifact_id": None, "code": None, "message": "m"}  # fmt: skip
    assert BulkCompletion.model_validate(row).error is None
    refused = row | {"success": False, "status": None, "was_duplicate": None, "code": "TC002"}
    assert isinstance(BulkCompletion.model_validate(refused).error, ClaimLost)


def test_a_worker_knows_every_state_in_which_a_claim_is_no_longer_held() -> None:
    assert NOT_HELD.keys() == set(RenewalState) - {RenewalState.RENEWED}
