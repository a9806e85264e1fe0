"""Creates contracts, runs workers, and waits for what they do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

from psycopg import Connection

from ehg_tasks import AgentTasks, AsyncAgentTasks, Claim, NewContract, Worker, WorkerCounters
from ehg_tasks.worker import Handler
from tests.lifecycle.helpers import end_lease

Database = Connection[Any]


def create_contracts(agent: AgentTasks, count: int = 1, **fields: Any) -> list[UUID]:
    """Create contracts for the agent `T` and return their ids."""
    contracts = [
        NewContract(**{"parent_agent": "P", "target_agent": "T", "objective": str(number)} | fields)
        for number in range(count)
    ]
    return [created.contract_id for created in agent.create_many(contracts)]


def run_worker(agent: AgentTasks | AsyncAgentTasks, handler: Handler, **options: Any) -> WorkerCounters:
    """Run a worker for `T` until nothing is left to claim."""
    worker = Worker(agent, "T", handler, until_idle=True, **options)
    worker.run()
    assert worker.counters.running == 0
    return worker.counters


def start_in_thread(worker: Worker) -> threading.Thread:
    thread = threading.Thread(target=worker.run)
    thread.start()
    return thread


def statuses(agent: AgentTasks, ids: list[UUID]) -> list[str]:
    return [outcome.status for outcome in agent.outcomes(ids)]


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds; fail after a minute."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def take_over(database: Database, agent: AgentTasks, contract_id: UUID) -> Claim:
    """End a worker's lease and claim its contract."""
    end_lease(database, contract_id)
    [claim] = agent.claim("T")
    assert claim.contract_id == contract_id
    return claim
