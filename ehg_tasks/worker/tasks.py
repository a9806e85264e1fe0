"""What a handler receives and returns."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from pydantic import Field, PrivateAttr

from ehg_tasks import limits
from ehg_tasks._async import AsyncAgentTasks
from ehg_tasks.errors import BadArgument, ClaimLost, ContractNotFound
from ehg_tasks.models import Claim, InputArtifact
from ehg_tasks.values import storable


class FinalFailure(Exception):  # noqa: N818 - named for what happened, like the package's own exceptions
    """Raised by a handler: the attempt failed, and another one would not help."""


@dataclass(frozen=True)
class Result:
    """What a handler returns if it has more to report than the output.

    Attributes:
        output: any JSON value, at most 1 MiB, or a pydantic model; None for no output.
        summary: the result in words; cut at 64 KiB.
        execution_tokens: how many tokens the work took.
    """

    output: Any = None
    summary: str | None = None
    execution_tokens: int | None = None


def time_limit(timeout_minutes: int | None) -> float:
    """How long an attempt may take, in seconds; mirrors the SQL function of the same name."""
    return 60.0 * max(30 if timeout_minutes is None else timeout_minutes, 1)


@dataclass
class Control:
    """What the worker and a task tell each other.

    Attributes:
        deadline: the attempt's time limit, in seconds of the monotonic clock.
        cancelled: whether the handler should stop.
        report: the last progress report.
        sent: the last report that was sent.
    """

    deadline: float
    cancelled: threading.Event = field(default_factory=threading.Event)
    report: dict[str, Any] | None = None
    sent: dict[str, Any] | None = None


class _Task(Claim):
    """A claimed contract that is being worked on. `model_dump` leaves the claim token out."""

    claim_token: UUID = Field(repr=False, exclude=True)
    _client: AsyncAgentTasks = PrivateAttr()
    _control: Control = PrivateAttr()

    @property
    def seconds_left(self) -> float:
        """How long until the attempt's time limit, in seconds. The worker renews the lease until then.

        Measured by this machine's monotonic clock: its wall clock may differ from the database's.
        """
        return max(0.0, self._control.deadline - time.monotonic())

    @property
    def cancelled(self) -> bool:
        """Whether the handler should stop: the claim is lost or timed out, or the worker must stop now."""
        return self._control.cancelled.is_set()

    def report(
        self,
        *,
        message: str | None = None,
        percent: float | None = None,
        tokens: int | None = None,
        **more: Any,
    ) -> None:
        """Report how far the work is; `outcome` and `history` show it to others.

        This only notes the report, so it costs next to nothing. The worker sends the last one with its next
        renewal, in place of what was reported before. A report that no renewal follows is not sent.

        Args:
            message: what the work is at, in words.
            percent: how much of it is done.
            tokens: how many tokens it has taken so far.
            more: other JSON values. All together may take 4 KiB.

        Raises:
            BadArgument: a value is not JSON, or the report is larger than 4 KiB.
        """
        given = {"message": message, "percent": percent, "tokens": tokens, **more}
        report = {name: value for name, value in given.items() if value is not None}
        storable("the report", report)
        text = json.dumps(report, ensure_ascii=False)
        if len(text.encode()) > limits.PROGRESS_BYTES:
            raise BadArgument(f"the report is larger than {limits.PROGRESS_BYTES} bytes")
        self._control.report = json.loads(text)  # a copy: the caller may change what it has given

    async def _inputs(self) -> list[InputArtifact]:
        if self.cancelled:
            raise ClaimLost(f"the claim on task contract {self.contract_id} is lost")
        try:
            return await self._client.inputs(self)
        except ContractNotFound as error:
            raise FinalFailure(f"an input is missing: {error}") from error


class AsyncTask(_Task):
    """A claimed contract, as an `async def` handler receives it. When it is cancelled, so is the handler.

    The handler shares the worker's event loop: run code that blocks in a thread.
    """

    async def inputs(self) -> list[InputArtifact]:
        """Return the input artifacts, in full.

        Raises:
            FinalFailure: one of them no longer exists.
            ClaimLost, StatusConflict: the contract has been handed to another worker, or has ended.
        """
        return await self._inputs()


class Task(_Task):
    """A claimed contract, as a `def` handler receives it, in a thread of its own.

    A thread cannot be stopped from outside: a handler that takes long should check `cancelled`.
    """

    _loop: asyncio.AbstractEventLoop = PrivateAttr(default_factory=asyncio.get_running_loop)

    def inputs(self) -> list[InputArtifact]:
        """Return the input artifacts, in full.

        Raises:
            FinalFailure: one of them no longer exists.
            ClaimLost, StatusConflict: the contract has been handed to another worker, or has ended.
        """
        if self._loop.is_closed():  # the worker had to stop without this handler
            raise ClaimLost(f"the claim on task contract {self.contract_id} is lost")
        return asyncio.run_coroutine_threadsafe(self._inputs(), self._loop).result()

    def wait(self, seconds: float) -> bool:
        """Sleep for `seconds` seconds or until the task is cancelled. Return whether it is cancelled."""
        return self._control.cancelled.wait(seconds)


Handler = Callable[[Task], Any] | Callable[[AsyncTask], Awaitable[Any]]
"""Returns the output (a JSON value or a pydantic model), or a `Result`."""


def start_task(
    claim: Claim, client: AsyncAgentTasks, control: Control, *, is_async: bool
) -> Task | AsyncTask:
    """The task of a claim, for an async or a sync handler."""
    task = (AsyncTask if is_async else Task).model_construct(**dict(claim))
    task._client, task._control = client, control
    return task
