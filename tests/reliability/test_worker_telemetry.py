"""What a worker logs, and the OpenTelemetry spans that it opens."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from ehg_tasks import AgentTasks, AsyncTask, FinalFailure, Task
from tests.conftest import Project
from tests.lifecycle.helpers import leases
from tests.reliability.helpers import Database, create_contracts, run_worker, take_over


def test_each_outcome_is_logged_with_its_contract_and_without_secrets(
    project: Project, agent: AgentTasks, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="ehg_tasks")
    completed, retried, failed, lost = ids = create_contracts(agent, 4)
    tokens: list[str] = []

    def handler(task: Task) -> None:
        tokens.extend(str(lease["claim_token"]) for lease in leases(database))
        if task.id == retried:
            raise ValueError("bad color")
        if task.id == failed:
            raise FinalFailure("not my job")
        if task.id == lost:
            take_over(database, agent, task.id)

    run_worker(agent, handler, concurrency=1)
    worker_records: list[Any] = [record for record in caplog.records if record.name == "ehg_tasks.worker"]
    records = {record.contract_id: record for record in worker_records if record.contract_id}
    assert sorted(records) == sorted(map(str, ids))
    for record in records.values():
        assert (record.agent, record.attempt) == ("T", 1)
        assert record.seconds >= 0
    assert [records[str(contract_id)].levelname for contract_id in ids] == [
        "INFO",
        "WARNING",
        "WARNING",
        "WARNING",
    ]
    assert [records[str(contract_id)].exc_info is not None for contract_id in ids] == [
        False,
        True,
        False,
        False,
    ]
    assert records[str(completed)].message.endswith("completed")
    assert records[str(retried)].message.endswith("failed and will be retried: ValueError: bad color")
    assert records[str(failed)].message.endswith("failed: not my job")
    assert "claim" in records[str(lost)].message
    assert tokens
    for secret in (*tokens, project.publishable_key):
        assert secret not in caplog.text


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """The worker's log in a program that has not set up logging."""
    handler = logging.StreamHandler(io.StringIO())
    logger = logging.getLogger("ehg_tasks.worker")
    logger.addHandler(handler)
    yield handler.stream
    logger.removeHandler(handler)


def test_control_characters_in_an_exception_are_escaped_in_the_log(
    agent: AgentTasks, log: io.StringIO
) -> None:
    """A terminal interprets them, and an exception may quote another agent."""
    create_contracts(agent)

    def handler(_: Task) -> None:
        raise ValueError("\x1b[31mred\x1b[0m\r\nnext \x07") from KeyError("\x9b2J")

    run_worker(agent, handler)
    message, traceback = log.getvalue().split("\n", 1)
    assert message.endswith(r"failed and will be retried: ValueError: \x1b[31mred\x1b[0m | next \x07")
    assert "Traceback (most recent call last)" in traceback
    assert r"ValueError: \x1b[31mred" in traceback
    assert r"KeyError: '\x9b2J'" in traceback
    assert all(character.isprintable() or character == "\n" for character in traceback)


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


@pytest.mark.parametrize("is_async", [False, True], ids=["def", "async def"])
def test_each_handler_runs_in_a_span_that_records_its_failure(
    agent: AgentTasks, spans: InMemorySpanExporter, is_async: bool
) -> None:
    succeeds, fails = create_contracts(agent, 2)

    def handler(task: Task) -> None:
        with trace.get_tracer("tests").start_as_current_span("inner"):
            if task.id == fails:
                raise ValueError("bad color")

    async def async_handler(task: AsyncTask) -> None:
        with trace.get_tracer("tests").start_as_current_span("inner"):
            await asyncio.sleep(0)
            if task.id == fails:
                raise ValueError("bad color")

    run_worker(agent, async_handler if is_async else handler)
    outer = [span for span in spans.get_finished_spans() if span.name == "task_contract"]
    inner = [span for span in spans.get_finished_spans() if span.name == "inner"]
    assert {span.parent.span_id for span in inner if span.parent} == {span.context.span_id for span in outer}
    reported = {
        (span.attributes or {})["ehg_tasks.contract_id"]: (
            span.status.status_code.name,
            span.status.description,
            [event.name for event in span.events],
            (span.attributes or {})["ehg_tasks.attempt"],
        )
        for span in outer
    }
    assert reported == {
        str(succeeds): ("UNSET", None, [], 1),
        str(fails): ("ERROR", "ValueError: bad color", ["exception"], 1),
    }
