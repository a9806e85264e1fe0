"""The rights of the plugin's fixtures, and what they clean up."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import httpx
import psycopg
import pytest
from postgrest import APIError
from psycopg.errors import InsufficientPrivilege
from supabase import Client

from ehg_tasks import AgentTasks, AsyncAgentTasks, BackendTasks, DashboardTasks
from ehg_tasks.testing import Project

Connection = psycopg.Connection[Any]
SqlAs = Callable[[str], AbstractContextManager[Connection]]
IDENTITY = "select current_user::text, auth.uid()::text, auth.jwt() ->> 'sub'"


def create(agent: AgentTasks | BackendTasks) -> str:
    created = agent.create(parent_agent="PLANNER", target_agent="DESIGN", objective="Draw the start page")
    return str(created.contract_id)


def test_each_client_acts_in_its_role(
    clean_contracts: None,
    as_agent: AgentTasks,
    as_dashboard_user: Callable[[str], DashboardTasks],
    as_backend: BackendTasks,
) -> None:
    contract = create(as_agent)
    [claim] = as_agent.claim("DESIGN")
    as_agent.complete(claim, output={"page": "start.svg"})
    assert [str(row.id) for row in as_dashboard_user("ana").list()] == [contract]
    assert as_backend.update(contract, priority=7).priority == 7


def test_clean_contracts_deletes_contracts_and_outputs_only(
    as_agent: AgentTasks, superuser: Connection, request: pytest.FixtureRequest
) -> None:
    create(as_agent)
    [claim] = as_agent.claim("DESIGN")
    as_agent.complete(claim, output={"page": "start.svg"})
    [kept] = superuser.execute(
        "insert into public.agent_artifacts (type, summary) values ('brief', 'Mine') returning id"
    ).fetchall()
    request.getfixturevalue("clean_contracts")
    assert superuser.execute("select count(*) from public.agent_task_contracts").fetchone() == (0,)
    assert superuser.execute("select count(*) from ehg_tasks.attempts").fetchone() == (0,)
    assert superuser.execute("select id from public.agent_artifacts").fetchall() == [kept]
    superuser.execute("delete from public.agent_artifacts where id = %s", kept)


def test_a_name_is_the_same_user_over_http_and_in_sql(
    as_role: Callable[[str], Client], sql_as: SqlAs
) -> None:
    users = {}
    for name in ("ana", "ben"):
        answer = as_role(name).auth.get_user()
        assert answer is not None
        users[name] = answer.user.id
        with sql_as(name) as connection:
            assert connection.execute(IDENTITY).fetchone() == (
                "authenticated",
                answer.user.id,
                answer.user.id,
            )
    assert users["ana"] != users["ben"]


def test_each_name_has_one_client(
    as_role: Callable[[str], Client], as_dashboard_user: Callable[[str], DashboardTasks]
) -> None:
    assert as_role("anon") is as_role("anon")
    assert as_role("ana") is as_role("ana") is not as_role("ben")
    assert as_dashboard_user("ana") is as_dashboard_user("ana") is not as_dashboard_user("ben")


@pytest.mark.parametrize("name", ["authenticated", "", "Ana", "ana@example.com", "a b"])
def test_an_invalid_user_name_is_refused(as_role: Callable[[str], Client], sql_as: SqlAs, name: str) -> None:
    with pytest.raises(ValueError, match="is not a user's name"):
        as_role(name)
    with pytest.raises(ValueError, match="is not a user's name"), sql_as(name):
        pass


@pytest.mark.parametrize("name", ["anon", "service_role"])
def test_a_role_cannot_be_a_dashboard_user(
    as_dashboard_user: Callable[[str], DashboardTasks], name: str
) -> None:
    with pytest.raises(ValueError, match="is not a user's name"):
        as_dashboard_user(name)


@pytest.mark.parametrize("role", ["anon", "service_role", "ana"])
def test_clients_and_transactions_have_the_rights_of_their_role(
    clean_contracts: None, as_agent: AgentTasks, as_role: Callable[[str], Client], sql_as: SqlAs, role: str
) -> None:
    create(as_agent)
    table = as_role(role).table("agent_task_contracts")
    query = "select count(*) from public.agent_task_contracts"
    if role == "anon":
        with pytest.raises(APIError) as refused:
            table.select("id").execute()
        assert refused.value.code == "42501"
        with sql_as(role) as connection, pytest.raises(InsufficientPrivilege):
            connection.execute(query)
    else:
        assert len(table.select("id").execute().data) == 1
        with sql_as(role) as connection:
            assert connection.execute(query).fetchone() == (1,)


def test_a_transaction_is_committed_or_rolled_back_with_its_block(
    clean_contracts: None, sql_as: SqlAs, superuser: Connection
) -> None:
    insert = """
        insert into public.agent_task_contracts (parent_agent, target_agent, objective)
        values ('PLANNER', 'DESIGN', %s)
    """
    with sql_as("anon") as connection:
        connection.execute(insert, ["kept"])

    def refused() -> None:
        with sql_as("anon") as connection:
            connection.execute(insert, ["lost"])
            connection.execute("delete from public.agent_task_contracts")

    with pytest.raises(InsufficientPrivilege):
        refused()
    assert superuser.execute("select objective from public.agent_task_contracts").fetchall() == [("kept",)]


def test_the_role_ends_with_its_transaction(sql_as: SqlAs, superuser: Connection) -> None:
    before = superuser.execute("select current_user").fetchone()
    with sql_as("anon") as connection:
        assert connection.execute("select current_user::text, auth.uid()").fetchone() == ("anon", None)
    assert superuser.execute("select current_user").fetchone() == before


async def test_settings_work_for_asynchronous_clients(clean_contracts: None, supabase_stack: Project) -> None:
    async with AsyncAgentTasks(supabase_stack.settings()) as agent:
        await agent.create(parent_agent="PLANNER", target_agent="DESIGN", objective="Draw the start page")
        assert len(await agent.claim("DESIGN")) == 1


def test_env_gives_a_program_access_to_the_project(supabase_stack: Project, superuser: Connection) -> None:
    env = supabase_stack.env()
    with psycopg.connect(env["SUPABASE_DB_URL"]) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    for name, status in (("SUPABASE_PUBLISHABLE_KEY", 401), ("SUPABASE_SECRET_KEY", 200)):
        url = f"{env['SUPABASE_URL']}/rest/v1/agent_task_contracts?limit=1"
        assert httpx.get(url, headers={"apikey": env[name]}).status_code == status


def test_repr_shows_no_secret(supabase_stack: Project) -> None:
    text = repr(supabase_stack)
    assert supabase_stack.url in text
    assert not any(secret in text for name, secret in supabase_stack.env().items() if name != "SUPABASE_URL")
