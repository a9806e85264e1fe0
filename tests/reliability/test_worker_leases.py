"""A worker renews its leases, and drops the work of a lease that it has lost."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta

import pytest

from ehg_tasks import AgentTasks, AsyncTask, Claim, Task
from ehg_tasks.worker import attempt
from tests.lifecycle.helpers import contract, leases, reach_time_limit
from tests.reliability.helpers import Database, create_contracts, run_worker, take_over, wait_until


@pytest.mark.parametrize(("options", "seconds"), [({}, 60), ({"lease_seconds": 90}, 90)], ids=str)
def test_a_worker_claims_with_a_short_lease_and_renews_it_while_the_handler_runs(
    agent: AgentTasks, database: Database, options: dict[str, int], seconds: int
) -> None:
    create_contracts(agent)

    def handler(_: Task) -> None:
        [lease] = leases(database)
        assert lease["lease_seconds"] == seconds
        wait_until(lambda: leases(database)[0]["expires_at"] > lease["expires_at"])

    assert run_worker(agent, handler, renew_every=0.1, **options).completed == 1


def test_a_worker_renews_its_lease_before_it_ends_by_default(agent: AgentTasks, database: Database) -> None:
    create_contracts(agent)

    def handler(_: Task) -> None:
        [lease] = leases(database)
        wait_until(lambda: leases(database)[0]["expires_at"] > lease["expires_at"])
        [renewed] = leases(database)
        assert renewed["expires_at"] - timedelta(seconds=12) < lease["expires_at"]

    assert run_worker(agent, handler, lease_seconds=12).completed == 1


def test_the_time_limit_cancels_the_task(
    agent: AgentTasks, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    [contract_id] = create_contracts(agent, max_retries=0)
    cancelled = []

    def handler(task: Task) -> str:
        reach_time_limit(database, contract_id)
        cancelled.append(task.wait(60))
        return "too late"

    # While the only slot is taken, the worker makes no claim, which would end the attempt itself.
    assert run_worker(agent, handler, concurrency=1, renew_every=0.1).lost == 1
    assert cancelled == [True]
    assert "the work is dropped: the attempt has reached its time limit" in caplog.text
    row = contract(database, contract_id)
    assert (row["status"], row["output_artifact_id"]) == ("failed", None)


def test_a_thread_that_reaches_its_time_limit_is_told_and_gives_up_its_slot(
    agent: AgentTasks, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt, "time_limit", lambda minutes: 0.5 if minutes == 1 else 60.0)
    [hangs] = create_contracts(agent, timeout_minutes=1, max_retries=0, priority=60)
    [fine] = create_contracts(agent)
    finish = threading.Event()
    cancelled = []

    def handler(task: Task) -> None:
        if task.id == hangs:
            cancelled.append(task.wait(60))
            assert finish.wait(60)  # it does not end until the other contract is completed
        else:
            finish.set()

    counters = run_worker(agent, handler, concurrency=1)
    assert (counters.lost, counters.completed) == (1, 1)
    assert cancelled == [True]
    assert agent.outcome(fine).status == "completed"
    assert "the attempt has reached its time limit" in caplog.text
    assert "still runs, in a thread that no longer takes a slot" in caplog.text


def test_the_time_limit_cancels_an_async_handler(agent: AgentTasks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt, "time_limit", lambda _: 0.3)
    create_contracts(agent)
    cancelled = []

    async def handler(task: AsyncTask) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(task.cancelled)
            raise

    assert run_worker(agent, handler).lost == 1
    assert cancelled == [True]


def test_a_lost_lease_cancels_the_task_of_a_thread(agent: AgentTasks, database: Database) -> None:
    [contract_id] = create_contracts(agent)
    claims: list[Claim] = []
    cancelled = []

    def handler(task: Task) -> str:
        claims.append(take_over(database, agent, contract_id))
        cancelled.append(task.wait(60))
        return "too late"

    counters = run_worker(agent, handler, renew_every=0.1)
    assert cancelled == [True]
    assert (counters.lost, counters.completed) == (1, 0)
    assert contract(database, contract_id)["status"] == "in_progress"
    agent.complete(claims[0], output="in time")
    assert agent.outcome(contract_id).output == "in time"


def test_a_cancelled_contract_cancels_its_async_handler(agent: AgentTasks, database: Database) -> None:
    [contract_id] = create_contracts(agent)
    cancelled = []

    async def handler(task: AsyncTask) -> str:
        agent.cancel(contract_id, "no longer wanted")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(task.cancelled)
            raise
        return "too late"

    assert run_worker(agent, handler, renew_every=0.1).lost == 1
    assert cancelled == [True]
    row = contract(database, contract_id)
    assert (row["status"], row["error_message"]) == ("cancelled", "no longer wanted")


@pytest.mark.parametrize("fails", [False, True], ids=["result", "failure"])
def test_an_outcome_is_not_recorded_once_another_worker_has_the_contract(
    agent: AgentTasks, database: Database, fails: bool
) -> None:
    [contract_id] = create_contracts(agent)

    def handler(_: Task) -> str:
        take_over(database, agent, contract_id)
        if fails:
            raise ValueError("late")
        return "late"

    assert run_worker(agent, handler).lost == 1
    row = contract(database, contract_id)
    assert (row["status"], row["output_artifact_id"]) == ("in_progress", None)
    assert row["error_message"] != "ValueError: late"
