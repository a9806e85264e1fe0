"""A new contract, checked before it is sent."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from importlib.util import find_spec
from typing import Annotated, Any, Literal, Required, Self, TypedDict
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

from ehg_tasks import limits
from ehg_tasks.errors import BadArgument, one_line

AgentName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=50)]
OnDependencyFailure = Literal["cancel", "run"]


def _json_schema(value: Any) -> Any:
    """The schema of a pydantic model; any other value as it is, if jsonschema accepts it or is missing."""
    if isinstance(value, type) and issubclass(value, BaseModel):
        return value.model_json_schema()
    if isinstance(value, dict) and find_spec("jsonschema") is not None:
        from jsonschema import Draft202012Validator, SchemaError
        from jsonschema.validators import validator_for

        try:
            validator_for(value, default=Draft202012Validator).check_schema(value)
        except SchemaError as error:
            raise ValueError(f"not a JSON Schema: {error.json_path}: {error.message[:200]}") from None
        except Exception:  # noqa: BLE001 - a $schema that is not a string, or too many levels
            raise ValueError("not a JSON Schema") from None
    return value


class NewContract(BaseModel):
    """Work to hand over. Fields left out get the table's defaults, shown here.

    Raises:
        BadArgument: a field is unknown, missing, or not as described.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    parent_agent: AgentName = Field(description="Who hands the work over; at most 50 characters.")
    target_agent: AgentName = Field(description="Who does the work; at most 50 characters.")
    objective: str = Field(min_length=1, pattern=r"\S", description="What to do; at most 64 KiB.")
    contract_id: UUID | None = Field(default=None, description="Your own id makes the call repeatable.")
    session_id: UUID | None = Field(default=None, description="The session that the work belongs to.")
    sd_id: str | None = Field(default=None, max_length=50, description="An existing strategic directive.")
    constraints: dict[str, JsonValue] = Field(default={}, description="Rules for the work; at most 64 KiB.")
    input_artifacts: list[UUID] = Field(
        default=[], max_length=limits.ENTRIES, description="Artifacts it may read."
    )
    input_summary: str | None = Field(default=None, description="What the inputs are; at most 64 KiB.")
    expected_output_type: str = Field(default="artifact", max_length=50, description="The kind of result.")
    output_schema: Annotated[dict[str, JsonValue], BeforeValidator(_json_schema)] | None = Field(
        default=None, description="JSON Schema of the output, or the pydantic model that describes it."
    )
    priority: int = Field(
        default=50, ge=-limits.INT_MAX - 1, le=limits.INT_MAX, description="Higher is claimed first."
    )
    max_tokens: int = Field(
        default=4000, ge=1, le=limits.INT_MAX, description="Budget of one attempt, in tokens."
    )
    timeout_minutes: int = Field(
        default=30, ge=1, le=limits.TIMEOUT_MINUTES, description="Time limit of one attempt, in minutes."
    )
    max_retries: int = Field(
        default=2, ge=0, le=limits.RETRIES, description="How many attempts may follow the first."
    )
    created_by: str = Field(default="system", max_length=100, description="Who created the contract.")
    not_before: AwareDatetime | None = Field(
        default=None, description="It cannot be claimed before this time, which is within a year."
    )
    depends_on: list[UUID] = Field(
        default=[],
        max_length=limits.DEPENDENCIES,
        description="Contracts that must end first: existing ones, or earlier ones of the same call.",
    )
    on_dependency_failure: OnDependencyFailure = Field(
        default="cancel",
        description="What happens if one of them fails or is cancelled: cancel this contract too, or run it.",
    )

    @model_validator(mode="wrap")
    @classmethod
    def _one_line_error(cls, fields: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(fields)
        except ValidationError as error:
            raise BadArgument(f"not a contract: {one_line(error)}") from None


class NewContractFields(TypedDict, total=False):
    """The fields of `NewContract` as keywords, so that type checkers find a misspelt one."""

    parent_agent: Required[str]
    target_agent: Required[str]
    objective: Required[str]
    contract_id: UUID | str | None
    session_id: UUID | str | None
    sd_id: str | None
    constraints: dict[str, Any]
    input_artifacts: list[UUID] | list[str]
    input_summary: str | None
    expected_output_type: str
    output_schema: dict[str, Any] | type[BaseModel] | None
    priority: int
    max_tokens: int
    timeout_minutes: int
    max_retries: int
    created_by: str
    not_before: datetime | None
    depends_on: Sequence[UUID | str]
    on_dependency_failure: OnDependencyFailure
