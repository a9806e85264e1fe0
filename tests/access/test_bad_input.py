"""What the table refuses over HTTP, even from the service role, which bypasses row level security."""

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


def test_a_status_that_is_not_one_of_the_five_is_refused(
    service_api: Client, anon_api: Client, contracts: Contracts
) -> None:
    for api, code in ((service_api, "23514"), (anon_api, "TC005")):
        with pytest.raises(APIError) as raised:
            api.table(TABLE).insert(ROW | {"status": "done"}, returning=ReturnMethod.minimal).execute()
        assert raised.value.code == code
    assert contracts() == []


def test_an_oversize_row_from_an_agent_is_refused_with_tc006(anon_api: Client, contracts: Contracts) -> None:
    """`test_guards.py` covers every field."""
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
