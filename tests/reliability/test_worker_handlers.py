"""What a worker gives to its handlers, and how it records what they return or raise."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from ehg_tasks import AgentTasks, AsyncAgentTasks, AsyncTask, FinalFailure, Result, Task, Worker
from ehg_tasks import WorkerCounters as Counters
from ehg_tasks.worker import Handler
from tests.conftest import Project
from tests.lifecycle.helpers import contract, leases
from tests.reliability.helpers import Database, create_contracts, run_worker

# --- what a handler returns -----------------------------------------------------------------------


def read_inputs(task: Task) -> Any:
    return {"objective": task.objective, "inputs": [item.content_text for item in task.inputs()]}


async def read_inputs_async(task: AsyncTask) -> Any:
    return {"objective": task.objective, "inputs": [item.content_text for item in await task.inputs()]}


class AsyncCallable:
    async def __call__(self, task: AsyncTask) -> Any:
        return await read_inputs_async(task)


@pytest.mark.parametrize(
    "handler",
    [read_inputs, read_inputs_async, partial(read_inputs), AsyncCallable()],
    ids=["def", "async def", "partial", "async callable"],
)
def test_the_return_value_of_a_handler_is_recorded_as_the_output(
    agent: AgentTasks, database: Database, handler: Handler
) -> None:
    artifact = uuid4()
    database.execute(
        "insert into agent_artifacts (id, type, summary, content_text) values (%s, 'a', 'b', 'read me')",
        [artifact],
    )
    [contract_id] = create_contracts(agent, objective="draw", input_artifacts=[artifact])
    agent_id = uuid4()
    assert run_worker(agent, handler, agent_id=agent_id).completed == 1
    outcome = agent.outcome(contract_id)
    assert (outcome.status, outcome.output) == ("completed", {"objective": "draw", "inputs": ["read me"]})
    assert contract(database, contract_id)["completed_by_agent_id"] == agent_id
    assert leases(database) == []


def test_a_result_records_a_summary_and_tokens_with_the_output(agent: AgentTasks) -> None:
    [contract_id] = create_contracts(agent)
    result = Result({"n": (1, 2)}, summary="two\0" + "é" * 40_000, execution_tokens=12)
    run_worker(agent, lambda _: result)
    outcome = agent.outcome(contract_id)
    assert (outcome.output, outcome.execution_tokens) == ({"n": [1, 2]}, 12)
    assert outcome.result_summary is not None
    assert outcome.result_summary.startswith("two\ufffdé")
    assert 65_530 < len(outcome.result_summary.encode()) <= 65_536


async def test_a_worker_runs_in_the_callers_event_loop(project: Project, agent: AgentTasks) -> None:
    ids = create_contracts(agent, 3)
    async with AsyncAgentTasks(url=project.url, key=project.publishable_key) as client:
        await Worker(client, "T", read_inputs_async, until_idle=True).run_async()
        assert [outcome.status for outcome in await client.outcomes(ids)] == ["completed"] * 3


# --- what a handler gets --------------------------------------------------------------------------


def test_a_task_shows_the_contract_but_not_its_claim_token(agent: AgentTasks, database: Database) -> None:
    [contract_id] = create_contracts(
        agent, max_tokens=123, timeout_minutes=2, constraints={"colors": ["red"]}
    )
    seen: list[Any] = []

    def handler(task: Task) -> None:
        seen.append((task.id, task.max_tokens, task.constraints, task.attempt, task.cancelled))
        seen.append(task.seconds_left)
        [lease] = leases(database)
        printed = repr(task) + str(task) + task.model_dump_json() + str(task.model_dump())
        seen.append(str(lease["claim_token"]) in printed)

    run_worker(agent, handler)
    assert seen[0] == (contract_id, 123, {"colors": ["red"]}, 1, False)
    assert 0 < seen[1] <= 120
    assert seen[2] is False


def test_contracts_are_claimed_in_batches_and_run_concurrently(agent: AgentTasks, database: Database) -> None:
    create_contracts(agent, 8)
    barrier = threading.Barrier(4)
    lock = threading.Lock()
    seen = []

    def handler(_: Task) -> None:
        barrier.wait(60)  # lets four handlers pass at a time
        with lock:
            seen.append((len(leases(database)), len({lease["request_key"] for lease in leases(database)})))
        barrier.wait(60)

    assert run_worker(agent, handler, concurrency=4) == Counters(8, 8, 0, 0, 0, 0, 0)
    assert seen[:4] == [(4, 1)] * 4  # one call claimed the first batch
    assert max(count for count, _ in seen) == 4


# --- what a handler raises ------------------------------------------------------------------------


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise SystemExit


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (ValueError("no such color"), "pending", "ValueError: no such color"),
        (KeyError(), "pending", "KeyError"),
        (FinalFailure("not my job"), "failed", "not my job"),
        (SystemExit(3), "pending", "SystemExit: 3"),
        (KeyboardInterrupt(), "pending", "KeyboardInterrupt"),
        (asyncio.CancelledError(), "pending", "CancelledError"),
        (UnprintableError(), "pending", "UnprintableError"),
        (ValueError("nul \0"), "pending", "ValueError: nul \ufffd"),
        (ValueError("surrogate \ud800"), "pending", "ValueError: surrogate ?"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
@pytest.mark.parametrize("is_async", [False, True], ids=["def", "async def"])
def test_an_exception_in_a_handler_fails_the_attempt(
    agent: AgentTasks, database: Database, error: BaseException, status: str, message: str, is_async: bool
) -> None:
    [contract_id] = create_contracts(agent)

    def handler(_: Task) -> None:
        raise error

    async def async_handler(_: AsyncTask) -> None:
        raise error

    counters = run_worker(agent, async_handler if is_async else handler)
    row = contract(database, contract_id)
    assert (row["status"], row["error_message"]) == (status, message)
    assert row["retry_count"] == (1 if status == "pending" else 0)
    assert (counters.retried, counters.failed) == ((1, 0) if status == "pending" else (0, 1))


def test_a_stop_iteration_fails_the_attempt_like_any_exception(agent: AgentTasks, database: Database) -> None:
    """asyncio refuses to carry one from a thread to the event loop."""
    [contract_id] = create_contracts(agent)
    run_worker(agent, lambda _: next(iter([])))
    assert contract(database, contract_id)["error_message"] == "StopIteration"


def test_an_error_message_is_cut_at_64_kib(agent: AgentTasks, database: Database) -> None:
    [contract_id] = create_contracts(agent)

    def handler(_: Task) -> None:
        raise ValueError("é" * 100_000)

    run_worker(agent, handler)
    message = contract(database, contract_id)["error_message"]
    assert 65_530 < len(message.encode()) <= 65_536


def test_an_exception_in_the_last_attempt_fails_the_contract(agent: AgentTasks, database: Database) -> None:
    [contract_id] = create_contracts(agent, max_retries=0)
    assert run_worker(agent, lambda _: 1 / 0).failed == 1
    assert contract(database, contract_id)["status"] == "failed"


def test_a_handler_that_cancels_its_own_task_fails_the_attempt(agent: AgentTasks) -> None:
    ids = create_contracts(agent, max_retries=0)

    async def handler(_: AsyncTask) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(60)

    assert run_worker(agent, handler).failed == 1
    assert agent.outcome(ids[0]).error_message == "the handler cancelled its own task"
