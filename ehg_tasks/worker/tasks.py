"""What a handler gets, and what it may give back."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Self
from uuid import UUID

from pydantic import Field, PrivateAttr

from ehg_tasks.async_clients import AsyncAgentTasks
from ehg_tasks.errors import ClaimLost
from ehg_tasks.models import Claim, InputArtifact

MESSAGE_BYTES = 65536  # what the server takes in a message or a summary


class FinalFailure(Exception):  # noqa: N818 - named for what happened, as the package's own errors
    """Raised by a handler: the attempt failed, and another one would not help."""


@dataclass(frozen=True)
class Result:
    """What a handler returns where there is more to tell than the output.

    Attributes:
        output: any JSON value, 1 MiB at most; None where there is no output.
        summary: a line for people; cut at 64 KiB.
        execution_tokens: what the work took, in tokens.
    """

    output: Any = None
    summary: str | None = None
    execution_tokens: int | None = None


@dataclass(frozen=True)
class Failure:
    """An attempt that failed; `retry` tells whether another one may help.

    `error` is what nobody foresaw, so that its traceback is logged.
    """

    message: str
    retry: bool = True
    error: BaseException | None = None

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """The failure that an exception stands for."""
        try:
            text = str(error).strip()
        except Exception:  # noqa: BLE001 - somebody else's class, and a failure must be told anyway
            text = ""
        if isinstance(error, FinalFailure):
            return cls(storable_text(text or "the handler gave up"), retry=False)
        kind = type(error).__name__
        return cls(storable_text(f"{kind}: {text}" if text else kind), error=error)


def storable_text(text: str) -> str:
    """The text as far as the server takes it: 64 KiB of UTF-8, without NUL."""
    data = text.replace("\0", "\ufffd").encode("utf-8", "replace")
    return data[:MESSAGE_BYTES].decode("utf-8", "ignore")


class _Task(Claim):
    """A claimed contract at work. `model_dump` gives the contract, without the claim token."""

    claim_token: UUID = Field(repr=False, exclude=True)
    _client: AsyncAgentTasks = PrivateAttr()
    _deadline: float = PrivateAttr()
    _cancelled: threading.Event = PrivateAttr(default_factory=threading.Event)

    @classmethod
    def _begin(cls, claim: Claim, client: AsyncAgentTasks, since: float) -> Self:
        """The task of a claim that was asked for at `since` (seconds of the monotonic clock)."""
        task = cls.model_construct(**dict(claim))
        task._client = client
        task._renewed(since)
        return task

    def _renewed(self, since: float) -> None:
        """Count the lease from the moment its call was sent: the server's began no earlier."""
        self._deadline = since + self.lease_seconds

    def _cancel(self) -> None:
        """Let the handler know that its work is no longer wanted."""
        self._cancelled.set()

    @property
    def lease_seconds(self) -> float:
        """How long the claim and each renewal last, in seconds; the server's rule."""
        return 60.0 * max(30 if self.timeout_minutes is None else self.timeout_minutes, 1)

    @property
    def seconds_left(self) -> float:
        """How long the lease still runs, in seconds. The worker renews it in time, so it goes up again.

        Measured by this machine's monotonic clock: its wall clock may differ from the database's.
        """
        return max(0.0, self._deadline - time.monotonic())

    @property
    def cancelled(self) -> bool:
        """Whether the work is no longer wanted: the lease is lost, or the worker must stop now."""
        return self._cancelled.is_set()

    async def _inputs(self) -> list[InputArtifact]:
        if self.cancelled:
            raise ClaimLost(f"the claim on task contract {self.contract_id} is lost")
        return await self._client.inputs(self)


class AsyncTask(_Task):
    """A claimed contract, as an `async def` handler gets it. Where it is cancelled, so is the handler.

    The handler shares the worker's event loop: what blocks for long belongs into a thread.
    """

    async def inputs(self) -> list[InputArtifact]:
        """The input artifacts, whole. Raises ClaimLost, StatusConflict."""
        return await self._inputs()


class Task(_Task):
    """A claimed contract, as a `def` handler gets it, in a thread of its own.

    A thread cannot be stopped from outside: a handler that takes long looks at `cancelled` now and then.
    """

    _loop: asyncio.AbstractEventLoop = PrivateAttr(default_factory=asyncio.get_running_loop)

    def inputs(self) -> list[InputArtifact]:
        """The input artifacts, whole. Raises ClaimLost, StatusConflict."""
        if self._loop.is_closed():  # the worker had to stop without this handler
            raise ClaimLost(f"the claim on task contract {self.contract_id} is lost")
        return asyncio.run_coroutine_threadsafe(self._inputs(), self._loop).result()

    def wait(self, seconds: float) -> bool:
        """Sleep for so long, or until the task is cancelled; returns whether it is."""
        return self._cancelled.wait(seconds)


Handler = Callable[[Task], Any] | Callable[[AsyncTask], Awaitable[Any]]
"""Returns the output, a JSON value, or a `Result`."""
