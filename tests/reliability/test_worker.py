"""A worker in this process, on the real project: what it does with handlers, outputs, leases and stops."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from psycopg import Connection

from ehg_tasks import (
    AccessDenied,
    AgentTasks,
    AsyncAgentTasks,
    AsyncTask,
    AuthenticationFailed,
    BadArgument,
    Claim,
    FinalFailure,
    NewContract,
    Result,
    Task,
    Worker,
    WorkerCounters,
)
from ehg_tasks.worker import Handler, output_check, tasks
from tests.conftest import Project
from tests.lifecycle.helpers import contract, end_lease, leases

Database = Connection[Any]
NONE = WorkerCounters(claimed=0, completed=0, failed=0, retried=0, released=0, lost=0, running=0)


def make(agent: AgentTasks, count: int = 1, **fields: Any) -> list[UUID]:
    new = [
        NewContract(**{"parent_agent": "P", "target_agent": "T", "objective": str(number)} | fields)
        for number in range(count)
    ]
    return [made.contract_id for made in agent.create_many(new)]


def work(agent: AgentTasks | AsyncAgentTasks, handler: Handler, **options: Any) -> WorkerCounters:
    """Run a worker until nothing is left."""
    worker = Worker(agent, "T", handler, until_idle=True, **options)
    worker.run()
    assert worker.counters.running == 0
    return worker.counters


def until(condition: Callable[[], bool]) -> None:
    """Wait for what must come."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def in_thread(worker: Worker) -> threading.Thread:
    thread = threading.Thread(target=worker.run)
    thread.start()
    return thread


# --- handlers ----------------------------------------------------------------------------------


def plain(task: Task) -> Any:
    return {"objective": task.objective, "inputs": [text.content_text for text in task.inputs()]}


async def awaited(task: AsyncTask) -> Any:
    return {"objective": task.objective, "inputs": [text.content_text for text in await task.inputs()]}


class Callables:
    """An object whose call is awaited."""

    async def __call__(self, task: AsyncTask) -> Any:
        return await awaited(task)


@pytest.mark.parametrize(
    "handler", [plain, awaited, partial(plain), Callables()], ids=["def", "async", "partial", "object"]
)
def test_what_a_handler_returns_is_recorded(agent: AgentTasks, database: Database, handler: Handler) -> None:
    artifact = uuid4()
    database.execute(
        "insert into agent_artifacts (id, type, summary, content_text) values (%s, 'a', 'b', 'read me')",
        [artifact],
    )
    [contract_id] = make(agent, objective="draw", input_artifacts=[artifact])
    agent_id = uuid4()
    assert work(agent, handler, agent_id=agent_id).completed == 1
    outcome = agent.outcome(contract_id)
    assert (outcome.status, outcome.output) == ("completed", {"objective": "draw", "inputs": ["read me"]})
    assert contract(database, contract_id)["completed_by_agent_id"] == agent_id
    assert leases(database) == []


async def test_a_worker_runs_in_a_loop_of_ones_own(project: Project, agent: AgentTasks) -> None:
    ids = make(agent, 3)
    async with AsyncAgentTasks(url=project.url, key=project.publishable_key) as client:
        worker = Worker(client, "T", awaited, until_idle=True)
        await worker.run_async()
        assert [outcome.status for outcome in await client.outcomes(ids)] == ["completed"] * 3


def test_a_result_tells_more_than_the_output(agent: AgentTasks, database: Database) -> None:
    [contract_id] = make(agent)
    work(agent, lambda _: Result({"n": (1, 2)}, summary="two\0" + "é" * 40_000, execution_tokens=12))
    outcome = agent.outcome(contract_id)
    assert (outcome.output, outcome.execution_tokens) == ({"n": [1, 2]}, 12)
    assert outcome.result_summary is not None
    assert outcome.result_summary.startswith("two\ufffdé")
    assert 65_530 < len(outcome.result_summary.encode()) <= 65_536


