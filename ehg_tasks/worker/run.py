"""One run of a worker in one event loop: it claims contracts, starts attempts, renews leases, and drains."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable

from ehg_tasks import limits
from ehg_tasks._async import AsyncAgentTasks
from ehg_tasks.errors import BadArgument, TaskContractError
from ehg_tasks.models import Claim
from ehg_tasks.waiting import Backoff, is_set_within
from ehg_tasks.worker.attempt import Attempt, Context
from ehg_tasks.worker.claims import Claimer
from ehg_tasks.worker.leases import renew
from ehg_tasks.worker.options import Options, Queue
from ehg_tasks.worker.output_check import OutputChecker
from ehg_tasks.worker.recorder import FATAL, Recorder
from ehg_tasks.worker.telemetry import log

CLOSING_SECONDS = 10.0  # for the last calls when the worker stops at once


class Run:
    """The state of one run.

    Args:
        options: the arguments of the worker.
        client: a connection of this event loop.
        counts: the worker's counters, which continue from run to run.
    """

    def __init__(self, options: Options, client: AsyncAgentTasks, counts: dict[str, int]) -> None:
        self.loop = asyncio.get_running_loop()
        self._options = options
        self._stopping, self._stop_now = asyncio.Event(), asyncio.Event()
        self._grace: asyncio.TimerHandle | None = None
        recorder = Recorder(client, self._stop_now, self._end_with)
        self._context = Context(client, counts, OutputChecker(), recorder)
        self._claimers = deque(
            Claimer(Queue(name, handler, options.output_models.get(name)), options, client)
            for name, handler in options.handlers.items()
        )
        self._backoff = Backoff(options.poll_seconds, max(options.poll_seconds, options.max_poll_seconds))
        self._error: BaseException | None = None

    async def work(self) -> None:
        """Claim and work until stopped, or until idle; then drain."""
        every = self._options.seconds_between_renewals
        renewing = asyncio.create_task(renew(self._context, every, self._log))
        renewing.add_done_callback(self._renewing_ended)
        try:
            await self._claim_until_stopped()
            await self._release_unanswered_claims()
            while self._is_busy() and not self._stop_now.is_set():
                await self._change()
        except BaseException:
            self._stop_at_once()
            raise
        finally:
            await self._close(renewing)
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Drain: running handlers may finish within the grace period. A second call stops at once."""
        if self._stopping.is_set():
            self._stop_at_once()
        else:
            text = "stopping"
            if running := len(self._context.running):
                contracts = "contract" if running == 1 else "contracts"
                text += f": waiting up to {self._options.grace_seconds:.0f} s for {running} {contracts}"
            self._log(logging.INFO, text)
            self._stopping.set()
            self._context.changed.set()
            self._grace = self.loop.call_later(self._options.grace_seconds, self._stop_at_once)

    def _end_with(self, error: BaseException) -> None:
        """Drain, then raise this error."""
        if self._error is None:
            self._log(logging.ERROR, f"the worker ends: {error}")
            self._error = error
        if not self._stopping.is_set():
            self.stop()

    def _stop_at_once(self) -> None:
        """Stop the handlers, and release their claims."""
        self._stopping.set()
        self._stop_now.set()
        self._context.changed.set()
        for attempt in [*self._context.running]:
            attempt.release()

    def _is_busy(self) -> bool:
        return bool(self._context.held or self._context.running)

    async def _change(self) -> None:
        """Wait until an attempt leaves, or the worker is to stop."""
        changed = self._context.changed
        await changed.wait()
        changed.clear()

    async def _close(self, renewing: asyncio.Task[None]) -> None:
        """Let handlers that were cancelled and the last calls end, then cancel them."""
        if self._grace is not None:
            self._grace.cancel()
        context = self._context
        try:
            async with asyncio.timeout(CLOSING_SECONDS):
                while context.held or any(attempt.is_async for attempt in context.running):
                    await self._change()
        except TimeoutError:
            pass
        finally:
            renewing.cancel()
            for attempt in context.running:
                attempt.cancel()
            await context.recorder.close()
            await context.checker.close()

    def _renewing_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._end_with(error)

    # --- claims -----------------------------------------------------------------------------------

    async def _claim_until_stopped(self) -> None:
        while not self._stopping.is_set():
            if self._free_slots() < 1:
                await self._change()
                continue
            self._context.changed.clear()  # a change during the calls must not be missed
            was_busy = self._is_busy()
            found, more = await self._claim_of_each()
            if found:
                self._backoff.reset()
            if more:
                continue
            if not self._options.until_idle or found is None:
                await is_set_within(self._stopping, self._backoff.next())
            elif found:
                await is_set_within(self._context.changed, self._backoff.next())
            elif was_busy:
                await self._change()
            else:
                return

    def _free_slots(self) -> int:
        """How many contracts to claim now.

        A slot is free when its handler has ended, so that results are recorded while others are worked on.
        As many results as there are slots may wait to be recorded.
        """
        context, slots = self._context, self._options.concurrency
        return min(slots - len(context.running), 2 * slots - len(context.held), limits.CLAIMS)

    async def _claim_of_each(self) -> tuple[int | None, bool]:
        """Claim for each agent in turn, as long as there are free slots.

        Returns:
            How many contracts were claimed, None if that is not known; and whether there may be more.
        """
        found, failed = 0, False
        for _ in range(len(self._claimers)):
            limit = self._free_slots()
            if limit < 1 or self._stopping.is_set():
                return found, True
            claimer = self._claimers[0]
            self._claimers.rotate(-1)  # so that a busy agent does not keep the others waiting
            claims = await self._claim(claimer, limit)
            if claims is None:
                failed = True
                continue
            self._start(claimer, claims)
            found += len(claims)
            if len(claims) == limit:
                return found, True
        return None if failed and not found else found, False

    async def _claim(self, claimer: Claimer, limit: int) -> list[Claim] | None:
        """Claim contracts; return None if the call failed for now, or the worker has to stop at once."""
        call = asyncio.create_task(claimer.claim(limit))
        stop = asyncio.create_task(self._stop_now.wait())
        try:
            await asyncio.wait((call, stop), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
            call.cancel()  # no effect if it is done
        if not call.done():
            return None
        try:
            claims = call.result()
        except (*FATAL, BadArgument) as error:
            self._end_with(error)
            return None
        except TaskContractError as error:
            self._log(logging.WARNING, f"cannot claim: {error}")
            return None
        self._context.counts["claimed"] += len(claims)
        return claims

    def _start(self, claimer: Claimer, claims: Iterable[Claim]) -> None:
        """Work on the claims, or release them if the worker has been stopped."""
        for claim in claims:
            attempt = Attempt(self._context, claimer.queue, claim, claimer.sent)
            if self._stopping.is_set():
                attempt.release()
            else:
                attempt.start()

    async def _release_unanswered_claims(self) -> None:
        """Repeat claim calls that got no answer, and release what they claimed."""
        for claimer in self._claimers:
            if claimer.is_unanswered and not self._stop_now.is_set():
                self._start(claimer, await self._claim(claimer, 1) or [])
            if claimer.is_unanswered:
                self._log(
                    logging.WARNING,
                    "a claim call got no answer; what it claimed is pending again when the lease expires",
                )

    def _log(self, level: int, text: str) -> None:
        log(level, text, agent=", ".join(self._options.handlers))
