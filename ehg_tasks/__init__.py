"""Agent task contracts on Supabase: work that one AI agent hands to another.

    with AgentTasks.from_env() as agent:
        agent.create(parent_agent="PLANNER", target_agent="DESIGN", objective="Draw the start page.")
        for claim in agent.claim("DESIGN"):
            agent.complete(claim, output={"page": "..."})

`AgentTasks`, `DashboardTasks` and `BackendTasks` are the three roles; each has an async version, such as
`AsyncAgentTasks`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ehg_tasks._async import AsyncAgentTasks, AsyncBackendTasks, AsyncDashboardTasks
    from ehg_tasks._sync import AgentTasks, BackendTasks, DashboardTasks
    from ehg_tasks.connection import Connection
    from ehg_tasks.errors import (
        AccessDenied,
        AuthenticationFailed,
        BadArgument,
        ClaimLost,
        ConnectionFailed,
        ContractNotFound,
        IdempotencyConflict,
        InvalidData,
        LocalStackError,
        MigrationsMissing,
        ServerBusy,
        SettingsError,
        StatusConflict,
        TaskContractError,
        TemporaryError,
        TooLarge,
        UnexpectedAnswer,
        WaitTimedOut,
    )
    from ehg_tasks.models import (
        AgentChange,
        AgentToken,
        Attempt,
        AttemptOutcome,
        BulkCompletion,
        Claim,
        ClaimHandle,
        CleanupReport,
        Completion,
        ContractStats,
        ContractStatus,
        ContractView,
        CreatedContract,
        FailedAttempt,
        InputArtifact,
        InputPreview,
        Lease,
        Outcome,
        PruneReport,
        RegisteredAgent,
        Renewal,
        RenewalState,
        StatusChange,
        TaskContract,
        WaitReason,
    )
    from ehg_tasks.new_contract import NewContract, NewContractFields
    from ehg_tasks.new_result import NewResult
    from ehg_tasks.settings import Settings
    from ehg_tasks.worker.tasks import AsyncTask, FinalFailure, Result, Task
    from ehg_tasks.worker.worker import Worker, WorkerCounters

__version__ = "0.1.0.dev0"

__all__ = [
    "AccessDenied",
    "AgentChange",
    "AgentTasks",
    "AgentToken",
    "AsyncAgentTasks",
    "AsyncBackendTasks",
    "AsyncDashboardTasks",
    "AsyncTask",
    "Attempt",
    "AttemptOutcome",
    "AuthenticationFailed",
    "BackendTasks",
    "BadArgument",
    "BulkCompletion",
    "Claim",
    "ClaimHandle",
    "ClaimLost",
    "CleanupReport",
    "Completion",
    "Connection",
    "ConnectionFailed",
    "ContractNotFound",
    "ContractStats",
    "ContractStatus",
    "ContractView",
    "CreatedContract",
    "DashboardTasks",
    "FailedAttempt",
    "FinalFailure",
    "IdempotencyConflict",
    "InputArtifact",
    "InputPreview",
    "InvalidData",
    "Lease",
    "LocalStackError",
    "MigrationsMissing",
    "NewContract",
    "NewContractFields",
    "NewResult",
    "Outcome",
    "PruneReport",
    "RegisteredAgent",
    "Renewal",
    "RenewalState",
    "Result",
    "ServerBusy",
    "Settings",
    "SettingsError",
    "StatusChange",
    "StatusConflict",
    "Task",
    "TaskContract",
    "TaskContractError",
    "TemporaryError",
    "TooLarge",
    "UnexpectedAnswer",
    "WaitReason",
    "WaitTimedOut",
    "Worker",
    "WorkerCounters",
    "__version__",
]

# Imported when a name is first used: supabase-py takes a second to import, and `--help`, the version or
# an exception class does not need it.
_MODULES = (
    "errors",
    "connection",
    "settings",
    "new_contract",
    "new_result",
    "models",
    "_sync",
    "_async",
    "worker",
)


def __getattr__(name: str) -> Any:
    if name in __all__:
        for module in _MODULES:
            value = getattr(import_module(f"{__name__}.{module}"), name, None)
            if value is not None:
                globals()[name] = value
                return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