def test_a_task_tells_what_is_to_be_done_and_keeps_the_token(agent: AgentTasks, database: Database) -> None:
    [contract_id] = make(agent, max_tokens=123, timeout_minutes=2, constraints={"colours": ["red"]})
    seen: list[Any] = []

    def handler(task: Task) -> None:
        seen.append((task.id, task.max_tokens, task.constraints, task.attempt, task.cancelled))
        seen.append(task.seconds_left)
        [lease] = leases(database)
        told = repr(task) + str(task) + task.model_dump_json() + str(task.model_dump())
        seen.append(str(lease["claim_token"]) in told)

    work(agent, handler)
    assert seen[0] == (contract_id, 123, {"colours": ["red"]}, 1, False)
    assert 0 < seen[1] <= 120
    assert seen[2] is False


def test_contracts_are_claimed_in_batches_and_run_side_by_side(agent: AgentTasks, database: Database) -> None:
    make(agent, 8)
    barrier = threading.Barrier(4)
    lock = threading.Lock()
    seen = []

    def handler(_: Task) -> None:
        barrier.wait(60)  # passes four at a time only
        with lock:
            seen.append((len(leases(database)), len({lease["request_key"] for lease in leases(database)})))
        barrier.wait(60)

    counters = work(agent, handler, concurrency=4)
    assert counters == WorkerCounters(8, 8, 0, 0, 0, 0, 0)
    assert seen[:4] == [(4, 1)] * 4  # the first batch came in one call
    assert max(count for count, _ in seen) == 4


# --- failures ----------------------------------------------------------------------------------


class Unspeakable(Exception):  # noqa: N818
    def __str__(self) -> str:
        raise ValueError


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (ValueError("no such colour"), "pending", "ValueError: no such colour"),
        (KeyError(), "pending", "KeyError"),
        (FinalFailure("not my job"), "failed", "not my job"),
        (SystemExit(3), "pending", "SystemExit: 3"),
        (KeyboardInterrupt(), "pending", "KeyboardInterrupt"),
        (asyncio.CancelledError(), "pending", "CancelledError"),
        (Unspeakable(), "pending", "Unspeakable"),
        (ValueError("nul \0"), "pending", "ValueError: nul \ufffd"),
        (FinalFailure("half \ud800"), "failed", "half ?"),  # without a traceback, which would quote it
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
@pytest.mark.parametrize("is_async", [False, True], ids=["def", "async"])
def test_what_a_handler_raises_fails_the_attempt(
    agent: AgentTasks, database: Database, error: BaseException, status: str, message: str, is_async: bool
) -> None:
    [contract_id] = make(agent)

    def handler(_: Task) -> None:
        raise error

    async def async_handler(_: AsyncTask) -> None:
        raise error

    counters = work(agent, async_handler if is_async else handler)
    row = contract(database, contract_id)
    assert (row["status"], row["error_message"]) == (status, message)
    assert row["retry_count"] == (1 if status == "pending" else 0)
    assert (counters.retried, counters.failed) == ((1, 0) if status == "pending" else (0, 1))


def test_a_stop_iteration_is_a_failure_as_any(agent: AgentTasks, database: Database) -> None:
    [contract_id] = make(agent)
    work(agent, lambda _: next(iter([])))
    assert contract(database, contract_id)["error_message"] == "StopIteration"


def test_a_long_message_is_cut(agent: AgentTasks, database: Database) -> None:
    [contract_id] = make(agent)

    def handler(_: Task) -> None:
        raise ValueError("é" * 100_000)

    work(agent, handler)
    message = contract(database, contract_id)["error_message"]
    assert 65_530 < len(message.encode()) <= 65_536


def test_the_last_attempt_fails_the_contract(agent: AgentTasks, database: Database) -> None:
    [contract_id] = make(agent, max_retries=0)
    assert work(agent, lambda _: 1 / 0).failed == 1
    assert contract(database, contract_id)["status"] == "failed"


