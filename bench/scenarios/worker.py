"""Workers that drain work which does nothing: ours over HTTP, procrastinate's with a direct connection."""

from __future__ import annotations

import asyncio
import importlib
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol
from uuid import uuid4

import psycopg

from bench.databases import say
from bench.lab import Lab
from bench.results import Goal, Samples, Section, Table, number
from bench.server import BenchError
from ehg_tasks import AgentTasks, AsyncTask, NewContract, Task, Worker
from ehg_tasks.local import LocalStack

SLOTS = 16
COUNT = 3_000
PEER = "procrastinate"
CASES = ("async def", "def", PEER)


class Drainable(Protocol):
    """A queue and its worker."""

    async def fill(self) -> None:
        """Add `COUNT` pieces of work."""

    async def drain(self) -> None:
        """Run a worker until nothing is left."""

    async def finished(self) -> int:
        """Count what is finished."""


def measure(lab: Lab) -> Section:
    """Compare how fast workers of 16 slots drain a backlog."""
    rates, costs = Samples(), Samples()
    with ExitStack() as exits:
        stack = LocalStack(Path(exits.enter_context(TemporaryDirectory(prefix="ehg-bench-"))) / "stack")
        exits.enter_context(stack)
        agent = exits.enter_context(AgentTasks(stack.settings()))
        queues: dict[str, Drainable] = {
            "async def": Ours(agent, nothing_async),
            "def": Ours(agent, nothing),
            PEER: Procrastinate(stack.db_url),
        }
        for _ in lab.rounds("worker"):
            for case in CASES:
                seconds, cpu = asyncio.run(_timed(queues[case]))
                say(f"{case}: {COUNT / seconds:.0f} a second")
                rates.add(case, COUNT / seconds)
                costs.add(case, 1000 * cpu / COUNT)
    return Section(
        "Workers",
        f"A worker of {SLOTS} slots drains {COUNT:,} pieces of work that do nothing, from its start to its"
        " end. Ours calls the API of an embedded Supabase over HTTP; procrastinate's has a direct connection"
        " to the same Postgres, whose data is on the disk. Both keep what they finish.",
        [Goal("async def: ours / procrastinate", 1.0, rates.ratio("async def", PEER))],
        [
            Table(
                "Pieces of work",
                ["worker", "a second", "a second / procrastinate", "ms of the worker's CPU for each"],
                [
                    [
                        case if case == PEER else f"ours, `{case}` handler",
                        number(rates.median(case)),
                        str(rates.ratio(case, PEER)),
                        number(costs.median(case)),
                    ]
                    for case in CASES
                ],
            )
        ],
    )


async def _timed(queue: Drainable) -> tuple[float, float]:
    """Return the seconds that a drain takes, and the CPU time of this process."""
    before = await queue.finished()
    await queue.fill()
    start, cpu = time.monotonic(), time.process_time()
    await queue.drain()
    took = time.monotonic() - start, time.process_time() - cpu
    finished = await queue.finished() - before
    if finished != COUNT:
        raise BenchError(f"the worker finished {finished} of {COUNT}")
    return took


async def nothing_async(_: AsyncTask) -> None:
    return None


def nothing(_: Task) -> None:
    return None


class Ours:
    """Our worker; each has an agent of its own."""

    def __init__(self, agent: AgentTasks, handler: Any) -> None:
        self._agent, self._name, self._handler = agent, uuid4().hex, handler
        self._finished = 0

    async def fill(self) -> None:
        new = NewContract(parent_agent="BENCH", target_agent=self._name, objective="Draw the start page")
        for start in range(0, COUNT, 1000):
            self._agent.create_many([new] * min(1000, COUNT - start))

    async def drain(self) -> None:
        worker = Worker(self._agent, self._name, self._handler, concurrency=SLOTS, until_idle=True)
        await worker.run_async()
        self._finished += worker.counters.completed

    async def finished(self) -> int:
        return self._finished


class Procrastinate:
    """procrastinate's worker, in a database of its own on the same server."""

    def __init__(self, url: str) -> None:
        # By name, so that type checks do not depend on whether the package is installed.
        module: Any = importlib.import_module("procrastinate")
        name = "procrastinate"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"create database {name}")
        self._app = module.App(
            connector=module.PsycopgConnector(conninfo=f"{url.rpartition('/')[0]}/{name}", max_size=SLOTS)
        )
        self._task = self._app.task(_no_job, name="nothing")
        asyncio.run(self._install())

    async def _install(self) -> None:
        async with self._app.open_async():
            await self._app.schema_manager.apply_schema_async()

    async def fill(self) -> None:
        async with self._app.open_async():
            await self._task.batch_defer_async(*[{"objective": "Draw the start page"}] * COUNT)

    async def drain(self) -> None:
        async with self._app.open_async():
            await self._app.run_worker_async(concurrency=SLOTS, wait=False, install_signal_handlers=False)

    async def finished(self) -> int:
        async with self._app.open_async():
            jobs = await self._app.job_manager.list_jobs_async(status="succeeded")
            return len(list(jobs))


async def _no_job(objective: str) -> None:  # noqa: ARG001 - what is deferred has one
    return None
