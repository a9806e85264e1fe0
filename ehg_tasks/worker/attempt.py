"""One attempt: a claimed contract, its handler, and the outcome that is recorded."""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

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
from ehg_tasks.models import Claim, ContractStatus, RenewalState
from ehg_tasks.values import storable
from ehg_tasks.waiting import Backoff, first_of
from ehg_tasks.worker.options import Context
from ehg_tasks.worker.tasks import Control, Failure, Result, start_task, storable_text, time_limit
from ehg_tasks.worker.telemetry import log, task_span

FATAL = (SettingsError, AuthenticationFailed, AccessDenied, MigrationsMissing)
"""Errors that a retry cannot fix; the worker stops and raises them."""
LOST = (ClaimLost, StatusConflict, ContractNotFound, IdempotencyConflict)
"""The contract has been handed to another worker, or has ended."""
NOT_HELD = {
    RenewalState.LOST: "the lease expired, or the claim was released",
    RenewalState.TIMED_OUT: "the attempt has reached its time limit",
    RenewalState.UNKNOWN: "the contract was deleted",
    RenewalState.COMPLETED: "the contract is completed",
    RenewalState.FAILED: "the contract has failed",
    RenewalState.CANCELLED: "the contract was cancelled",
}
"""What a renewal found if it renewed nothing."""


class Attempt:
    """An attempt at a contract.

    Args:
        context: the run of the worker.
        claim: the contract.
        since: when the claim was sent, in seconds of the monotonic clock.
    """

    def __init__(self, context: Context, claim: Claim, since: float) -> None:
        self._context = context
        self._options = context.options
        self._began = time.monotonic()
        self._time_limit = time_limit(claim.timeout_minutes)
        self._lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._control = Control(since + self._time_limit)
        self.task = start_task(claim, context.client, self._control, is_async=self._options.handler_is_async)

    @property
    def is_held(self) -> bool:
        """Whether the claim is held, as far as is known."""
        return not self._lost.done()

    def renewed(self, state: RenewalState) -> None:
        """Note what a renewal found."""
        if state in NOT_HELD and self.is_held:
            self._lost.set_result(NOT_HELD[state])

    async def run(self) -> None:
        """Run the handler and record its outcome, unless the claim is lost or the worker stops now."""
        stop_now = self._context.stop_now
        is_async = self._options.handler_is_async
        handling = asyncio.create_task(self._handle())
        try:
            await first_of(handling, self._lost, stop_now)
            if handling.done():
                cancelled_itself = Failure("the handler cancelled its own task")
                await self.record(cancelled_itself if handling.cancelled() else handling.result())
                return
            self._control.cancelled.set()
            if is_async:
                handling.cancel()
            if self._lost.done():
                self._end("lost", f"the work is dropped: {self._lost.result()}", logging.WARNING)
            else:
                await self.record(None)
            # The slot stays taken while the handler runs. A thread cannot be stopped from outside.
            await (asyncio.wait({handling}) if is_async else first_of(handling, stop_now))
        finally:
            if not handling.cancelling():
                handling.cancel()

    # --- the handler ------------------------------------------------------------------------------

    async def _handle(self) -> Result | Failure:
        with task_span(self.task) as note_failure:
            outcome = await self._call()
            if isinstance(outcome, Result):
                failure = await self._context.checker.check(self.task.output_schema, outcome.output)
                outcome = failure or outcome
            if isinstance(outcome, Failure):
                note_failure(outcome)
        return outcome

    async def _call(self) -> Result | Failure:
        handler: Any = self._options.handler
        if not self._options.handler_is_async:
            return await _in_thread(lambda: _outcome(handler, self.task))
        try:
            return _result(await handler(self.task))
        except asyncio.CancelledError as error:
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                raise
            return Failure.of(error)  # something that the handler awaited was cancelled, not the handler
        except BaseException as error:  # noqa: BLE001 - sys.exit() in a handler ends only the attempt
            return Failure.of(error)

    # --- the outcome ------------------------------------------------------------------------------

    async def record(self, outcome: Result | Failure | None) -> None:
        """Record the outcome (None releases the claim), retrying until the server accepts or refuses it.

        Each of these calls may be repeated. A result that arrives after the lease has expired still counts
        as long as the attempt has not been ended, so this retries for as long as an attempt may take.
        """
        until = time.monotonic() + self._time_limit
        backoff = Backoff(0.5, 10.0)
        stop_now = self._context.stop_now
        try:
            while True:
                try:
                    await self._send(outcome)
                except (TemporaryError, UnexpectedAnswer) as error:
                    if stop_now.done() or time.monotonic() > until:
                        return self._end("lost", f"the outcome was not recorded: {error}", logging.ERROR)
                    self._log(logging.WARNING, f"the outcome has not been recorded yet: {error}")
                    await first_of(stop_now, timeout=backoff.next())
                except TaskContractError as error:
                    if isinstance(outcome, Result) and not isinstance(error, LOST + FATAL):
                        outcome = Failure(f"the result is refused: {error}")
                        continue
                    if isinstance(error, FATAL):
                        self._context.end_with(error)
                    return self._end("lost", f"the outcome was not recorded: {error}", logging.WARNING)
                else:
                    return None
        except asyncio.CancelledError:
            self._end("lost", "the outcome was not recorded: the worker had to stop", logging.ERROR)
            raise

    async def _send(self, outcome: Result | Failure | None) -> None:
        client, task = self._context.client, self.task
        match outcome:
            case None:
                await client.release(task)
                self._end("released", "released")
            case Result(output, summary, tokens):
                await client.complete(task, output=output, result_summary=summary, execution_tokens=tokens)
                self._end("completed", "completed")
            case Failure(message, retry, error):
                answer = await client.fail(task, message, retry=retry)
                pending = answer.status == ContractStatus.PENDING
                text = f"{'failed and will be retried' if pending else 'failed'}: {message}"
                self._end("retried" if pending else "failed", text, logging.WARNING, error)

    def _end(
        self, counter: str, text: str, level: int = logging.INFO, error: BaseException | None = None
    ) -> None:
        self._context.counts[counter] += 1
        self._log(level, text, error)

    def _log(self, level: int, text: str, error: BaseException | None = None) -> None:
        log(
            level,
            f"task contract {self.task.contract_id}: {text}",
            agent=self._options.target_agent,
            claim=self.task,
            seconds=time.monotonic() - self._began,
            error=error,
        )


def _outcome(handler: Callable[[Any], Any], task: Any) -> Result | Failure:
    try:
        return _result(handler(task))
    except BaseException as error:  # noqa: BLE001 - sys.exit() in a handler ends only the attempt
        return Failure.of(error)


def _result(value: Any) -> Result | Failure:
    result = value if isinstance(value, Result) else Result(value)
    try:
        # As the server will read it: tuples become arrays, and keys strings.
        output = json.loads(json.dumps(storable("the output", result.output)))
    except (BadArgument, RecursionError) as error:
        return Failure(str(error))
    summary = None if result.summary is None else storable_text(str(result.summary))
    return replace(result, output=output, summary=summary)


async def _in_thread(call: Callable[[], Result | Failure]) -> Result | Failure:
    """Run `call` in a daemon thread."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result | Failure] = loop.create_future()
    context = contextvars.copy_context()

    def set_result(outcome: Result | Failure) -> None:
        if not future.done():
            future.set_result(outcome)

    def run() -> None:
        outcome = context.run(call)
        with suppress(RuntimeError):  # the loop has ended, and nothing waits for the outcome
            loop.call_soon_threadsafe(set_result, outcome)

    threading.Thread(target=run, name="ehg-tasks-handler", daemon=True).start()
    return await future
