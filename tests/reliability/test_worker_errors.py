"""Errors about a result fail its attempt, temporary errors are retried, and others end the worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID, uuid4

import pytest

from ehg_tasks import AgentTasks, AsyncTask, MigrationsMissing, Task, Worker
from ehg_tasks import WorkerCounters as Counters
from tests.conftest import Project
from tests.lifecycle.helpers import attempts, contract
from tests.reliability.helpers import Database, create_contracts, run_worker, statuses
from tests.reliability.proxy import Proxy


@contextmanager
def changed(database: Database, change: str, back: str) -> Iterator[None]:
    """Change the project's own table of artifacts for a while."""
    database.execute(change.encode())
    try:
        yield
    finally:
        database.execute(back.encode())


@pytest.fixture
def storing_fails(database: Database) -> Iterator[Callable[[str], None]]:
    """A function that makes the next two attempts to store an output fail with an SQLSTATE."""

    def fail(code: str) -> None:
        database.execute("create sequence public.tries; grant usage on sequence public.tries to public")
        database.execute(
            "create function public.fail_twice() returns trigger language plpgsql as $$ begin"
            f" if nextval('public.tries') <= 2 then raise exception using errcode = '{code}'; end if;"
            " return new; end $$;"
            "create trigger fail_twice before insert on public.agent_artifacts"
            " for each row execute function public.fail_twice()".encode()
        )

    yield fail
    database.execute("drop function public.fail_twice cascade; drop sequence public.tries")


@pytest.mark.parametrize("code", ["25006", "53100", "XX000", "ZZ000"])
def test_an_error_that_says_nothing_of_the_result_does_not_fail_the_contract(
    project: Project,
    agent: AgentTasks,
    database: Database,
    storing_fails: Callable[[str], None],
    code: str,
) -> None:
    [contract_id] = create_contracts(agent)
    storing_fails(code)
    with AgentTasks(url=project.url, key=project.publishable_key, retries=0) as client:
        assert run_worker(client, lambda _: {"n": 1}) == Counters(1, 1, 0, 0, 0, 0, 0)
    assert agent.outcome(contract_id).output == {"n": 1}
    assert len(attempts(database, contract_id)) == 1


def test_a_trigger_of_the_project_may_refuse_a_result(
    agent: AgentTasks, database: Database, storing_fails: Callable[[str], None]
) -> None:
    [contract_id] = create_contracts(agent)
    storing_fails("P0001")
    assert run_worker(agent, lambda _: {"n": 1}).retried == 1
    assert "the result is refused: " in contract(database, contract_id)["error_message"]


def test_a_table_that_lacks_a_column_fails_the_contract_and_ends_the_worker_in_words(
    agent: AgentTasks, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    ids = create_contracts(agent, 2)
    worker = Worker(agent, "T", lambda _: {"n": 1}, concurrency=1)
    rename = "alter table public.agent_artifacts rename column {} to {}"
    with (
        changed(database, rename.format("source_tool", "tool"), rename.format("tool", "source_tool")),
        pytest.raises(MigrationsMissing, match='column "source_tool"') as raised,
    ):
        worker.run()
    assert raised.value.hint is not None
    assert "agent_artifacts" in raised.value.hint
    assert "in_progress" not in statuses(agent, ids)
    row = contract(database, ids[0])
    assert (row["status"], row["retry_count"]) == ("failed", 0)
    assert row["error_message"].startswith('the output cannot be stored: column "source_tool"')


def test_a_table_that_refuses_every_output_fails_the_contract_in_words(
    agent: AgentTasks, database: Database
) -> None:
    [contract_id] = create_contracts(agent)
    with changed(
        database,
        "alter table public.agent_artifacts add constraint only_plans check (type = 'plan') not valid",
        "alter table public.agent_artifacts drop constraint only_plans",
    ):
        assert run_worker(agent, lambda _: {"n": 1}).failed == 1
    assert "only_plans" in contract(database, contract_id)["error_message"]


@pytest.mark.parametrize("is_async", [False, True], ids=["def", "async def"])
def test_an_input_that_is_gone_fails_the_contract_and_not_the_worker(
    agent: AgentTasks, database: Database, is_async: bool
) -> None:
    artifact = uuid4()
    database.execute("insert into agent_artifacts (id, type, summary) values (%s, 'a', 'b')", [artifact])
    [broken] = create_contracts(agent, input_artifacts=[artifact], priority=60)
    [fine] = create_contracts(agent)
    database.execute("delete from agent_artifacts")

    def handler(task: Task) -> int:
        return len(task.inputs())

    async def async_handler(task: AsyncTask) -> int:
        return len(await task.inputs())

    counters = run_worker(agent, async_handler if is_async else handler, concurrency=1)
    assert counters == Counters(2, 1, 1, 0, 0, 0, 0)
    row = contract(database, broken)
    assert (row["status"], row["retry_count"]) == ("failed", 0)
    assert row["error_message"].startswith("an input is missing: ")
    assert agent.outcome(fine).output == 0


def test_results_that_end_together_are_recorded_in_one_call_and_each_gets_its_own_answer(
    project: Project, agent: AgentTasks, database: Database
) -> None:
    ids = create_contracts(agent, 6)
    started: set[UUID] = set()
    all_started = asyncio.Event()

    async def handler(task: AsyncTask) -> str:
        started.add(task.id)
        if len(started) == len(ids):
            all_started.set()
        await all_started.wait()
        return "x" * 1_100_000 if task.id == ids[2] else "x"

    with Proxy(project.url) as proxy, AgentTasks(url=proxy.url, key=project.publishable_key) as client:
        counters = run_worker(client, handler, concurrency=6)
    assert counters == Counters(6, 5, 0, 1, 0, 0, 0)
    assert statuses(agent, ids) == ["completed"] * 2 + ["pending"] + ["completed"] * 3
    assert "the result is refused: output is too large" in contract(database, ids[2])["error_message"]
    # The refused one is sent once more, to learn why; then its failure is recorded.
    assert proxy.calls.count("complete_task_contracts") == 1
    assert proxy.calls.count("complete_task_contract") == 1
    assert proxy.calls.count("fail_task_contract") == 1
