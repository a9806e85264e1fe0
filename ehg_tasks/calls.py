"""What is asked and how the answer is read; pure, and shared by the sync and async clients.

An act on a contract is a `Call` of a database function, a list of rows is a `Page` of a table.
Parameters are left out where the caller said nothing, so that defaults live in SQL alone.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from uuid import UUID, uuid4

from pydantic import BaseModel, ValidationError

from ehg_tasks.errors import (
    BadArgument,
    ContractNotFound,
    SettingsError,
    UnexpectedAnswer,
    one_line,
    translate,
)
from ehg_tasks.models import (
    Claim,
    ClaimHandle,
    CleanupReport,
    Completion,
    ContractView,
    CreatedContract,
    FailedAttempt,
    InputArtifact,
    Lease,
    NewContract,
    Outcome,
    StatusChange,
)
from ehg_tasks.settings import KeyKind, Settings, check_key, check_url

if TYPE_CHECKING:
    pass

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

IDS_PER_CALL = 1000  # what task_contract_outcomes takes
# JSON writes NUL as \u0000; an even number of backslashes before it belongs to the text.
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


@dataclass(frozen=True)
class Call(Generic[T]):
    """A database function, its parameters as JSON, and how its answer is read."""

    function: str
    parameters: dict[str, Any] = field(repr=False)  # a claim token may be among them
    read: Callable[[Any], T]


def _call(
    function: str, read: Callable[[Any], T], required: dict[str, Any] | None = None, **optional: Any
) -> Call[T]:
    """A call without the optional parameters that are None."""
    given = (required or {}) | {name: value for name, value in optional.items() if value is not None}
    return Call(function, {f"p_{name}": storable(name, value) for name, value in given.items()}, read)


def storable(name: str, value: Any) -> Any:
    """The value, if it is JSON that Postgres can store; UUIDs become texts.

    Raises:
        BadArgument: it is not.
    """
    if isinstance(value, UUID):
        return str(value)
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode()  # refuses half of a surrogate pair
    except (TypeError, ValueError, RecursionError) as error:
        raise BadArgument(f"{name} is not JSON: {error}") from None
    if _NUL.search(text):
        raise BadArgument(f"{name} holds a NUL character (\\u0000), which Postgres cannot store")
    return value


def uuid_text(name: str, value: UUID | str) -> str:
    """A UUID as text.

    Raises:
        BadArgument: it is none.
    """
    try:
        return str(value if isinstance(value, UUID) else UUID(value))
    except (TypeError, ValueError, AttributeError):
        shown = f": {value[:60]!r}" if name.startswith("contract_id") and isinstance(value, str) else ""
        raise BadArgument(f"{name} is not a UUID{shown}") from None


# --- answers -----------------------------------------------------------------------------------


def rows(model: type[M]) -> Callable[[Any], list[M]]:
    """A reader of any number of rows."""

    def read(data: Any) -> list[M]:
        if not isinstance(data, list):
            raise UnexpectedAnswer("the answer is no list of rows")
        try:
            return [model.model_validate(row) for row in data]
        except ValidationError as error:
            text = one_line(error)
            raise UnexpectedAnswer(f"the answer has another shape than expected: {text}") from None

    return read


def row(model: type[M]) -> Callable[[Any], M]:
    """A reader of exactly one row."""
    read = rows(model)

    def read_one(data: Any) -> M:
        models = read(data)
        if len(models) != 1:
            raise UnexpectedAnswer(f"the answer has {len(models)} rows where one was expected")
        return models[0]

    return read_one


def row_of(model: type[M], contract_id: UUID | str) -> Callable[[Any], M]:
    """A reader of the row of one contract, which there may not be (ContractNotFound)."""
    read = row(model)

    def read_one(data: Any) -> M:
        found(contract_id, data)
        return read(data)

    return read_one


def found(contract_id: UUID | str, data: Any) -> None:
    """Raise ContractNotFound where the answer has no row."""
    if data == []:
        raise ContractNotFound(f"there is no task contract {contract_id}")


def counted(count: int | None) -> int:
    """The count that an answer came with."""
    if count is None:
        raise UnexpectedAnswer("the answer holds no count")
    return count


# --- acts of agents ----------------------------------------------------------------------------


def create(contract: NewContract | None, fields: dict[str, Any]) -> Call[CreatedContract]:
    """Create a contract, under a new id where none is given, so that the call can be repeated."""
    if contract is not None and fields:
        raise BadArgument("give a NewContract or its fields, not both")
    return _call("create_task_contract", row(CreatedContract), _new(contract or NewContract(**fields)))


def create_many(contracts: Iterable[NewContract]) -> Call[list[CreatedContract]]:
    """Create many contracts, all or none."""
    new = [_new(contract) for contract in contracts]
    return _call("create_task_contracts", rows(CreatedContract), {"contracts": new})


def _new(contract: NewContract) -> dict[str, Any]:
    fields = contract.model_dump(mode="json", exclude_unset=True)
    given = {name: value for name, value in fields.items() if value is not None}
    return given | {"contract_id": str(contract.contract_id or uuid4())}


def claim(
    target_agent: str, limit: int, request_key: UUID | str | None, agent_id: UUID | str | None
) -> Call[list[Claim]]:
    """Claim contracts, under a new key where none is given, so that the call can be repeated."""
    return _call(
        "claim_task_contract",
        rows(Claim),
        {"target_agent": target_agent, "limit": limit},
        request_key=uuid_text("request_key", request_key or uuid4()),
        agent_id=_optional_uuid("agent_id", agent_id),
    )


def renew(claim: ClaimHandle) -> Call[Lease]:
    """Prolong a claim."""
    return _call("renew_task_contract", row(Lease), _held(claim))


def complete(
    claim: ClaimHandle | UUID | str,
    *,
    output: Any,
    result_summary: str | None,
    output_artifact_id: UUID | str | None,
    execution_tokens: int | None,
    idempotency_key: UUID | str | None,
    agent_id: UUID | str | None,
) -> Call[Completion]:
    """Record a result. The claim token is the idempotency key where none is given."""
    if isinstance(claim, ClaimHandle):
        contract = _held(claim)
    else:  # the service role, without a token: a new key makes the call repeatable
        contract = {"contract_id": uuid_text("contract_id", claim)}
        idempotency_key = idempotency_key or uuid4()
    return _call(
        "complete_task_contract",
        row(Completion),
        contract,
        output=output,
        result_summary=result_summary,
        output_artifact_id=_optional_uuid("output_artifact_id", output_artifact_id),
        execution_tokens=execution_tokens,
        idempotency_key=_optional_uuid("idempotency_key", idempotency_key),
        agent_id=_optional_uuid("agent_id", agent_id),
    )


def fail(claim: ClaimHandle, message: str, retry: bool) -> Call[FailedAttempt]:
    """End an attempt with an error."""
    required = _held(claim) | {"error_message": message}
    return _call("fail_task_contract", row(FailedAttempt), required, retry=None if retry else False)


def release(claim: ClaimHandle) -> Call[StatusChange]:
    """Give a claim back."""
    return _call("release_task_contract", row(StatusChange), _held(claim))


def cancel(contract_id: UUID | str, reason: str | None) -> Call[StatusChange]:
    """Cancel a contract."""
    contract_id = uuid_text("contract_id", contract_id)
    return _call("cancel_task_contract", row(StatusChange), {"contract_id": contract_id}, reason=reason)


def outcome(contract_id: UUID | str) -> Call[Outcome]:
    """What became of one contract."""
    contract_id = uuid_text("contract_id", contract_id)
    return _call("task_contract_outcomes", row_of(Outcome, contract_id), {"contract_ids": [contract_id]})


def outcomes(contract_ids: Iterable[UUID | str]) -> list[Call[list[Outcome]]]:
    """What became of contracts: as many calls as the server's limit asks for, each id once."""
    ids = list(dict.fromkeys(uuid_text("contract_ids", contract_id) for contract_id in contract_ids))
    return [
        _call("task_contract_outcomes", rows(Outcome), {"contract_ids": ids[start : start + IDS_PER_CALL]})
        for start in range(0, len(ids), IDS_PER_CALL)
    ]


