"""Records outcomes: results that end close together in one call."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from ehg_tasks import limits
from ehg_tasks._async import AsyncAgentTasks
from ehg_tasks.errors import (
    AccessDenied,
    AuthenticationFailed,
    BadArgument,
    ClaimLost,
    ContractNotFound,
    IdempotencyConflict,
    InvalidData,
    MigrationsMissing,
    SettingsError,
    StatusConflict,
    TaskContractError,
    TooLarge,
)
from ehg_tasks.models import ClaimHandle, ContractStatus
from ehg_tasks.new_result import NewResult
from ehg_tasks.waiting import Backoff, is_set_within
from ehg_tasks.worker.outcomes import Failure, Outcome, Success

FATAL = (SettingsError, AuthenticationFailed, AccessDenied, MigrationsMissing)
"""Errors that a retry cannot fix; the worker stops and raises them."""
LOST = (ClaimLost, StatusConflict, ContractNotFound, IdempotencyConflict)
"""The contract has been handed to another worker, or has ended."""
REFUSED = (BadArgument, TooLarge, InvalidData)
"""What is wrong with the result itself. Any other error says nothing of it, so the call is repeated."""
BATCH_BYTES = 4 * 2**20
"""Outputs in one call, as JSON. A larger one goes alone."""


class Recordable(Protocol):
    """An attempt whose handler has ended."""

    @property
    def claim(self) -> ClaimHandle:
        """Proof of the claim."""

    @property
    def record_until(self) -> float:
        """When to give up, in seconds of the monotonic clock."""

    def log(self, level: int, text: str) -> None:
        """Log what happens to it."""

    def end(
        self, counter: str, text: str, level: int = logging.INFO, error: BaseException | None = None
    ) -> None:
        """Count and log how it ended."""


class Recorder:
    """Sends outcomes until the server has accepted or refused each.

    A result is sent at once, with those that have ended since the previous call was sent. Every call may be
    repeated. A result that arrives after the lease has expired still counts as long as the attempt has not
    been ended, so it is sent for as long as an attempt may take.

    Args:
        client: a connection of this event loop.
        stop_now: set when there is no more time to repeat calls.
        end_with: drains the worker and ends it with an error.
    """

    def __init__(
        self, client: AsyncAgentTasks, stop_now: asyncio.Event, end_with: Callable[[BaseException], None]
    ) -> None:
        self._client, self._stop_now, self._end_with = client, stop_now, end_with
        self._results: deque[tuple[Recordable, Success]] = deque()
        self._batches: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def record(self, attempt: Recordable, outcome: Outcome) -> None:
        """Record an outcome; the attempt is told when it has ended."""
        if not isinstance(outcome, Success):
            self._start(self._send_alone(attempt, outcome))
            return
        self._results.append((attempt, outcome))
        if self._batches is None or self._batches.done():
            self._batches = self._start(self._send_batches())

    async def close(self) -> None:
        """Cancel what is still being sent."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _start(self, sending: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(sending)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._end_with(error)

    # --- results, together ------------------------------------------------------------------------

    async def _send_batches(self) -> None:
        backoff = Backoff(0.5, 10.0)
        batch: list[tuple[Recordable, Success]] = []
        try:
            while self._results or batch:
                batch = batch or self._take()
                try:
                    answers = await self._client.complete_many(
                        NewResult(
                            attempt.claim,
                            output=success.output,
                            result_summary=success.summary,
                            execution_tokens=success.execution_tokens,
                        )
                        for attempt, success in batch
                    )
                except (*FATAL, *LOST, *REFUSED):  # because of one of them
                    refused, batch = batch, []
                except TaskContractError as error:
                    batch = [item for item in batch if not self._gives_up(item[0], error)]
                    await is_set_within(self._stop_now, backoff.next())
                    continue
                else:
                    refused = [item for item, answer in zip(batch, answers, strict=True) if answer.error]
                    for (attempt, _), answer in zip(batch, answers, strict=True):
                        if answer.error is None:
                            attempt.end("completed", "completed")
                    batch = []
                backoff.reset()
                for attempt, success in refused:  # alone, so that the refusal is its own
                    self._start(self._send_alone(attempt, success))
        except asyncio.CancelledError:
            for attempt, _ in [*batch, *self._results]:
                _end_unrecorded(attempt)
            raise

    def _take(self) -> list[tuple[Recordable, Success]]:
        batch = [self._results.popleft()]
        size = batch[0][1].size
        while self._results and len(batch) < limits.CLAIMS:
            size += self._results[0][1].size
            if size > BATCH_BYTES:
                break
            batch.append(self._results.popleft())
        return batch

    # --- any outcome, alone -----------------------------------------------------------------------

    async def _send_alone(self, attempt: Recordable, outcome: Outcome) -> None:
        backoff = Backoff(0.5, 10.0)
        try:
            while True:
                try:
                    return await self._send(attempt, outcome)
                except (*FATAL, *LOST, *REFUSED) as error:
                    failure = self._refusal(error) if isinstance(outcome, Success) else None
                    if failure is None:
                        if isinstance(error, FATAL):
                            self._end_with(error)
                        return attempt.end("lost", f"the outcome was not recorded: {error}", logging.WARNING)
                    outcome = failure
                except TaskContractError as error:
                    if self._gives_up(attempt, error):
                        return None
                    await is_set_within(self._stop_now, backoff.next())
        except asyncio.CancelledError:
            _end_unrecorded(attempt)
            raise

    async def _send(self, attempt: Recordable, outcome: Outcome) -> None:
        client, claim = self._client, attempt.claim
        match outcome:
            case None:
                await client.release(claim)
                attempt.end("released", "released")
            case Success(output, _, summary, tokens):
                await client.complete(claim, output=output, result_summary=summary, execution_tokens=tokens)
                attempt.end("completed", "completed")
            case Failure(message, retry, error):
                answer = await client.fail(claim, message, retry=retry)
                pending = answer.status == ContractStatus.PENDING
                text = f"{'failed and will be retried' if pending else 'failed'}: {message}"
                attempt.end("retried" if pending else "failed", text, logging.WARNING, error)

    def _refusal(self, error: TaskContractError) -> Failure | None:
        """The failure to record in place of a result; None if the error says nothing of the result."""
        if isinstance(error, REFUSED):
            # A constraint of the project's own tables refuses every output alike.
            return Failure(f"the result is refused: {error}", retry=not (error.code or "").startswith("23"))
        if isinstance(error, MigrationsMissing) and (error.code or "").startswith("42"):
            # The function exists, so it is a table of the project's own that lacks something.
            message = f"the output cannot be stored: {error.message}"
            hint = "Mend public.agent_artifacts (ehg-tasks verify), then requeue the contracts that failed."
            self._end_with(MigrationsMissing(message, code=error.code, hint=hint))
            return Failure(f"{message} ({error.code})", retry=False)
        return None

    def _gives_up(self, attempt: Recordable, error: TaskContractError) -> bool:
        """Whether there is no time to repeat the call. Either way, say so."""
        gives_up = self._stop_now.is_set() or time.monotonic() > attempt.record_until
        if gives_up:
            attempt.end("lost", f"the outcome was not recorded: {error}", logging.ERROR)
        else:
            attempt.log(logging.WARNING, f"the outcome has not been recorded yet: {error}")
        return gives_up


def _end_unrecorded(attempt: Recordable) -> None:
    attempt.end("lost", "the outcome was not recorded: the worker had to stop", logging.ERROR)
