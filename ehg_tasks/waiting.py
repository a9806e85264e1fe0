"""Backoff and waiting, for clients, workers and the command line."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress


class Backoff:
    """Waits that double from `first` to `longest` seconds, each shortened at random by up to half.

    The randomness keeps programs that failed together from retrying together.
    """

    def __init__(self, first: float, longest: float) -> None:
        self._first, self._longest = first, longest
        self.reset()

    def reset(self) -> None:
        """Start again with the first wait."""
        self._next = self._first

    def next(self) -> float:
        """Return the next wait, in seconds."""
        seconds, self._next = self._next, min(self._next * 2, self._longest)
        return random.uniform(0.5, 1) * seconds  # noqa: S311 - not a secret


async def is_set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait until the event is set, for at most `seconds` seconds. Return whether it is set."""
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
    return event.is_set()
