"""Outcomes of contracts, and waiting for them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any
from uuid import UUID

from ehg_tasks import answers, limits
from ehg_tasks._async.base import AsyncBase
from ehg_tasks._async.runtime import sleep
from ehg_tasks.errors import BadArgument, ContractNotFound, WaitTimedOut
from ehg_tasks.models import Outcome
from ehg_tasks.values import uuid_text
from ehg_tasks.waiting import Backoff


def _state(outcome: Outcome) -> tuple[Any, ...]:
    """What changes while a contract waits and runs."""
    return outcome.status, outcome.attempt, outcome.progress, outcome.waiting, outcome.waits_for


class AsyncOutcomeMethods(AsyncBase):
    """How contracts ended, or how far they are, for whoever knows their ids."""

    async def outcome(self, contract_id: UUID | str) -> Outcome:
        """Return the status and result of a contract so far. Raises ContractNotFound."""
        contract_id = uuid_text("contract_id", contract_id)
        return await self._rpc_contract(
            "task_contract_outcomes", Outcome, contract_id, {"contract_ids": [contract_id]}
        )

    async def outcomes(self, contract_ids: Iterable[UUID | str]) -> list[Outcome]:
        """Return outcomes in the order of the ids, without duplicates; unknown ids are left out."""
        ids = list(dict.fromkeys(uuid_text("contract_ids", contract_id) for contract_id in contract_ids))
        found: dict[UUID, Outcome] = {}  # a row that comes again keeps its place
        while ids:
            part, ids = ids[: limits.ENTRIES], ids[limits.ENTRIES :]
            rows = await self._rpc_rows("task_contract_outcomes", Outcome, len(part), {"contract_ids": part})
            found |= {row.contract_id: row for row in rows}
            ids = [str(row.contract_id) for row in answers.omitted(rows)] + ids
        return [row for row in found.values() if not row.omitted]  # it may have been deleted meanwhile

    async def wait(
        self,
        contract_ids: Iterable[UUID | str],
        *,
        timeout: float | None = None,
        poll_seconds: float = 2.0,
        on_change: Callable[[Outcome], object] | None = None,
    ) -> list[Outcome]:
        """Wait until all of the contracts have ended, and return their outcomes in the order of the ids.

        Their status tells whether they completed. The arguments and errors are those of `as_completed`.
        """
        ids = [uuid_text("contract_ids", contract_id) for contract_id in contract_ids]
        ended = {
            str(outcome.contract_id): outcome
            async for outcome in self.as_completed(
                ids, timeout=timeout, poll_seconds=poll_seconds, on_change=on_change
            )
        }
        return [ended[contract_id] for contract_id in dict.fromkeys(ids)]

    async def as_completed(
        self,
        contract_ids: Iterable[UUID | str],
        *,
        timeout: float | None = None,
        poll_seconds: float = 2.0,
        on_change: Callable[[Outcome], object] | None = None,
    ) -> AsyncIterator[Outcome]:
        """Wait for contracts, and yield the outcome of each as soon as it has ended.

        Args:
            contract_ids: the contracts to wait for. Those that have ended already come first.
            timeout: how long to wait for the last one, in seconds. None: as long as it takes.
            poll_seconds: the longest time between two calls, in seconds. They follow each other more
                closely while something changes.
            on_change: called with the outcome so far of a contract that has not ended, first and whenever
                its status, attempt, progress or reason to wait has changed.

        Raises:
            WaitTimedOut: some had not ended in time.
            ContractNotFound: a contract does not exist, or was deleted meanwhile.
        """
        if poll_seconds <= 0:
            raise BadArgument("poll_seconds must be more than 0")
        waiting: dict[str, Any] = dict.fromkeys(uuid_text("contract_ids", each) for each in contract_ids)
        count, end = len(waiting), None if timeout is None else time.monotonic() + timeout
        backoff = Backoff(min(0.2, poll_seconds), poll_seconds)
        while waiting:
            outcomes = await self.outcomes(waiting)
            if unknown := sorted(waiting.keys() - {str(outcome.contract_id) for outcome in outcomes}):
                raise ContractNotFound(f"there is no task contract {', '.join(unknown)}")
            for outcome in outcomes:
                contract_id = str(outcome.contract_id)
                if outcome.status.is_final:
                    del waiting[contract_id]
                    backoff.reset()
                    yield outcome
                elif waiting[contract_id] != _state(outcome):
                    waiting[contract_id] = _state(outcome)
                    backoff.reset()
                    if on_change is not None:
                        on_change(outcome)
            if not waiting:
                return
            left = poll_seconds if end is None else end - time.monotonic()
            if left <= 0:
                raise WaitTimedOut(f"{len(waiting)} of {count} contracts have not ended after {timeout} s")
            await sleep(min(backoff.next(), left))
