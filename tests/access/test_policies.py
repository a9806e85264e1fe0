"""What allowed requests store and return. The matrix lists what is allowed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from postgrest import ReturnMethod
from supabase import Client

TABLE = "agent_task_contracts"
ROW = {"parent_agent": "PLANNER", "target_agent": "DESIGN", "objective": "draw"}
Contracts = Callable[[], list[dict[str, Any]]]


def test_anon_creates_a_contract_with_the_defaults_of_the_table(
    anon_api: Client, contracts: Contracts
) -> None:
    assert anon_api.table(TABLE).insert(ROW, returning=ReturnMethod.minimal).execute().data == []
    [row] = contracts()
    assert {name: row[name] for name in ROW} == ROW
    assert (row["status"], row["priority"], row["created_by"]) == ("pending", 50, "system")


def test_anon_creates_several_contracts_in_one_request(anon_api: Client, contracts: Contracts) -> None:
    rows = [ROW, ROW | {"objective": "paint"}]
    anon_api.table(TABLE).insert(rows, returning=ReturnMethod.minimal).execute()
    assert sorted(row["objective"] for row in contracts()) == ["draw", "paint"]


def test_anon_updates_the_only_contract_without_a_filter(anon_api: Client, contracts: Contracts) -> None:
    anon_api.table(TABLE).insert(ROW, returning=ReturnMethod.minimal).execute()
    anon_api.table(TABLE).update({"priority": 7}, returning=ReturnMethod.minimal).execute()
    assert [row["priority"] for row in contracts()] == [7]


def test_a_signed_in_user_and_the_service_role_read_contracts_as_they_are(
    service_api: Client, user_api: Client, contracts: Contracts
) -> None:
    [created] = service_api.table(TABLE).insert(ROW).execute().data
    assert isinstance(created, dict)
    assert [str(row["id"]) for row in contracts()] == [created["id"]]
    for api in (service_api, user_api):
        assert api.table(TABLE).select("*").execute().data == [created]
