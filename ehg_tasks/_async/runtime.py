"""What the async and the sync clients do differently; `ehg_tasks/_sync/runtime.py` is its counterpart."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

Action = Callable[[], Awaitable[T]]
Lock = asyncio.Lock
sleep = asyncio.sleep


def current_owner() -> object:
    """What open connections belong to: this process and its running event loop."""
    return os.getpid(), asyncio.get_running_loop()
