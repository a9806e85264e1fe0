"""A worker's options, and what its parts share during one run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from ehg_tasks._async import AsyncAgentTasks
from ehg_tasks.worker.output_check import OutputChecker
from ehg_tasks.worker.tasks import Handler


@dataclass(frozen=True)
class Options:
    """The arguments of a worker; see `Worker`."""

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


@dataclass(frozen=True)
class Context:
    """What the attempts of one run share.

    Attributes:
        options: the arguments of the worker.
        client: a connection of this event loop.
        counts: the worker's counters, which continue from run to run.
        checker: checks outputs against the contracts' schemas.
        stop_now: done when there is no more time to wait for handlers.
        end_with: drains the worker and ends it with an error.
    """

    options: Options
    client: AsyncAgentTasks
    counts: dict[str, int]
    checker: OutputChecker
    stop_now: asyncio.Future[None]
    end_with: Callable[[BaseException], None]
