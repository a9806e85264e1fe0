"""One claimed contract: its handler, its lease, and what the server is told in the end."""

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
from dataclasses import replace
from typing import TYPE_CHECKING, Any

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
from ehg_tasks.worker.tasks import AsyncTask, Failure, Result, Task, storable_text
from ehg_tasks.worker.telemetry import log, task_span

if TYPE_CHECKING:
    from ehg_tasks.worker.shift import Shift

HOPELESS = (SettingsError, AuthenticationFailed, AccessDenied, MigrationsMissing)
"""No later call would fare better: the worker ends with such an error."""
LOST = (ClaimLost, StatusConflict, ContractNotFound, IdempotencyConflict)
"""The contract is somebody else's now, or has ended."""


class Waits:
    """Waits that double from `first` to `last` seconds, each cut short at random."""

    def __init__(self, first: float, last: float) -> None:
        self._first, self._last = first, last
        self.reset()

    def reset(self) -> None:
        """Begin again with the first."""
        self._next = self._first

    def next(self) -> float:
        """The next wait, in seconds."""
        seconds, self._next = self._next, min(self._next * 2, self._last)
        return random.uniform(0.5, 1) * seconds  # noqa: S311 - not a secret


async def first_of(*futures: asyncio.Future[Any]) -> None:
    """Wait until one of them is done."""
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)


