"""`DashboardTasks` over HTTP: sign-in, lists, counts and figures."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg import Connection

from ehg_tasks import (
    AccessDenied,
    AgentTasks,
    AuthenticationFailed,
    BadArgument,
    ContractNotFound,
    ContractStatus,
    DashboardTasks,
)
from tests.clients.helpers import WORK, Contracts
from tests.conftest import Project

# --- lists ----------------------------------------------------------------------------------------


@pytest.fixture
def many(database: Connection[Any]) -> int:
    """2,300 contracts, a hundred with each creation time, so that pages end between equal times."""
    database.execute(
        "insert into public.agent_task_contracts"
        " (parent_agent, target_agent, objective, status, created_at)"
        " select 'P', 'T' || n % 2, n::text, case when n % 3 = 0 then 'completed' else 'pending' end,"
        "        timestamptz '2026-01-01 00:00:00.123456+00' + n / 100 * interval '1 second'"
        " from generate_series(0, 2299) as n"
    )
    return 2300


def test_a_list_has_every_row_although_the_api_returns_a_thousand_at_most(
    dashboard: DashboardTasks, many: int, contracts: Contracts
) -> None:
    expected = [row["id"] for row in contracts()]
    assert [row.id for row in dashboard.list()] == expected
    assert [row.id for row in dashboard.list(newest_first=True)] == expected[::-1]
    assert [row.id for row in dashboard.list(page_size=99, limit=1234)] == expected[:1234]
    assert [row.id for row in dashboard.list(page_size=5000)] == expected
    assert dashboard.count() == many


def test_filters_narrow_lists_and_counts(dashboard: DashboardTasks, many: int) -> None:
    rows = list(dashboard.list(status=ContractStatus.COMPLETED, target_agent="T1"))
    assert len(rows) == dashboard.count(status="completed", target_agent="T1") == 383
    assert {(row.status, row.target_agent) for row in rows} == {("completed", "T1")}
    since = datetime(2026, 1, 1, 0, 0, 10, 123456, tzinfo=UTC)
    assert dashboard.count(created_after=since) == 1300
    assert dashboard.count(created_before=since) == 1000
    assert dashboard.count(created_after=since, created_before=since + timedelta(microseconds=1)) == 100
    assert dashboard.count(ended_after=since) == dashboard.count(ended_before=since) == 0
    assert dashboard.count(parent_agent="P', or 1=1") == dashboard.count(session_id=uuid4()) == 0


def test_contracts_are_listed_by_their_end(dashboard: DashboardTasks, agent: AgentTasks) -> None:
    first, second, _ = (agent.create(**WORK).contract_id for _ in range(3))
    agent.cancel(first)
    agent.cancel(second)
    ended = dashboard.get(second).completed_at
    assert [row.id for row in dashboard.list(ended_after=ended)] == [second]
    assert [row.id for row in dashboard.list(ended_before=ended)] == [first]


# --- a contract by the start of its id ------------------------------------------------------------


def test_a_contract_is_found_by_the_start_of_its_id(dashboard: DashboardTasks, agent: AgentTasks) -> None:
    ids = [UUID(f"00ab0000-0000-4000-{last}000-000000000000") for last in "89"]
    for contract_id in ids:
        agent.create(contract_id=contract_id, **WORK)
    for start in ("00AB0000-0000-4000-9", "00ab0000000040009", str(ids[1])):
        assert dashboard.find(start).id == ids[1]
    with pytest.raises(
        BadArgument, match=f"several contract ids begin with 00ab, such as {ids[0]} and {ids[1]}"
    ):
        dashboard.find("00ab")
    with pytest.raises(ContractNotFound, match="there is no task contract whose id begins with 00ab1"):
        dashboard.find("00ab1")


@pytest.mark.parametrize("start", ["", "00a", "00-a", "00ag", "0" * 33, "00a%", "00a*", "00a\u0663"])
def test_what_cannot_begin_an_id_is_refused(dashboard: DashboardTasks, start: str) -> None:
    with pytest.raises(BadArgument, match=r"neither a UUID nor the start of one: .*Give at least 4 hex"):
        dashboard.find(start)


def test_inserts_while_paging_neither_repeat_nor_hide_a_row(
    dashboard: DashboardTasks, database: Connection[Any], many: int
) -> None:
    seen = []
    for number, row in enumerate(dashboard.list(page_size=100)):
        seen.append(row.id)
        if number % 500 == 0:
            database.execute(
                "insert into public.agent_task_contracts (parent_agent, target_agent, objective, created_at)"
                " values ('P', 'early', 'o', '2025-01-01')"
            )
    assert len(seen) == len(set(seen)) == many


def test_one_contract_is_read_as_a_row_and_as_a_view(dashboard: DashboardTasks, agent: AgentTasks) -> None:
    created = agent.create(**WORK)
    row = dashboard.get(created.contract_id)
    assert (row.objective, row.status, row.created_at.tzinfo) == ("draw", "pending", UTC)
    assert dashboard.read(created.contract_id).objective == "draw"
    for method in (dashboard.get, dashboard.read):
        with pytest.raises(ContractNotFound):
            method(uuid4())


def test_stats_have_every_group_although_the_api_returns_a_thousand_rows_at_most(
    dashboard: DashboardTasks, database: Connection[Any]
) -> None:
    database.execute(
        "insert into public.agent_task_contracts (parent_agent, target_agent, objective)"
        " select 'P', 'T' || n, 'o' from generate_series(1, 1200) as n, generate_series(1, 2)"
    )
    stats = dashboard.stats()
    assert len({group.target_agent for group in stats}) == len(stats) == 1200
    assert {(group.status, group.contracts) for group in stats} == {("pending", 2)}


# --- sign-in --------------------------------------------------------------------------------------


def test_a_user_signs_up_signs_in_reads_and_signs_out(project: Project, agent: AgentTasks) -> None:
    agent.create(**WORK)
    email, password = f"{secrets.token_hex(6)}@example.com", secrets.token_urlsafe(12)
    with DashboardTasks(url=project.url, key=project.publishable_key) as dashboard:
        with pytest.raises(AuthenticationFailed):
            dashboard.sign_in(email, password)
        dashboard.sign_up(email, password)
        dashboard.sign_in(email, password)
        assert len(list(dashboard.list())) == 1
        dashboard.sign_out()
        with pytest.raises(AccessDenied):
            list(dashboard.list())


def test_a_wrong_password_is_refused_and_not_quoted(project: Project) -> None:
    email, password = f"{secrets.token_hex(6)}@example.com", secrets.token_urlsafe(12)
    with DashboardTasks(url=project.url, key=project.publishable_key) as dashboard:
        dashboard.sign_up(email, password)
        with pytest.raises(AuthenticationFailed) as raised:
            dashboard.sign_in(email, f"{password}x")
        assert password not in str(raised.value)


def test_a_dashboard_that_is_not_signed_in_reads_nothing(project: Project, agent: AgentTasks) -> None:
    agent.create(**WORK)
    with DashboardTasks(url=project.url, key=project.publishable_key) as dashboard:
        with pytest.raises(AccessDenied):
            list(dashboard.list())
        with pytest.raises(AccessDenied):
            dashboard.count()
        with pytest.raises(AccessDenied):
            dashboard.stats()
