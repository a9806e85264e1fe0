"""What the functions and the table return: immutable pydantic models, named after the columns.

Times are in UTC. Columns that a later version adds are ignored.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from ehg_tasks.errors import TaskContractError, from_code


class ContractStatus(StrEnum):
    """The status of a contract; completed, failed and cancelled are final."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether the status is completed, failed or cancelled."""
        return self in (ContractStatus.COMPLETED, ContractStatus.FAILED, ContractStatus.CANCELLED)


class WaitReason(StrEnum):
    """Why a pending contract waits."""

    READY = "ready"  # for an agent to claim it
    PAUSED = "paused"  # its agent is paused
    RETRY = "retry"  # its last attempt failed, and the next one is due at `next_attempt_at`
    DELAYED = "delayed"  # it was created with `not_before`
    DEPENDENCIES = "dependencies"  # contracts that it depends on have not ended


class AttemptOutcome(StrEnum):
    """How an attempt ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    RELEASED = "released"
    EXPIRED = "expired"  # its lease was not renewed
    TIMED_OUT = "timed_out"  # it reached its time limit
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"  # the status was changed in the table itself


class RenewalState(StrEnum):
    """What a renewal found; only a renewed claim is still held."""

    RENEWED = "renewed"
    LOST = "lost"
    TIMED_OUT = "timed_out"
    UNKNOWN = "unknown"  # there is no such contract
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


# Agents may write to the table directly, so a model must accept whatever the table can hold: one unusual
# row must not break a dashboard's list or an agent's claims.


def _python_time(value: Any) -> Any:
    """Read a time, in UTC; replace one outside Python's range with the nearest one in it.

    pydantic would refuse an offset with seconds, which times of the 19th century have in most zones.
    """
    if not isinstance(value, str):
        return value
    earliest, latest = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    if value == "-infinity" or value.endswith("BC"):
        return earliest
    if value == "infinity" or value.find("-") > 4:  # a year of five digits or more
        return latest
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        return value
    try:
        return time.astimezone(UTC) if time.tzinfo else value
    except OverflowError:  # within a day of the range's end
        return earliest if time.year == 1 else latest


def _flat(values: Any) -> Any:
    """Flatten an array and drop its nulls, as the engine does when it reads one."""
    if not isinstance(values, list):
        return values
    leaves = (_flat(value) if isinstance(value, list) else [value] for value in values if value is not None)
    return [leaf for part in leaves for leaf in part]


Timestamp = Annotated[AwareDatetime, BeforeValidator(_python_time)]
ArtifactIds = Annotated[list[UUID], BeforeValidator(_flat)]


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class CreatedContract(_Answer):
    """The result of creating a contract."""

    contract_id: UUID
    contract_summary: str = Field(description="parent -> target: the objective's first 100 characters.")
    created: bool = Field(description="False if it existed before: the call was a repeat.")


class ClaimHandle(_Answer):
    """Proof of a claim: the contract and the secret token of its current attempt."""

    contract_id: UUID
    claim_token: UUID = Field(repr=False, description="A secret: anyone who has it can finish the contract.")

    @property
    def id(self) -> UUID:
        """The contract's id."""
        return self.contract_id


class Claim(ClaimHandle):
    """A contract to work on, leased until `lease_expires_at`."""

    parent_agent: str
    target_agent: str
    objective: str
    input_summary: str | None
    input_artifacts: ArtifactIds | None
    constraints: JsonValue
    expected_output_type: str
    output_schema: JsonValue
    session_id: UUID | None
    sd_id: str | None
    priority: int
    max_tokens: int | None = Field(description="Budget of this attempt, in tokens.")
    timeout_minutes: int | None = Field(description="Time limit of this attempt; no lease goes past it.")
    max_retries: int | None
    created_at: Timestamp
    attempt: int = Field(description="Counts from 1. A number is never used again.")
    lease_expires_at: Timestamp = Field(description="By the database's clock.")


class Lease(_Answer):
    """A renewed claim."""

    contract_id: UUID
    lease_expires_at: Timestamp
    attempt: int


class Renewal(_Answer):
    """What `renew_many` found for one claim."""

    contract_id: UUID
    state: RenewalState
    lease_expires_at: Timestamp | None = Field(description="None if the claim is no longer held.")
    attempt: int | None
    message: str | None = Field(
        default=None, description="Why the progress of a renewed attempt is not stored. None if it is."
    )


class Completion(_Answer):
    """A recorded result."""

    contract_id: UUID
    success: bool = Field(description="True: the result is recorded. `status` says which.")
    status: ContractStatus
    message: str
    was_duplicate: bool = Field(description="The result had been recorded before: the call was a repeat.")
    output_artifact_id: UUID | None = Field(description="The artifact that holds the output.")


class BulkCompletion(_Answer):
    """What `complete_many` did with one result: recorded it, or refused it for the reason in `error`."""

    contract_id: UUID
    success: bool = Field(description="True: the result is recorded.")
    status: ContractStatus | None
    was_duplicate: bool | None
    output_artifact_id: UUID | None
    code: str | None = Field(description="None, or the SQLSTATE of the refusal.")
    message: str

    @property
    def error(self) -> TaskContractError | None:
        """The exception that `complete` raises for this result; None if it is recorded."""
        return None if self.code is None else from_code(self.code, self.message)


class StatusChange(_Answer):
    """A contract released, cancelled or requeued."""

    contract_id: UUID
    status: ContractStatus
    message: str
    was_duplicate: bool = Field(description="The status was the same before: the call was a repeat.")


class FailedAttempt(StatusChange):
    """An attempt that ended with an error; `status` shows whether it is retried."""

    retry_count: int
    next_attempt_at: Timestamp | None = Field(description="When it can be claimed again; None if it cannot.")