class Job:
    """A contract at work.

    Args:
        shift: the run of the worker that this is a part of.
        claim: the contract.
        since: when the claim was asked for, in seconds of the monotonic clock.
    """

    def __init__(self, shift: Shift, claim: Claim, since: float) -> None:
        kind = AsyncTask if shift.options.handler_is_async else Task
        self._task = kind._begin(claim, shift.client, since)
        self._since = since
        self._shift = shift
        self._began = time.monotonic()

    async def run(self) -> None:
        """Run the handler and record what comes of it, unless the lease is lost or the time is up."""
        is_async = self._shift.options.handler_is_async
        handling = asyncio.create_task(self._handle())
        renewing = asyncio.create_task(self._renew())
        try:
            await first_of(handling, renewing, self._shift.now)
            if handling.done():
                renewing.cancel()
                await self.settle(handling.result())
                return
            self._task._cancel()
            if is_async:
                handling.cancel()
            if renewing.done():
                self._end("lost", f"the work is dropped: {renewing.result()}", logging.WARNING)
            else:
                await self.settle(None)
            # The slot stays taken as long as the handler goes on. A thread cannot be made to end.
            await (asyncio.wait({handling}) if is_async else first_of(handling, self._shift.now))
        finally:
            renewing.cancel()
            if not handling.cancelling():
                handling.cancel()

    # --- the handler ------------------------------------------------------------------------------

    async def _handle(self) -> Result | Failure:
        with task_span(self._task) as failed:
            outcome = await self._call()
            if isinstance(outcome, Result):
                fault = await self._shift.checker.check(self._task.output_schema, outcome.output)
                outcome = fault or outcome
            if isinstance(outcome, Failure):
                failed(outcome)
        return outcome

    async def _call(self) -> Result | Failure:
        handler: Any = self._shift.options.handler
        if not self._shift.options.handler_is_async:
            return await _in_thread(lambda: _outcome(handler, self._task))
        try:
            return _result(await handler(self._task))
        except asyncio.CancelledError as error:
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                raise
            return Failure.of(error)  # something that the handler waited for was cancelled, not this
        except BaseException as error:  # noqa: BLE001 - sys.exit() in a handler ends the attempt only
            return Failure.of(error)

    # --- the lease --------------------------------------------------------------------------------

    async def _renew(self) -> TaskContractError:
        """Renew the lease in time, for ever; returns why it is lost."""
        task, every = self._task, self._shift.options.renew_every or self._task.lease_seconds / 3
        waits = Waits(min(1.0, every), every)
        due = self._since + every
        while True:
            await asyncio.sleep(due - time.monotonic())
            sent = time.monotonic()
            try:
                await self._shift.client.renew(task)
            except LOST as error:
                return error
            except TaskContractError as error:
                self._log(logging.WARNING, f"the lease is not renewed yet: {error}")
                due = time.monotonic() + waits.next()
            else:
                task._renewed(sent)
                waits.reset()
                due = sent + every

    # --- the end ----------------------------------------------------------------------------------

    async def settle(self, outcome: Result | Failure | None) -> None:
        """Tell the server the outcome, or (None) release the claim, until it says yes or no.

        Every such call may be repeated. A result that comes after the lease's end still counts as long
        as nobody took the contract over, so the attempts go on for the length of a lease.
        """
        until = time.monotonic() + self._task.lease_seconds
        waits = Waits(0.5, 10.0)
        try:
            while True:
                try:
                    await self._tell(outcome)
                except (TemporaryError, UnexpectedAnswer) as error:
                    if self._shift.now.done() or time.monotonic() > until:
                        return self._end("lost", f"the outcome is not recorded: {error}", logging.ERROR)
                    self._log(logging.WARNING, f"the outcome is not recorded yet: {error}")
                    await asyncio.wait({self._shift.now}, timeout=waits.next())
                except TaskContractError as error:
                    if isinstance(outcome, Result) and not isinstance(error, LOST + HOPELESS):
                        outcome = Failure(f"the result is refused: {error}")
                        continue
                    if isinstance(error, HOPELESS):
                        self._shift.give_up(error)
                    return self._end("lost", f"the outcome is not recorded: {error}", logging.WARNING)
                else:
                    return None
        except asyncio.CancelledError:
            self._end("lost", "the outcome is not recorded: the worker had to stop", logging.ERROR)
            raise

    async def _tell(self, outcome: Result | Failure | None) -> None:
        client, task = self._shift.client, self._task
        match outcome:
            case None:
                await client.release(task)
                self._end("released", "released")
            case Result(output, summary, tokens):
                await client.complete(task, output=output, result_summary=summary, execution_tokens=tokens)
                self._end("completed", "completed")
            case Failure(message, retry, error):
                answer = await client.fail(task, message, retry=retry)
                again = answer.status == ContractStatus.PENDING
                text = f"{'failed, to be retried' if again else 'failed'}: {message}"
                self._end("retried" if again else "failed", text, logging.WARNING, error)

    def _end(
        self, counter: str, text: str, level: int = logging.INFO, error: BaseException | None = None
    ) -> None:
        self._shift.counts[counter] += 1
        self._log(level, text, error)

    def _log(self, level: int, text: str, error: BaseException | None = None) -> None:
        log(
            level,
            f"task contract {self._task.contract_id}: {text}",
            agent=self._shift.options.target_agent,
            claim=self._task,
            seconds=time.monotonic() - self._began,
            error=error,
        )


def _outcome(handler: Callable[[Any], Any], task: Any) -> Result | Failure:
    try:
        return _result(handler(task))
    except BaseException as error:  # noqa: BLE001 - sys.exit() in a handler ends the attempt only
        return Failure.of(error)


def _result(value: Any) -> Result | Failure:
    result = value if isinstance(value, Result) else Result(value)
    try:
        # As the server will read it: tuples become arrays, and keys texts.
        output = json.loads(json.dumps(storable("the output", result.output)))
    except (BadArgument, RecursionError) as error:
        return Failure(str(error))
    summary = None if result.summary is None else storable_text(str(result.summary))
    return replace(result, output=output, summary=summary)


async def _in_thread(act: Callable[[], Result | Failure]) -> Result | Failure:
    """Act in a thread of its own, which does not keep the program from ending."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result | Failure] = loop.create_future()
    context = contextvars.copy_context()

    def tell(outcome: Result | Failure) -> None:
        if not future.done():
            future.set_result(outcome)

    def run() -> None:
        outcome = context.run(act)
        with suppress(RuntimeError):  # the loop has ended, and nobody waits
            loop.call_soon_threadsafe(tell, outcome)

    threading.Thread(target=run, name="ehg-tasks-handler", daemon=True).start()
    return await future
