"""What the tests of the clients share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

WORK: dict[str, Any] = {"parent_agent": "PLANNER", "target_agent": "DESIGN", "objective": "draw"}
Contracts = Callable[[], list[dict[str, Any]]]
