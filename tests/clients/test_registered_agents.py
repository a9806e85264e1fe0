"""Registered agents: their tokens, pauses and limits, as clients use them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from psycopg import Connection

from ehg_tasks import (
    AccessDenied,
    AgentTasks,
    AsyncAgentTasks,
    BackendTasks,
    ContractNotFound,
    DashboardTasks,
    NewContract,
    Settings,
    SettingsError,
)
from tests.clients.helpers import WORK, Contracts
from tests.conftest import Project


@pytest.fixture
def token(backend: BackendTasks) -> str:
    """The token of the agent DESIGN."""
    registered = backend.register_agent("DESIGN", description="draws pages")
    assert registered.created
    assert registered.token is not None
    return registered.token


@pytest.fixture
def designer(project: Project, token: str) -> Iterator[AgentTasks]:
    with AgentTasks(url=project.url, key=project.publishable_key, agent_token=token) as designer:
        yield designer


def test_the_work_of_a_registered_agent_is_claimed_with_its_token_only(
    project: Project, agent: AgentTasks, designer: AgentTasks, contracts: Contracts
) -> None:
    created = agent.create(**WORK)  # anyone may hand over work to it
    before = contracts()
    wrong = AgentTasks(url=project.url, key=project.publishable_key, agent_token=f"agent_{'0' * 64}")
    with wrong as stranger:
        for client in (agent, stranger):
            with pytest.raises(AccessDenied, match='agent "DESIGN" is registered: its token is missing or'):
                client.claim("DESIGN")
    assert contracts() == before
    [claim] = designer.claim("DESIGN")
    assert claim.contract_id == created.contract_id
    agent.complete(claim)  # the claim token is proof enough


def test_contracts_in_the_name_of_a_registered_agent_need_its_token(
    agent: AgentTasks, designer: AgentTasks, contracts: Contracts
) -> None:
    work = WORK | {"parent_agent": "DESIGN", "target_agent": "QA"}
    with pytest.raises(AccessDenied):
        agent.create(**work)
    with pytest.raises(AccessDenied):
        agent.create_many([NewContract(**WORK), NewContract(**work)])
    assert contracts() == []
    assert designer.create(**work).created


def test_the_service_role_needs_no_token(backend: BackendTasks, token: str) -> None:
    backend.create(**WORK)
    assert len(backend.claim("DESIGN")) == 1


async def test_an_async_client_sends_the_token_of_its_settings(project: Project, token: str) -> None:
    settings = Settings.of(project.url, project.publishable_key, agent_token=token)
    async with AsyncAgentTasks(settings) as client:
        await client.create(**WORK)
        assert len(await client.claim("DESIGN")) == 1


def test_the_token_may_be_in_the_environment(
    project: Project, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPABASE_URL", project.url)
    monkeypatch.setenv("SUPABASE_PUBLISHABLE_KEY", project.publishable_key)
    monkeypatch.setenv("EHG_AGENT_TOKEN", token)
    with AgentTasks.from_env() as client:
        assert client.claim("DESIGN") == []
        assert client.connection.agent_token == token


def test_a_token_is_not_printed_or_logged(
    project: Project, caplog: pytest.LogCaptureFixture, token: str, backend: BackendTasks
) -> None:
    caplog.set_level(logging.DEBUG)
    with AgentTasks(url=project.url, key=project.publishable_key, agent_token=token) as client:
        assert client.claim("DESIGN") == []
        with pytest.raises(ContractNotFound) as raised:
            client.outcome(uuid4())
        texts = [repr(client), repr(client.connection), str(raised.value), caplog.text]
    bad = f"{token}\n"
    with pytest.raises(SettingsError, match="the agent token") as refused:
        AgentTasks(url=project.url, key=project.publishable_key, agent_token=bad)
    assert caplog.records
    assert not any(token in text for text in [*texts, str(refused.value), repr(refused.value)])


def test_a_token_is_issued_once_and_rotated(
    project: Project, backend: BackendTasks, token: str, designer: AgentTasks
) -> None:
    again = backend.register_agent("DESIGN", max_running=3)
    assert (again.created, again.token) == (False, None)
    rotated = backend.rotate_agent("DESIGN", grace_minutes=5)
    assert rotated.token not in (None, token)
    assert rotated.previous_token_expires_at is not None
    with AgentTasks(url=project.url, key=project.publishable_key, agent_token=rotated.token) as renamed:
        assert renamed.claim("DESIGN") == designer.claim("DESIGN") == []
        latest = backend.rotate_agent("DESIGN", grace_minutes=0)
        for client in (renamed, designer):
            with pytest.raises(AccessDenied):
                client.claim("DESIGN")
    assert latest.token is not None


def test_an_agent_is_paused_resumed_limited_and_removed(
    backend: BackendTasks, agent: AgentTasks, dashboard: DashboardTasks
) -> None:
    agent.create_many([NewContract(**WORK)] * 3)
    paused = backend.pause_agent("DESIGN")
    assert (paused.name, paused.was_duplicate) == ("DESIGN", False)
    assert backend.pause_agent("DESIGN").was_duplicate
    assert agent.claim("DESIGN") == []
    [row] = dashboard.agents()
    assert row.paused_at is not None
    assert (row.name, row.has_token, row.max_running) == ("DESIGN", False, None)
    assert (row.running, row.ready, row.held) == (0, 3, 0)

    assert not backend.resume_agent("DESIGN").was_duplicate
    backend.register_agent("DESIGN", description="draws", max_running=2, with_token=False)
    assert len(agent.claim("DESIGN", limit=3)) == 2
    assert agent.claim("DESIGN") == []
    [row] = backend.agents()
    assert (row.description, row.paused_at, row.max_running, row.running) == ("draws", None, 2, 2)

    backend.remove_agent("DESIGN")
    assert backend.agents() == []
    assert len(agent.claim("DESIGN")) == 1
    for method in (backend.resume_agent, backend.remove_agent, backend.rotate_agent):
        with pytest.raises(ContractNotFound, match='no registered agent "DESIGN"'):
            method("DESIGN")


def test_the_list_of_agents_has_every_row_although_the_api_returns_a_thousand_at_most(
    dashboard: DashboardTasks, database: Connection[Any]
) -> None:
    database.execute("insert into ehg_tasks.agents (name) select 'A' || n from generate_series(1, 1200) as n")
    names = [agent.name for agent in dashboard.agents()]
    assert len(set(names)) == len(names) == 1200
