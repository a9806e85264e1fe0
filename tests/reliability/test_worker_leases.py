"""A worker renews its leases, and drops the work of a lease that it has lost."""

from __future__ import annotations

import asyncio
import time

import pytest

from ehg_tasks import AgentTasks, AsyncTask, Claim, Task
from ehg_tasks.worker import tasks
from tests.lifecycle.helpers import contract
from tests.reliability.helpers import Database, create_contracts, run_worker, take_over, wait_until


def test_a_worker_renews_its_lease_while_the_handler_runs(agent: AgentTasks, database: Database) -> None:
    create_contracts(agent)
    renewed = "select expires_at > clock_timestamp() + interval '1 minute' from ehg_tasks.leases"

    def handler(task: Task) -> None:
        left = task.seconds_left

        def increased() -> bool:  # without a renewal it only decreases
            nonlocal left
            before, left = left, task.seconds_left
            return left > before

        database.execute("update ehg_tasks.leases set expires_at = clock_timestamp() + interval '5 seconds'")
        wait_until(lambda: database.execute(renewed).fetchone() == (True,))
        wait_until(increased)

    assert run_worker(agent, handler, renew_every=0.1).completed == 1


def test_a_worker_renews_its_lease_before_it_ends_by_default(
    agent: AgentTasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_contracts(agent)
    monkeypatch.setattr(tasks, "lease_length", lambda _: 9.0)  # the shortest lease lasts a minute

    def handler(task: Task) -> None:
        left = before = task.seconds_left
        while left <= before:
            time.sleep(0.02)
            before, left = left, task.seconds_left
            assert left > 0

    assert run_worker(agent, handler).completed == 1


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
