"""A worker: claims agents' contracts, runs a handler on each, and records the outcome.

    def draw(task: Task) -> dict[str, str]:
        return {"page": f"<h1>{task.objective}</h1>"}

    Worker(AgentTasks.from_env(), "DESIGN", draw, concurrency=8).run()

What a handler returns completes the contract, if it matches the contract's `output_schema`; an exception
fails the attempt. All leases are renewed together in the meantime. SIGTERM and SIGINT drain the worker.
"""

from __future__ import annotations

from ehg_tasks.worker.tasks import AsyncTask, FinalFailure, Handler, Result, Task
from ehg_tasks.worker.worker import Worker, WorkerCounters

__all__ = ["AsyncTask", "FinalFailure", "Handler", "Result", "Task", "Worker", "WorkerCounters"]
