"""How a worker stops: it drains, cancels what runs too long, and releases what it did not finish."""

from __future__ import annotations

import asyncio
import threading

import pytest

from ehg_tasks import AgentTasks, AsyncTask, Task, Worker
from ehg_tasks import WorkerCounters as Counters
from tests.lifecycle.helpers import contract, leases
from tests.reliability.helpers import Database, create_contracts, start_in_thread, statuses, wait_until


def test_a_stopped_worker_waits_for_running_handlers(agent: AgentTasks) -> None:
    ids = create_contracts(agent, 3)
    started, finish = threading.Semaphore(0), threading.Event()

    def handler(_: Task) -> str:
        started.release()
        assert finish.wait(60)
        return "done"

    worker = Worker(agent, "T", handler, concurrency=2)
    thread = start_in_thread(worker)
    assert started.acquire(timeout=60)
    assert started.acquire(timeout=60)
    assert worker.counters == Counters(2, 0, 0, 0, 0, 0, running=2)
    worker.stop()
    finish.set()
    thread.join(60)
    assert worker.counters == Counters(2, 2, 0, 0, 0, 0, 0)
    assert statuses(agent, ids) == ["completed", "completed", "pending"]


@pytest.mark.parametrize("is_async", [False, True], ids=["def", "async def"])
@pytest.mark.parametrize("stops", [1, 2], ids=["grace period", "second stop"])
def test_a_handler_that_runs_too_long_is_cancelled_and_its_contract_released(
    agent: AgentTasks, database: Database, is_async: bool, stops: int
) -> None:
    [contract_id] = create_contracts(agent)
    started, cancelled = threading.Event(), []

    def handler(task: Task) -> str:
        started.set()
        cancelled.append(task.wait(60))
        return "too late"

    async def async_handler(_: AsyncTask) -> str:
        started.set()
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.1)  # the worker waits for a handler's own clean-up
            cancelled.append(True)
        return "too late"

    worker = Worker(
        agent, "T", async_handler if is_async else handler, grace_seconds=0.1 if stops == 1 else 600
    )
    thread = start_in_thread(worker)
    assert started.wait(60)
    for _ in range(stops):
        worker.stop()
    thread.join(60)
    assert worker.counters == Counters(1, 0, 0, 0, released=1, lost=0, running=0)
    wait_until(lambda: cancelled == [True])
    row = contract(database, contract_id)
    assert (row["status"], row["retry_count"], leases(database)) == ("pending", 0, [])


async def test_cancelling_run_async_releases_the_claims(agent: AgentTasks, database: Database) -> None:
    [contract_id] = create_contracts(agent)
    started = asyncio.Event()

    async def handler(_: AsyncTask) -> None:
        started.set()
        await asyncio.sleep(60)

    worker = Worker(agent, "T", handler)
    run = asyncio.create_task(worker.run_async())
    await started.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert worker.counters.released == 1
    assert contract(database, contract_id)["status"] == "pending"


def test_a_worker_stopped_before_it_runs_claims_nothing(agent: AgentTasks) -> None:
    create_contracts(agent)
    worker = Worker(agent, "T", lambda _: None)
    worker.stop()
    worker.run()
    assert worker.counters == Counters(0, 0, 0, 0, 0, 0, 0)


async def test_a_worker_refuses_to_run_twice_at_once(agent: AgentTasks) -> None:
    worker = Worker(agent, "T", lambda _: None)
    run = asyncio.create_task(worker.run_async())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="already running"):
        await worker.run_async()
    worker.stop()
    await run


def test_the_counters_continue_from_run_to_run(agent: AgentTasks) -> None:
    worker = Worker(agent, "T", lambda _: None, until_idle=True)
    for runs in (1, 2):
        create_contracts(agent, 2)
        worker.run()
        assert worker.counters.completed == 2 * runs
