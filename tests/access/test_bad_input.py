"""What the table refuses over HTTP, even from the service role, whom no policy stops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from postgrest import APIError, ReturnMethod
from supabase import Client

TABLE = "agent_task_contracts"
ROW: dict[str, Any] = {"parent_agent": "PLANNER", "target_agent": "DESIGN", "objective": "draw"}
UNKNOWN = "00000000-0000-4000-8000-000000000000"
Contracts = Callable[[], list[dict[str, Any]]]

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "status is not one of the five": ({"status": "done"}, "23514"),
    "status is null": ({"status": None}, "23502"),
    "parent_agent is too long": ({"parent_agent": "p" * 51}, "22001"),
    "parent_agent is null": ({"parent_agent": None}, "23502"),
    "target_agent is too long": ({"target_agent": "t" * 51}, "22001"),
    "target_agent is null": ({"target_agent": None}, "23502"),
    "objective is null": ({"objective": None}, "23502"),
    "created_by is too long": ({"created_by": "c" * 101}, "22001"),
    "sd_id is unknown": ({"sd_id": "SD-NONE"}, "23503"),
    "output_artifact_id is unknown": ({"output_artifact_id": UNKNOWN}, "23503"),
    "id is not a UUID": ({"id": "1"}, "22P02"),
    "priority is not a number": ({"priority": "high"}, "22P02"),
    "priority is out of range": ({"priority": 2**31}, "22003"),
    "a column does not exist": ({"colour": "red"}, "PGRST204"),
}


@pytest.mark.parametrize(("values", "code"), REFUSED.values(), ids=REFUSED)
def test_an_invalid_row_is_refused(
    service_api: Client, anon_api: Client, contracts: Contracts, values: dict[str, Any], code: str
) -> None:
    for api in (service_api, anon_api):
        with pytest.raises(APIError) as raised:
            api.table(TABLE).insert(ROW | values, returning=ReturnMethod.minimal).execute()
        assert raised.value.code == code
    assert contracts() == []


def test_a_duplicate_id_is_refused(service_api: Client, contracts: Contracts) -> None:
    service_api.table(TABLE).insert(ROW | {"id": UNKNOWN}).execute()
    before = contracts()
    with pytest.raises(APIError) as raised:
        service_api.table(TABLE).insert(ROW | {"id": UNKNOWN, "objective": "other"}).execute()
    assert raised.value.code == "23505"
    assert contracts() == before


def test_one_invalid_row_refuses_the_whole_request(service_api: Client, contracts: Contracts) -> None:
    with pytest.raises(APIError):
        service_api.table(TABLE).insert([ROW, ROW | {"parent_agent": None}]).execute()
    assert contracts() == []


def test_an_oversize_row_from_an_agent_is_refused_with_tc006(anon_api: Client, contracts: Contracts) -> None:
    """`test_guards.py` has every field."""
    with pytest.raises(APIError) as raised:
        anon_api.table(TABLE).insert(
            ROW | {"input_summary": "x" * 65_537}, returning=ReturnMethod.minimal
        ).execute()
    assert raised.value.code == "TC006"
    assert "input_summary" in str(raised.value.message)
    assert contracts() == []


def test_the_largest_row_from_an_agent_is_accepted(anon_api: Client, contracts: Contracts) -> None:
    largest = {"objective": "x" * 65_536, "input_summary": "y" * 65_536, "input_artifacts": [UNKNOWN] * 1000}
    anon_api.table(TABLE).insert(ROW | largest, returning=ReturnMethod.minimal).execute()
    [row] = contracts()
    assert len(row["objective"]) == 65_536
    assert len(row["input_artifacts"]) == 1000
