"""One run of a worker, in one event loop: it claims, starts jobs, and drains."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID, uuid4

from ehg_tasks.async_clients import AsyncAgentTasks
from ehg_tasks.errors import BadArgument, TaskContractError, TemporaryError
from ehg_tasks.models import Claim
from ehg_tasks.worker.jobs import HOPELESS, Job, Waits, first_of
from ehg_tasks.worker.schemas import OutputChecker
from ehg_tasks.worker.tasks import Handler
from ehg_tasks.worker.telemetry import log

CLAIM_LIMIT = 100  # what the server hands out in one call
LAST_SECONDS = 10.0  # for what must still be said to the server when the worker stops at once


@dataclass(frozen=True)
class Options:
    """What a worker was told; see `Worker`."""

    target_agent: str
    handler: Handler
    handler_is_async: bool
    concurrency: int
    poll_seconds: float
    max_poll_seconds: float
    grace_seconds: float
    renew_every: float | None
    agent_id: UUID
    until_idle: bool


class Shift:
    """The state of one run.

    Args:
        options: what the worker was told.
        client: a connection of this event loop.
        counts: the worker's counters, which go on from run to run.
    """

    def __init__(self, options: Options, client: AsyncAgentTasks, counts: dict[str, int]) -> None:
        self.options = options
        self.client = client
        self.counts = counts
        self.checker = OutputChecker()
        self.loop = asyncio.get_running_loop()
        self.now: asyncio.Future[None] = self.loop.create_future()
        """Done when there is no more time to wait for handlers."""
        self._stopping: asyncio.Future[None] = self.loop.create_future()
        self._grace: asyncio.TimerHandle | None = None
        self._jobs: set[asyncio.Task[None]] = set()
        self._waits = Waits(options.poll_seconds, options.max_poll_seconds)
        self._request_key: UUID | None = None  # of the claim call that awaits its answer
        self._asked = 0.0  # when that call was first sent
        self._error: BaseException | None = None

    async def work(self) -> None:
        """Claim and work until stopped, or until idle; then drain."""
        try:
            await self._claim_while_wanted()
            await self._hand_back_unanswered()
            while self._jobs and not self.now.done():
                await first_of(*self._jobs, self.now)
        except BaseException:
            self._stop_now()
            raise
        finally:
            await self._close()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """The first call lets running handlers finish within the grace period, the next one does not."""
        if self._stopping.done():
            self._stop_now()
        else:
            seconds = f"{self.options.grace_seconds:.0f} s"
            self._log(logging.INFO, f"stopping; at work: {len(self._jobs)}, for {seconds} at most")
            self._stopping.set_result(None)
            self._grace = self.loop.call_later(self.options.grace_seconds, self._stop_now)

    def give_up(self, error: BaseException) -> None:
        """Drain, and end with this error."""
        self._log(logging.ERROR, f"the worker ends: {error}")
        self._error = self._error or error
        if not self._stopping.done():
            self.stop()

    def _stop_now(self) -> None:
        for future in (self._stopping, self.now):
            if not future.done():
                future.set_result(None)

    async def _close(self) -> None:
        """Give the jobs a last moment to release what they hold."""
        if self._grace is not None:
            self._grace.cancel()
        try:
            if self._jobs:
                await asyncio.wait(self._jobs, timeout=LAST_SECONDS)
        finally:
            for job in self._jobs:
                job.cancel()
            if self._jobs:
                await asyncio.wait(self._jobs, timeout=LAST_SECONDS)
            await self.checker.close()

    # --- claims -----------------------------------------------------------------------------------

    async def _claim_while_wanted(self) -> None:
        while not self._stopping.done():
            free = self.options.concurrency - len(self._jobs)
            if free < 1:
                await self._a_job_ends()
                continue
            claims = await self._claim(min(free, CLAIM_LIMIT))
            self._start(claims or [])
            if claims:
                self._waits.reset()
                if len(claims) == min(free, CLAIM_LIMIT):
                    continue
            elif claims is not None and self.options.until_idle:
                if not self._jobs:
                    return
                await self._a_job_ends()
                continue
            await asyncio.wait({self._stopping}, timeout=self._waits.next())

    async def _a_job_ends(self) -> None:
        await first_of(*self._jobs, self._stopping)

    async def _claim(self, limit: int) -> list[Claim] | None:
        """Claim contracts; None where that failed for now.

        Where no answer came, the server may have handed contracts out. The next call then has the same
        request key and gets them; their leases began after the first one was sent.
        """
        if self._request_key is None:
            self._request_key, self._asked = uuid4(), time.monotonic()
        options = self.options
        call = asyncio.create_task(
            self.client.claim(
                options.target_agent, limit=limit, request_key=self._request_key, agent_id=options.agent_id
            )
        )
        try:
            await first_of(call, self.now)
        finally:
            call.cancel()  # where it is not done
        if not call.done():
            return None
        try:
            claims = call.result()
        except (*HOPELESS, BadArgument) as error:
            self._request_key = None
            self.give_up(error)
            return None
        except TaskContractError as error:
            if not isinstance(error, TemporaryError):
                self._request_key = None  # it was answered, and would be again in the same way
            self._log(logging.WARNING, f"cannot claim: {error}")
            return None
        self._request_key = None
        self.counts["claimed"] += len(claims)
        return claims

    def _start(self, claims: Iterable[Claim]) -> None:
        """Work on them, or release them where the worker was stopped meanwhile."""
        for claim in claims:
            job = Job(self, claim, self._asked)
            task = asyncio.create_task(job.settle(None) if self._stopping.done() else job.run())
            self._jobs.add(task)
            task.add_done_callback(self._ended)

    async def _hand_back_unanswered(self) -> None:
        """Ask once more for what a call without an answer may have claimed, and release it."""
        if self._request_key is not None and not self.now.done():
            self._start(await self._claim(1) or [])
        if self._request_key is not None:
            self._log(logging.WARNING, "a claim has no answer; what it claimed waits for its lease to end")

    def _ended(self, job: asyncio.Task[None]) -> None:
        self._jobs.discard(job)
        if not job.cancelled() and (error := job.exception()) is not None:
            self.give_up(error)

    def _log(self, level: int, text: str) -> None:
        log(level, text, agent=self.options.target_agent)
