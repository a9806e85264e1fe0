"""Clients beside proxies, forks, event loops, threads, logs and clocks."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import jwt
import pytest
from psycopg import Connection

from ehg_tasks import (
    AccessDenied,
    AgentTasks,
    AsyncAgentTasks,
    AsyncDashboardTasks,
    AuthenticationFailed,
    DashboardTasks,
    TaskContractError,
)
from tests.clients.helpers import WORK
from tests.conftest import Project

ELSEWHERE = "is in use in another process or event loop.*after a fork"


def test_a_project_on_this_machine_is_never_reached_through_a_proxy(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        with AgentTasks(url=project.url, key=project.publishable_key) as agent:
            assert agent.claim("NOBODY") == []
        proxy.settimeout(0)
        with pytest.raises(BlockingIOError):
            proxy.accept()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_client_that_has_made_a_call_is_refused_after_a_fork(project: Project, tmp_path: Path) -> None:
    with (
        AgentTasks(url=project.url, key=project.publishable_key) as used,
        AgentTasks(url=project.url, key=project.publishable_key) as unused,
    ):
        used.claim("NOBODY")
        child = os.fork()
        if child == 0:
            answers = []
            for agent in (used, unused):
                try:
                    answers.append(str(agent.claim("NOBODY")))
                except TaskContractError as error:
                    answers.append(str(error))
            used.close()
            (tmp_path / "answers").write_text("\n".join(answers))
            os._exit(0)
        os.waitpid(child, 0)
        first, second = (tmp_path / "answers").read_text().splitlines()
        assert first.startswith("this AgentTasks is in use in another process")
        assert second == "[]"
        assert used.claim("NOBODY") == []  # the child did not close this connection


def test_an_async_client_is_refused_in_a_second_event_loop(project: Project) -> None:
    agent = AsyncAgentTasks(url=project.url, key=project.publishable_key)
    dashboard = AsyncDashboardTasks(url=project.url, key=project.publishable_key)

    async def first() -> None:
        assert await agent.claim("NOBODY") == []
        with pytest.raises(AccessDenied):
            await dashboard.count()

    async def second() -> None:
        with pytest.raises(TaskContractError, match=ELSEWHERE):
            await agent.claim("NOBODY")
        with pytest.raises(TaskContractError, match=ELSEWHERE):
            await dashboard.count()
        await agent.close()

    with asyncio.Runner() as one:
        one.run(first())
        asyncio.run(second())
        assert one.run(agent.claim("NOBODY")) == []
        one.run(agent.close())
        one.run(dashboard.close())


def test_threads_that_share_a_client_get_their_own_answers(agent: AgentTasks) -> None:
    def work(number: int) -> bool:
        name = f"AGENT {number}"
        created = agent.create(parent_agent="P", target_agent=name, objective=str(number))
        [claim] = agent.claim(name)
        agent.complete(claim, output=number)
        return agent.outcome(created.contract_id).output == number == int(claim.objective)

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(work, range(40)))


def test_httpx_logs_no_call_of_a_client_but_those_of_the_program(
    agent: AgentTasks, project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    agent.claim("NOBODY")
    assert caplog.messages == []
    httpx.get(f"{project.url}/health", trust_env=False)
    [message] = caplog.messages
    assert message.startswith("HTTP Request: GET")


# --- times ----------------------------------------------------------------------------------------


def test_a_row_with_a_time_far_away_hides_no_other_row(
    dashboard: DashboardTasks, database: Connection[Any]
) -> None:
    times = [
        "-infinity", "4713-01-01 BC", "0001-01-01 00:00:00+00", "1850-06-01 12:00:00+00",
        "2026-01-01 00:00:00+00", "9999-12-31 23:59:59+00", "10000-01-01 00:00:00+00", "infinity",
    ]  # fmt: skip
    for time_ in times:
        database.execute(
            "insert into public.agent_task_contracts (parent_agent, target_agent, objective, created_at)"
            " values ('P', 'T', %s, %s)", (time_, time_),
        )  # fmt: skip
    for page_size in (1, 3, 1000):
        assert [row.objective for row in dashboard.list(page_size=page_size)] == times
    rows = list(dashboard.list(newest_first=True, page_size=2))
    assert [row.objective for row in rows] == times[::-1]
    assert rows[4].created_at == datetime(1850, 6, 1, 12, tzinfo=UTC)


# --- sign-in --------------------------------------------------------------------------------------


@pytest.fixture
def signed_in(project: Project, database: Connection[Any]) -> DashboardTasks:
    """A dashboard with a session of its own."""
    dashboard = DashboardTasks(url=project.url, key=project.publishable_key, retries=0)
    dashboard.sign_up(f"{secrets.token_hex(6)}@example.com", secrets.token_urlsafe(12))
    return dashboard


@pytest.mark.parametrize("hours", [-30, -2, 2, 30])
def test_a_session_outlives_a_clock_that_is_off(
    signed_in: DashboardTasks, hours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + hours * 3600)
    with signed_in:
        assert [signed_in.count(), signed_in.count()] == [0, 0]


def expired_token(project: Project) -> str:
    claims = {"role": "authenticated", "aud": "authenticated", "sub": str(uuid4())}
    return jwt.encode(
        claims | {"exp": datetime.now(UTC) - timedelta(hours=2)}, project.jwt_secret, algorithm="HS256"
    )


def expire(dashboard: DashboardTasks, token: str) -> UUID:
    """Put an expired token into a session that does not know it yet; return the user's id."""
    session = dashboard._api.auth.get_session()
    assert session is not None
    dashboard._api.auth._save_session(session.model_copy(update={"access_token": token}))
    dashboard._api.options.headers["Authorization"] = f"Bearer {token}"
    dashboard._api._postgrest = None  # it was made with the previous token
    return UUID(session.user.id)


def test_a_session_is_renewed_if_the_server_says_that_it_has_expired(
    signed_in: DashboardTasks, project: Project, database: Connection[Any]
) -> None:
    """This machine's clock may be behind the server's."""
    with signed_in:
        user = expire(signed_in, expired_token(project))
        assert signed_in.count() == 0
        expire(signed_in, expired_token(project))
        database.execute("delete from auth.users where id = %s", (user,))
        with pytest.raises(AuthenticationFailed):
            signed_in.count()


def test_an_expired_access_token_is_called_so(project: Project) -> None:
    token = expired_token(project)
    with (
        DashboardTasks(url=project.url, key=project.publishable_key, access_token=token) as dashboard,
        pytest.raises(AuthenticationFailed, match=r"^the access token expired at .* Sign in again"),
    ):
        dashboard.count()


def test_a_dashboard_without_a_user_is_told_to_sign_in_first(project: Project, agent: AgentTasks) -> None:
    agent.create(**WORK)
    with (
        DashboardTasks(url=project.url, key=project.publishable_key) as dashboard,
        pytest.raises(AccessDenied, match="Call sign_in first"),
    ):
        dashboard.count()
