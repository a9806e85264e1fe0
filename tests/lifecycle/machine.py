"""The state machine of test_state_machine.py, without its rules: calls, comparisons, invariants."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar
from uuid import UUID

import psycopg
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant

from tests.lifecycle.helpers import Database
from tests.lifecycle.invariants import check_invariants
from tests.lifecycle.model import FINAL, Agent, Contract, Model
from tests.sql import Caller, Row

ROWS = """
    select c.id, c.status, c.retry_count, c.target_agent, c.priority, c.max_retries,
           c.error_message is not null,
           array(
             select jsonb_build_array(a.attempt, a.claim_token, a.outcome, a.progress)
             from ehg_tasks.attempts a where a.contract_id = c.id order by a.attempt),
           array(
             select jsonb_build_array(d.depends_on, d.on_failure, d.settled)
             from ehg_tasks.dependencies d where d.contract_id = c.id),
           c.started_at is not null, c.completed_at is not null
    from public.agent_task_contracts c"""


@dataclass(frozen=True)
class Token:
    """A claim that was made at some point, current or not, by the number of its contract."""

    number: int
    token: UUID


@dataclass
class Setup:
    """The callers, the database and the model of one example."""

    anon: Caller
    service: Caller
    database: Database
    model: Model = field(default_factory=Model)
    tokens: list[Token] = field(default_factory=list)
    written: set[int] = field(default_factory=set)  # contracts whose status was written directly


class Machine(RuleBasedStateMachine):
    """Makes calls and compares the rows with the model after each. The rules are in its subclass."""

    setup: ClassVar[Setup]
    calls: ClassVar[int] = 0

    @initialize()
    def start_empty(self) -> None:
        for table in ("public.agent_task_contracts", "public.agent_artifacts", "ehg_tasks.agents"):
            self.setup.database.execute(f"delete from {table}".encode())
        for table in ("ready", "held", "attempts", "dependencies"):
            count = self.setup.database.execute(f"select count(*) from ehg_tasks.{table}".encode())
            assert count.fetchone() == (0,), table
        self.setup.model, self.setup.tokens, self.setup.written = Model(), [], set()

    @property
    def model(self) -> Model:
        return self.setup.model

    def pick(self, choices: list[int]) -> list[Contract]:
        return [self.model.all[n % len(self.model.all)] for n in choices] if self.model.all else []

    def call(
        self, function: str, caller: Caller | None = None, agent_token: str | None = None, **parameters: Any
    ) -> list[Row] | str:
        """Return the answer, or the SQLSTATE of the error."""
        type(self).calls += 1
        caller = caller or self.setup.anon
        caller.headers = {"x-agent-token": agent_token} if agent_token else {}
        try:
            return caller(function, **parameters)
        except psycopg.Error as error:
            return str(error.sqlstate)

    def write(self, caller: Caller, query: str, *parameters: Any) -> None:
        type(self).calls += 1
        caller.headers = {}
        caller.run(query, list(parameters))

    def answers(self, expected: str, answer: list[Row] | str) -> Row | None:
        """Compare an answer with what the model expects. Return its row if the call was recorded."""
        if expected not in ("recorded", "repeated"):
            assert answer == expected
            return None
        assert not isinstance(answer, str), answer
        assert answer[0]["was_duplicate"] is (expected == "repeated")
        return answer[0] if expected == "recorded" else None

    def needs_token(self, agent: str) -> bool:
        return self.model.agents.get(agent, Agent()).token is not None

    def token_of(self, agent: str, authorized: bool) -> str | None:
        return self.model.agents.get(agent, Agent()).token if authorized else "agent_wrong"

    def added(self, contract: Contract, on_failure: str = "cancel", depends_on: Any = ()) -> int:
        """Add a contract to the model that was added to the database."""
        [contract.created_at] = (
            self.setup.database.execute(
                "select created_at from public.agent_task_contracts where id = %s", [contract.id]
            ).fetchone()
            or []
        )
        self.model.create(contract, on_failure, list(depends_on))
        return contract.number

    def fields(self, contract: Contract) -> dict[str, Any]:
        return {
            "contract_id": contract.id,
            "parent_agent": "P",
            "target_agent": contract.target_agent,
            "objective": str(contract.number),
            "priority": contract.priority,
            "max_retries": contract.max_retries,
        }

    @invariant()
    def rows_agree_with_the_model(self) -> None:
        rows = self.setup.database.execute(ROWS).fetchall()
        actual = {row[0]: row[1:8] for row in rows}
        expected = {
            c.id: (
                c.status, c.retry_count, c.target_agent, c.priority, c.max_retries, c.has_error,
                [[n, str(a.token), a.outcome, a.progress] for n, a in enumerate(c.attempts, 1)],
            )
            for c in self.model.contracts
        }  # fmt: skip
        assert actual == expected
        for contract in self.model.contracts:
            dependencies, started, ended = next(row[8:] for row in rows if row[0] == contract.id)
            assert sorted(dependencies) == sorted(
                [str(d.contract.id), d.on_failure, d.settled] for d in contract.dependencies
            )
            if contract.number not in self.setup.written:
                assert ended == (contract.status in FINAL)
                assert started or contract.status != "in_progress"

    @invariant()
    def the_engine_keeps_its_rules(self) -> None:
        check_invariants(self.setup.database)
