"""Workers in separate processes: stopped by signals, or killed and replaced by others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import IO, Any
from uuid import UUID

import pytest

from ehg_tasks import AgentTasks
from tests.conftest import Project
from tests.lifecycle.helpers import contract, end_lease, leases
from tests.reliability.helpers import Database, create_contracts, statuses, wait_until


class Process:
    """A running `worker_process`, and the lines that it has printed so far."""

    def __init__(self, project: Project, mode: str, options: dict[str, Any]) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SUPABASE_")}
        environment |= {"SUPABASE_URL": project.url, "SUPABASE_PUBLISHABLE_KEY": project.publishable_key}
        command = [sys.executable, "-m", "tests.reliability.worker_process", mode, json.dumps(options)]
        self.popen = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.lines: list[str] = []
        self.agent_id = UUID(self.read_until("agent ").split()[1])

    def read_until(self, start: str) -> str:
        """Read up to the next line with this start, and return it."""
        for line in _pipe(self.popen.stdout):
            self.lines.append(line.rstrip("\n"))
            if line.startswith(start):
                return self.lines[-1]
        raise AssertionError(f"no line {start!r} in {self.lines}")

    def read(self, start: str) -> list[str]:
        """Return what follows this word in the lines read so far."""
        return [line.removeprefix(start).strip() for line in self.lines if line.startswith(start)]

    def finish_handlers(self) -> None:
        """Let the handlers of mode `hold` return."""
        stdin = _pipe(self.popen.stdin)
        stdin.write("finish\n")
        stdin.flush()

    def counters(self) -> dict[str, int]:
        """Wait for the end of the process, and return its counters that are not zero."""
        counters: dict[str, int] = json.loads(self.read_until("counters ").removeprefix("counters "))
        assert self.popen.wait(60) == 0
        return {name: count for name, count in counters.items() if count}

    def end(self) -> None:
        """Kill the process if it still runs, and close its pipes."""
        self.popen.kill()
        self.popen.wait()
        _pipe(self.popen.stdin).close()
        _pipe(self.popen.stdout).close()


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


Start = Callable[..., Process]


@pytest.fixture
def start(project: Project, database: Database) -> Iterator[Start]:
    processes: list[Process] = []

    def start(mode: str, **options: Any) -> Process:
        processes.append(Process(project, mode, {"poll_seconds": 0.05} | options))
        return processes[-1]

    yield start
    for process in processes:
        process.end()


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
