"""The three roles on supabase-py. `_async` is written by hand; `make generated` writes `_sync` from it."""

from __future__ import annotations

from ehg_tasks._async.agents import AsyncAgentTasks
from ehg_tasks._async.backend import AsyncBackendTasks
from ehg_tasks._async.readers import AsyncDashboardTasks

__all__ = ["AsyncAgentTasks", "AsyncBackendTasks", "AsyncDashboardTasks"]