class Outcome(_Answer):
    """The status and result of a contract so far."""

    contract_id: UUID
    status: ContractStatus
    result_summary: str | None
    error_message: str | None
    output_artifact_id: UUID | None
    output: JsonValue = Field(description="The output artifact's content: JSON, or text if it is not JSON.")
    execution_tokens: int | None = Field(description="Tokens that the work used.")
    retry_count: int | None
    started_at: Timestamp | None
    completed_at: Timestamp | None
    attempt: int | None = Field(description="Number of the last attempt; None before the first.")
    progress: JsonValue = Field(description="What that attempt last reported with `renew`.")
    waiting: WaitReason | None = Field(description="Pending contracts only.")
    next_attempt_at: Timestamp | None = Field(description="When a waiting contract can be claimed.")
    waits_for: int | None = Field(description="How many contracts it depends on have not ended.")
    omitted: bool = Field(exclude=True, description="The texts and the output are left out: ask again.")


class Attempt(_Answer):
    """An attempt of a contract's history."""

    contract_id: UUID
    attempt: int = Field(description="Counts from 1.")
    agent_id: UUID | None
    claimed_at: Timestamp
    lease_expires_at: Timestamp | None
    ended_at: Timestamp | None = Field(description="None while it runs.")
    outcome: AttemptOutcome | None
    error_message: str | None
    execution_tokens: int | None
    next_attempt_at: Timestamp | None = Field(description="When the contract could be claimed again.")
    progress: JsonValue = Field(description="What it last reported with `renew`.")


class InputArtifact(_Answer):
    """An input artifact of a contract, in full."""

    artifact_id: UUID
    type: str
    summary: str
    content_text: str | None
    token_count: int | None
    created_at: Timestamp | None
    omitted: bool = Field(exclude=True, description="The content is left out: ask again.")


class InputPreview(_Answer):
    """The start of an input artifact."""

    id: UUID
    type: str
    summary: str
    token_count: int | None
    content_preview: str | None = Field(description="The first 200 characters.")


class ContractView(_Answer):
    """A contract for people to read, with previews of its inputs."""

    contract_id: UUID
    parent_agent: str
    target_agent: str
    objective: str
    input_summary: str | None
    input_artifact_contents: list[InputPreview]
    constraints: JsonValue
    expected_output_type: str
    output_schema: JsonValue
    max_tokens: int | None
    timeout_minutes: int | None
    status: ContractStatus


class TaskContract(_Answer):
    """A row of `public.agent_task_contracts`: its 28 columns, in their order."""

    id: UUID
    session_id: UUID | None
    sd_id: str | None
    parent_agent: str
    target_agent: str
    objective: str
    constraints: JsonValue
    input_artifacts: ArtifactIds | None
    input_summary: str | None
    expected_output_type: str
    output_schema: JsonValue
    priority: int
    max_tokens: int | None
    timeout_minutes: int | None
    status: ContractStatus
    started_at: Timestamp | None
    completed_at: Timestamp | None
    output_artifact_id: UUID | None
    result_summary: str | None
    execution_tokens: int | None
    error_message: str | None
    retry_count: int | None
    max_retries: int | None
    created_by: str | None
    created_at: Timestamp
    updated_at: Timestamp
    completion_idempotency_key: UUID | None
    completed_by_agent_id: UUID | None


class ContractStats(_Answer):
    """Figures of one target agent's contracts in one status."""

    target_agent: str
    status: ContractStatus
    contracts: int
    oldest_created_at: Timestamp
    oldest_wait_seconds: float | None = Field(description="Pending contracts only.")
    finished_last_hour: int
    median_duration_seconds: float | None = Field(description="From started_at to completed_at.")
    p95_duration_seconds: float | None
    execution_tokens: int | None = Field(description="Tokens that all of them used.")
    max_tokens: int | None = Field(description="The budget of those that reported tokens.")
    over_budget: int = Field(description="Contracts that used more tokens than their budget.")
    held: int | None = Field(description="Of pending contracts, those that must wait.")
    running: int | None = Field(description="Of contracts in progress, those under a lease.")


class RegisteredAgent(_Answer):
    """A row of `public.task_agents`: an agent in the registry, and its work."""

    name: str
    description: str | None
    has_token: bool = Field(description="Whether its work can be claimed only with its token.")
    max_running: int | None = Field(description="How many of its contracts may be in progress; None: any.")
    paused_at: Timestamp | None = Field(description="Since when none of its contracts can be claimed.")
    created_at: Timestamp
    running: int = Field(description="Contracts in progress.")
    ready: int = Field(description="Contracts that can be claimed once it is not paused.")
    held: int = Field(description="Pending contracts that must wait.")


class AgentToken(_Answer):
    """A registered agent, with its token if it has just been issued."""

    name: str
    token: str | None = Field(repr=False, description="A secret. It is shown this once.")
    created: bool = Field(description="False if the agent was registered before.")
    previous_token_expires_at: Timestamp | None = Field(description="How long the previous token works.")


class AgentChange(_Answer):
    """An agent paused, resumed or removed."""

    name: str
    message: str
    was_duplicate: bool = Field(description="The call changed nothing.")


class CleanupReport(_Answer):
    """What one clean-up changed."""

    failed_count: int = Field(description="Contracts whose attempt ended with no retry left.")
    cancelled_count: int = Field(description="Contracts that were not claimed in time.")
    requeued_count: int = Field(description="Contracts whose attempt ended and that are pending again.")


class PruneReport(_Answer):
    """What one pruning deleted."""

    deleted_count: int
    deleted_artifact_count: int
