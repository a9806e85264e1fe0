"""Workers behind a network that loses requests and answers: nothing is lost, and nothing is done twice."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from psycopg import Connection

from ehg_tasks import AgentTasks, FinalFailure, Task, Worker, WorkerCounters
from ehg_tasks.worker import tasks
from tests.conftest import Project
from tests.lifecycle.helpers import contract, leases
from tests.reliability.proxy import Fault, Proxy
from tests.reliability.test_worker import in_thread, make, until

Database = Connection[Any]


@pytest.fixture
def proxy(project: Project) -> Iterator[Proxy]:
    with Proxy(project.url) as proxy:
        yield proxy


def worker_behind(
    proxy: Proxy, project: Project, handler: Any, *, retries: int = 0, **options: Any
) -> Worker:
    client = AgentTasks(url=proxy.url, key=project.publishable_key, retries=retries)
    client.close()  # the worker has a connection of its own
    return Worker(client, "T", handler, **{"until_idle": True, "poll_seconds": 0.05} | options)


class Ran:
    """A handler that counts how often each contract was at work."""

    def __init__(self) -> None:
        self.counts: Counter[UUID] = Counter()
        self._lock = threading.Lock()

    def __call__(self, task: Task) -> dict[str, str]:
        with self._lock:
            self.counts[task.id] += 1
        return {"objective": task.objective}


@pytest.mark.parametrize("lost", ["answer", "request"])
@pytest.mark.parametrize("retries", [0, 1], ids=["the worker repeats", "the client repeats"])
def test_every_other_message_is_lost(
    project: Project, agent: AgentTasks, database: Database, proxy: Proxy, lost: Fault, retries: int
) -> None:
    ids = make(agent, 12)
    lock = threading.Lock()

    def fault(_: str) -> Fault:
        with lock:
            return lost if len(proxy.calls) % 2 else None

    proxy.fault = fault
    ran = Ran()
    worker = worker_behind(proxy, project, ran, retries=retries)
    worker.run()
    assert worker.counters == WorkerCounters(12, 12, 0, 0, 0, 0, 0)
    assert ran.counts == dict.fromkeys(ids, 1)
    assert {outcome.status for outcome in agent.outcomes(ids)} == {"completed"}
    assert database.execute("select count(*) from agent_artifacts").fetchone() == (12,)
    assert leases(database) == []


def losing(proxy: Proxy, function: str, times: int, lost: Fault = "answer") -> None:
    """Lose what comes of the first so many calls of a function."""
    left = iter(range(times))
    proxy.fault = lambda name: lost if name == function and next(left, None) is not None else None


def test_a_claim_without_an_answer_is_asked_for_again(
    project: Project, agent: AgentTasks, database: Database, proxy: Proxy
) -> None:
    ids = make(agent, 3)
    losing(proxy, "claim_task_contract", 3)
    handed_out = []
    proxy.answered = lambda _: handed_out.append(len(leases(database)))
    ran = Ran()
    worker = worker_behind(proxy, project, ran)
    worker.run()
    assert handed_out[:4] == [3, 3, 3, 3]
    assert ran.counts == dict.fromkeys(ids, 1)
    assert {contract(database, one)["retry_count"] for one in ids} == {0}


def test_a_lease_counts_from_the_first_call_that_asked_for_it(
    project: Project, agent: AgentTasks, proxy: Proxy
) -> None:
    """That call's answer was lost, and the server's clock went on."""
    make(agent, timeout_minutes=1)
    losing(proxy, "claim_task_contract", 1)
    left: list[float] = []

    def handler(task: Task) -> None:
        left.append(task.seconds_left)
        until(lambda: "renew_task_contract" in proxy.calls)

    worker_behind(proxy, project, handler, poll_seconds=2, renew_every=0.5).run()
    assert left[0] < 59  # it waited a second or more before it asked again


@pytest.mark.parametrize(
    ("error", "function", "status"),
    [
        (None, "complete_task_contract", "completed"),
        (ValueError("bad colour"), "fail_task_contract", "pending"),
        (FinalFailure("not my job"), "fail_task_contract", "failed"),
    ],
    ids=["complete", "retry", "fail"],
)
def test_an_outcome_is_told_until_an_answer_comes(
    project: Project,
    agent: AgentTasks,
    database: Database,
    proxy: Proxy,
    error: Exception | None,
    function: str,
    status: str,
) -> None:
    [contract_id] = make(agent)
    losing(proxy, function, 2)

    def handler(_: Task) -> dict[str, int]:
        if error is not None:
            raise error
        return {"n": 1}

    worker = worker_behind(proxy, project, handler)
    worker.run()
    row = contract(database, contract_id)
    assert (row["status"], row["retry_count"]) == (status, 1 if status == "pending" else 0)
    assert Counter(proxy.calls)[function] == 3
    counters = worker.counters
    assert (counters.completed, counters.retried, counters.failed, counters.lost) == (
        status == "completed",
        status == "pending",
        status == "failed",
        0,
    )


def test_an_outcome_that_never_arrives_is_given_up_when_a_lease_is_over(
    project: Project, agent: AgentTasks, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(agent)
    monkeypatch.setattr(tasks, "lease_length", lambda _: 0.5)  # the shortest lease lasts a minute
    losing(proxy, "complete_task_contract", 1000, "request")
    worker = worker_behind(proxy, project, Ran(), renew_every=60)
    worker.run()
    assert worker.counters == WorkerCounters(1, 0, 0, 0, 0, 1, 0)


def test_a_worker_stops_at_once_though_an_outcome_does_not_arrive(
    project: Project, agent: AgentTasks, proxy: Proxy
) -> None:
    make(agent)
    worker = worker_behind(proxy, project, Ran(), grace_seconds=600, until_idle=False)

    def fault(function: str) -> Fault:
        if function != "complete_task_contract":
            return None
        if Counter(proxy.calls)[function] == 2:
            worker.stop()
            worker.stop()
        return "request"

    proxy.fault = fault
    worker.run()
    assert worker.counters == WorkerCounters(1, 0, 0, 0, 0, 1, 0)


def test_a_renewal_that_fails_is_tried_again(
    project: Project, agent: AgentTasks, database: Database, proxy: Proxy
) -> None:
    make(agent)
    losing(proxy, "renew_task_contract", 3, "request")

    def handler(_: Task) -> None:
        [lease] = leases(database)
        until(lambda: leases(database)[0]["expires_at"] > lease["expires_at"])
        renewals.append(Counter(proxy.calls)["renew_task_contract"])

    renewals: list[int] = []
    worker = worker_behind(proxy, project, handler, renew_every=0.05)
    worker.run()
    assert renewals[0] > 3
    assert worker.counters == WorkerCounters(1, 1, 0, 0, 0, 0, 0)


def test_a_worker_waits_for_a_server_that_is_away(
    project: Project, agent: AgentTasks, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="ehg_tasks.worker")
    [contract_id] = make(agent)
    proxy.go()
    ran = Ran()
    worker = worker_behind(proxy, project, ran)
    thread = in_thread(worker)
    until(lambda: caplog.text.count("cannot claim: cannot reach http://127.0.0.1") >= 2)
    proxy.come_back()
    thread.join(60)
    assert ran.counts == {contract_id: 1}
    assert agent.outcome(contract_id).status == "completed"


def test_what_arrives_after_the_stop_is_released(
    project: Project, agent: AgentTasks, database: Database, proxy: Proxy
) -> None:
    ids = make(agent, 2)
    claimed, go_on = threading.Event(), threading.Event()

    def hold(function: str) -> None:
        if function == "claim_task_contract":
            claimed.set()
            assert go_on.wait(60)

    proxy.answered = hold
    ran = Ran()
    worker = worker_behind(proxy, project, ran, until_idle=False)
    thread = in_thread(worker)
    assert claimed.wait(60)
    worker.stop()
    go_on.set()
    thread.join(60)
    assert worker.counters == WorkerCounters(2, 0, 0, 0, 2, 0, 0)
    assert ran.counts == {}
    assert [contract(database, one)["status"] for one in ids] == ["pending"] * 2


def test_what_a_claim_without_an_answer_holds_is_released(
    project: Project, agent: AgentTasks, database: Database, proxy: Proxy
) -> None:
    [contract_id] = make(agent)
    losing(proxy, "claim_task_contract", 1)
    worker = worker_behind(proxy, project, Ran(), until_idle=False)
    # While the first answer is on its way, to be lost.
    proxy.answered = lambda _: worker.stop() if len(proxy.calls) == 1 else None
    worker.run()
    assert (worker.counters.completed, worker.counters.released) == (0, 1)
    row = contract(database, contract_id)
    assert (row["status"], row["retry_count"], leases(database)) == ("pending", 0, [])


def test_idle_means_that_nothing_runs_either(project: Project, agent: AgentTasks, proxy: Proxy) -> None:
    """A handler may still hand work over."""
    make(agent)
    claims: list[str] = []
    proxy.answered = claims.append
    more: list[UUID] = []

    def handler(_: Task) -> None:
        if not more:
            until(lambda: claims.count("claim_task_contract") == 2)  # the second found nothing
            more.extend(make(agent))

    worker = worker_behind(proxy, project, handler)
    worker.run()
    assert worker.counters.completed == 2
    assert agent.outcome(more[0]).status == "completed"
