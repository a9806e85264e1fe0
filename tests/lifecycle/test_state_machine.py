"""The lifecycle compared with a model in plain Python: calls in any order, by any caller, with repeats.

The default run makes a few thousand calls, `make prove` a hundred thousand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.lifecycle.helpers import Database, end_lease, end_wait
from tests.sql import Caller, Row, jsonb

AGENTS = ("A", "B")
FINAL = ("completed", "failed", "cancelled")


@dataclass
class Contract:
    """A contract in the model."""

    id: UUID
    target_agent: str
    priority: int
    max_retries: int
    order: int
    status: str = "pending"
    retry_count: int = 0
    token: UUID | None = None  # of the current claim
    request_key: UUID | None = None
    expired: bool = False  # the lease has expired and no one has taken over yet
    waits: bool = False  # after a failed attempt: cannot be claimed yet
    handed_back: tuple[str, UUID] | None = None  # how the last attempt ended, and its token
    finished: tuple[UUID | None, Any] | None = None  # idempotency key and result of the call that finished it


@dataclass(frozen=True)
class Token:
    """A claim that was made at some point, current or not."""

    contract_id: UUID
    token: UUID


@dataclass
class Setup:
    """The callers, the database and the model's contracts of one example."""

    anon: Caller
    service: Caller
    database: Database
    contracts: dict[UUID, Contract] = field(default_factory=dict)


