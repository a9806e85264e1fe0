"""A worker may work for several agents, whose handlers report what they do."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from ehg_tasks import AgentTasks, AsyncTask, BadArgument, Task, Worker
from tests.lifecycle.helpers import attempts, leases
from tests.reliability.helpers import Database, create_contracts, run_worker, statuses, wait_until


def test_each_agents_contracts_go_to_its_handler(agent: AgentTasks) -> None:
    drawn = create_contracts(agent, 3, target_agent="DESIGN")
    reviewed = create_contracts(agent, 3, target_agent="REVIEW")

    def draw(task: Task) -> str:
        return f"drawn for {task.target_agent}"

    async def review(task: AsyncTask) -> str:
        return f"reviewed for {task.target_agent}"

    Worker(agent, {"DESIGN": draw, "REVIEW": review}, concurrency=2, until_idle=True).run()
    assert [outcome.output for outcome in agent.outcomes(drawn)] == ["drawn for DESIGN"] * 3
    assert [outcome.output for outcome in agent.outcomes(reviewed)] == ["reviewed for REVIEW"] * 3


def test_agents_share_the_slots_and_a_busy_one_does_not_keep_the_others_waiting(
    agent: AgentTasks, database: Database
) -> None:
    busy = create_contracts(agent, 40, target_agent="BUSY")
    other = create_contracts(agent, 1, target_agent="OTHER")
    lock = threading.Lock()
    running, most = 0, 0
    left: list[int] = []

    def handler(task: Task) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        if task.target_agent == "OTHER":
            left.append(statuses(agent, busy).count("pending"))
        task.wait(0.02)
        with lock:
            running -= 1

    Worker(agent, {"BUSY": handler, "OTHER": handler}, concurrency=2, until_idle=True).run()
    assert statuses(agent, [*busy, *other]) == ["completed"] * 41
    assert most == 2
    assert left[0] > 30


@pytest.mark.parametrize(
    ("handlers", "options", "message"),
    [
        ({}, {}, "give an agent and its handler"),
        ("T", {}, "give an agent"),
        ({"T": print}, {"handler": print}, "give an agent"),
        ({"T": print}, {"output_models": {"U": Task}}, "without a handler: U"),
    ],
)
def test_handlers_that_do_not_fit_are_refused(
    agent: AgentTasks, handlers: Any, options: Any, message: str
) -> None:
    with pytest.raises(BadArgument, match=message):
        Worker(agent, handlers, **options)


# --- reports --------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_async", [False, True], ids=["def", "async def"])
def test_the_last_report_is_sent_with_the_next_renewal(
    agent: AgentTasks, database: Database, is_async: bool
) -> None:
    [contract_id] = create_contracts(agent)

    def report(task: Task | AsyncTask) -> None:
        task.report(message="reading", percent=1)
        task.report(message="drawing", percent=40, tokens=1200, page={"number": 3})

    def handler(task: Task) -> None:
        report(task)
        wait_until(lambda: agent.outcome(contract_id).progress is not None)

    async def async_handler(task: AsyncTask) -> None:
        import asyncio

        report(task)
        await asyncio.to_thread(lambda: wait_until(lambda: agent.outcome(contract_id).progress is not None))

    assert run_worker(agent, async_handler if is_async else handler, renew_every=0.1).completed == 1
    [attempt] = agent.history(contract_id)
    assert attempt.progress == {"message": "drawing", "percent": 40, "tokens": 1200, "page": {"number": 3}}


@pytest.mark.parametrize(
    ("report", "message"),
    [
        ({"message": "é" * 2048}, "the report is larger than 4096 bytes"),
        ({"state": {1, 2}}, "the report is not JSON"),
        ({"message": "nul \0"}, "the report contains a NUL character"),
        ({"percent": float("nan")}, "the report is not JSON"),
    ],
    ids=str,
)
def test_a_report_that_is_too_large_or_not_json_is_refused_at_the_call(
    agent: AgentTasks, report: dict[str, Any], message: str
) -> None:
    create_contracts(agent)

    def handler(task: Task) -> None:
        with pytest.raises(BadArgument, match=message):
            task.report(**report)

    assert run_worker(agent, handler).completed == 1


def test_a_report_that_the_server_refuses_is_logged_and_the_lease_is_renewed(
    agent: AgentTasks, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    [contract_id] = create_contracts(agent)

    def handler(task: Task) -> None:
        [lease] = leases(database)
        task.report(numbers=[1e300] * 100)  # Postgres writes each with 301 digits
        wait_until(lambda: leases(database)[0]["expires_at"] > lease["expires_at"])

    assert run_worker(agent, handler, renew_every=0.1).completed == 1
    assert "the report is not kept: " in caplog.text
    assert attempts(database, contract_id)[0]["progress"] is None