# --- outputs -----------------------------------------------------------------------------------

OBJECT = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


@pytest.mark.parametrize(
    ("schema", "output"),
    [
        (OBJECT, {"n": 1}),
        ({}, 5),
        ({"type": "null"}, None),
        ({"type": "array"}, (1, 2)),
        ({"$schema": "https://example.com/unknown", "type": "integer"}, 5),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "string", "pattern": "^a"}}}, "abc"),
        ({"$ref": "https://json-schema.org/draft/2020-12/schema"}, {"type": "object"}),
    ],
)
def test_an_output_that_fits_completes_the_contract(agent: AgentTasks, schema: Any, output: Any) -> None:
    make(agent, output_schema=schema)
    assert work(agent, lambda _: output).completed == 1


@pytest.mark.parametrize(
    ("schema", "output", "status", "message"),
    [
        (
            OBJECT,
            {"n": "x"},
            "pending",
            "does not match the contract's output_schema: $.n: 'x' is not of type",
        ),
        (OBJECT, None, "pending", "$: None is not of type 'object'"),
        (OBJECT, {"n": "x" * 10_000}, "pending", "…"),
        (
            {
                "$schema": "http://json-schema.org/draft-04/schema#",
                "maximum": 5,
                "exclusiveMaximum": True,
            },
            5,
            "pending",
            "5 is greater than or equal to the maximum of 5",
        ),
        ({"exclusiveMaximum": True}, 5, "failed", "output_schema is not a valid JSON Schema"),
        ({"type": "colour"}, 5, "failed", "output_schema is not a valid JSON Schema: $.type"),
        ({"$schema": ["x"]}, 5, "failed", "output_schema is not a valid JSON Schema"),
        ({"pattern": "("}, "a", "failed", "output_schema"),
        ({"$ref": "#/nowhere"}, 5, "failed", "output_schema cannot be used"),
        ({"$ref": "https://example.com/schema.json"}, 5, "failed", "output_schema cannot be used"),
        ({"$ref": "#"}, 5, "pending", "recurses too deeply"),
        (None, {1, 2}, "pending", "the output is not JSON"),
        (None, float("nan"), "pending", "the output is not JSON"),
        (None, "nul \0", "pending", "the output contains a NUL character"),
        (None, "x" * 1_048_576, "pending", "the result is refused: p_output is too large"),
        (None, Result({}, execution_tokens=-1), "pending", "the result is refused"),
    ],
)
def test_an_output_that_does_not_fit_fails_the_attempt(
    agent: AgentTasks, database: Database, schema: Any, output: Any, status: str, message: str
) -> None:
    [contract_id] = make(agent, output_schema=schema)
    work(agent, lambda _: output)
    row = contract(database, contract_id)
    assert row["status"] == status
    assert message in row["error_message"]
    assert "\n" not in row["error_message"]
    assert len(row["error_message"]) < 1500
    assert database.execute("select count(*) from agent_artifacts").fetchone() == (0,)


def test_a_schema_reaches_nothing_outside_itself(
    agent: AgentTasks, database: Database, tmp_path: Path
) -> None:
    other = tmp_path / "schema.json"
    other.write_text("{}")
    [contract_id] = make(agent, output_schema={"$ref": other.as_uri()})
    assert work(agent, lambda _: {}).failed == 1
    message = contract(database, contract_id)["error_message"]
    assert message.startswith("the contract's output_schema cannot be used: Unresolvable")


def test_a_schema_that_is_no_object_fails_the_contract(agent: AgentTasks, database: Database) -> None:
    """As an agent's direct write to the table could leave it."""
    [contract_id] = make(agent)
    database.execute("update agent_task_contracts set output_schema = '[1]'")
    assert work(agent, lambda _: {}).failed == 1
    assert "output_schema is not a valid JSON Schema" in contract(database, contract_id)["error_message"]