class Lifecycle(RuleBasedStateMachine):
    """Each rule makes a call and applies it to the model; answers and rows must agree."""

    setup: ClassVar[Setup]
    steps: ClassVar[int] = 0

    ids = Bundle("ids")
    tokens = Bundle("tokens")

    @initialize()
    def start_empty(self) -> None:
        self.setup.database.execute("delete from public.agent_task_contracts")
        self.setup.database.execute("delete from public.agent_artifacts")
        self.setup.contracts = {}

    def call(self, function: str, caller: Caller | None = None, **parameters: Any) -> list[Row] | str:
        """Return the answer, or the SQLSTATE of the error."""
        type(self).steps += 1
        try:
            return (caller or self.setup.anon)(function, **parameters)
        except psycopg.Error as error:
            return str(error.sqlstate)

    # --- rules of the model ----------------------------------------------------------------------

    def end_attempt(self, contract: Contract) -> None:
        """End an attempt without a result: the contract is retried or fails."""
        contract.token = contract.request_key = None
        contract.expired = False
        if contract.retry_count < contract.max_retries:
            contract.status, contract.retry_count = "pending", contract.retry_count + 1
        else:
            contract.status = "failed"

    def refusal(self, contract: Contract, token: UUID | None) -> str | None:
        """Return the SQLSTATE that a call with this token raises, or None."""
        if contract.status in FINAL:
            return "TC003"
        if contract.status != "in_progress" or token is None or token != contract.token:
            return "TC002"
        return None

    # --- calls -----------------------------------------------------------------------------------

    @rule(
        target=ids,
        agent=st.sampled_from(AGENTS),
        priority=st.sampled_from([10, 50]),
        max_retries=st.integers(0, 2),
    )
    def create(self, agent: str, priority: int, max_retries: int) -> UUID:
        contract = Contract(uuid4(), agent, priority, max_retries, len(self.setup.contracts))
        answer = self.call(
            "create_task_contract",
            parent_agent="P",
            target_agent=agent,
            objective=str(contract.order),
            contract_id=contract.id,
            priority=priority,
            max_retries=max_retries,
        )
        assert not isinstance(answer, str), answer
        assert (answer[0]["contract_id"], answer[0]["created"]) == (contract.id, True)
        self.setup.contracts[contract.id] = contract
        return contract.id

    @rule(contract_id=ids, same=st.booleans())
    def create_again(self, contract_id: UUID, same: bool) -> None:
        contract = self.setup.contracts[contract_id]
        answer = self.call(
            "create_task_contract",
            parent_agent="P",
            target_agent=contract.target_agent,
            objective=str(contract.order) if same else "another",
            contract_id=contract_id,
            priority=contract.priority,
            max_retries=contract.max_retries,
        )
        if same:
            assert not isinstance(answer, str), answer
            assert answer[0]["created"] is False
        else:
            assert answer == "TC004"

    @rule(target=tokens, agent=st.sampled_from(AGENTS), limit=st.integers(1, 3), key=st.booleans())
    def claim(self, agent: str, limit: int, key: bool) -> Any:
        mine = [c for c in self.setup.contracts.values() if c.target_agent == agent]
        expired = [c for c in mine if c.expired]
        request_key = uuid4() if key else None
        answer = self.call("claim_task_contract", target_agent=agent, limit=limit, request_key=request_key)
        assert not isinstance(answer, str), answer
        # A claim first ends up to `limit` expired attempts of its agent, longest expired first.
        # If there are more, only the database knows which.
        if len(expired) <= limit:
            for contract in expired:
                self.end_attempt(contract)
        else:
            self.read_expired(expired)
        ready = sorted(
            (c for c in mine if c.status == "pending" and not c.waits), key=lambda c: (-c.priority, c.order)
        )[:limit]
        assert [row["contract_id"] for row in answer] == [c.id for c in ready]
        for row, contract in zip(answer, ready, strict=True):
            assert row["attempt"] == contract.retry_count + 1
            contract.status, contract.token = "in_progress", row["claim_token"]
            contract.request_key = request_key
        return multiple(*(Token(row["contract_id"], row["claim_token"]) for row in answer))

    def read_expired(self, expired: list[Contract]) -> None:
        """Read from the database which of the expired leases have ended."""
        current = {row[0] for row in self.setup.database.execute("select claim_token from ehg_tasks.leases")}
        for contract in expired:
            if contract.token not in current:
                self.end_attempt(contract)

    @rule(agent=st.sampled_from(AGENTS), token=tokens)
    def claim_again(self, agent: str, token: Token) -> None:
        """A repeated claim returns those contracts of the first call that are still claimed."""
        key = self.setup.contracts[token.contract_id].request_key
        running = [
            c
            for c in self.setup.contracts.values()
            if key is not None and c.request_key == key and not c.expired and c.status == "in_progress"
        ]
        if not running:
            return
        answer = self.call("claim_task_contract", target_agent=agent, limit=3, request_key=key)
        if agent != running[0].target_agent:
            assert answer == "TC004"
            return
        assert not isinstance(answer, str), answer
        assert {(row["contract_id"], row["claim_token"]) for row in answer} == {
            (c.id, c.token) for c in running
        }

    @rule(token=tokens, correct=st.booleans())
    def renew(self, token: Token, correct: bool) -> None:
        contract = self.setup.contracts[token.contract_id]
        presented = token.token if correct else uuid4()
        answer = self.call("renew_task_contract", contract_id=contract.id, claim_token=presented)
        if refused := self.refusal(contract, presented):
            assert answer == refused
            return
        assert not isinstance(answer, str), answer
        contract.expired = False

    @rule(token=tokens, output=st.sampled_from([None, {"a": 1}, [2]]), key=st.sampled_from([None, 1, 2]))
    def complete(self, token: Token, output: Any, key: int | None) -> None:
        contract = self.setup.contracts[token.contract_id]
        used_key = token.token if key is None else UUID(int=key)
        answer = self.call(
            "complete_task_contract",
            contract_id=contract.id,
            claim_token=token.token,
            idempotency_key=None if key is None else used_key,
            output=None if output is None else jsonb(output),
        )
        # A contract that failed because its lease expired has no key, so no call can be a repeat.
        if contract.status in ("completed", "failed") and contract.finished is not None:
            finished_key, result = contract.finished
            if finished_key is not None:
                if (finished_key, result) == (used_key, ("completed", output)):
                    assert not isinstance(answer, str), answer
                    assert answer[0]["was_duplicate"] is True
                else:
                    assert answer == "TC004"
                return
        if refused := self.refusal(contract, token.token):
            assert answer == refused
            return
        assert not isinstance(answer, str), answer
        assert answer[0]["was_duplicate"] is False
        contract.status, contract.token = "completed", None
        contract.expired = False
        contract.finished = (used_key, ("completed", output))

    @rule(token=tokens, retry=st.booleans())
    def fail(self, token: Token, retry: bool) -> None:
        contract = self.setup.contracts[token.contract_id]
        answer = self.call(
            "fail_task_contract",
            contract_id=contract.id,
            claim_token=token.token,
            error_message="e",
            retry=retry,
        )
        repeat_of_final = contract.finished == (token.token, ("failed", None))
        repeat = contract.handed_back == ("failed", token.token) and contract.status not in FINAL
        if repeat or repeat_of_final:
            assert not isinstance(answer, str), answer
            assert answer[0]["was_duplicate"] is True
            return
        if refused := self.refusal(contract, token.token):
            assert answer == refused
            return
        assert not isinstance(answer, str), answer
        contract.token, contract.expired = None, False
        if retry and contract.retry_count < contract.max_retries:
            contract.status, contract.retry_count = "pending", contract.retry_count + 1
            contract.waits, contract.handed_back = True, ("failed", token.token)
        else:
            contract.status, contract.finished = "failed", (token.token, ("failed", None))
        assert answer[0]["status"] == contract.status

    @rule(token=tokens)
    def release(self, token: Token) -> None:
        contract = self.setup.contracts[token.contract_id]
        answer = self.call("release_task_contract", contract_id=contract.id, claim_token=token.token)
        if contract.handed_back == ("released", token.token) and contract.status not in FINAL:
            assert not isinstance(answer, str), answer
            assert answer[0]["was_duplicate"] is True
            return
        if refused := self.refusal(contract, token.token):
            assert answer == refused
            return
        assert not isinstance(answer, str), answer
        contract.status, contract.token, contract.expired = "pending", None, False
        contract.handed_back, contract.waits = ("released", token.token), False

    @rule(contract_id=ids)
    def cancel(self, contract_id: UUID) -> None:
        contract = self.setup.contracts[contract_id]
        answer = self.call("cancel_task_contract", contract_id=contract_id)
        if contract.status in ("completed", "failed"):
            assert answer == "TC003"
            return
        assert not isinstance(answer, str), answer
        assert answer[0]["was_duplicate"] is (contract.status == "cancelled")
        contract.status, contract.token, contract.expired = "cancelled", None, False

    @rule(token=tokens)
    def a_lease_expires(self, token: Token) -> None:
        contract = self.setup.contracts[token.contract_id]
        if contract.token == token.token:
            end_lease(self.setup.database, contract.id)
            contract.expired = True

    @rule(contract_id=ids)
    def a_wait_ends(self, contract_id: UUID) -> None:
        end_wait(self.setup.database, contract_id)
        self.setup.contracts[contract_id].waits = False

    @precondition(lambda self: self.setup.contracts)
    @rule()
    def clean_up(self) -> None:
        expired = [c for c in self.setup.contracts.values() if c.expired]
        answer = self.call("cleanup_stale_contracts", self.setup.service)
        assert not isinstance(answer, str), answer
        for contract in expired:
            self.end_attempt(contract)
        requeued = [c for c in expired if c.status == "pending"]
        assert answer == [
            {
                "failed_count": len(expired) - len(requeued),
                "cancelled_count": 0,
                "requeued_count": len(requeued),
            }
        ]

    @rule(token=consumes(tokens), contract_id=ids)
    def a_token_is_valid_for_its_contract_only(self, token: Token, contract_id: UUID) -> None:
        contract = self.setup.contracts[contract_id]
        if contract_id == token.contract_id:
            return
        answer = self.call("renew_task_contract", contract_id=contract_id, claim_token=token.token)
        assert answer == self.refusal(contract, token.token)

    # --- invariant -----------------------------------------------------------------------------

    @invariant()
    def rows_agree_with_the_model(self) -> None:
        rows = self.setup.database.execute(
            "select c.id, c.status, c.retry_count, l.claim_token, c.completed_at is not null,"
            "       c.started_at is not null, c.output_artifact_id is not null"
            " from public.agent_task_contracts c left join ehg_tasks.leases l on l.contract_id = c.id"
        ).fetchall()
        actual = {row[0]: row[1:4] for row in rows}
        expected = {c.id: (c.status, c.retry_count, c.token) for c in self.setup.contracts.values()}
        assert actual == expected
        for _, status, _, token, ended, started, output in rows:
            assert ended == (status in FINAL)
            assert (token is not None) == (status == "in_progress")
            assert started or status not in ("in_progress", "completed", "failed")
            assert status == "completed" or not output


@pytest.fixture
def setup(anon: Caller, service: Caller, database: Database) -> Iterator[None]:
    Lifecycle.setup = Setup(anon, service, database)
    yield
    del Lifecycle.setup


@pytest.mark.usefixtures("setup")
@pytest.mark.timeout(3600)
def test_calls_in_any_order_agree_with_the_model() -> None:
    Lifecycle.steps = 0
    run_state_machine_as_test(
        Lifecycle,
        settings=settings(suppress_health_check=list(HealthCheck), deadline=None, print_blob=True),
    )
    assert Lifecycle.steps >= 2000
