"""A worker's options."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from uuid import UUID, uuid4

from pydantic import BaseModel

from ehg_tasks import limits
from ehg_tasks._async import AsyncAgentTasks
from ehg_tasks._sync import AgentTasks
from ehg_tasks.errors import BadArgument
from ehg_tasks.worker.output_check import require_jsonschema
from ehg_tasks.worker.tasks import Handler

RENEW_EVERY = 5.0
"""Seconds between renewals, which show what was cancelled or lost; less if the lease is short."""


@dataclass(frozen=True, eq=False, repr=False)
class Options:
    """The arguments of a worker; see `Worker`."""

    agent: AgentTasks | AsyncAgentTasks
    target_agent: str | Mapping[str, Handler]
    handler: Handler | None = None
    _: KW_ONLY
    concurrency: int = 4
    poll_seconds: float = 0.5
    max_poll_seconds: float = 5.0
    grace_seconds: float = 30.0
    lease_seconds: int = 60
    renew_every: float | None = None
    agent_id: UUID = field(default_factory=uuid4)
    output_models: Mapping[str, type[BaseModel]] = field(default_factory=dict)
    until_idle: bool = False

    def __post_init__(self) -> None:
        require_jsonschema()
        if isinstance(self.target_agent, str) is (self.handler is None) or not self.target_agent:
            raise BadArgument("give an agent and its handler, or a mapping from agents to handlers")
        if unknown := self.output_models.keys() - self.handlers.keys():
            raise BadArgument(f"output_models names an agent without a handler: {', '.join(sorted(unknown))}")
        if self.concurrency < 1 or self.poll_seconds <= 0:
            raise BadArgument("concurrency and poll_seconds must be more than 0")
        if self.lease_seconds < limits.LEASE_SECONDS:
            raise BadArgument(f"lease_seconds must be at least {limits.LEASE_SECONDS}")
        if not 0 < self.seconds_between_renewals < self.lease_seconds:
            raise BadArgument("renew_every must be more than 0 and less than lease_seconds")
        if self.grace_seconds < 0:
            raise BadArgument("grace_seconds must be at least 0")

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """The handlers by the names of their agents."""
        if isinstance(self.target_agent, str):
            return {self.target_agent: self.handler} if self.handler is not None else {}
        return self.target_agent

    @property
    def seconds_between_renewals(self) -> float:
        """How often leases are renewed: several renewals may fail before one expires."""
        return min(RENEW_EVERY, self.lease_seconds / 4) if self.renew_every is None else self.renew_every


@dataclass(frozen=True)
class Queue:
    """The contracts of one target agent, and what to do with them.

    Attributes:
        name: the target agent.
        handler: does the work.
        model: what outputs must be valid for, if anything.
        is_async: whether the handler is an `async def` function, or an object that is called like one.
    """

    name: str
    handler: Handler
    model: type[BaseModel] | None
    is_async: bool = field(init=False)

    def __post_init__(self) -> None:
        call = getattr(self.handler, "__call__", None)  # noqa: B004 - the method, not whether there is one
        is_async = inspect.iscoroutinefunction(self.handler) or inspect.iscoroutinefunction(call)
        object.__setattr__(self, "is_async", is_async)
