"""A worker's options, and what its parts share during one run."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from uuid import UUID, uuid4

from ehg_tasks import limits
from ehg_tasks._async import AsyncAgentTasks
from ehg_tasks._sync import AgentTasks
from ehg_tasks.errors import BadArgument
from ehg_tasks.worker.output_check import OutputChecker, require_jsonschema
from ehg_tasks.worker.tasks import Handler


@dataclass(frozen=True, eq=False, repr=False)
class Options:
    """The arguments of a worker; see `Worker`."""

    agent: AgentTasks | AsyncAgentTasks
    target_agent: str
    handler: Handler
    _: KW_ONLY
    concurrency: int = 4
    poll_seconds: float = 0.5
    max_poll_seconds: float = 5.0
    grace_seconds: float = 30.0
    lease_seconds: int = 60
    renew_every: float | None = None
    agent_id: UUID = field(default_factory=uuid4)
    until_idle: bool = False

    def __post_init__(self) -> None:
        require_jsonschema()
        if self.concurrency < 1 or self.poll_seconds <= 0:
            raise BadArgument("concurrency and poll_seconds must be more than 0")
        if self.lease_seconds < limits.LEASE_SECONDS:
            raise BadArgument(f"lease_seconds must be at least {limits.LEASE_SECONDS}")
        if not 0 < self.seconds_between_renewals < self.lease_seconds:
            raise BadArgument("renew_every must be more than 0 and less than lease_seconds")
        if self.grace_seconds < 0:
            raise BadArgument("grace_seconds must be at least 0")

    @property
    def seconds_between_renewals(self) -> float:
        """How often leases are renewed: several renewals may fail before one expires."""
        return self.lease_seconds / 6 if self.renew_every is None else self.renew_every

    @property
    def handler_is_async(self) -> bool:
        """Whether the handler is an `async def` function, or an object that is called like one."""
        call = getattr(self.handler, "__call__", None)  # noqa: B004 - the method, not whether there is one
        return inspect.iscoroutinefunction(self.handler) or inspect.iscoroutinefunction(call)


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
