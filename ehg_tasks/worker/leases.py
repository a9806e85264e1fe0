"""Renews the leases of one run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import NoReturn

from ehg_tasks.errors import TaskContractError
from ehg_tasks.waiting import Backoff
from ehg_tasks.worker.attempt import Context


async def renew(context: Context, every: float, log: Callable[[int, str], None]) -> NoReturn:
    """Renew all leases in one call, again and again; send reports, and learn what became of the claims.

    Args:
        context: the attempts of the run.
        every: seconds between calls.
        log: logs what happens to the worker.
    """
    backoff = Backoff(min(1.0, every), every)
    wait = every
    while True:
        await asyncio.sleep(wait)
        held = [*context.held]
        reports = [attempt.control.report for attempt in held]
        new_reports = {
            attempt.claim.contract_id: report
            for attempt, report in zip(held, reports, strict=True)
            if report is not None and report is not attempt.control.sent
        }
        try:
            renewals = await context.client.renew_many(
                (attempt.claim for attempt in held), progress=new_reports
            )
        except TaskContractError as error:
            log(logging.WARNING, f"the leases have not been renewed yet: {error}")
            wait = backoff.next()
            continue
        for attempt, report, renewal in zip(held, reports, renewals, strict=True):
            attempt.control.sent = report
            attempt.renewed(renewal)
        backoff.reset()
        wait = every
