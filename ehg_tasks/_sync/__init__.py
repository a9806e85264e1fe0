# Generated from ehg_tasks/_async by `make generated`. Do not edit.
"""The three roles on supabase-py. `_async` is written by hand; `make generated` writes `_sync` from it."""

from __future__ import annotations

from ehg_tasks._sync.agents import AgentTasks
from ehg_tasks._sync.backend import BackendTasks
from ehg_tasks._sync.readers import DashboardTasks

__all__ = ["AgentTasks", "BackendTasks", "DashboardTasks"]