def test_a_schema_that_takes_for_ever_fails_the_attempt(
    agent: AgentTasks, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    endless, good = make(agent, 2, output_schema={"pattern": "^(a+)+$"})
    monkeypatch.setattr(output_check, "CHECK_SECONDS", 0.5)

    def handler(task: Task) -> str:
        if task.id == endless:
            return "a" * 60 + "b"
        monkeypatch.undo()
        return "aaa"

    counters = work(agent, handler, concurrency=1)
    assert (counters.retried, counters.completed) == (1, 1)
    assert "takes longer than" in contract(database, endless)["error_message"]
    assert contract(database, good)["status"] == "completed"


# --- leases ------------------------------------------------------------------------------------


def test_a_lease_is_renewed_while_the_handler_runs(agent: AgentTasks, database: Database) -> None:
    [contract_id] = make(agent)
    database_now = "select expires_at > clock_timestamp() + interval '1 minute' from ehg_tasks.leases"

    def handler(task: Task) -> float:
        left = task.seconds_left

        def went_up() -> bool:
            nonlocal left
            before, left = left, task.seconds_left
            return left > before

        database.execute("update ehg_tasks.leases set expires_at = clock_timestamp() + interval '5 seconds'")
        until(lambda: database.execute(database_now).fetchone() == (True,))
        until(went_up)  # by itself it runs down
        return left

    assert work(agent, handler, renew_every=0.1).completed == 1
    assert agent.outcome(contract_id).status == "completed"


def test_a_lease_is_renewed_before_it_ends(agent: AgentTasks, monkeypatch: pytest.MonkeyPatch) -> None:
    make(agent)
    monkeypatch.setattr(tasks, "lease_length", lambda _: 9.0)  # the shortest lease lasts a minute

    def handler(task: Task) -> None:
        left = before = task.seconds_left
        while left <= before:
            time.sleep(0.02)
            before, left = left, task.seconds_left
            assert left > 0

    assert work(agent, handler).completed == 1


def take_over(database: Database, other: AgentTasks, contract_id: UUID) -> Claim:
    """End a lease and claim the contract as somebody else."""
    end_lease(database, contract_id)
    [claim] = other.claim("T")
    assert claim.contract_id == contract_id
    return claim


def test_a_lost_lease_cancels_a_handler_in_a_thread(agent: AgentTasks, database: Database) -> None:
    [contract_id] = make(agent)
    claims, cancelled = [], []

    def handler(task: Task) -> str:
        claims.append(take_over(database, agent, contract_id))
        cancelled.append(task.wait(60))
        return "too late"

    worker = Worker(agent, "T", handler, renew_every=0.1, until_idle=True)
    worker.run()
    assert cancelled == [True]
    assert (worker.counters.lost, worker.counters.completed) == (1, 0)
    assert contract(database, contract_id)["status"] == "in_progress"
    agent.complete(claims[0], output="in time")
    assert agent.outcome(contract_id).output == "in time"


def test_a_lost_lease_cancels_an_async_handler(agent: AgentTasks, database: Database) -> None:
    [contract_id] = make(agent)
    cancelled = []

    async def handler(task: AsyncTask) -> str:
        agent.cancel(contract_id, "no longer wanted")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(task.cancelled)
            raise
        return "too late"

    assert work(agent, handler, renew_every=0.1).lost == 1
    assert cancelled == [True]
    row = contract(database, contract_id)
    assert (row["status"], row["error_message"]) == ("cancelled", "no longer wanted")


@pytest.mark.parametrize("fails", [False, True], ids=["result", "failure"])
def test_what_comes_after_the_lease_is_lost_is_not_recorded(
    agent: AgentTasks, database: Database, fails: bool
) -> None:
    [contract_id] = make(agent)

    def handler(task: Task) -> str:
        take_over(database, agent, contract_id)
        if fails:
            raise ValueError("late")
        return "late"

    assert work(agent, handler).lost == 1
    row = contract(database, contract_id)
    assert (row["status"], row["output_artifact_id"]) == ("in_progress", None)
    assert row["error_message"] != "ValueError: late"


# --- stops -------------------------------------------------------------------------------------


def test_a_stopped_worker_waits_for_its_handlers(agent: AgentTasks, database: Database) -> None:
    ids = make(agent, 3)
    running, go_on = threading.Semaphore(0), threading.Event()

    def handler(_: Task) -> str:
        running.release()
        assert go_on.wait(60)
        return "done"

    worker = Worker(agent, "T", handler, concurrency=2)
    thread = in_thread(worker)
    assert running.acquire(timeout=60)
    assert running.acquire(timeout=60)
    assert worker.counters == WorkerCounters(2, 0, 0, 0, 0, 0, 2)
    worker.stop()
    go_on.set()
    thread.join(60)
    assert worker.counters == WorkerCounters(2, 2, 0, 0, 0, 0, 0)
    assert [contract(database, one)["status"] for one in ids] == ["completed", "completed", "pending"]


@pytest.mark.parametrize("is_async", [False, True], ids=["def", "async"])
@pytest.mark.parametrize("stops", [1, 2], ids=["grace period", "second stop"])
def test_what_goes_on_too_long_is_cancelled_and_released(
    agent: AgentTasks, database: Database, is_async: bool, stops: int
) -> None:
    [contract_id] = make(agent)
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
            await asyncio.sleep(0.1)  # a handler's own tidying is waited for
            cancelled.append(True)
        return "too late"

    worker = Worker(
        agent, "T", async_handler if is_async else handler, grace_seconds=0.1 if stops == 1 else 600
    )
    thread = in_thread(worker)
    assert started.wait(60)
    for _ in range(stops):
        worker.stop()
    thread.join(60)
    assert worker.counters == WorkerCounters(1, 0, 0, 0, 1, 0, 0)
    until(lambda: cancelled == [True])
    row = contract(database, contract_id)
    assert (row["status"], row["retry_count"], leases(database)) == ("pending", 0, [])


async def test_a_cancelled_run_releases_its_claims(agent: AgentTasks, database: Database) -> None:
    [contract_id] = make(agent)
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


def test_a_worker_that_was_stopped_does_not_start(agent: AgentTasks) -> None:
    make(agent)
    worker = Worker(agent, "T", lambda _: None)
    worker.stop()
    worker.run()
    assert worker.counters == NONE


async def test_a_worker_runs_once_at_a_time(agent: AgentTasks) -> None:
    worker = Worker(agent, "T", lambda _: None)
    run = asyncio.create_task(worker.run_async())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="already running"):
        await worker.run_async()
    worker.stop()
    await run


