"""Claims the contracts of one agent."""

from __future__ import annotations

import time
from uuid import UUID, uuid4

from ehg_tasks._async import AsyncAgentTasks
from ehg_tasks.errors import TaskContractError, TemporaryError
from ehg_tasks.models import Claim
from ehg_tasks.worker.options import Options, Queue


class Claimer:
    """Claims contracts, and loses none of them when an answer is lost.

    If there was no answer, the server may still have claimed contracts. The next call then has the same
    request key and gets them; their leases began after the first call was sent.

    Args:
        queue: whose contracts.
        options: the arguments of the worker.
        client: a connection of this event loop.

    Attributes:
        queue: whose contracts.
        sent: when the last call was sent for the first time, in seconds of the monotonic clock.
    """

    def __init__(self, queue: Queue, options: Options, client: AsyncAgentTasks) -> None:
        self.queue = queue
        self.sent = 0.0
        self._options, self._client = options, client
        self._request_key: UUID | None = None  # of the call whose answer is missing

    @property
    def is_unanswered(self) -> bool:
        """Whether contracts may have been claimed that are not known."""
        return self._request_key is not None

    async def claim(self, limit: int) -> list[Claim]:
        """Claim up to `limit` contracts. Raises what `claim` of the client raises."""
        if self._request_key is None:
            self._request_key, self.sent = uuid4(), time.monotonic()
        options = self._options
        try:
            claims = await self._client.claim(
                self.queue.name,
                limit=limit,
                request_key=self._request_key,
                agent_id=options.agent_id,
                lease_seconds=options.lease_seconds,
            )
        except TaskContractError as error:
            if not isinstance(error, TemporaryError):
                self._request_key = None  # the server answered, and a repeat would get the same answer
            raise
        self._request_key = None
        return claims
