"""What goes in and what comes out: immutable pydantic models, named as the columns are.

Times are timezone-aware. Columns that a later version adds to an answer are ignored.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ModelWrapValidatorHandler,
    StringConstraints,
    ValidationError,
    model_validator,
)

from ehg_tasks.errors import BadArgument, one_line


class ContractStatus(StrEnum):
    """Where a contract stands; completed, failed and cancelled are final."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether nothing but the service role can change it any more."""
        return self in (ContractStatus.COMPLETED, ContractStatus.FAILED, ContractStatus.CANCELLED)


# Agents may write to the table itself, so a model must take whatever the table can hold: one odd row
# must not hide the others from a dashboard, nor keep an agent from its claims.


def _python_time(value: Any) -> Any:
    """Times that Python has no date for become its first or last one."""
    if not isinstance(value, str):
        return value
    if value == "-infinity" or value.endswith("BC"):
        return datetime.min.replace(tzinfo=UTC)
    if value == "infinity" or value.find("-") > 4:  # a year of five digits or more
        return datetime.max.replace(tzinfo=UTC)
    return value


def _flat(values: Any) -> Any:
    """A Postgres array may be nested and hold nulls; the engine reads it flat and without them."""
    if not isinstance(values, list):
        return values
    leaves = (_flat(value) if isinstance(value, list) else [value] for value in values if value is not None)
    return [leaf for part in leaves for leaf in part]


Timestamp = Annotated[AwareDatetime, BeforeValidator(_python_time)]
ArtifactIds = Annotated[list[UUID], BeforeValidator(_flat)]
AgentName = Annotated[str, StringConstraints(min_length=1, max_length=50, pattern=r"\S")]
INT_MAX = 2**31 - 1  # of a Postgres integer


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class NewContract(BaseModel):
    """Work to hand over. Fields left out get the table's defaults, which are shown here.

    Raises:
        BadArgument: a field is unknown, missing, or not as described.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    parent_agent: AgentName = Field(description="Who hands the work over; 50 characters at most.")
    target_agent: AgentName = Field(description="Who is to do it; 50 characters at most.")
    objective: str = Field(min_length=1, pattern=r"\S", description="What is to be done; 64 KiB at most.")
    contract_id: UUID | None = Field(default=None, description="Yours, to make the call repeatable.")
    session_id: UUID | None = Field(default=None, description="The session that the work belongs to.")
    sd_id: str | None = Field(default=None, max_length=50, description="An existing strategic directive.")
    constraints: dict[str, JsonValue] = Field(default={}, description="Rules for the work; 64 KiB at most.")
    input_artifacts: list[UUID] = Field(default=[], max_length=1000, description="Artifacts it may read.")
    input_summary: str | None = Field(default=None, description="What the inputs are; 64 KiB at most.")
    expected_output_type: str = Field(default="artifact", max_length=50, description="The kind of result.")
    output_schema: dict[str, JsonValue] | None = Field(default=None, description="JSON Schema of the output.")
    priority: int = Field(default=50, ge=-INT_MAX - 1, le=INT_MAX, description="Higher is claimed first.")
    max_tokens: int = Field(default=4000, ge=1, le=INT_MAX, description="Budget of one attempt, in tokens.")
    timeout_minutes: int = Field(default=30, ge=1, le=INT_MAX, description="How long a claim lasts.")
    max_retries: int = Field(
        default=2, ge=0, le=INT_MAX, description="How many attempts may follow the first."
    )
    created_by: str = Field(default="system", max_length=100, description="Who made the contract.")

    @model_validator(mode="wrap")
    @classmethod
    def _in_one_line(cls, fields: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(fields)
        except ValidationError as error:
            raise BadArgument(f"not a contract: {one_line(error)}") from None


class CreatedContract(_Answer):
    """A contract that exists now."""

    contract_id: UUID
    contract_summary: str = Field(description="parent -> target: the objective's first 100 characters.")
    created: bool = Field(description="False where it existed already: the call was a repeat.")


class ClaimHandle(_Answer):
    """What proves a claim: the contract and the secret token of its current attempt."""

    contract_id: UUID
    claim_token: UUID = Field(repr=False, description="Whoever has it can finish the contract; keep it.")

    @property
    def id(self) -> UUID:
        """The contract's id."""
        return self.contract_id


class Claim(ClaimHandle):
    """A contract to work on, held until `lease_expires_at`."""

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
    timeout_minutes: int | None = Field(description="How long the claim and each renewal last.")
    max_retries: int | None
    created_at: Timestamp
    attempt: int = Field(description="Counts from 1.")
    lease_expires_at: Timestamp = Field(description="By the database's clock.")


class Lease(_Answer):
    """A claim, renewed."""

    contract_id: UUID
    lease_expires_at: Timestamp
    attempt: int


class Completion(_Answer):
    """A recorded result."""

    contract_id: UUID
    success: bool
    status: ContractStatus
    message: str
    was_duplicate: bool = Field(description="The result was recorded before: the call was a repeat.")
    output_artifact_id: UUID | None = Field(description="The artifact that holds the output.")


class StatusChange(_Answer):
    """A contract released or cancelled."""

    contract_id: UUID
    status: ContractStatus
    message: str
    was_duplicate: bool = Field(description="It was so before: the call was a repeat.")


class FailedAttempt(StatusChange):
    """An attempt that ended with an error; `status` tells whether another one follows."""

    retry_count: int
    next_attempt_at: Timestamp | None = Field(description="When it can be claimed again, if it can.")


class Outcome(_Answer):
    """What became of a contract so far."""

    contract_id: UUID
    status: ContractStatus
    result_summary: str | None
    error_message: str | None
    output_artifact_id: UUID | None
    output: JsonValue = Field(description="The output artifact's content: JSON, or text where it is none.")
    execution_tokens: int | None = Field(description="Tokens that the work took.")
    retry_count: int | None
    started_at: Timestamp | None
    completed_at: Timestamp | None


class InputArtifact(_Answer):
    """An artifact that a contract gives its worker to read."""

    artifact_id: UUID
    type: str
    summary: str
    content_text: str | None
    token_count: int | None
    created_at: Timestamp | None


class InputPreview(_Answer):
    """The start of an input artifact."""

    id: UUID
    type: str
    summary: str
    token_count: int | None
    content_preview: str | None = Field(description="The first 200 characters.")


class ContractView(_Answer):
    """A contract as a person reads it, with previews of its inputs."""

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
    execution_tokens: int | None = Field(description="Tokens that all of them took.")
    max_tokens: int | None = Field(description="Their budget, of those that reported tokens.")


class CleanupReport(_Answer):
    """What one clean-up changed."""

    failed_count: int = Field(description="Attempts that ran out with no retry left.")
    cancelled_count: int = Field(description="Contracts that nobody claimed in time.")
    requeued_count: int = Field(description="Attempts that ran out and went back to pending.")
