"""What a handler receives and returns."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self
from uuid import UUID

from pydantic import Field, PrivateAttr

from ehg_tasks import limits
from ehg_tasks._async import AsyncAgentTasks
from ehg_tasks.errors import ClaimLost
from ehg_tasks.models import Claim, InputArtifact


class FinalFailure(Exception):  # noqa: N818 - named for what happened, like the package's own exceptions
    """Raised by a handler: the attempt failed, and another one would not help."""


@dataclass(frozen=True)
class Result:
    """What a handler returns if it has more to report than the output.

    Attributes:
        output: any JSON value, at most 1 MiB; None for no output.
        summary: the result in words; cut at 64 KiB.
        execution_tokens: how many tokens the work took.
    """

    output: Any = None
    summary: str | None = None
    execution_tokens: int | None = None


@dataclass(frozen=True)
class Failure:
    """An attempt that failed.

    Attributes:
        message: why.
        retry: whether another attempt may help.
        error: the unexpected exception, if there was one; its traceback is logged.
    """

    message: str
    retry: bool = True
    error: BaseException | None = None

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """Turn a handler's exception into a failure."""
        try:
            text = str(error).strip()
        except BaseException:  # noqa: BLE001 - the handler's class, and its failure must be reported anyway
            text = ""
        if isinstance(error, FinalFailure):
            return cls(storable_text(text or "the handler gave up"), retry=False)
        kind = type(error).__name__
        return cls(storable_text(f"{kind}: {text}" if text else kind), error=error)


def storable_text(text: str) -> str:
    """The text as the server accepts it: at most 64 KiB of UTF-8, without NUL."""
    data = text.replace("\0", "\ufffd").encode("utf-8", "replace")
    return data[: limits.TEXT_BYTES].decode("utf-8", "ignore")


def time_limit(timeout_minutes: int | None) -> float:
    """How long an attempt may take, in seconds; mirrors the SQL function of the same name."""
    return 60.0 * max(30 if timeout_minutes is None else timeout_minutes, 1)


@dataclass
class Control:
    """What the worker tells a task.

    Attributes:
        deadline: the attempt's time limit, in seconds of the monotonic clock.
        cancelled: whether the handler should stop.
    """

    deadline: float
    cancelled: threading.Event = field(default_factory=threading.Event)


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

    async def _inputs(self) -> list[InputArtifact]:
        if self.cancelled:
            raise ClaimLost(f"the claim on task contract {self.contract_id} is lost")
        return await self._client.inputs(self)


class AsyncTask(_Task):
    """A claimed contract, as an `async def` handler receives it. When it is cancelled, so is the handler.

    The handler shares the worker's event loop: run code that blocks in a thread.
    """

    async def inputs(self) -> list[InputArtifact]:
        """Return the input artifacts, in full. Raises ClaimLost, StatusConflict."""
        return await self._inputs()


class Task(_Task):
    """A claimed contract, as a `def` handler receives it, in a thread of its own.

    A thread cannot be stopped from outside: a handler that takes long should check `cancelled`.
    """

    _loop: asyncio.AbstractEventLoop = PrivateAttr(default_factory=asyncio.get_running_loop)

    def inputs(self) -> list[InputArtifact]:
        """Return the input artifacts, in full. Raises ClaimLost, StatusConflict."""
        if self._loop.is_closed():  # the worker had to stop without this handler
            raise ClaimLost(f"the claim on task contract {self.contract_id} is lost")
        return asyncio.run_coroutine_threadsafe(self._inputs(), self._loop).result()

    def wait(self, seconds: float) -> bool:
        """Sleep for `seconds` seconds or until the task is cancelled. Return whether it is cancelled."""
        return self._control.cancelled.wait(seconds)


Handler = Callable[[Task], Any] | Callable[[AsyncTask], Awaitable[Any]]
"""Returns the output, a JSON value, or a `Result`."""


def start_task(
    claim: Claim, client: AsyncAgentTasks, control: Control, *, is_async: bool
) -> Task | AsyncTask:
    """The task of a claim, for an async or a sync handler."""
    task = (AsyncTask if is_async else Task).model_construct(**dict(claim))
    task._client, task._control = client, control
    return task
