"""One run of a worker, in one event loop: claim, work, record, drain."""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from ehg_tasks.async_clients import AsyncAgentTasks
from ehg_tasks.calls import storable
from ehg_tasks.errors import (
    AccessDenied,
    AuthenticationFailed,
    BadArgument,
    ClaimLost,
    ContractNotFound,
    IdempotencyConflict,
    MigrationsMissing,
    SettingsError,
    StatusConflict,
    TaskContractError,
    TemporaryError,
    UnexpectedAnswer,
)
from ehg_tasks.models import Claim, ContractStatus
from ehg_tasks.worker.schemas import OutputChecker
from ehg_tasks.worker.tasks import AsyncTask, Failure, Handler, Result, Task, storable_text
from ehg_tasks.worker.telemetry import task_span

logger = logging.getLogger("ehg_tasks.worker")

CLAIM_LIMIT = 100  # what the server hands out in one call
LAST_SECONDS = 10.0  # for what must still be said to the server when the worker stops at once
HOPELESS = (SettingsError, AuthenticationFailed, AccessDenied, MigrationsMissing)
"""No later call would fare better: the worker ends with such an error."""
LOST = (ClaimLost, StatusConflict, ContractNotFound, IdempotencyConflict)
"""The contract is somebody else's now, or has ended."""


@dataclass(frozen=True)
class Options:
    """What a worker was told; see `Worker`."""

    target_agent: str
    handler: Handler
    handler_is_async: bool
    concurrency: int
    poll_seconds: float
    max_poll_seconds: float
    grace_seconds: float
    renew_every: float | None
    agent_id: UUID
    until_idle: bool


class Waits:
    """Waits that double from `first` to `last` seconds, each cut short at random."""

    def __init__(self, first: float, last: float) -> None:
        self.first, self.last = first, last
        self.reset()

    def reset(self) -> None:
        self._next = self.first

    def next(self) -> float:
        seconds, self._next = min(self._next, self.last), min(self._next * 2, self.last)
        return random.uniform(0.5, 1) * seconds  # noqa: S311 - not a secret


class Shift:
    """The state of one run.

    Args:
        options: what the worker was told.
        client: a connection of this event loop.
        counts: the worker's counters, which go on from run to run.
    """

    def __init__(self, options: Options, client: AsyncAgentTasks, counts: dict[str, int]) -> None:
        self._options = options
        self._client = client
        self._counts = counts
        self._loop = asyncio.get_running_loop()
        self._checker = OutputChecker()
        self._jobs: set[asyncio.Task[None]] = set()
        self._stopping: asyncio.Future[None] = self._loop.create_future()  # no new claims
        self._now: asyncio.Future[None] = self._loop.create_future()  # no more waiting for handlers
        self._grace: asyncio.TimerHandle | None = None
        self._request_key: UUID | None = None  # of the claim call that awaits its answer
        self._asked = 0.0
        self._error: BaseException | None = None

    # --- start and stop ---------------------------------------------------------------------------

    async def work(self) -> None:
        """Claim and work until stopped, or until idle; then drain."""
        try:
            await self._claim_until_stopped()
        except asyncio.CancelledError:
            self.stop_now()
            raise
        finally:
            await self._drain()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """The first call lets running handlers finish within the grace period, a second one does not."""
        if self._stopping.done():
            self.stop_now()
        else:
            self._stopping.set_result(None)
            self._grace = self._loop.call_later(self._options.grace_seconds, self.stop_now)
            self._log(logging.INFO, f"stopping: {len(self._jobs)} running")

    def stop_now(self) -> None:
        """Cancel what runs and release it."""
        for future in (self._stopping, self._now):
            if not future.done():
                future.set_result(None)

    def stop_from_anywhere(self) -> None:
        """`stop`, called from another thread."""
        self._loop.call_soon_threadsafe(self.stop)

    async def _drain(self) -> None:
        try:
            await self._until(*self._jobs, all_of_them=True)
            if self._jobs:
                await asyncio.wait(self._jobs, timeout=LAST_SECONDS)
        finally:
            if self._grace is not None:
                self._grace.cancel()
            for job in self._jobs:
                job.cancel()
            if self._jobs:
                await asyncio.wait(self._jobs, timeout=1)
            await self._checker.close()

    async def _until(self, *futures: asyncio.Future[Any], all_of_them: bool = False) -> None:
        """Wait until one (or all) of them is done, or there is no more time to wait."""
        waiting = {future for future in futures if not future.done()}
        while waiting and not self._now.done():
            if len(waiting) < len(futures) and not all_of_them:
                return
            await asyncio.wait({*waiting, self._now}, return_when=asyncio.FIRST_COMPLETED)
            waiting = {future for future in waiting if not future.done()}
