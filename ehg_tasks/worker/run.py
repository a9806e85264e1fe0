"""One run of a worker in one event loop: it claims contracts, starts attempts, renews leases, and drains."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from uuid import UUID, uuid4

from ehg_tasks import limits
from ehg_tasks._async import AsyncAgentTasks
from ehg_tasks.errors import BadArgument, TaskContractError, TemporaryError
from ehg_tasks.models import Claim
from ehg_tasks.waiting import Backoff, first_of
from ehg_tasks.worker.attempt import FATAL, Attempt
from ehg_tasks.worker.options import Context, Options
from ehg_tasks.worker.output_check import OutputChecker
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
        self._stopping: asyncio.Future[None] = self.loop.create_future()
        self._stop_now: asyncio.Future[None] = self.loop.create_future()
        self._grace: asyncio.TimerHandle | None = None
        self._context = Context(options, client, counts, OutputChecker(), self._stop_now, self._end_with)
        self._attempts: dict[asyncio.Task[None], Attempt] = {}
        self._renewing: asyncio.Task[None] | None = None
        self._backoff = Backoff(options.poll_seconds, max(options.poll_seconds, options.max_poll_seconds))
        self._request_key: UUID | None = None  # of the claim call whose answer is missing
        self._sent = 0.0  # when that call was first sent
        self._error: BaseException | None = None

    async def work(self) -> None:
        """Claim and work until stopped, or until idle; then drain."""
        self._renewing = asyncio.create_task(self._renew())
        self._renewing.add_done_callback(self._ended)
        try:
            await self._claim_until_stopped()
            await self._release_unanswered_claim()
            while self._attempts and not self._stop_now.done():
                await first_of(*self._attempts, self._stop_now)
        except BaseException:
            self._stop_at_once()
            raise
        finally:
            await self._close()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Drain: running handlers may finish within the grace period. A second call stops at once."""
        if self._stopping.done():
            self._stop_at_once()
        else:
            seconds = f"{self._options.grace_seconds:.0f} s"
            running = len(self._attempts)
            self._log(logging.INFO, f"stopping: waiting up to {seconds} for {running} running contracts")
            self._stopping.set_result(None)
            self._grace = self.loop.call_later(self._options.grace_seconds, self._stop_at_once)

    def _end_with(self, error: BaseException) -> None:
        """Drain, then raise this error."""
        self._log(logging.ERROR, f"the worker ends: {error}")
        self._error = self._error or error
        if not self._stopping.done():
            self.stop()

    def _stop_at_once(self) -> None:
        for future in (self._stopping, self._stop_now):
            if not future.done():
                future.set_result(None)

    async def _close(self) -> None:
        """Let the attempts release their claims, then cancel them."""
        if self._grace is not None:
            self._grace.cancel()
        try:
            if self._attempts:
                await asyncio.wait(self._attempts, timeout=CLOSING_SECONDS)
        finally:
            ending = [*self._attempts, *([self._renewing] if self._renewing else [])]
            for task in ending:
                task.cancel()
            if ending:
                await asyncio.wait(ending, timeout=CLOSING_SECONDS)
            await self._context.checker.close()

    # --- leases -----------------------------------------------------------------------------------

    async def _renew(self) -> None:
        """Renew all leases in one call, again and again, and pass on what has become of the claims."""
        every = self._options.seconds_between_renewals
        backoff = Backoff(min(1.0, every), every)
        wait = every
        while True:
            await asyncio.sleep(wait)
            held = [attempt for attempt in self._attempts.values() if attempt.is_held]
            try:
                renewals = await self._context.client.renew_many(attempt.task for attempt in held)
            except TaskContractError as error:
                self._log(logging.WARNING, f"the leases have not been renewed yet: {error}")
                wait = backoff.next()
                continue
            for attempt, renewal in zip(held, renewals, strict=True):
                attempt.renewed(renewal.state)
            backoff.reset()
            wait = every

    # --- claims -----------------------------------------------------------------------------------

    async def _claim_until_stopped(self) -> None:
        while not self._stopping.done():
            limit = min(self._options.concurrency - len(self._attempts), limits.CLAIMS)
            if limit < 1:
                await self._wait_for_an_attempt()
                continue
            claims = await self._claim(limit)
            self._start(claims or [])
            if claims:
                self._backoff.reset()
                if len(claims) == limit:
                    continue
            elif claims is not None and self._options.until_idle:
                if not self._attempts:
                    return
                await self._wait_for_an_attempt()
                continue
            await first_of(self._stopping, timeout=self._backoff.next())

    async def _wait_for_an_attempt(self) -> None:
        await first_of(*self._attempts, self._stopping)

    async def _claim(self, limit: int) -> list[Claim] | None:
        """Claim contracts; return None if the call failed for now.

        If there was no answer, the server may still have claimed contracts. The next call then has the
        same request key and gets them; their leases began after the first call was sent.
        """
        if self._request_key is None:
            self._request_key, self._sent = uuid4(), time.monotonic()
        options, client = self._options, self._context.client
        call = asyncio.create_task(
            client.claim(
                options.target_agent,
                limit=limit,
                request_key=self._request_key,
                agent_id=options.agent_id,
                lease_seconds=options.lease_seconds,
            )
        )
        try:
            await first_of(call, self._stop_now)
        finally:
            call.cancel()  # no effect if it is done
        if not call.done():
            return None
        try:
            claims = call.result()
        except (*FATAL, BadArgument) as error:
            self._request_key = None
            self._end_with(error)
            return None
        except TaskContractError as error:
            if not isinstance(error, TemporaryError):
                self._request_key = None  # the server answered, and a repeat would get the same answer
            self._log(logging.WARNING, f"cannot claim: {error}")
            return None
        self._request_key = None
        self._context.counts["claimed"] += len(claims)
        return claims

    def _start(self, claims: Iterable[Claim]) -> None:
        """Work on the claims, or release them if the worker has been stopped."""
        for claim in claims:
            attempt = Attempt(self._context, claim, self._sent)
            task = asyncio.create_task(attempt.record(None) if self._stopping.done() else attempt.run())
            self._attempts[task] = attempt
            task.add_done_callback(self._ended)

    async def _release_unanswered_claim(self) -> None:
        """Repeat a claim call that got no answer, and release what it claimed."""
        if self._request_key is not None and not self._stop_now.done():
            self._start(await self._claim(1) or [])
        if self._request_key is not None:
            self._log(
                logging.WARNING,
                "a claim call got no answer; what it claimed is pending again when the lease expires",
            )

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._attempts.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._end_with(error)

    def _log(self, level: int, text: str) -> None:
        log(level, text, agent=self._options.target_agent)
