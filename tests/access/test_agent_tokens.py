"""Agents with a token, over HTTP: the header x-agent-token reaches the functions and the table's guards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from postgrest import APIError, ReturnMethod
from supabase import Client

from tests.conftest import Project

NAME = "DESIGN"
ROW = {"parent_agent": NAME, "target_agent": "OTHER", "objective": "draw"}
WORK = {"p_parent_agent": "OTHER", "p_target_agent": NAME, "p_objective": "draw"}
Contracts = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def token(service_api: Client) -> str:
    """The token of an agent that is registered over HTTP."""
    [answer] = _rows(service_api.rpc("register_task_agent", {"p_name": NAME}).execute().data)
    assert (answer["name"], answer["created"]) == (NAME, True)
    return str(answer["token"])


def _rows(data: Any) -> list[dict[str, Any]]:
    assert isinstance(data, list)
    return data


def with_token(project: Project, token: str) -> Client:
    """A plain supabase-py client with the publishable key that sends the header."""
    api = project.api(project.publishable_key)
    api.postgrest.headers["x-agent-token"] = token
    return api


def without_right_token(project: Project, token: str) -> list[Client]:
    return [
        project.api(project.publishable_key),
        *(with_token(project, wrong) for wrong in ("", "agent_wrong", token[:-1], token.upper())),
    ]


def refusal(act: Callable[[], Any]) -> str:
    with pytest.raises(APIError) as raised:
        act()
    assert raised.value.code == "42501"
    return str(raised.value.message)


MESSAGE = f'agent "{NAME}" is registered: its token is missing or wrong'


def test_a_claim_needs_the_token(
    project: Project, service_api: Client, token: str, contracts: Contracts
) -> None:
    anyone = project.api(project.publishable_key)
    for _ in range(2):
        anyone.rpc("create_task_contract", WORK).execute()
    claim = ("claim_task_contract", {"p_target_agent": NAME})
    before = contracts()
    for api in without_right_token(project, token):
        assert refusal(api.rpc(*claim).execute) == MESSAGE
    assert contracts() == before
    for api in (with_token(project, token), service_api):
        [claimed] = _rows(api.rpc(*claim).execute().data)
        assert claimed["target_agent"] == NAME


def test_an_insert_in_its_name_needs_the_token(
    project: Project, service_api: Client, token: str, contracts: Contracts
) -> None:
    def insert(api: Client) -> Callable[[], Any]:
        return api.table("agent_task_contracts").insert(ROW, returning=ReturnMethod.minimal).execute

    for api in without_right_token(project, token):
        assert refusal(insert(api)) == MESSAGE
    assert contracts() == []
    for number, api in enumerate((with_token(project, token), service_api), 1):
        insert(api)()
        assert [row["parent_agent"] for row in contracts()] == [NAME] * number


def test_an_update_into_its_name_needs_the_token(project: Project, token: str, contracts: Contracts) -> None:
    def update(api: Client) -> Callable[[], Any]:
        table = api.table("agent_task_contracts")
        return table.update({"parent_agent": NAME}, returning=ReturnMethod.minimal).execute

    project.api(project.publishable_key).rpc("create_task_contract", WORK).execute()
    for api in without_right_token(project, token):
        assert refusal(update(api)) == MESSAGE
    assert [row["parent_agent"] for row in contracts()] == ["OTHER"]
    update(with_token(project, token))()
    assert [row["parent_agent"] for row in contracts()] == [NAME]


@pytest.mark.parametrize("function", ["create_task_contract", "create_task_contracts"])
def test_a_creation_in_its_name_needs_the_token(
    project: Project, token: str, contracts: Contracts, function: str
) -> None:
    one = {f"p_{name}": value for name, value in ROW.items()}
    arguments = (
        one if function == "create_task_contract" else {"p_contracts": [ROW | {"parent_agent": "Q"}, ROW]}
    )
    for api in without_right_token(project, token):
        assert refusal(api.rpc(function, arguments).execute) == MESSAGE
    assert contracts() == []
    with_token(project, token).rpc(function, arguments).execute()
    assert NAME in {row["parent_agent"] for row in contracts()}


def test_the_name_of_the_header_may_be_in_any_case(project: Project, token: str) -> None:
    for header in ("x-agent-token", "X-Agent-Token", "X-AGENT-TOKEN"):
        answer = httpx.post(
            f"{project.url}/rest/v1/agent_task_contracts",
            json=ROW,
            headers={"apikey": project.publishable_key, header: token, "Prefer": "return=minimal"},
        )
        assert answer.status_code == 201, answer.text


def test_a_header_of_one_request_does_not_reach_the_next(
    project: Project, token: str, contracts: Contracts
) -> None:
    """The API uses its database connections again."""
    api = project.api(project.publishable_key)
    table = api.table("agent_task_contracts")
    for _ in range(10):
        with_token(project, token).rpc(
            "create_task_contract", {f"p_{k}": v for k, v in ROW.items()}
        ).execute()
        assert refusal(table.insert(ROW, returning=ReturnMethod.minimal).execute) == MESSAGE
    assert len(contracts()) == 10


def test_a_refusal_does_not_repeat_the_token(project: Project, token: str) -> None:
    wrong = "agent_0123456789abcdef"
    with pytest.raises(APIError) as raised:
        with_token(project, wrong).rpc("claim_task_contract", {"p_target_agent": NAME}).execute()
    assert wrong not in str(raised.value.json())
    assert token not in str(raised.value.json())
