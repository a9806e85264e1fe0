"""A worker checks each output against the contract's output_schema before it records it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from psycopg.types.json import Jsonb
from pydantic import BaseModel

from ehg_tasks import AgentTasks, Result, Task, Worker
from ehg_tasks.worker import output_check
from tests.lifecycle.helpers import contract
from tests.reliability.helpers import (
    Database,
    create_contracts,
    run_worker,
    start_in_thread,
    wait_until,
)

OBJECT = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
DRAFT_4 = {"$schema": "http://json-schema.org/draft-04/schema#", "maximum": 5, "exclusiveMaximum": True}


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
def test_an_output_that_matches_its_schema_completes_the_contract(
    agent: AgentTasks, schema: Any, output: Any
) -> None:
    create_contracts(agent, output_schema=schema)
    assert run_worker(agent, lambda _: output).completed == 1


@pytest.mark.parametrize(
    ("schema", "output", "message"),
    [
        (OBJECT, {"n": "x"}, "does not match the contract's output_schema: $.n: 'x' is not of type"),
        (OBJECT, None, "$: None is not of type 'object'"),
        (OBJECT, {"n": "x" * 10_000}, "…"),
        (DRAFT_4, 5, "5 is greater than or equal to the maximum of 5"),
        (None, {1, 2}, "the output is not JSON"),
        (None, float("nan"), "the output is not JSON"),
        (None, "nul \0", "the output contains a NUL character"),
        (None, "x" * 1_048_576, "the result is refused: output is too large"),
        (None, Result({}, execution_tokens=-1), "the result is refused"),
    ],
)
def test_an_output_that_cannot_be_accepted_is_retried(
    agent: AgentTasks, database: Database, schema: Any, output: Any, message: str
) -> None:
    assert_refused(agent, database, schema, output, "pending", message)


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"exclusiveMaximum": True}, "output_schema is not a valid JSON Schema"),
        ({"type": "color"}, "output_schema is not a valid JSON Schema: $.type"),
        ({"$schema": ["x"]}, "output_schema is not a valid JSON Schema"),
        ({"$ref": "#"}, "recurses too deeply"),
        ({"pattern": "("}, "output_schema"),
        ({"$ref": "#/missing"}, "output_schema cannot be used"),
        ({"$ref": "https://example.com/schema.json"}, "output_schema cannot be used"),
    ],
)
def test_a_schema_that_is_not_valid_fails_the_contract_for_good(
    agent: AgentTasks, database: Database, schema: Any, message: str
) -> None:
    assert_refused(agent, database, schema, "a", "failed", message)


def assert_refused(
    agent: AgentTasks, database: Database, schema: Any, output: Any, status: str, message: str
) -> None:
    """The attempt fails with a short message of one line, and no artifact is stored."""
    [contract_id] = create_contracts(agent)
    # Another client may create a contract with any schema.
    database.execute("update agent_task_contracts set output_schema = %s", [Jsonb(schema)])
    run_worker(agent, lambda _: output)
    row = contract(database, contract_id)
    assert row["status"] == status
    assert message in row["error_message"]
    assert "\n" not in row["error_message"]
    assert len(row["error_message"]) < 1500
    assert database.execute("select count(*) from agent_artifacts").fetchone() == (0,)


def test_a_schema_cannot_refer_to_a_file(agent: AgentTasks, database: Database, tmp_path: Path) -> None:
    file = tmp_path / "schema.json"
    file.write_text("{}")
    assert_refused(
        agent, database, {"$ref": file.as_uri()}, {}, "failed", "output_schema cannot be used: Unresolvable"
    )


def test_a_schema_that_is_not_an_object_fails_the_contract_for_good(
    agent: AgentTasks, database: Database
) -> None:
    """Only a direct write to the table can leave such a schema."""
    [contract_id] = create_contracts(agent)
    database.execute("update agent_task_contracts set output_schema = '[1]'")
    assert run_worker(agent, lambda _: {}).failed == 1
    assert "output_schema is not a valid JSON Schema" in contract(database, contract_id)["error_message"]


def test_an_output_that_is_nested_too_deeply_to_check_fails_the_attempt(
    agent: AgentTasks, database: Database
) -> None:
    """Python's limit leaves the handler's thread a few levels more than the worker's event loop."""
    [contract_id] = create_contracts(agent, output_schema={"type": "array"})

    def handler(_: Task) -> Any:
        levels = sys.getrecursionlimit()
        while True:
            with suppress(RecursionError):
                json.dumps(nested(levels))
                return nested(levels - 20)  # the worker reads it from a few calls deeper
            levels -= 1

    assert run_worker(agent, handler).retried == 1
    assert "nested" in contract(database, contract_id)["error_message"]


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def test_a_check_that_takes_too_long_fails_the_contract_and_does_not_delay_others(
    agent: AgentTasks, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, fast = create_contracts(agent, 2, output_schema={"pattern": "^(a+)+$"})
    monkeypatch.setattr(output_check, "CHECK_SECONDS", 5.0)
    done = []

    def handler(task: Task) -> str:
        if task.id == slow:
            return "a" * 60 + "b"
        # The other check is still running when this one is done.
        return "aaa"

    worker = Worker(agent, "T", handler, until_idle=True, concurrency=2)
    thread = start_in_thread(worker)
    wait_until(lambda: agent.outcome(fast).status == "completed")
    done.append(agent.outcome(slow).status)
    thread.join(60)
    assert done == ["in_progress"]
    assert (worker.counters.failed, worker.counters.completed) == (1, 1)
    assert "takes longer than" in contract(database, slow)["error_message"]


def test_a_check_that_takes_too_much_memory_fails_the_contract_and_the_next_check_works(
    agent: AgentTasks, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output_check, "CHECK_BYTES", 80 * 2**20)
    # Each level doubles the number of errors that the mismatch consists of.
    levels = {f"n{n}": {"anyOf": [{"$ref": f"#/$defs/n{n + 1}"}] * 2} for n in range(18)}
    schema = {"$ref": "#/$defs/n0", "$defs": levels | {"n18": {"type": "array"}}}
    large, small = create_contracts(agent, 2, output_schema=schema)
    counters = run_worker(agent, lambda task: 5 if task.id == large else [], concurrency=1)
    assert (counters.failed, counters.completed) == (1, 1)
    assert "takes too much memory" in contract(database, large)["error_message"]
    assert contract(database, small)["status"] == "completed"


def test_a_schema_that_is_not_valid_fails_the_contract_before_the_handler_runs(
    agent: AgentTasks, database: Database
) -> None:
    [contract_id] = create_contracts(agent)
    database.execute('update agent_task_contracts set output_schema = \'{"type": "color"}\'')
    calls: list[Task] = []
    assert run_worker(agent, calls.append).failed == 1
    assert calls == []
    assert "not a valid JSON Schema: $.type" in contract(database, contract_id)["error_message"]


class Page(BaseModel):
    title: str
    drawn: datetime = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("output", "models"),
    [
        (Page(title="start"), {}),
        (Result(Page(title="start")), {}),
        ({"title": "start"}, {"T": Page}),
        (Page(title="start"), {"T": Page}),
    ],
    ids=["model", "model in a result", "value for a model", "model for a model"],
)
def test_a_model_is_recorded_as_json(
    agent: AgentTasks, output: Any, models: dict[str, type[BaseModel]]
) -> None:
    [contract_id] = create_contracts(agent, output_schema=Page)
    assert run_worker(agent, lambda _: output, output_models=models).completed == 1
    assert agent.outcome(contract_id).output == {"title": "start", "drawn": "2026-01-01T00:00:00Z"}


def test_an_output_that_its_model_refuses_fails_the_attempt(agent: AgentTasks, database: Database) -> None:
    [contract_id] = create_contracts(agent)
    assert run_worker(agent, lambda _: {"name": "start"}, output_models={"T": Page}).retried == 1
    message = contract(database, contract_id)["error_message"]
    assert message == "the output is not a Page: title: Field required"


def test_a_check_is_killed_when_it_has_used_its_cpu_time() -> None:
    """The worker's own clock ends a check first, unless the worker itself is stopped or killed."""
    request = json.dumps([json.dumps({"pattern": "^(a+)+$"}), "a" * 60 + "b"]) + "\n"
    ended = subprocess.run(
        [sys.executable, "-P", output_check.PROGRAM, str(output_check.CHECK_BYTES), "0"],
        input=request,
        text=True,
        check=False,
        stdout=subprocess.PIPE,
    )
    assert (ended.returncode, ended.stdout) == (-signal.SIGXCPU, "")
