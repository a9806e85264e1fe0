"""A worker refuses bad options, and ends when the project refuses it."""

from __future__ import annotations

from typing import Any

import pytest

from ehg_tasks import (
    AccessDenied,
    AgentTasks,
    AuthenticationFailed,
    BackendTasks,
    BadArgument,
    Task,
    Worker,
)
from ehg_tasks import WorkerCounters as Counters
from tests.conftest import Project
from tests.reliability.helpers import Database, create_contracts


@pytest.mark.parametrize(
    "options",
    [
        {"concurrency": 0},
        {"poll_seconds": 0},
        {"grace_seconds": -1},
        {"lease_seconds": 4},
        {"renew_every": 0},
        {"renew_every": 60},
        {"renew_every": 5, "lease_seconds": 5},
    ],
    ids=str,
)
def test_an_option_out_of_range_is_refused(agent: AgentTasks, options: dict[str, Any]) -> None:
    with pytest.raises(BadArgument, match=next(iter(options))):
        Worker(agent, "T", lambda _: None, **options)


def test_a_worker_ends_when_its_key_is_refused(project: Project) -> None:
    with AgentTasks(url=project.url, key="sb_publishable_" + "x" * 31) as client:
        worker = Worker(client, "T", lambda _: None)
    with pytest.raises(AuthenticationFailed):
        worker.run()


def test_a_worker_of_a_registered_agent_needs_its_token(
    project: Project, backend: BackendTasks, agent: AgentTasks
) -> None:
    token = backend.register_agent("T").token
    [contract_id] = create_contracts(agent)
    with pytest.raises(AccessDenied, match='agent "T" is registered'):
        Worker(agent, "T", lambda _: None).run()
    assert agent.outcome(contract_id).attempt is None
    with AgentTasks(url=project.url, key=project.publishable_key, agent_token=token) as registered:
        Worker(registered, "T", lambda _: None, until_idle=True).run()
    assert agent.outcome(contract_id).status == "completed"


def test_a_worker_ends_when_its_agent_name_is_refused(agent: AgentTasks) -> None:
    with pytest.raises(BadArgument):
        Worker(agent, " ", lambda _: None).run()


def test_a_worker_ends_when_it_may_not_record_results(agent: AgentTasks, database: Database) -> None:
    create_contracts(agent)
    functions = "public.complete_task_contract, public.complete_task_contracts"

    def handler(_: Task) -> None:
        database.execute(f"revoke execute on function {functions} from anon")

    worker = Worker(agent, "T", handler, concurrency=1)
    try:
        with pytest.raises(AccessDenied):
            worker.run()
    finally:
        database.execute(f"grant execute on function {functions} to anon")
    assert worker.counters == Counters(1, 0, 0, 0, 0, lost=1, running=0)
