"""`Worker`: its arguments, how it is run, and how it is stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from types import FrameType

from ehg_tasks._async import AsyncAgentTasks
from ehg_tasks.worker.options import Options
from ehg_tasks.worker.run import Run

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True)
class WorkerCounters:
    """How a worker's claims have ended so far. `claimed` is the sum of all the others.

    Attributes:
        claimed: contracts claimed.
        completed: results recorded.
        failed: attempts that failed for good.
        retried: attempts that failed and will be retried.
        released: claims released before the work was done.
        lost: attempts whose work was dropped: the contract was cancelled, its time limit reached, the
            lease lost, or the outcome could not be recorded.
        running: contracts being worked on.
    """

    claimed: int
    completed: int
    failed: int
    retried: int
    released: int
    lost: int
    running: int


class Worker(Options):
    """Works on the contracts of one or more agents until it is stopped.

    It opens its own connection to the agent's project. It logs to `ehg_tasks.worker`; each record has
    `contract_id`, `agent`, `attempt` and `seconds` (None where they do not apply).

    Args:
        agent: the client whose project, key, agent token, timeout and retries to use.
        target_agent: the agent whose contracts to work on; for several agents, a mapping from their names
            to their handlers.
        handler: does the work of one agent; `def` (runs in a thread) or `async def`. See `Task` and
            `AsyncTask`.
        concurrency: how many contracts to work on at once, of all agents together.
        poll_seconds: the wait, in seconds, after a claim call that returned fewer contracts than there are
            free slots. It doubles up to `max_poll_seconds` while there are none, and is shortened at
            random so that workers do not poll in step.
        max_poll_seconds: the longest wait, in seconds.
        grace_seconds: how long handlers may continue once the worker is stopped, in seconds; then they
            are cancelled and their contracts released.
        lease_seconds: length of the leases, 5 seconds or more. If the worker dies, its contracts can be
            claimed again when their leases end.
        renew_every: seconds between renewals; one call renews all leases, sends reports, and shows which
            contracts were cancelled, lost or timed out. Default: 5, or a quarter of `lease_seconds` if that
            is less.
        agent_id: stored as `completed_by_agent_id`. Default: a new UUID.
        output_models: for the names of agents, the pydantic model that their outputs must be valid for.
        until_idle: end when nothing can be claimed and nothing runs, instead of waiting for more. Contracts
            whose retry is due later are left.

    Raises:
        BadArgument: an argument is out of range.
        SettingsError: the extra `worker` is not installed.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self._counts = {field.name: 0 for field in fields(WorkerCounters) if field.name != "running"}
        self._lock = threading.RLock()  # stop() may be called by a signal handler, in the middle of run()
        self._run: Run | None = None
        self._stops = 0  # 1: drain; 2: at once

    @property
    def counters(self) -> WorkerCounters:
        """How the claims have ended so far; may be read from any thread."""
        counts = self._counts.copy()
        ended = sum(counts.values()) - counts["claimed"]
        return WorkerCounters(**counts, running=counts["claimed"] - ended)

    def run(self) -> None:
        """Work until stopped. In the main thread, SIGTERM and SIGINT drain the worker; a second one stops
        it at once.

        Raises:
            SettingsError, AuthenticationFailed, AccessDenied, MigrationsMissing, BadArgument: the
                project or the arguments do not allow this work; running handlers were drained.
        """
        asyncio.run(self._run_with_signals())

    async def run_async(self) -> None:
        """Work until stopped, as `run` does, in the caller's event loop and without handling signals.

        Cancelling it cancels the running handlers and releases their contracts.
        """
        async with self._connect() as client:
            run = Run(self, client, self._counts)
            with self._lock:
                if self._run is not None:
                    raise RuntimeError("this worker is already running")
                self._run = run
                for _ in range(self._stops):
                    run.stop()
            try:
                await run.work()
            finally:
                with self._lock:
                    self._run = None

    def stop(self) -> None:
        """Stop claiming, and end when the running handlers have ended. A second call stops at once.

        May be called from any thread and from signal handlers. A stopped worker stays stopped.
        """
        with self._lock:
            self._stops = min(self._stops + 1, 2)
            if self._run is not None:
                self._run.loop.call_soon_threadsafe(self._run.stop)

    def _connect(self) -> AsyncAgentTasks:
        # A connection belongs to one event loop, and the agent's may belong to another one.
        to = self.agent.connection
        return AsyncAgentTasks(
            url=to.url, key=to.key, agent_token=to.agent_token, timeout=to.timeout, retries=to.retries
        )

    async def _run_with_signals(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            await self.run_async()
            return
        with _on_signals(self.stop):
            await self.run_async()


@contextmanager
def _on_signals(callback: Callable[[], None]) -> Iterator[None]:
    """Call `callback` on SIGTERM and SIGINT, and restore the previous handlers afterwards.

    Not with the event loop's `add_signal_handler`: what arrives in a process that a handler has forked would
    then reach this one, through a descriptor that both share.
    """
    worker = os.getpid()
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def on_signal(number: int, _: FrameType | None) -> None:
        if os.getpid() == worker:
            callback()
        else:  # in a process that a handler has forked
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    for number in SIGNALS:
        signal.signal(number, on_signal)
    try:
        yield
    finally:
        for number, handler in before.items():
            # None: it was not installed from Python
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
