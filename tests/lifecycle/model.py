"""The lifecycle in plain Python: what each call does, without SQL. test_state_machine.py compares both.

Time does not pass in the model. The machine says when a lease ends, a time limit is reached or a wait is
over.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

FINAL = ("completed", "failed", "cancelled")


@dataclass
class Attempt:
    """An attempt. Without an outcome, it is the lease on a contract in progress."""

    agent: str
    token: UUID
    request_key: UUID | None
    expired: bool = False  # the lease has ended, and nobody has noticed yet
    timed_out: bool = False  # the time limit is reached, and nobody has noticed yet
    outcome: str | None = None
    retried: bool = False  # it failed, and its contract went back to pending
    progress: Any = None


@dataclass(eq=False)
class Dependency:
    """What a contract waits for."""

    contract: Contract
    on_failure: str
    settled: bool


@dataclass(eq=False)
class Contract:
    """A contract. Its id can change, so it is known by its number."""

    number: int
    id: UUID
    target_agent: str
    priority: int = 50
    max_retries: int = 2
    created_at: datetime | None = None
    status: str = "pending"
    retry_count: int = 0
    attempts: list[Attempt] = field(default_factory=list)
    dependencies: list[Dependency] = field(default_factory=list)
    not_before: datetime | None = None  # the contract is held until then
    deleted: bool = False
    key: UUID | None = None  # completion_idempotency_key
    output: Any = None
    has_error: bool = False
    waited_long: bool = False  # it could have been claimed for longer than clean-up allows
    started_long_ago: bool = False

    @property
    def lease(self) -> Attempt | None:
        return self.attempts[-1] if self.attempts and self.attempts[-1].outcome is None else None

    @property
    def waits_for(self) -> int:
        return sum(not dependency.settled for dependency in self.dependencies)

    @property
    def claimable(self) -> bool:
        return self.status == "pending" and self.not_before is None and self.waits_for == 0

    def attempt(self, token: UUID | None) -> Attempt | None:
        """The attempt that this token belongs to, ended or not."""
        return next((a for a in self.attempts if a.token == token), None)

    def refusal(self, token: UUID | None) -> str | None:
        """The SQLSTATE that a call of a holder with this token raises, or None."""
        if self.deleted:
            return "TC001"
        if self.status in FINAL:
            return "TC003"
        if self.lease is None or token is None or token != self.lease.token:
            return "TC002"
        return None


@dataclass
class Agent:
    """A registered agent."""

    token: str | None = None
    max_running: int | None = None
    paused: bool = False
    was_paused: bool = False  # lately: clean-up does not count that time


class Model:
    """The contracts and agents, and what the calls do to them."""

    def __init__(self) -> None:
        self.all: list[Contract] = []  # deleted ones too
        self.agents: dict[str, Agent] = {}

    @property
    def contracts(self) -> Iterator[Contract]:
        return (c for c in self.all if not c.deleted)

    def dependents(self, contract: Contract) -> list[tuple[Contract, Dependency]]:
        return [(c, d) for c in self.contracts for d in c.dependencies if d.contract is contract]

    # --- the queue -------------------------------------------------------------------------------

    def set_status(self, contracts: list[Contract], status: str) -> None:
        """Whoever sets it: attempts end, waits are forgotten, dependents are freed or cancelled."""
        ended = []
        for contract in contracts:
            old, contract.status = contract.status, status
            if old == status:
                continue
            if old == "pending":
                contract.not_before, contract.waited_long = None, False
            if contract.lease is not None:
                contract.lease.outcome = "interrupted" if status == "pending" else status
            if status in FINAL and old not in FINAL:
                ended.append(contract)
        for contract in ended:
            self.settle(contract, status)

    def settle(self, contract: Contract, status: str) -> None:
        """Free the contracts that wait for this one, or cancel them if they depend on its success."""
        waiting = [(c, d) for c, d in self.dependents(contract) if not d.settled]
        for _, dependency in waiting:
            dependency.settled = True
        for dependent, dependency in waiting:
            if status != "completed" and dependency.on_failure == "cancel" and dependent.status == "pending":
                dependent.has_error = True
                self.set_status([dependent], "cancelled")

    def delete(self, contracts: list[Contract]) -> None:
        for contract in contracts:
            contract.deleted = True
            contract.dependencies.clear()
        for contract in contracts:
            self.settle(contract, "deleted")
            for dependent, dependency in self.dependents(contract):
                dependent.dependencies.remove(dependency)

    def create(self, contract: Contract, on_failure: str, depends_on: list[Contract]) -> None:
        self.all.append(contract)
        contract.dependencies = [
            Dependency(c, on_failure, c.status in FINAL) for c in dict.fromkeys(depends_on)
        ]
        if on_failure == "cancel" and any(c.status in ("failed", "cancelled") for c in depends_on):
            contract.has_error = True
            self.set_status([contract], "cancelled")

    # --- claims ----------------------------------------------------------------------------------

    def end_attempt(self, contract: Contract) -> None:
        """End an attempt without a result: the contract is retried or fails."""
        lease = contract.lease
        if lease is not None:
            lease.outcome = "timed_out" if lease.timed_out else "expired"
        contract.has_error = True
        self.retry_or_fail(contract)

    def retry_or_fail(self, contract: Contract) -> None:
        if contract.retry_count < contract.max_retries:
            contract.retry_count += 1
            contract.started_long_ago = False
            self.set_status([contract], "pending")
        else:
            self.set_status([contract], "failed")

    def expire(self, agent: str | None) -> list[Contract]:
        """End the attempts whose lease has ended, of one agent or of all; return their contracts."""
        ended = [c for c in self.contracts if c.lease and c.lease.expired and agent in (None, c.lease.agent)]
        for contract in ended:
            self.end_attempt(contract)
        return ended

    def repeated_claim(self, request_key: UUID) -> list[Contract]:
        """The contracts that an earlier claim with this key holds."""
        return [
            c
            for c in self.contracts
            if c.lease and c.lease.request_key == request_key and not c.lease.expired
        ]

    def next_claims(self, agent: str, limit: int, wanted: Contract | None) -> list[Contract]:
        """What a claim hands out, after it has ended the expired attempts of its agent."""
        registered = self.agents.get(agent, Agent())
        if registered.paused:
            return []
        if registered.max_running is not None:
            running = sum(c.lease is not None and c.lease.agent == agent for c in self.contracts)
            limit = min(limit, max(registered.max_running - running, 0))
        candidates = [c for c in self.contracts if c.claimable and c.target_agent == agent]
        if wanted is not None:
            candidates = [c for c in candidates if c is wanted]
        return self.in_claim_order(candidates)[:limit]

    @staticmethod
    def in_claim_order(contracts: list[Contract]) -> list[Contract]:
        return sorted(contracts, key=lambda c: (-c.priority, c.created_at, c.id))

    def begin_attempt(self, contract: Contract, attempt: Attempt) -> None:
        self.set_status([contract], "in_progress")
        contract.started_long_ago = False
        contract.attempts.append(attempt)

    def renewal(self, contract: Contract, token: UUID) -> str:
        """What a bulk renewal answers, and do it."""
        if contract.deleted:
            return "unknown"
        if contract.status in FINAL:
            return contract.status
        if contract.refusal(token) or contract.lease is None:
            return "lost"
        if contract.lease.timed_out:
            return "timed_out"
        contract.lease.expired = False
        return "renewed"

    # --- results ---------------------------------------------------------------------------------

    def complete(
        self,
        contract: Contract,
        token: UUID | None,
        key: UUID | None,
        output: Any,
        success: bool,
        service: bool,
    ) -> str:
        """Record a result. Return "recorded", "repeated" or the SQLSTATE of the refusal."""
        if contract.deleted:
            return "TC001"
        key = key or token
        status = "completed" if success else "failed"
        if contract.status in ("completed", "failed") and key is not None and contract.key is not None:
            recorded = (contract.key, contract.status, contract.output, contract.has_error)
            return "repeated" if recorded == (key, status, output, False) else "TC004"
        if token is None and service:
            if contract.status in FINAL:
                return "TC003"
            if len(contract.attempts) > 1:
                return "TC002"
        elif refused := contract.refusal(token):
            return refused
        contract.key, contract.output, contract.has_error = key, output, False
        self.set_status([contract], status)
        return "recorded"

    def fail(self, contract: Contract, token: UUID, retry: bool) -> str:
        """End an attempt with an error. Return as `complete` does."""
        if contract.deleted:
            return "TC001"
        attempt = contract.attempt(token)
        if attempt and attempt.outcome == "failed" and (attempt.retried or contract.key == token):
            return "repeated"
        if refused := contract.refusal(token):
            return refused
        assert attempt is not None
        contract.has_error = True
        attempt.outcome = "failed"
        if retry and contract.retry_count < contract.max_retries:
            attempt.retried = True
            self.retry_or_fail(contract)
        else:
            contract.key = token
            self.set_status([contract], "failed")
        return "recorded"

    def release(self, contract: Contract, token: UUID) -> str:
        """Give up a claim. Return as `complete` does."""
        attempt = contract.attempt(token)
        if not contract.deleted and attempt and attempt.outcome == "released":
            return "repeated"
        if refused := contract.refusal(token):
            return refused
        assert attempt is not None
        attempt.outcome = "released"
        contract.started_long_ago = False
        self.set_status([contract], "pending")
        return "recorded"

    def cancel(self, contract: Contract) -> str:
        """Cancel a contract. Return as `complete` does."""
        if contract.deleted:
            return "TC001"
        if contract.status == "cancelled":
            return "repeated"
        if contract.status in FINAL:
            return "TC003"
        contract.has_error = False
        self.set_status([contract], "cancelled")
        return "recorded"

    def requeue(self, contract: Contract) -> str:
        """Put a final contract back in the queue. Return as `complete` does."""
        if contract.deleted:
            return "TC001"
        if contract.status == "pending":
            return "repeated"
        if contract.status not in FINAL:
            return "TC003"
        contract.key, contract.output, contract.has_error = None, None, False
        contract.retry_count, contract.started_long_ago = 0, False
        for dependency in contract.dependencies:
            dependency.settled = dependency.contract.status in FINAL
        self.set_status([contract], "pending")
        return "recorded"

    # --- clean-up and reading ----------------------------------------------------------------------

    def clean_up(self) -> dict[str, int]:
        ended = self.expire(None)
        stale = [
            c for c in self.contracts if c.status == "in_progress" and c.lease is None and c.started_long_ago
        ]
        for contract in stale:
            self.end_attempt(contract)
        forgotten = [
            c
            for c in self.contracts
            if c.claimable
            and c.waited_long
            and not c.attempts
            and not self.agents.get(c.target_agent, Agent()).was_paused
        ]
        requeued = sum(c.status == "pending" for c in ended + stale)
        for contract in forgotten:
            contract.has_error = True
            self.set_status([contract], "cancelled")
        return {
            "failed_count": len(ended + stale) - requeued,
            "cancelled_count": len(forgotten),
            "requeued_count": requeued,
        }

    def waiting(self, contract: Contract) -> str | None:
        """Why a pending contract waits, as task_contract_outcomes says it."""
        if contract.status != "pending":
            return None
        if self.agents.get(contract.target_agent, Agent()).paused:
            return "paused"
        if contract.waits_for:
            return "dependencies"
        if contract.not_before is not None:
            return "retry" if contract.attempts else "delayed"
        return "ready"
