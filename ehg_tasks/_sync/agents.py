# Generated from ehg_tasks/_async by `make generated`. Do not edit.
"""Agents: create, claim and finish contracts, with the publishable key."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Generic, TypeVar, Unpack, overload
from uuid import UUID, uuid4

from ehg_tasks import limits
from ehg_tasks._sync.base import SyncBase
from ehg_tasks.errors import BadArgument
from ehg_tasks.models import (
    Claim,
    ClaimHandle,
    Completion,
    CreatedContract,
    FailedAttempt,
    InputArtifact,
    Lease,
    Outcome,
    StatusChange,
)
from ehg_tasks.new_contract import NewContract, NewContractFields
from ehg_tasks.values import uuid_text

Proof = TypeVar("Proof", bound=ClaimHandle | UUID | str)  # what `complete` accepts


def _new(contract: NewContract) -> dict[str, Any]:
    """The given fields, with a new id if there is none, so that the call can be retried."""
    fields = contract.model_dump(mode="json", exclude_unset=True, exclude_none=True)
    return {"contract_id": str(uuid4())} | fields


def _proof(claim: ClaimHandle) -> dict[str, Any]:
    return {"contract_id": claim.contract_id, "claim_token": claim.claim_token}


class SyncAgentMethods(SyncBase, Generic[Proof]):
    """What agents and backend jobs have in common."""

    @overload
    def create(self, contract: NewContract, /) -> CreatedContract: ...
    @overload
    def create(self, /, **fields: Unpack[NewContractFields]) -> CreatedContract: ...
    def create(self, contract: NewContract | None = None, /, **fields: Any) -> CreatedContract:
        """Create a contract from a `NewContract`, or from its fields as keywords.

        Raises:
            BadArgument, TooLarge: a field is not as `NewContract` describes it, or an input artifact does
                not exist.
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
        return self._rpc_rows("create_task_contracts", CreatedContract, {"contracts": new})

    def claim(
        self,
        target_agent: str,
        *,
        limit: int = 1,
        request_key: UUID | str | None = None,
        agent_id: UUID | str | None = None,
    ) -> list[Claim]:
        """Claim up to `limit` (at most 100) contracts for an agent; an empty list when there are none.

        Highest priority first, then oldest. Repeating a call with the same `request_key` returns the
        same claims. `agent_id` is stored as `completed_by_agent_id` when the contract ends.
        """
        return self._rpc_rows(
            "claim_task_contract",
            Claim,
            {
                "target_agent": target_agent,
                "limit": limit,
                "request_key": uuid4() if request_key is None else request_key,
            },
            agent_id=agent_id,
        )

    def renew(self, claim: ClaimHandle) -> Lease:
        """Extend a claim to `timeout_minutes` from now. Raises ClaimLost, StatusConflict."""
        return self._rpc("renew_task_contract", Lease, _proof(claim))

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
        if isinstance(claim, ClaimHandle):
            contract = _proof(claim)
        else:  # the service role has no token: a new key makes the call repeatable
            contract = {"contract_id": claim}
            idempotency_key = uuid4() if idempotency_key is None else idempotency_key
        return self._rpc(
            "complete_task_contract",
            Completion,
            contract,
            output=output,
            result_summary=result_summary,
            output_artifact_id=output_artifact_id,
            execution_tokens=execution_tokens,
            idempotency_key=idempotency_key,
            agent_id=agent_id,
        )

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

    def outcome(self, contract_id: UUID | str) -> Outcome:
        """Return the status and result of a contract so far. Raises ContractNotFound."""
        contract_id = uuid_text("contract_id", contract_id)
        return self._rpc_contract(
            "task_contract_outcomes", Outcome, contract_id, {"contract_ids": [contract_id]}
        )

    def outcomes(self, contract_ids: Iterable[UUID | str]) -> list[Outcome]:
        """Return outcomes in the order of the ids, without duplicates; unknown ids are left out."""
        ids = list(dict.fromkeys(uuid_text("contract_ids", contract_id) for contract_id in contract_ids))
        outcomes: list[Outcome] = []
        for start in range(0, len(ids), limits.ENTRIES):
            part = ids[start : start + limits.ENTRIES]
            outcomes += self._rpc_rows("task_contract_outcomes", Outcome, {"contract_ids": part})
        return outcomes

    def inputs(self, claim: ClaimHandle) -> list[InputArtifact]:
        """Return the input artifacts of a claimed contract, in full. Raises ClaimLost, StatusConflict."""
        return self._rpc_rows("task_contract_inputs", InputArtifact, _proof(claim))


class AgentTasks(SyncAgentMethods[ClaimHandle]):
    """An agent, with the publishable key: creates, claims and finishes contracts; cannot read the table."""
