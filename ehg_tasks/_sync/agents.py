# Generated from ehg_tasks/_async by `make generated`. Do not edit.
"""Agents: create, claim and finish contracts, with the publishable key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Generic, TypeVar, Unpack, overload
from uuid import UUID, uuid4

from supabase import ClientOptions

from ehg_tasks import answers, limits
from ehg_tasks._sync.outcomes import SyncOutcomeMethods
from ehg_tasks.answers import Model
from ehg_tasks.errors import BadArgument
from ehg_tasks.models import (
    BulkCompletion,
    Claim,
    ClaimHandle,
    Completion,
    CreatedContract,
    FailedAttempt,
    InputArtifact,
    Lease,
    Renewal,
    StatusChange,
)
from ehg_tasks.new_contract import NewContract, NewContractFields
from ehg_tasks.new_result import NewResult
from ehg_tasks.settings import AGENT_TOKEN_HEADER, Settings, checked_agent_token
from ehg_tasks.values import item_fields

Proof = TypeVar("Proof", bound=ClaimHandle | UUID | str)  # what `complete` accepts


def _new(contract: NewContract) -> dict[str, Any]:
    """The given fields, with a new id if there is none, so that the call can be retried."""
    fields = contract.model_dump(mode="json", exclude_unset=True, exclude_none=True)
    return {"contract_id": str(uuid4())} | fields


def _proof(claim: ClaimHandle) -> dict[str, Any]:
    return {"contract_id": claim.contract_id, "claim_token": claim.claim_token}


def _completion(result: NewResult) -> tuple[dict[str, Any], dict[str, Any]]:
    """The required and the optional parameters of complete_task_contract."""
    claim, key = result.claim, result.idempotency_key
    if isinstance(claim, ClaimHandle):
        contract = _proof(claim)
    else:  # the service role has no token: a new key makes the call repeatable
        contract, key = {"contract_id": claim}, uuid4() if key is None else key
    return contract, {
        "output": result.output,
        "result_summary": result.result_summary,
        "output_artifact_id": result.output_artifact_id,
        "execution_tokens": result.execution_tokens,
        "idempotency_key": key,
        "agent_id": result.agent_id,
    }


class SyncAgentMethods(SyncOutcomeMethods, Generic[Proof]):
    """What agents and backend jobs have in common."""

    @overload
    def create(self, contract: NewContract, /) -> CreatedContract: ...
    @overload
    def create(self, /, **fields: Unpack[NewContractFields]) -> CreatedContract: ...
    def create(self, contract: NewContract | None = None, /, **fields: Any) -> CreatedContract:
        """Create a contract from a `NewContract`, or from its fields as keywords.

        Raises:
            BadArgument, TooLarge: a field is not as `NewContract` describes it, or an input artifact or a
                contract to wait for does not exist.
            AccessDenied: `parent_agent` is registered, and this client does not have its token.
            IdempotencyConflict: the contract with this `contract_id` has another value in a given field.
            InvalidData: there is no such `sd_id`.
        """
        if contract is not None and fields:
            raise BadArgument("give a NewContract or its fields, not both")
        new = contract or NewContract(**fields)
        return self._rpc("create_task_contract", CreatedContract, _new(new))

    def create_many(self, contracts: Iterable[NewContract], /) -> list[CreatedContract]:
        """Create up to 1000 contracts in one call, all or none."""
        new = [_new(contract) for contract in contracts]
        created = self._rpc_rows("create_task_contracts", CreatedContract, len(new), {"contracts": new})
        return answers.counted(created, len(new))

    def claim(
        self,
        target_agent: str,
        *,
        limit: int = 1,
        request_key: UUID | str | None = None,
        agent_id: UUID | str | None = None,
        lease_seconds: int | None = None,
        contract_id: UUID | str | None = None,
    ) -> list[Claim]:
        """Claim contracts for an agent, highest priority first, then oldest.

        Args:
            target_agent: the agent whose work to claim.
            limit: how many contracts at most, up to 100. Fewer come if the answer would exceed 8 MiB.
            request_key: repeating a call with the same key returns the same claims.
            agent_id: stored as `completed_by_agent_id` when the contract ends.
            lease_seconds: the length of the lease, 5 seconds or more. Unless it is renewed in time, the
                contract can be claimed again. Default: as long as the time limit, `timeout_minutes`.
            contract_id: claim this contract or none.

        Returns:
            The claims; an empty list if there is nothing to claim, or the agent is paused or has as many
            contracts in progress as it may.

        Raises:
            AccessDenied: the agent is registered, and this client does not have its token.
            IdempotencyConflict: the `request_key` was used for another agent.
        """
        return self._rpc_rows(
            "claim_task_contract",
            Claim,
            limit,
            {
                "target_agent": target_agent,
                "limit": limit,
                "request_key": uuid4() if request_key is None else request_key,
            },
            agent_id=agent_id,
            lease_seconds=lease_seconds,
            contract_id=contract_id,
        )

    def renew(self, claim: ClaimHandle, *, progress: Mapping[str, Any] | None = None) -> Lease:
        """Extend a lease by its length from now, but not past the attempt's time limit.

        Args:
            claim: what `claim` returned.
            progress: how far the work is, such as message, percent and tokens; a JSON object of at most
                4 KiB, kept with the attempt. None keeps what was reported before.

        Raises:
            ClaimLost, StatusConflict: the contract has been handed to another worker, has ended, or has
                reached its time limit.
        """
        return self._rpc("renew_task_contract", Lease, _proof(claim), progress=progress)

    def renew_many(
        self,
        claims: Iterable[ClaimHandle],
        /,
        *,
        progress: Mapping[UUID, Mapping[str, Any]] | None = None,
    ) -> list[Renewal]:
        """Renew claims, 100 in one call. None of them affects another.

        Args:
            claims: what `claim` returned.
            progress: reports as in `renew`, by the ids of their contracts.

        Returns:
            For each claim, in their order, whether it is renewed, or else what has become of it.
        """
        reports = progress or {}
        items = [item_fields(_proof(claim), {"progress": reports.get(claim.contract_id)}) for claim in claims]
        return self._rpc_each("renew_task_contracts", Renewal, "claims", items)

    def complete(
        self,
        claim: Proof,
        *,
        output: Any = None,
        result_summary: str | None = None,
        output_artifact_id: UUID | str | None = None,
        execution_tokens: int | None = None,
        idempotency_key: UUID | str | None = None,
        agent_id: UUID | str | None = None,
    ) -> Completion:
        """Record the result, once.

        Args:
            claim: what `claim` returned.
            output: any JSON value but null, at most 1 MiB, stored as an artifact; None for no output.
            result_summary: the result in words, at most 64 KiB.
            output_artifact_id: an artifact that already holds the output.
            execution_tokens: how many tokens the work took.
            idempotency_key: repeating a call with the same key returns the recorded result. Default:
                the claim token.
            agent_id: who did the work. Default: the agent that claimed it.

        Raises:
            ClaimLost, StatusConflict: the contract has been handed to another worker, or has ended.
            IdempotencyConflict: it was finished with another key or another result.
            BadArgument, TooLarge: the output is not JSON, or too large.
        """
        result = NewResult(
            claim,
            output=output,
            result_summary=result_summary,
            output_artifact_id=output_artifact_id,
            execution_tokens=execution_tokens,
            idempotency_key=idempotency_key,
            agent_id=agent_id,
        )
        required, optional = _completion(result)
        return self._rpc("complete_task_contract", Completion, required, **optional)

    def complete_many(self, results: Iterable[NewResult], /) -> list[BulkCompletion]:
        """Record results, each once, 100 in one call. None of them affects another.

        Returns:
            For each result, in their order, whether it is recorded; if not, `error` is the exception
            that `complete` raises.

        Raises:
            BadArgument: an output is not JSON; nothing has been sent.
        """
        items = [item_fields(*_completion(result)) for result in results]
        return self._rpc_each("complete_task_contracts", BulkCompletion, "results", items)

    def fail(self, claim: ClaimHandle, message: str, *, retry: bool = True) -> FailedAttempt:
        """Fail the attempt. Raises ClaimLost, StatusConflict.

        The contract is pending again after a wait, or fails if no retries are left. `retry=False` fails it
        at once.
        """
        return self._rpc(
            "fail_task_contract",
            FailedAttempt,
            _proof(claim) | {"error_message": message},
            retry=None if retry else False,
        )

    def release(self, claim: ClaimHandle) -> StatusChange:
        """Release a claim without using up a retry. Raises ClaimLost, StatusConflict."""
        return self._rpc("release_task_contract", StatusChange, _proof(claim))

    def cancel(self, contract_id: UUID | str, reason: str | None = None) -> StatusChange:
        """Cancel a contract that has not ended. Raises ContractNotFound, StatusConflict."""
        return self._rpc("cancel_task_contract", StatusChange, {"contract_id": contract_id}, reason=reason)

    def inputs(self, claim: ClaimHandle) -> list[InputArtifact]:
        """Return the input artifacts of a claimed contract, in full, in as many calls as needed.

        Raises:
            ContractNotFound: an artifact no longer exists.
            ClaimLost, StatusConflict: the contract has been handed to another worker, or has ended.
        """
        found: dict[UUID, InputArtifact] = {}  # a row that comes again keeps its place
        ids: list[str] | None = None
        while ids != []:
            rows = self._rpc_rows(
                "task_contract_inputs", InputArtifact, limits.ENTRIES, _proof(claim), artifact_ids=ids
            )
            found |= {row.artifact_id: row for row in rows}
            ids = [str(row.artifact_id) for row in answers.omitted(rows)]
        return list(found.values())

    def _rpc_each(
        self, function: str, model: type[Model], name: str, items: list[dict[str, Any]], /
    ) -> list[Model]:
        """Call a database function that takes up to 100 items and returns a row for each."""
        rows: list[Model] = []
        for start in range(0, len(items), limits.CLAIMS):
            part = items[start : start + limits.CLAIMS]
            rows += answers.counted(self._rpc_rows(function, model, len(part), {name: part}), len(part))
        return rows


class AgentTasks(SyncAgentMethods[ClaimHandle]):
    """An agent, with the publishable key: creates, claims and finishes contracts; cannot read the table.

    Args:
        settings: where the project is, with the publishable key. Or give `url` and `key`.
        url: the project's URL, such as https://abcdefgh.supabase.co.
        key: the publishable key.
        agent_token: the token of a registered agent, to claim its work and create contracts in its name.
            Default: that of the settings (EHG_AGENT_TOKEN).
        timeout: how long one attempt of a call waits for an answer, in seconds.
        retries: how many attempts may follow the first.

    Raises:
        SettingsError: the URL or the key is missing, one of them or the token is malformed, or the key
            belongs to another role.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        url: str | None = None,
        key: str | None = None,
        agent_token: str | None = None,
        timeout: float = 10.0,
        retries: int = 3,
    ) -> None:
        self._agent_token = checked_agent_token(settings, agent_token)
        super().__init__(settings, url=url, key=key, timeout=timeout, retries=retries)
        self.connection = replace(self.connection, agent_token=self._agent_token)

    def _options(self) -> ClientOptions:
        options = super()._options()
        if self._agent_token is not None:
            options.headers[AGENT_TOKEN_HEADER] = self._agent_token
        return options
