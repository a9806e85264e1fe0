"""What the async and the sync clients do differently; `ehg_tasks/_async/runtime.py` is its counterpart."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

Action = Callable[[], T]
Lock = threading.Lock
sleep = time.sleep


def current_owner() -> object:
    """What open connections belong to: this process."""
    return os.getpid()
