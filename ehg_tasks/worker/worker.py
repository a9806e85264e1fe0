"""`Worker`: its options, how it is run, and how it is stopped."""

from __future__ import annotations

import asyncio
import inspect
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from uuid import UUID, uuid4

from ehg_tasks.async_clients import AsyncAgentTasks
from ehg_tasks.clients import AgentTasks
from ehg_tasks.errors import BadArgument
from ehg_tasks.worker.schemas import require_jsonschema
from ehg_tasks.worker.shift import Options, Shift
from ehg_tasks.worker.tasks import Handler

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True)
class WorkerCounters:
    """What became of a worker's claims so far. `claimed` is the sum of all the others.

    Attributes:
        claimed: contracts received.
        completed: results recorded.
        failed: attempts that failed, and with them their contracts.
        retried: attempts that failed, and whose contracts wait for another one.
        released: claims given back unworked or unfinished.
        lost: leases that somebody else ended, and results that nobody took.
        running: all others.
    """

    claimed: int
    completed: int
    failed: int
    retried: int
    released: int
    lost: int
    running: int


class Worker:
    """Works on the contracts of one target agent until it is stopped.

    It opens a connection of its own to the agent's project. Logs go to the logger `ehg_tasks.worker`;
    each record has `contract_id`, `agent`, `attempt` and `seconds` (None where they do not apply).

    Args:
        agent: whose project, key, timeout and retries to use.
        target_agent: whose contracts to work on.
        handler: does the work; `def` (in a thread) or `async def`. See `Task` and `AsyncTask`.
        concurrency: how many contracts at once; also how many a claim call may bring (100 at most).
        poll_seconds: the wait after a claim that found little; doubles up to `max_poll_seconds` while
            there is nothing, and is shortened at random so that workers do not poll in step.
        max_poll_seconds: the longest wait, in seconds.
        grace_seconds: how long handlers may go on once the worker is stopped; then they are cancelled
            and their contracts released.
        renew_every: seconds between renewals of a lease; by default a third of its length.
        agent_id: kept with what this worker finishes; by default a new one.
        until_idle: end when nothing is left to claim and nothing runs, instead of waiting for more.

    Raises:
        BadArgument: an option is out of its range.
        SettingsError: the extra `worker` is not installed.
    """

    def __init__(
        self,
        agent: AgentTasks | AsyncAgentTasks,
        target_agent: str,
        handler: Handler,
        *,
        concurrency: int = 4,
        poll_seconds: float = 0.5,
        max_poll_seconds: float = 5.0,
        grace_seconds: float = 30.0,
        renew_every: float | None = None,
        agent_id: UUID | None = None,
        until_idle: bool = False,
    ) -> None:
        require_jsonschema()
        if concurrency < 1 or poll_seconds <= 0 or (renew_every is not None and renew_every <= 0):
            raise BadArgument("concurrency, poll_seconds and renew_every must be more than 0")
        if grace_seconds < 0:
            raise BadArgument("grace_seconds must not be less than 0")
        self.agent_id = agent_id or uuid4()
        self._agent = agent
        self._options = Options(
            target_agent=target_agent,
            handler=handler,
            handler_is_async=inspect.iscoroutinefunction(handler)
            or inspect.iscoroutinefunction(getattr(handler, "__call__", None)),  # noqa: B004 - an object
            concurrency=concurrency,
            poll_seconds=poll_seconds,
            max_poll_seconds=max(poll_seconds, max_poll_seconds),
            grace_seconds=grace_seconds,
            renew_every=renew_every,
            agent_id=self.agent_id,
            until_idle=until_idle,
        )
        self._counts = {field.name: 0 for field in fields(WorkerCounters) if field.name != "running"}
        self._lock = threading.RLock()  # stop() may be called by a signal handler, in the middle of run()
        self._shift: Shift | None = None
        self._stops = 0  # 1: drain; 2: at once

    @property
    def counters(self) -> WorkerCounters:
        """What became of the claims so far; may be read from any thread."""
        counts = self._counts.copy()
        return WorkerCounters(**counts, running=2 * counts["claimed"] - sum(counts.values()))

    def run(self) -> None:
        """Work until stopped; in the main thread SIGTERM and SIGINT do that, the second one at once.

        Raises:
            SettingsError, AuthenticationFailed, AccessDenied, MigrationsMissing, BadArgument: the
                project or the options do not allow this work; what ran was drained.
        """
        asyncio.run(self._run_with_signals())

    async def run_async(self) -> None:
        """Work until stopped, as `run` does, in the caller's event loop and without its signals.

        Where it is cancelled, running handlers are too and their contracts are released.
        """
        async with self._connect() as client:
            shift = Shift(self._options, client, self._counts)
            with self._lock:
                if self._shift is not None:
                    raise RuntimeError("this worker runs already")
                self._shift = shift
                for _ in range(self._stops):
                    shift.stop()
            try:
                await shift.work()
            finally:
                with self._lock:
                    self._shift = None

    def stop(self) -> None:
        """Claim no more and end when the running handlers have; a second call does not wait for them.

        May be called from any thread and from signal handlers. A stopped worker stays stopped.
        """
        with self._lock:
            self._stops = min(self._stops + 1, 2)
            if self._shift is not None:
                self._shift.loop.call_soon_threadsafe(self._shift.stop)

    def _connect(self) -> AsyncAgentTasks:
        # A connection belongs to its event loop, and the agent's own may belong to another one.
        agent = self._agent
        return AsyncAgentTasks(
            url=str(agent._api.supabase_url),
            key=agent._api.supabase_key,
            timeout=agent._http.timeout.read or 10.0,
            retries=agent._retries,
        )

    async def _run_with_signals(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            await self.run_async()
            return
        with _on_signals(self.stop):
            await self.run_async()


@contextmanager
def _on_signals(act: Callable[[], None]) -> Iterator[None]:
    """Let the signals act, and do afterwards what they did before."""
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        loop.add_signal_handler(number, act)
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            if handler is not None:  # None: not set by Python, and so not to be set by it
                signal.signal(number, handler)