def test_counters_go_on_from_run_to_run(agent: AgentTasks) -> None:
    worker = Worker(agent, "T", lambda _: None, until_idle=True)
    for runs in (1, 2):
        make(agent, 2)
        worker.run()
        assert worker.counters.completed == 2 * runs


# --- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{"concurrency": 0}, {"poll_seconds": 0}, {"renew_every": 0}, {"grace_seconds": -1}],
    ids=lambda options: next(iter(options)),
)
def test_an_option_out_of_range_is_refused(agent: AgentTasks, options: dict[str, Any]) -> None:
    with pytest.raises(BadArgument, match=next(iter(options))):
        Worker(agent, "T", lambda _: None, **options)


def test_a_worker_that_may_not_claim_ends(project: Project, agent: AgentTasks) -> None:
    with AgentTasks(url=project.url, key="sb_publishable_" + "x" * 31) as stranger:
        worker = Worker(stranger, "T", lambda _: None)
        with pytest.raises(AuthenticationFailed):
            worker.run()
    with pytest.raises(BadArgument):
        Worker(agent, " ", lambda _: None).run()


def test_a_worker_that_may_not_record_ends(agent: AgentTasks, database: Database) -> None:
    make(agent, 2)

    def handler(_: Task) -> None:
        database.execute("revoke execute on function public.complete_task_contract from anon")

    worker = Worker(agent, "T", handler, concurrency=1)
    try:
        with pytest.raises(AccessDenied):
            worker.run()
    finally:
        database.execute("grant execute on function public.complete_task_contract to anon")
    assert worker.counters == WorkerCounters(1, 0, 0, 0, 0, 1, 0)


