"""One attempt: a claimed contract, and its handler."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ehg_tasks._async import AsyncAgentTasks
from ehg_tasks.models import Claim, Renewal, RenewalState
from ehg_tasks.worker.options import Queue
from ehg_tasks.worker.outcomes import Failure, Outcome, Success, outcome_of
from ehg_tasks.worker.output_check import OutputChecker
from ehg_tasks.worker.recorder import Recorder
from ehg_tasks.worker.tasks import Control, start_task, time_limit
from ehg_tasks.worker.telemetry import log, task_span

NOT_HELD = {
    RenewalState.LOST: "the lease expired, or the claim was released",
    RenewalState.TIMED_OUT: "the attempt has reached its time limit",
    RenewalState.UNKNOWN: "the contract was deleted",
    RenewalState.COMPLETED: "the contract is completed",
    RenewalState.FAILED: "the contract has failed",
    RenewalState.CANCELLED: "the contract was cancelled",
}
"""What a renewal found if it renewed nothing."""


@dataclass
class Context:
    """What the attempts of one run share.

    Attributes:
        client: a connection of this event loop.
        counts: the worker's counters, which continue from run to run.
        checker: checks outputs against the contracts' schemas.
        recorder: records outcomes.
        running: the attempts that take a slot.
        held: the attempts that have not ended.
        changed: set whenever one of them leaves.
    """

    client: AsyncAgentTasks
    counts: dict[str, int]
    checker: OutputChecker
    recorder: Recorder
    running: set[Attempt] = field(default_factory=set)
    held: set[Attempt] = field(default_factory=set)
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class Attempt:
    """An attempt at a contract.

    Args:
        context: the run of the worker.
        queue: where it comes from, and its handler.
        claim: the contract.
        since: when the claim was sent, in seconds of the monotonic clock.

    Attributes:
        claim: the contract.
        control: what its task reports.
        record_until: when to give up recording its outcome, in seconds of the monotonic clock.
        is_async: whether its handler is.
    """

    def __init__(self, context: Context, queue: Queue, claim: Claim, since: float) -> None:
        self._context, self._queue, self.claim = context, queue, claim
        self._began = time.monotonic()
        self._time_limit = time_limit(claim.timeout_minutes)
        self.record_until = 0.0
        self.control = Control(deadline=since + self._time_limit)
        self._handling: asyncio.Task[Success | Failure] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._has_outcome = False
        self.is_async = queue.is_async
        context.held.add(self)

    def start(self) -> None:
        """Run the handler, then record its outcome."""
        loop = asyncio.get_running_loop()
        self._context.running.add(self)
        self._timer = loop.call_at(self.control.deadline, self._time_out)
        self._handling = loop.create_task(self._handle())
        self._handling.add_done_callback(self._handled)

    def release(self) -> None:
        """Stop the handler, if it runs, and release the claim; no effect once there is an outcome."""
        if not self._has_outcome:
            self._record(None)
            self._stop_handler()

    def renewed(self, renewal: Renewal) -> None:
        """Note what a renewal found."""
        if renewal.state in NOT_HELD:
            self._drop(NOT_HELD[renewal.state])
        if renewal.message is not None:
            self.log(logging.WARNING, f"the report is not kept: {renewal.message}")

    def cancel(self) -> None:
        """Cancel an async handler; do not wait for a thread any longer."""
        if self._handling is not None:
            self._handling.cancel()

    def end(
        self, counter: str, text: str, level: int = logging.INFO, error: BaseException | None = None
    ) -> None:
        """Count and log how the attempt ended."""
        self._context.held.discard(self)
        self._context.changed.set()
        self._context.counts[counter] += 1
        self.log(level, text, error)

    def log(self, level: int, text: str, error: BaseException | None = None) -> None:
        """Log what happens to the attempt."""
        log(
            level,
            f"task contract {self.claim.contract_id}: {text}",
            agent=self._queue.name,
            claim=self.claim,
            seconds=time.monotonic() - self._began,
            error=error,
        )

    # --- the end ----------------------------------------------------------------------------------

    def _drop(self, reason: str) -> None:
        """Stop the handler: its outcome no longer counts."""
        if not self._has_outcome:
            self._has_outcome = True
            self.end("lost", f"the work is dropped: {reason}", logging.WARNING)
            self._stop_handler()

    def _stop_handler(self) -> None:
        """Cancel the task; a thread cannot be stopped from outside, and keeps its slot until it ends."""
        self.control.cancelled.set()
        if self.is_async:
            self.cancel()

    def _time_out(self) -> None:
        self._drop(NOT_HELD[RenewalState.TIMED_OUT])
        if not self.is_async:
            self.log(logging.WARNING, "its handler still runs, in a thread that no longer takes a slot")
            self.cancel()

    def _handled(self, handling: asyncio.Task[Success | Failure]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._context.running.discard(self)
        self._context.changed.set()
        if handling.cancelled():
            outcome: Success | Failure = Failure("the handler cancelled its own task")
        else:
            error = handling.exception()
            outcome = handling.result() if error is None else Failure.of(error)
        if not self._has_outcome:
            self._record(outcome)

    def _record(self, outcome: Outcome) -> None:
        self._has_outcome = True
        self.record_until = time.monotonic() + self._time_limit
        self._context.recorder.record(self, outcome)

    # --- the handler ------------------------------------------------------------------------------

    async def _handle(self) -> Success | Failure:
        task = start_task(self.claim, self._context.client, self.control, is_async=self.is_async)
        with task_span(self.claim) as note_failure:
            check = self._context.checker.check
            schema = self.claim.output_schema
            outcome = await check(schema) or await self._call(task)
            if isinstance(outcome, Success):
                outcome = await check(schema, outcome.output) or outcome
            if isinstance(outcome, Failure):
                note_failure(outcome)
        return outcome

    async def _call(self, task: Any) -> Success | Failure:
        handler: Any = self._queue.handler
        if not self.is_async:
            return await _in_thread(lambda: self._outcome(handler, task))
        try:
            return outcome_of(await handler(task), self._queue.model)
        except asyncio.CancelledError as error:
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                raise
            return Failure.of(error)  # something that the handler awaited was cancelled, not the handler
        except BaseException as error:  # noqa: BLE001 - sys.exit() in a handler ends only the attempt
            return Failure.of(error)

    def _outcome(self, handler: Callable[[Any], Any], task: Any) -> Success | Failure:
        try:
            return outcome_of(handler(task), self._queue.model)
        except BaseException as error:  # noqa: BLE001 - sys.exit() in a handler ends only the attempt
            return Failure.of(error)


async def _in_thread(call: Callable[[], Success | Failure]) -> Success | Failure:
    """Run `call` in a daemon thread."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Success | Failure] = loop.create_future()
    context = contextvars.copy_context()

    def set_result(outcome: Success | Failure) -> None:
        if not future.done():
            future.set_result(outcome)

    def run() -> None:
        outcome = context.run(call)
        with suppress(RuntimeError):  # the loop has ended, and nothing waits for the outcome
            loop.call_soon_threadsafe(set_result, outcome)

    threading.Thread(target=run, name="ehg-tasks-handler", daemon=True).start()
    return await future
