"""What the table refuses, over HTTP: for the service role, whom no policy stops, and for an agent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from postgrest import APIError, ReturnMethod
from supabase import Client

from ehg_tasks import AgentTasks, ContractNotFound, InvalidData, TaskContractError

TABLE = "agent_task_contracts"
ROW: dict[str, Any] = {"parent_agent": "PLANNER", "target_agent": "DESIGN", "objective": "draw"}
NOBODY = "00000000-0000-4000-8000-000000000000"
Contracts = Callable[[], list[dict[str, Any]]]

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "status: not one of five": ({"status": "done"}, "23514"),
    "status: too long": ({"status": "s" * 21}, "22001"),
    "status: null": ({"status": None}, "23502"),
    "parent_agent: too long": ({"parent_agent": "p" * 51}, "22001"),
    "parent_agent: null": ({"parent_agent": None}, "23502"),
    "target_agent: too long": ({"target_agent": "t" * 51}, "22001"),
    "target_agent: null": ({"target_agent": None}, "23502"),
    "objective: null": ({"objective": None}, "23502"),
    "expected_output_type: too long": ({"expected_output_type": "e" * 51}, "22001"),
    "expected_output_type: null": ({"expected_output_type": None}, "23502"),
    "created_by: too long": ({"created_by": "c" * 101}, "22001"),
    "sd_id: too long": ({"sd_id": "s" * 51}, "22001"),
    "sd_id: unknown": ({"sd_id": "SD-NONE"}, "23503"),
    "output_artifact_id: unknown": ({"output_artifact_id": NOBODY}, "23503"),
    "id: no uuid": ({"id": "1"}, "22P02"),
    "session_id: no uuid": ({"session_id": "yesterday"}, "22P02"),
    "priority: no number": ({"priority": "high"}, "22P02"),
    "priority: out of range": ({"priority": 2**31}, "22003"),
    "priority: null": ({"priority": None}, "23502"),
    "max_tokens: out of range": ({"max_tokens": -(2**31) - 1}, "22003"),
    "created_at: no time": ({"created_at": "soon"}, "22007"),
    "created_at: null": ({"created_at": None}, "23502"),
    "updated_at: null": ({"updated_at": None}, "23502"),
    "objective: NUL": ({"objective": "a\x00b"}, "22P05"),
    "a column that is not there": ({"colour": "red"}, "PGRST204"),
}


@pytest.mark.parametrize(("values", "code"), REFUSED.values(), ids=REFUSED.keys())
def test_a_row_that_the_table_refuses(
    service_api: Client, contracts: Contracts, values: dict[str, Any], code: str
) -> None:
    with pytest.raises(APIError) as raised:
        service_api.table(TABLE).insert(ROW | values).execute()
    # Postgres reports a NUL in JSON and one in a text under two codes.
    assert raised.value.code == code or (code == "22P05" and raised.value.code == "22021"), raised.value
    assert contracts() == []


@pytest.mark.parametrize(("values", "code"), REFUSED.values(), ids=REFUSED.keys())
def test_an_agent_is_refused_the_same(
    anon_api: Client, contracts: Contracts, values: dict[str, Any], code: str
) -> None:
    with pytest.raises(APIError) as raised:
        anon_api.table(TABLE).insert(ROW | values, returning=ReturnMethod.minimal).execute()
    assert raised.value.code == code or (code == "22P05" and raised.value.code == "22021"), raised.value
    assert contracts() == []


def test_a_duplicate_id(service_api: Client, contracts: Contracts) -> None:
    service_api.table(TABLE).insert(ROW | {"id": NOBODY}).execute()
    before = contracts()
    with pytest.raises(APIError) as raised:
        service_api.table(TABLE).insert(ROW | {"id": NOBODY, "objective": "other"}).execute()
    assert raised.value.code == "23505"
    assert contracts() == before


def test_one_bad_row_of_several_refuses_all(service_api: Client, contracts: Contracts) -> None:
    with pytest.raises(APIError):
        service_api.table(TABLE).insert([ROW, ROW | {"parent_agent": None}]).execute()
    assert contracts() == []


OVERSIZE: dict[str, dict[str, Any]] = {
    "objective": {"objective": "x" * 65_537},
    "objective in bytes": {"objective": "ß" * 32_769},
    "input_summary": {"input_summary": "x" * 65_537},
    "constraints": {"constraints": {"rule": "x" * 65_536}},
    "output_schema": {"output_schema": {"title": "x" * 65_536}},
    "input_artifacts": {"input_artifacts": [NOBODY] * 1001},
    "result_summary": {"result_summary": "x" * 65_537},
    "error_message": {"error_message": "x" * 65_537},
}


@pytest.mark.parametrize("values", OVERSIZE.values(), ids=OVERSIZE.keys())
def test_an_oversize_row_of_an_agent_is_refused(
    anon_api: Client, contracts: Contracts, values: dict[str, Any]
) -> None:
    with pytest.raises(APIError) as raised:
        anon_api.table(TABLE).insert(ROW | values, returning=ReturnMethod.minimal).execute()
    assert raised.value.code == "TC006"
    [name] = values
    assert name in str(raised.value.message)
    assert contracts() == []
    anon_api.table(TABLE).insert(ROW, returning=ReturnMethod.minimal).execute()
    before = contracts()
    with pytest.raises(APIError) as raised:
        anon_api.table(TABLE).update(values, returning=ReturnMethod.minimal).execute()
    assert raised.value.code == "TC006"
    assert contracts() == before


def test_the_largest_row_of_an_agent_is_taken(anon_api: Client, contracts: Contracts) -> None:
    largest = {"objective": "x" * 65_536, "input_summary": "y" * 65_536, "input_artifacts": [NOBODY] * 1000}
    anon_api.table(TABLE).insert(ROW | largest, returning=ReturnMethod.minimal).execute()
    [row] = contracts()
    assert len(row["objective"]) == 65_536
    assert len(row["input_artifacts"]) == 1000


def test_a_bulk_call_with_a_bad_contract_creates_none(anon_api: Client, contracts: Contracts) -> None:
    with pytest.raises(APIError, match=r"contract 2 of 3: .*target_agent"):
        anon_api.rpc(
            "create_task_contracts", {"p_contracts": [ROW, ROW | {"target_agent": "t" * 51}, ROW]}
        ).execute()
    assert contracts() == []


@pytest.mark.parametrize(
    ("act", "kind", "code"),
    [
        (lambda agent: agent.create(**ROW, sd_id="SD-NONE"), InvalidData, "23503"),
        (lambda agent: agent.cancel(UUID(NOBODY)), ContractNotFound, "TC001"),
    ],
)
def test_the_client_tells_code_and_message(
    agent: AgentTasks,
    contracts: Contracts,
    act: Callable[[AgentTasks], object],
    kind: type[TaskContractError],
    code: str,
) -> None:
    with pytest.raises(kind) as raised:
        act(agent)
    assert raised.value.code == code
    assert raised.value.message
    assert raised.value.__cause__ is None
    assert contracts() == []