def inputs(claim: ClaimHandle) -> Call[list[InputArtifact]]:
    """The input artifacts of a claimed contract."""
    return _call("task_contract_inputs", rows(InputArtifact), _held(claim))


def _held(claim: ClaimHandle) -> dict[str, str]:
    return {"contract_id": str(claim.contract_id), "claim_token": str(claim.claim_token)}


def _optional_uuid(name: str, value: UUID | str | None) -> str | None:
    return None if value is None else uuid_text(name, value)


# --- acts of dashboards and backend jobs -------------------------------------------------------


def read(contract_id: UUID | str) -> Call[ContractView]:
    """One contract as a person reads it."""
    contract_id = uuid_text("contract_id", contract_id)
    return _call("read_task_contract", row_of(ContractView, contract_id), {"contract_id": contract_id})


def cleanup(max_wait_minutes: int | None, limit: int) -> Call[CleanupReport]:
    """Clean up; null for the wait means that nothing is cancelled for it, so it is sent."""
    required = {"max_wait_minutes": max_wait_minutes, "limit": limit}
    return _call("cleanup_stale_contracts", row(CleanupReport), required)


def prune(older_than_days: int, limit: int) -> Call[int]:
    """Delete final contracts."""

    def deleted(data: Any) -> int:
        match data:
            case [{"deleted_count": int(count)}]:
                return count
        raise UnexpectedAnswer("the answer holds no deleted_count")

    return _call("prune_task_contracts", deleted, {"older_than_days": older_than_days, "limit": limit})


def describe() -> Call[dict[str, Any]]:
    """The live objects."""

    def described(data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            raise UnexpectedAnswer("the answer is no description")
        return data

    return _call("describe_task_contracts", described)


# --- connection --------------------------------------------------------------------------------


def project(
    settings: Settings | None, url: str | None, key: str | None, kind: KeyKind, user: str
) -> tuple[str, str]:
    """The URL and the key that a client works with.

    Raises:
        SettingsError: they are missing, wrong, or of another kind than this client's.
    """
    if settings is not None:
        if url is not None or key is not None:
            raise SettingsError(f"{user} takes settings, or url and key, and was given both")
        url = settings.url
        key = settings.key("secret" if kind == "secret" else "publishable").get_secret_value()
    if url is None or key is None:
        hint = f"Pass Settings, or url and key, or use {user}.from_env()."
        raise SettingsError(f"{user} was given no {'url' if url is None else 'key'}", hint=hint)
    check_key(key, kind, user)
    return check_url(url), key


def retry_wait(error: Exception, attempt: int, retries: int) -> float:
    """Seconds to wait before the attempt after `attempt` (0, 1, …): doubling from 0.2 to 5, with jitter.

    Raises:
        TaskContractError: the error in our terms, where another attempt would not help or is one too many.
    """
    failure = translate(error)
    if failure is None:
        raise error
    if not failure.retryable or attempt >= retries:
        raise failure from None
    return random.uniform(0.5, 1) * min(0.2 * 2.0**attempt, 5.0)  # noqa: S311 - not a secret
