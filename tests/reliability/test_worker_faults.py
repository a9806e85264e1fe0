"""Workers on a network that loses requests and answers: every contract is worked on and recorded once."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from ehg_tasks import AgentTasks, FinalFailure, Task, Worker, WorkerCounters
from ehg_tasks.worker import attempt
from tests.conftest import Project
from tests.lifecycle.helpers import contract, leases
from tests.reliability.helpers import Database, create_contracts, start_in_thread, statuses, wait_until
from tests.reliability.proxy import Fault, Proxy


@pytest.fixture
def proxy(project: Project) -> Iterator[Proxy]:
    with Proxy(project.url) as proxy:
        yield proxy


def worker_behind(
    proxy: Proxy, project: Project, handler: Any, *, retries: int = 0, **options: Any
) -> Worker:
    client = AgentTasks(url=proxy.url, key=project.publishable_key, retries=retries)
    client.close()  # the worker opens its own connection
    return Worker(client, "T", handler, **{"until_idle": True, "poll_seconds": 0.05} | options)


class CountingHandler:
    """Counts how often it ran for each contract."""

    def __init__(self) -> None:
        self.counts: Counter[UUID] = Counter()
        self._lock = threading.Lock()

    def __call__(self, task: Task) -> dict[str, str]:
        with self._lock:
            self.counts[task.id] += 1
        return {"objective": task.objective}


@pytest.mark.parametrize("lost", ["answer", "request"])
@pytest.mark.parametrize("retries", [0, 1], ids=["the worker retries", "the client retries"])
def test_no_contract_is_lost_or_done_twice_when_every_other_message_is_lost(
    project: Project, agent: AgentTasks, database: Database, proxy: Proxy, lost: Fault, retries: int
) -> None:
    ids = create_contracts(agent, 12)
    lock = threading.Lock()

    def fault(_: str) -> Fault:
        with lock:
            return lost if len(proxy.calls) % 2 else None

    proxy.fault = fault
    handler = CountingHandler()
    worker = worker_behind(proxy, project, handler, retries=retries)
    worker.run()
    assert worker.counters == WorkerCounters(12, 12, 0, 0, 0, 0, 0)
    assert handler.counts == dict.fromkeys(ids, 1)
    assert {outcome.status for outcome in agent.outcomes(ids)} == {"completed"}
    assert database.execute("select count(*) from agent_artifacts").fetchone() == (12,)
    assert leases(database) == []


def lose(proxy: Proxy, function: str, times: int, lost: Fault = "answer") -> None:
    """Lose the requests or answers of the first `times` calls of a function."""
    left = iter(range(times))
    proxy.fault = lambda name: lost if name == function and next(left, None) is not None else None


def test_a_claim_call_is_repeated_until_its_answer_arrives(
    project: Project, agent: AgentTasks, database: Database, proxy: Proxy
) -> None:
    ids = create_contracts(agent, 3)
    lose(proxy, "claim_task_contract", 3)
    handed_out = []
    proxy.answered = lambda _: handed_out.append(len(leases(database)))
    handler = CountingHandler()
    worker = worker_behind(proxy, project, handler)
    worker.run()
    assert handed_out[:4] == [3, 3, 3, 3]
    assert handler.counts == dict.fromkeys(ids, 1)
    assert {contract(database, contract_id)["retry_count"] for contract_id in ids} == {0}


def test_a_time_limit_is_counted_from_the_first_claim_call_whose_answer_was_lost(
    project: Project, agent: AgentTasks, proxy: Proxy
) -> None:
    create_contracts(agent, timeout_minutes=1)
    lose(proxy, "claim_task_contract", 1)
    left: list[float] = []
    worker_behind(proxy, project, lambda task: left.append(task.seconds_left), poll_seconds=2).run()
    assert left[0] < 59  # the worker waited for a second or more before it repeated the call


@pytest.mark.parametrize(
    ("error", "function", "status"),
    [
        (None, "complete_task_contracts", "completed"),
        (ValueError("bad color"), "fail_task_contract", "pending"),
        (FinalFailure("not my job"), "fail_task_contract", "failed"),
    ],
    ids=["complete", "retry", "fail"],
)
def test_an_outcome_is_sent_until_its_answer_arrives(
    project: Project,
    agent: AgentTasks,
    database: Database,
    proxy: Proxy,
    error: Exception | None,
    function: str,
    status: str,
) -> None:
    [contract_id] = create_contracts(agent)
    lose(proxy, function, 2)

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


def test_a_worker_gives_up_an_outcome_that_does_not_arrive_within_the_length_of_an_attempt(
    project: Project, agent: AgentTasks, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_contracts(agent)
    monkeypatch.setattr(attempt, "time_limit", lambda _: 0.5)  # the shortest one is a minute
    lose(proxy, "complete_task_contracts", 1000, "request")
    worker = worker_behind(proxy, project, CountingHandler())
    worker.run()
    assert worker.counters == WorkerCounters(1, 0, 0, 0, 0, 1, 0)


def test_a_second_stop_ends_a_worker_whose_outcome_does_not_arrive(
    project: Project, agent: AgentTasks, proxy: Proxy
) -> None:
    create_contracts(agent)
    worker = worker_behind(proxy, project, CountingHandler(), grace_seconds=600, until_idle=False)

    def fault(function: str) -> Fault:
        if function != "complete_task_contracts":
            return None
        if Counter(proxy.calls)[function] == 2:
            worker.stop()
            worker.stop()
        return "request"

    proxy.fault = fault
    worker.run()
    assert worker.counters == WorkerCounters(1, 0, 0, 0, 0, 1, 0)


def test_a_failed_renewal_is_retried(
    project: Project, agent: AgentTasks, database: Database, proxy: Proxy
) -> None:
    create_contracts(agent)
    lose(proxy, "renew_task_contracts", 3, "request")

    def handler(_: Task) -> None:
        [lease] = leases(database)
        wait_until(lambda: leases(database)[0]["expires_at"] > lease["expires_at"])
        renewals.append(Counter(proxy.calls)["renew_task_contracts"])

    renewals: list[int] = []
    worker = worker_behind(proxy, project, handler, renew_every=0.05)
    worker.run()
    assert renewals[0] > 3
    assert worker.counters == WorkerCounters(1, 1, 0, 0, 0, 0, 0)


def test_one_call_renews_every_lease_until_its_result_is_recorded(
    project: Project, agent: AgentTasks, database: Database, proxy: Proxy
) -> None:
    ids = create_contracts(agent, 4)
    claimed: list[list[Any]] = []
    renewed: list[list[Any]] = []

    def answered(function: str) -> None:
        ends = [lease["expires_at"] for lease in leases(database)]
        if function == "claim_task_contract":
            claimed.append(ends)
        if function == "renew_task_contracts":
            renewed.append(ends)

    def fault(function: str) -> Fault:  # no result arrives before the second renewal
        return "request" if function == "complete_task_contracts" and len(renewed) < 2 else None

    proxy.answered, proxy.fault = answered, fault
    worker = worker_behind(proxy, project, CountingHandler(), concurrency=4, renew_every=0.2)
    worker.run()
    assert worker.counters == WorkerCounters(4, 4, 0, 0, 0, 0, 0)
    for before, after in ((claimed[0], renewed[0]), (renewed[0], renewed[1])):
        assert [new > old for old, new in zip(before, after, strict=True)] == [True] * 4
    assert statuses(agent, ids) == ["completed"] * 4


def test_a_worker_waits_for_a_server_that_is_down(
    project: Project, agent: AgentTasks, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="ehg_tasks.worker")
    [contract_id] = create_contracts(agent)
    proxy.go_down()
    handler = CountingHandler()
    worker = worker_behind(proxy, project, handler)
    thread = start_in_thread(worker)
    wait_until(lambda: caplog.text.count("cannot claim: cannot reach http://127.0.0.1") >= 2)
    proxy.come_up()
    thread.join(60)
    assert handler.counts == {contract_id: 1}
    assert agent.outcome(contract_id).status == "completed"


def test_contracts_claimed_while_the_worker_stops_are_released(
    project: Project, agent: AgentTasks, proxy: Proxy
) -> None:
    ids = create_contracts(agent, 2)
    claimed, resume = threading.Event(), threading.Event()

    def hold(function: str) -> None:
        if function == "claim_task_contract":
            claimed.set()
            assert resume.wait(60)

    proxy.answered = hold
    handler = CountingHandler()
    worker = worker_behind(proxy, project, handler, until_idle=False)
    thread = start_in_thread(worker)
    assert claimed.wait(60)
    worker.stop()
    resume.set()
    thread.join(60)
    assert worker.counters == WorkerCounters(2, 0, 0, 0, 2, 0, 0)
    assert handler.counts == {}
    assert statuses(agent, ids) == ["pending", "pending"]


def test_a_stopping_worker_releases_what_a_claim_without_an_answer_holds(
    project: Project, agent: AgentTasks, database: Database, proxy: Proxy
) -> None:
    [contract_id] = create_contracts(agent)
    lose(proxy, "claim_task_contract", 1)
    worker = worker_behind(proxy, project, CountingHandler(), until_idle=False)
    # The worker is stopped before the first answer, which the proxy then loses.
    proxy.answered = lambda _: worker.stop() if len(proxy.calls) == 1 else None
    worker.run()
    assert (worker.counters.completed, worker.counters.released) == (0, 1)
    row = contract(database, contract_id)
    assert (row["status"], row["retry_count"], leases(database)) == ("pending", 0, [])


def test_a_worker_is_not_idle_while_a_handler_runs(project: Project, agent: AgentTasks, proxy: Proxy) -> None:
    """A running handler may create more contracts."""
    create_contracts(agent)
    answered: list[str] = []
    proxy.answered = answered.append
    created: list[UUID] = []

    def handler(_: Task) -> None:
        if not created:
            wait_until(lambda: answered.count("claim_task_contract") == 2)  # the second returned nothing
            created.extend(create_contracts(agent))

    worker = worker_behind(proxy, project, handler)
    worker.run()
    assert worker.counters.completed == 2
    assert agent.outcome(created[0]).status == "completed"