def test_the_missing_extra_is_named() -> None:
    program = (
        "import sys; sys.modules['jsonschema'] = None\n"
        "from ehg_tasks import AgentTasks, Worker\n"
        "Worker(AgentTasks(url='http://127.0.0.1:1', key='sb_publishable_x'), 'T', print)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "SettingsError" in run.stderr.splitlines()[-1]
    assert "pip install 'ehg-tasks[worker]'" in run.stderr.splitlines()[-1]


# --- what it tells -----------------------------------------------------------------------------


def test_records_tell_which_contract_and_never_a_secret(
    project: Project, agent: AgentTasks, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="ehg_tasks")
    ids = make(agent, 4)
    tokens: list[str] = []

    def handler(task: Task) -> None:
        tokens.extend(str(lease["claim_token"]) for lease in leases(database))
        if task.id == ids[1]:
            raise ValueError("bad colour")
        if task.id == ids[2]:
            raise FinalFailure("not my job")
        if task.id == ids[3]:
            take_over(database, agent, task.id)

    work(agent, handler, concurrency=1)
    records: list[Any] = [record for record in caplog.records if record.name == "ehg_tasks.worker"]
    told = {record.contract_id: record for record in records if record.contract_id}
    assert sorted(told) == sorted(map(str, ids))
    for record in told.values():
        assert (record.agent, record.attempt) == ("T", 1)
        assert record.seconds >= 0
        assert "\n" not in record.message
    assert [told[str(one)].levelname for one in ids] == ["INFO", "WARNING", "WARNING", "WARNING"]
    assert [told[str(one)].exc_info is not None for one in ids] == [False, True, False, False]
    assert told[str(ids[1])].message.endswith("failed, to be retried: ValueError: bad colour")
    assert told[str(ids[2])].message.endswith("failed: not my job")
    assert "claim" in told[str(ids[3])].message
    assert tokens
    for secret in (*tokens, project.publishable_key):
        assert secret not in caplog.text


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> Iterator[InMemorySpanExporter]:
    exporter.clear()
    yield exporter
    exporter.clear()


@pytest.mark.parametrize("is_async", [False, True], ids=["def", "async"])
def test_every_handler_has_a_span(agent: AgentTasks, spans: InMemorySpanExporter, is_async: bool) -> None:
    ids = make(agent, 2)

    def handler(task: Task) -> None:
        with trace.get_tracer("tests").start_as_current_span("inner"):
            if task.id == ids[1]:
                raise ValueError("bad colour")

    async def async_handler(task: AsyncTask) -> None:
        with trace.get_tracer("tests").start_as_current_span("inner"):
            await asyncio.sleep(0)
            if task.id == ids[1]:
                raise ValueError("bad colour")

    work(agent, async_handler if is_async else handler)
    outer = {
        span.context.span_id: span for span in spans.get_finished_spans() if span.name == "task_contract"
    }
    inner = [span for span in spans.get_finished_spans() if span.name == "inner"]
    assert sorted(span.parent.span_id for span in inner if span.parent) == sorted(outer)
    told = {
        (span.attributes or {})["ehg_tasks.contract_id"]: (
            span.status.status_code.name,
            span.status.description,
            [event.name for event in span.events],
            (span.attributes or {})["ehg_tasks.attempt"],
        )
        for span in outer.values()
    }
    assert told == {
        str(ids[0]): ("UNSET", None, [], 1),
        str(ids[1]): ("ERROR", "ValueError: bad colour", ["exception"], 1),
    }
