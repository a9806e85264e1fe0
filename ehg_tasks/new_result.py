"""A result to record, with those of other claims in one call."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any
from uuid import UUID

from ehg_tasks.models import ClaimHandle


@dataclass(frozen=True)
class NewResult:
    """The result of one claim, for `complete_many`.

    Attributes:
        claim: what `claim` returned. A backend job may give the id of the contract instead.
        output: any JSON value but null, at most 1 MiB, stored as an artifact; None for no output.
        result_summary: the result in words, at most 64 KiB.
        output_artifact_id: an artifact that already holds the output.
        execution_tokens: how many tokens the work took.
        idempotency_key: repeating a call with the same key returns the recorded result. Default: the
            claim token.
        agent_id: who did the work. Default: the agent that claimed it.
    """

    claim: ClaimHandle | UUID | str
    _: KW_ONLY
    output: Any = None
    result_summary: str | None = None
    output_artifact_id: UUID | str | None = None
    execution_tokens: int | None = None
    idempotency_key: UUID | str | None = None
    agent_id: UUID | str | None = None
