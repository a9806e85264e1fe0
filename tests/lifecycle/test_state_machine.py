"""The lifecycle compared with a model in plain Python: calls and direct writes in any order, with repeats.

The default run makes a few thousand calls, `make prove` a hundred thousand.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    consumes,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.lifecycle.helpers import Database, end_lease, end_wait, reach_time_limit
from tests.lifecycle.machine import Machine, Setup, Token
from tests.lifecycle.model import FINAL, Agent, Attempt, Contract
from tests.sql import Caller, jsonb

AGENTS = ("A", "B")
LATER = datetime.now(UTC) + timedelta(days=300)
STATUSES = ("pending", "in_progress", *FINAL)
OUTPUTS = (None, {"a": 1}, [2])
agents = st.sampled_from(AGENTS)
priorities = st.sampled_from([10, 50])
numbers = st.lists(st.integers(0, 40), max_size=3)  # of contracts, as Lifecycle.pick takes them


class Lifecycle(Machine):
    """Each rule makes a call and applies it to the model; answers and rows must agree."""

    contracts = Bundle("contracts")
    tokens = Bundle("tokens")

    # --- create ----------------------------------------------------------------------------------

    @rule(
        target=contracts,
        agent=agents,
        priority=priorities,
        max_retries=st.integers(0, 2),
        delayed=st.booleans(),
        depends_on=numbers,
        on_failure=st.sampled_from(["cancel", "run"]),
    )
    def create(
        self,
        agent: str,
        priority: int,
        max_retries: int,
        delayed: bool,
        depends_on: list[int],
        on_failure: str,
    ) -> Any:
        contract = Contract(len(self.model.all), uuid4(), agent, priority, max_retries)
        wanted = self.pick(depends_on)
        answer = self.call(
            "create_task_contract",
            **self.fields(contract),
            not_before=LATER if delayed else None,
            depends_on=[c.id for c in wanted],
            on_dependency_failure=on_failure,
        )
        if any(c.deleted for c in wanted):
            assert answer == "TC005"
            return multiple()
        assert not isinstance(answer, str), answer
        assert (answer[0]["contract_id"], answer[0]["created"]) == (contract.id, True)
        contract.not_before = LATER if delayed else None
        return self.added(contract, on_failure, wanted)

    @rule(target=contracts, agent=agents, depends_on=numbers, on_failure=st.sampled_from(["cancel", "run"]))
    def create_chain(self, agent: str, depends_on: list[int], on_failure: str) -> Any:
        """Contracts of one call, each waiting for the one before it, the first for existing ones."""
        existing = [c for c in self.pick(depends_on) if not c.deleted]
        chain = [Contract(len(self.model.all) + n, uuid4(), agent) for n in range(3)]
        waits = [existing, chain[:1], chain[:2]]
        items = [
            self.fields(c)
            | {
                "contract_id": str(c.id),
                "depends_on": [str(w.id) for w in wait],
                "on_dependency_failure": on_failure,
            }
            for c, wait in zip(chain, waits, strict=True)
        ]
        answer = self.call("create_task_contracts", contracts=jsonb(items))
        assert not isinstance(answer, str), answer
        assert [row["contract_id"] for row in answer] == [c.id for c in chain]
        return multiple(*(self.added(c, on_failure, wait) for c, wait in zip(chain, waits, strict=True)))

    @rule(number=contracts, change=st.sampled_from([None, "objective", "depends_on", "not_before"]))
    def create_again(self, number: int, change: str | None) -> None:
        contract = self.model.all[number]
        if contract.deleted:
            return
        waits = contract.status == "pending" and not contract.attempts
        fields = self.fields(contract) | {
            "depends_on": [d.contract.id for d in contract.dependencies],
            "on_dependency_failure": contract.dependencies[0].on_failure if contract.dependencies else "run",
            "not_before": contract.not_before if waits else None,
        }
        different = change == "objective"
        if change == "objective":
            fields["objective"] = "another"
        elif change == "depends_on":
            fields["depends_on"], different = [], contract.dependencies != []
        elif change == "not_before":
            fields["not_before"], different = LATER + timedelta(days=1), waits
        answer = self.call("create_task_contract", **fields)
        if different:
            assert answer == "TC004"
        else:
            assert not isinstance(answer, str), answer
            assert answer[0]["created"] is False

    @rule(agent=agents, authorized=st.booleans())
    def create_in_the_name_of_an_agent(self, agent: str, authorized: bool) -> None:
        """Registered ones need their token. (What is created belongs to an agent that never claims.)"""
        fields: dict[str, Any] = {"parent_agent": agent, "target_agent": "NOBODY", "objective": "o"}
        answer = self.call("create_task_contract", agent_token=self.token_of(agent, authorized), **fields)
        if self.needs_token(agent) and not authorized:
            assert answer == "42501"
        else:
            assert not isinstance(answer, str), answer
            self.write(
                self.setup.service,
                "delete from public.agent_task_contracts where id = %s", answer[0]["contract_id"],
            )  # fmt: skip

    # --- claim and renew ---------------------------------------------------------------------------

    def claim_as(
        self, agent: str, limit: int, key: UUID | None, wanted: Contract | None, **fields: Any
    ) -> Any:
        answer = self.call(
            "claim_task_contract",
            agent_token=self.token_of(agent, True),
            target_agent=agent,
            limit=limit,
            request_key=key,
            contract_id=wanted.id if wanted else None,
            **fields,
        )
        assert not isinstance(answer, str), answer
        self.model.expire(agent)
        claimed = self.model.next_claims(agent, limit, wanted)
        assert [row["contract_id"] for row in answer] == [c.id for c in claimed]
        for row, contract in zip(answer, claimed, strict=True):
            assert row["attempt"] == len(contract.attempts) + 1
            self.model.begin_attempt(contract, Attempt(agent, row["claim_token"], key))
            self.setup.written.discard(contract.number)
        new = [Token(c.number, c.attempts[-1].token) for c in claimed]
        self.setup.tokens += new
        return multiple(*new)

    @rule(
        target=tokens,
        agent=agents,
        limit=st.integers(1, 3),
        key=st.booleans(),
        lease=st.sampled_from([None, 600]),
    )
    def claim(self, agent: str, limit: int, key: bool, lease: int | None) -> Any:
        return self.claim_as(agent, limit, uuid4() if key else None, None, lease_seconds=lease)

    @rule(target=tokens, agent=agents, number=contracts)
    def claim_one(self, agent: str, number: int) -> Any:
        return self.claim_as(agent, 2, None, self.model.all[number])

    @rule(agent=agents)
    def claim_without_the_token_of_the_agent(self, agent: str) -> None:
        if self.needs_token(agent):
            for token in (None, "agent_wrong"):
                answer = self.call("claim_task_contract", agent_token=token, target_agent=agent)
                assert answer == "42501"

    @rule(agent=agents, token=tokens)
    def claim_again(self, agent: str, token: Token) -> None:
        """A repeated claim returns those contracts of the first call that are still claimed."""
        attempt = self.model.all[token.number].attempt(token.token)
        assert attempt is not None
        if attempt.request_key is None:
            return
        running = self.model.in_claim_order(self.model.repeated_claim(attempt.request_key))
        if not running:
            return  # it would be a new claim
        fields: dict[str, Any] = {"target_agent": agent, "limit": 3, "request_key": attempt.request_key}
        answer = self.call("claim_task_contract", agent_token=self.token_of(agent, True), **fields)
        if agent != attempt.agent:
            assert answer == "TC004"
            return
        assert not isinstance(answer, str), answer
        assert [(row["contract_id"], row["claim_token"]) for row in answer] == [
            (c.id, c.attempts[-1].token) for c in running
        ]

    @rule(token=tokens, correct=st.booleans(), progress=st.sampled_from([None, {"n": 1}]))
    def renew(self, token: Token, correct: bool, progress: Any) -> None:
        contract = self.model.all[token.number]
        presented = token.token if correct else uuid4()
        answer = self.call(
            "renew_task_contract", contract_id=contract.id, claim_token=presented, progress=progress
        )
        if refused := contract.refusal(presented):
            assert answer == refused
        elif contract.lease and contract.lease.timed_out:
            assert answer == "TC002"
        else:
            assert not isinstance(answer, str), answer
            assert answer[0]["attempt"] == len(contract.attempts)
            assert contract.lease is not None
            contract.lease.expired, contract.lease.progress = False, progress or contract.lease.progress

    @rule(choices=st.lists(st.tuples(st.integers(0, 60), st.booleans()), min_size=1, max_size=4))
    def renew_several(self, choices: list[tuple[int, bool]]) -> None:
        if not self.setup.tokens:
            return
        claims = [(self.setup.tokens[n % len(self.setup.tokens)], correct) for n, correct in choices]
        items, expected = [], []
        for claim, correct in claims:
            contract, token = self.model.all[claim.number], claim.token if correct else uuid4()
            items.append({"contract_id": str(contract.id), "claim_token": str(token)})
            expected.append((contract.id, self.model.renewal(contract, token)))
        answer = self.call("renew_task_contracts", claims=jsonb(items))
        assert not isinstance(answer, str), answer
        assert [(row["contract_id"], row["state"]) for row in answer] == expected
        assert all((row["lease_expires_at"] is None) == (row["state"] != "renewed") for row in answer)

    # --- results ---------------------------------------------------------------------------------

    @rule(
        token=tokens,
        output=st.sampled_from(OUTPUTS),
        key=st.sampled_from([None, UUID(int=1), UUID(int=2)]),
        success=st.booleans(),
    )
    def complete(self, token: Token, output: Any, key: UUID | None, success: bool) -> None:
        contract = self.model.all[token.number]
        answer = self.call(
            "complete_task_contract",
            contract_id=contract.id,
            claim_token=token.token,
            idempotency_key=key,
            success=success,
            output=None if output is None else jsonb(output),
        )
        expected = self.model.complete(contract, token.token, key, output, success, service=False)
        if row := self.answers(expected, answer):
            assert (row["success"], row["status"]) == (True, contract.status)

    @rule(number=contracts)
    def complete_as_the_service_role_without_a_token(self, number: int) -> None:
        contract = self.model.all[number]
        answer = self.call("complete_task_contract", self.setup.service, contract_id=contract.id)
        self.answers(self.model.complete(contract, None, None, None, success=True, service=True), answer)

    @rule(
        choices=st.lists(
            st.tuples(st.integers(0, 60), st.sampled_from(OUTPUTS), st.booleans()), min_size=1, max_size=4
        ),
        service=st.booleans(),
    )
    def complete_several(self, choices: list[tuple[int, Any, bool]], service: bool) -> None:
        """As the service role, without tokens for half of them."""
        if not self.setup.tokens:
            return
        items, expected = [], []
        for n, output, success in choices:
            claim = self.setup.tokens[n % len(self.setup.tokens)]
            contract, token = self.model.all[claim.number], None if service and n % 2 else claim.token
            items.append({
                "contract_id": str(contract.id), "claim_token": str(token) if token else None,
                "output": output, "success": success,
            })  # fmt: skip
            answer = self.model.complete(contract, token, None, output, success, service)
            recorded = answer in ("recorded", "repeated")
            code = None if recorded else answer
            expected.append((contract.id, recorded, answer == "repeated" if recorded else None, code))
        caller = self.setup.service if service else self.setup.anon
        rows = self.call("complete_task_contracts", caller, results=jsonb(items))
        assert not isinstance(rows, str), rows
        actual = [(row["contract_id"], row["success"], row["was_duplicate"], row["code"]) for row in rows]
        assert actual == expected

    @rule(token=tokens, retry=st.booleans())
    def fail(self, token: Token, retry: bool) -> None:
        contract = self.model.all[token.number]
        fields: dict[str, Any] = {
            "contract_id": contract.id,
            "claim_token": token.token,
            "error_message": "e",
            "retry": retry,
        }
        answer = self.call("fail_task_contract", **fields)
        if (row := self.answers(self.model.fail(contract, token.token, retry), answer)) is None:
            return
        assert (row["status"], row["retry_count"]) == (contract.status, contract.retry_count)
        assert (row["next_attempt_at"] is not None) == (contract.status == "pending")
        if contract.status == "pending":
            # Retries are due after seconds, which may pass.
            contract.not_before = LATER
            self.setup.database.execute(
                "update ehg_tasks.held set not_before = %s where contract_id = %s", [LATER, contract.id]
            )

    @rule(token=tokens)
    def release(self, token: Token) -> None:
        contract = self.model.all[token.number]
        answer = self.call("release_task_contract", contract_id=contract.id, claim_token=token.token)
        self.answers(self.model.release(contract, token.token), answer)

    @rule(number=contracts)
    def cancel(self, number: int) -> None:
        contract = self.model.all[number]
        answer = self.call("cancel_task_contract", contract_id=contract.id)
        self.answers(self.model.cancel(contract), answer)

    @rule(number=contracts, max_retries=st.sampled_from([None, 0, 1]))
    def requeue(self, number: int, max_retries: int | None) -> None:
        contract = self.model.all[number]
        fields: dict[str, Any] = {"contract_id": contract.id, "max_retries": max_retries}
        answer = self.call("requeue_task_contract", self.setup.service, **fields)
        if self.answers(self.model.requeue(contract), answer):
            contract.max_retries = contract.max_retries if max_retries is None else max_retries
            self.setup.written.discard(number)

    @rule(token=consumes(tokens), number=contracts)
    def a_token_is_valid_for_its_contract_only(self, token: Token, number: int) -> None:
        contract = self.model.all[number]
        if number == token.number:
            return
        answer = self.call("renew_task_contract", contract_id=contract.id, claim_token=token.token)
        assert answer == contract.refusal(token.token)

    # --- time ------------------------------------------------------------------------------------

    @rule(token=tokens, limit=st.booleans())
    def a_lease_ends(self, token: Token, limit: bool) -> None:
        contract = self.model.all[token.number]
        if contract.lease is None or contract.lease.token != token.token:
            return
        (reach_time_limit if limit else end_lease)(self.setup.database, contract.id)
        contract.lease.expired = True
        contract.lease.timed_out |= limit

    @rule(number=contracts)
    def a_wait_ends(self, number: int) -> None:
        contract = self.model.all[number]
        end_wait(self.setup.database, contract.id)
        contract.not_before = None

    @rule(number=contracts)
    def a_contract_waits_or_runs_for_days(self, number: int) -> None:
        contract = self.model.all[number]
        waits = self.setup.database.execute(
            "update ehg_tasks.ready set claimable_since = now() - interval '2 days' where contract_id = %s",
            [contract.id],
        )
        contract.waited_long |= waits.rowcount == 1
        if contract.status == "in_progress" and contract.lease is None:
            contract.started_long_ago = True
            self.setup.database.execute(
                "update public.agent_task_contracts set started_at = now() - interval '2 days' where id = %s",
                [contract.id],
            )

    @precondition(lambda self: self.setup.model.all)
    @rule()
    def clean_up(self) -> None:
        answer = self.call("cleanup_stale_contracts", self.setup.service)
        assert answer == [self.model.clean_up()]

    @rule(agent=agents)
    def raise_the_marks(self, agent: str) -> None:
        """As one claim in 512 does."""
        self.setup.database.execute("select ehg_tasks.raise_low_water_marks(%s)", [agent])

    # --- agents ----------------------------------------------------------------------------------

    @rule(agent=agents, max_running=st.sampled_from([None, 0, 1, 2]), with_token=st.booleans())
    def register(self, agent: str, max_running: int | None, with_token: bool) -> None:
        fields: dict[str, Any] = {"name": agent, "max_running": max_running, "with_token": with_token}
        answer = self.call("register_task_agent", self.setup.service, **fields)
        assert not isinstance(answer, str), answer
        known = self.model.agents.setdefault(agent, Agent())
        assert (answer[0]["token"] is not None) == (with_token and known.token is None)
        known.token, known.max_running = known.token or answer[0]["token"], max_running

    @rule(agent=agents, call=st.sampled_from(["pause", "resume", "remove", "rotate"]))
    def change_an_agent(self, agent: str, call: str) -> None:
        answer = self.call(f"{call}_task_agent", self.setup.service, name=agent)
        known = self.model.agents.get(agent)
        if known is None and call != "pause":
            assert answer == "TC001"
            return
        assert not isinstance(answer, str), answer
        if call == "rotate":
            self.model.agents[agent].token = answer[0]["token"]
        elif call == "remove":
            del self.model.agents[agent]
        else:
            known = self.model.agents.setdefault(agent, Agent())
            assert answer[0]["was_duplicate"] is (known.paused == (call == "pause"))
            known.paused = call == "pause"
            known.was_paused |= known.paused

    # --- direct writes ---------------------------------------------------------------------------

    @rule(
        target=contracts,
        agent=agents,
        priority=priorities,
        status=st.sampled_from(STATUSES),
        service=st.booleans(),
    )
    def insert(self, agent: str, priority: int, status: str, service: bool) -> int:
        contract = Contract(
            len(self.model.all), uuid4(), agent, priority, status=status if service else "pending"
        )
        self.write(
            self.setup.service if service else self.setup.anon,
            "insert into public.agent_task_contracts"
            " (id, parent_agent, target_agent, objective, priority, status) values (%s, 'P', %s, %s, %s, %s)",
            contract.id, agent, str(contract.number), priority, contract.status,
        )  # fmt: skip
        self.setup.written.add(contract.number)
        return self.added(contract)

    @rule(choices=numbers, status=st.sampled_from(STATUSES))
    def write_statuses(self, choices: list[int], status: str) -> None:
        chosen = [c for c in dict.fromkeys(self.pick(choices)) if not c.deleted]
        self.write(
            self.setup.service,
            "update public.agent_task_contracts set status = %s where id = any (%s)",
            status, [c.id for c in chosen],
        )  # fmt: skip
        self.model.set_status(chosen, status)
        self.setup.written.update(c.number for c in chosen)

    @rule(choices=numbers, agent=agents, priority=priorities, second=st.integers(0, 3))
    def write_the_order(self, choices: list[int], agent: str, priority: int, second: int) -> None:
        chosen = [c for c in self.pick(choices) if not c.deleted]
        created_at = datetime(2026, 1, 1, 0, 0, second, tzinfo=UTC)
        self.write(
            self.setup.service,
            "update public.agent_task_contracts set target_agent = %s, priority = %s, created_at = %s"
            " where id = any (%s)",
            agent, priority, created_at, [c.id for c in chosen],
        )  # fmt: skip
        for contract in chosen:
            contract.target_agent, contract.priority, contract.created_at = agent, priority, created_at

    @rule(number=contracts)
    def write_the_id(self, number: int) -> None:
        contract, new = self.model.all[number], uuid4()
        query = "update public.agent_task_contracts set id = %s where id = %s"
        self.write(self.setup.service, query, new, contract.id)
        contract.id = contract.id if contract.deleted else new

    @rule(choices=st.lists(st.integers(0, 40), min_size=1, max_size=2))
    def delete(self, choices: list[int]) -> None:
        chosen = [c for c in dict.fromkeys(self.pick(choices)) if not c.deleted]
        query = "delete from public.agent_task_contracts where id = any (%s)"
        self.write(self.setup.service, query, [c.id for c in chosen])
        self.model.delete(chosen)

    # --- what must hold --------------------------------------------------------------------------

    @rule()
    def outcomes_say_why_contracts_wait(self) -> None:
        answer = self.call("task_contract_outcomes", contract_ids=[c.id for c in self.model.all])
        assert not isinstance(answer, str), answer
        actual = [
            (row["contract_id"], row["status"], row["attempt"], row["waiting"], row["waits_for"] or 0)
            for row in answer
        ]
        assert actual == [
            (
                c.id, c.status, len(c.attempts) or None, self.model.waiting(c),
                c.waits_for if c.status == "pending" else 0,
            )
            for c in self.model.contracts
        ]  # fmt: skip


@pytest.fixture
def setup(anon: Caller, service: Caller, database: Database) -> Iterator[None]:
    Lifecycle.setup = Setup(anon, service, database)
    yield
    del Lifecycle.setup


@pytest.mark.usefixtures("setup")
@pytest.mark.timeout(3600)
def test_calls_in_any_order_agree_with_the_model() -> None:
    """Repeat with other seeds until enough calls are made: the number in one run varies."""
    chosen = settings(suppress_health_check=list(HealthCheck), deadline=None, print_blob=True)
    Lifecycle.calls = 0
    for number in count(0 if chosen.derandomize else random.getrandbits(32)):
        run_state_machine_as_test(seed(number)(Lifecycle), settings=chosen)
        if Lifecycle.calls >= 5000:
            return
