"""Workers in separate processes: stopped by signals, or killed and replaced by others."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from uuid import UUID

import pytest

from ehg_tasks import AgentTasks
from tests.lifecycle.helpers import contract, end_lease, leases
from tests.reliability.conftest import Start
from tests.reliability.helpers import Database, create_contracts, statuses, wait_until


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_drains_a_worker(
    start: Start, agent: AgentTasks, database: Database, number: signal.Signals
) -> None:
    ids = create_contracts(agent, 3)
    process = start("hold", concurrency=2)
    for _ in range(2):
        process.read_until("started")
    process.popen.send_signal(number)
    process.read_until("log stopping")
    process.finish_handlers()
    assert process.counters() == {"claimed": 2, "completed": 2}
    assert process.read("cancelled") == []
    assert statuses(agent, ids) == ["completed", "completed", "pending"]


@pytest.mark.parametrize("mode", ["hold", "stubborn"])
def test_a_second_signal_releases_the_contracts_at_once(
    start: Start, agent: AgentTasks, database: Database, mode: str
) -> None:
    ids = create_contracts(agent, 2)
    process = start(mode, concurrency=2, grace_seconds=600)
    for _ in range(2):
        process.read_until("started")
    process.popen.send_signal(signal.SIGTERM)
    process.read_until("log stopping")
    process.popen.send_signal(signal.SIGINT)
    assert process.counters() == {"claimed": 2, "released": 2}
    rows = [contract(database, contract_id) for contract_id in ids]
    assert [(row["status"], row["retry_count"]) for row in rows] == [("pending", 0)] * 2
    assert leases(database) == []


def test_a_killed_workers_contracts_are_completed_by_others(
    start: Start, agent: AgentTasks, database: Database
) -> None:
    ids = create_contracts(agent, 60)
    victim = start("hold", concurrency=4)
    for _ in range(4):
        victim.read_until("started")
    held = [UUID(text) for text in victim.read("started")]
    others = [start("quick", concurrency=3) for _ in range(2)]
    victim.popen.kill()
    victim.popen.wait()
    for contract_id in held:
        assert contract(database, contract_id)["status"] == "in_progress"
        end_lease(database, contract_id)  # instead of waiting for it

    wait_until(lambda: all(outcome.status == "completed" for outcome in agent.outcomes(ids)))
    for other in others:
        other.popen.send_signal(signal.SIGTERM)
    counts = [other.counters() for other in others]
    assert sum(count.get("completed", 0) for count in counts) == 60
    assert sum(count.get("claimed", 0) for count in counts) == 60

    started = Counter(UUID(text) for other in others for text in other.read("started"))
    assert started == dict.fromkeys(ids, 1)
    assert set(held) <= set(ids)
    rows = [contract(database, contract_id) for contract_id in ids]
    assert {row["id"] for row in rows if row["retry_count"] == 1} == set(held)
    assert {row["completed_by_agent_id"] for row in rows} <= {other.agent_id for other in others}
    assert len({row["output_artifact_id"] for row in rows}) == 60
    assert database.execute("select count(*) from agent_artifacts").fetchone() == (60,)
    assert leases(database) == []


def test_an_expired_lease_of_a_killed_worker_goes_to_another_without_help(
    start: Start, agent: AgentTasks
) -> None:
    [contract_id] = create_contracts(agent)
    victim = start("hold", lease_seconds=5)
    victim.read_until("started")
    victim.popen.kill()
    other = start("quick")
    wait_until(lambda: agent.outcome(contract_id).status == "completed")
    other.popen.send_signal(signal.SIGTERM)
    assert other.counters() == {"claimed": 1, "completed": 1}
    history = [(attempt.agent_id, attempt.outcome) for attempt in agent.history(contract_id)]
    assert history == [(victim.agent_id, "expired"), (other.agent_id, "completed")]


def test_a_cancel_reaches_the_handler_within_ten_seconds_by_default(start: Start, agent: AgentTasks) -> None:
    [contract_id] = create_contracts(agent)
    process = start("hold")
    process.read_until("started")
    began = time.monotonic()
    agent.cancel(contract_id)
    process.read_until(f"cancelled {contract_id}")
    assert time.monotonic() - began < 10
    process.popen.send_signal(signal.SIGTERM)
    assert process.counters() == {"claimed": 1, "lost": 1}


def test_a_process_that_a_handler_forks_can_be_ended_without_stopping_the_worker(
    start: Start, agent: AgentTasks
) -> None:
    ids = create_contracts(agent, 2)
    process = start("fork", concurrency=1, until_idle=True)
    assert process.counters() == {"claimed": 2, "completed": 2}
    assert [outcome.output for outcome in agent.outcomes(ids)] == [{"exit code": -signal.SIGTERM}] * 2
    assert process.read("log stopping") == []


def children(pid: int) -> list[int]:
    """Return the live child processes of a process."""
    table = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=True)
    rows = [line.split() for line in table.stdout.splitlines()]
    return [int(row[0]) for row in rows if int(row[1]) == pid and not row[2].startswith("Z")]


def alive(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return state.stdout.strip()[:1] not in ("", "Z")


def test_the_output_checker_ignores_signals_is_replaced_when_killed_and_ends_with_its_worker(
    start: Start, agent: AgentTasks
) -> None:
    process = start("quick")
    [first] = create_contracts(agent, output_schema={"type": "object"})
    wait_until(lambda: agent.outcome(first).status == "completed")
    [checker] = children(process.popen.pid)
    # A terminal or an init system sends these to the whole process group.
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(checker, number)
    [second] = create_contracts(agent, output_schema={"type": "object"})
    wait_until(lambda: agent.outcome(second).status == "completed")
    assert children(process.popen.pid) == [checker]
    os.kill(checker, signal.SIGKILL)
    [third] = create_contracts(agent, output_schema={"type": "object"})
    wait_until(lambda: agent.outcome(third).status == "completed")
    assert agent.outcome(third).retry_count == 0
    [checker] = children(process.popen.pid)

    process.popen.kill()
    process.popen.wait()
    wait_until(lambda: not alive(checker))
