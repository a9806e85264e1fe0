"""Calls for many claims or contracts: each has its own answer, and large answers come in several calls."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg import Connection

from ehg_tasks import (
    AgentTasks,
    BackendTasks,
    BadArgument,
    Claim,
    ClaimHandle,
    ClaimLost,
    ContractNotFound,
    IdempotencyConflict,
    InvalidData,
    NewContract,
    NewResult,
    TooLarge,
)
from tests.clients.helpers import WORK, Contracts

MIB = 2**20


def claims(agent: AgentTasks, count: int) -> list[Claim]:
    """Create contracts and claim them."""
    agent.create_many([NewContract(**WORK) for _ in range(count)])
    claims: list[Claim] = []
    while more := agent.claim("DESIGN", limit=100, lease_seconds=60):
        claims += more
    assert len(claims) == count
    return claims


# --- renewals -------------------------------------------------------------------------------------


def test_each_claim_is_renewed_or_shows_what_has_become_of_it(agent: AgentTasks) -> None:
    held, released, cancelled, completed = claims(agent, 4)
    agent.release(released)
    agent.cancel(cancelled.contract_id)
    agent.complete(completed)
    unknown = ClaimHandle(contract_id=uuid4(), claim_token=uuid4())
    renewals = agent.renew_many([completed, held, unknown, cancelled, released])
    assert [(renewal.contract_id, renewal.state) for renewal in renewals] == [
        (completed.contract_id, "completed"),
        (held.contract_id, "renewed"),
        (unknown.contract_id, "unknown"),
        (cancelled.contract_id, "cancelled"),
        (released.contract_id, "lost"),
    ]
    assert renewals[1].lease_expires_at is not None
    assert renewals[1].lease_expires_at > held.lease_expires_at
    assert renewals[1].attempt == 1
    ended = [(renewal.lease_expires_at, renewal.attempt) for renewal in renewals if renewal != renewals[1]]
    assert ended == [(None, None)] * 4


def test_a_renewal_reports_the_progress_of_the_contracts_that_have_any(agent: AgentTasks) -> None:
    first, second = claims(agent, 2)
    agent.renew_many([first, second], progress={second.contract_id: {"percent": 40}})
    assert [o.progress for o in agent.outcomes([first.id, second.id])] == [None, {"percent": 40}]


def test_more_claims_than_fit_in_a_call_are_renewed_and_completed_in_several(agent: AgentTasks) -> None:
    many = claims(agent, 205)
    assert [renewal.contract_id for renewal in agent.renew_many(many)] == [claim.id for claim in many]
    done = agent.complete_many(NewResult(claim, output=number) for number, claim in enumerate(many))
    assert [result.contract_id for result in done] == [claim.id for claim in many]
    assert {(result.status, result.error) for result in done} == {("completed", None)}
    assert [o.output for o in agent.outcomes(claim.id for claim in many)] == list(range(205))


def test_without_claims_no_call_is_made() -> None:
    with AgentTasks(url="http://127.0.0.1:9", key="sb_publishable_x", retries=0) as agent:
        assert [*agent.renew_many([]), *agent.complete_many([]), *agent.outcomes([])] == []


# --- results --------------------------------------------------------------------------------------


def test_a_refused_result_does_not_affect_the_others(agent: AgentTasks, database: Connection[Any]) -> None:
    first, lost, large, strange, last = claims(agent, 5)
    agent.release(lost)
    results = agent.complete_many(
        [
            NewResult(first, output={"n": 1}, result_summary="one", execution_tokens=3),
            NewResult(lost, output=2),
            NewResult(large, output="x" * MIB),
            NewResult(strange, output_artifact_id=uuid4()),
            NewResult(last),
        ]
    )
    assert [type(result.error) for result in results[1:4]] == [ClaimLost, TooLarge, InvalidData]
    assert results[0].error is results[4].error is None
    assert [result.success for result in results] == [True, False, False, False, True]
    statuses = [agent.outcome(claim.id).status for claim in (first, lost, large, strange, last)]
    assert statuses == ["completed", "pending", "in_progress", "in_progress", "completed"]
    outcome = agent.outcome(first.id)
    assert (outcome.output, outcome.result_summary, outcome.execution_tokens) == ({"n": 1}, "one", 3)
    assert outcome.output_artifact_id == results[0].output_artifact_id
    assert database.execute("select count(*) from public.agent_artifacts").fetchone() == (1,)


def test_repeated_results_are_recorded_once(agent: AgentTasks) -> None:
    [claim] = claims(agent, 1)
    result, other = NewResult(claim, output=[1]), NewResult(claim, output=[2])
    [first] = agent.complete_many([result])
    again, conflict = agent.complete_many([result, other])
    assert (first.was_duplicate, again.was_duplicate) == (False, True)
    assert isinstance(conflict.error, IdempotencyConflict)


def test_a_backend_job_completes_contracts_by_their_ids(backend: BackendTasks, agent: AgentTasks) -> None:
    first, second = claims(agent, 2)
    results = backend.complete_many(
        [NewResult(first.id, output=1), NewResult(str(second.id)), NewResult(uuid4())]
    )
    assert [type(result.error) for result in results] == [type(None), type(None), ContractNotFound]


def test_a_value_that_is_not_json_is_refused_before_anything_is_sent(
    agent: AgentTasks, contracts: Contracts
) -> None:
    first, second = claims(agent, 2)
    before = contracts()
    with pytest.raises(BadArgument, match="output is not JSON"):
        agent.complete_many([NewResult(first), NewResult(second, output=float("nan"))])
    with pytest.raises(BadArgument, match="progress is not JSON"):
        agent.renew_many([first], progress={first.id: {"percent": float("nan")}})
    assert contracts() == before


# --- answers of more than 8 MiB -------------------------------------------------------------------


def store(database: Connection[Any], size: int) -> UUID:
    """Insert an artifact whose content has this many bytes."""
    [(artifact,)] = database.execute(
        "insert into public.agent_artifacts (type, summary, content_text) values ('a', 's', repeat('x', %s))"
        " returning id",
        [size],
    ).fetchall()
    assert isinstance(artifact, UUID)
    return artifact


def test_outcomes_too_large_for_one_answer_come_in_full_and_in_order(
    agent: AgentTasks, database: Connection[Any]
) -> None:
    many = claims(agent, 6)
    for claim in many[:-1]:
        agent.complete(claim, output_artifact_id=store(database, 3 * MIB))
    outcomes = agent.outcomes(claim.id for claim in many)
    assert [outcome.contract_id for outcome in outcomes] == [claim.id for claim in many]
    assert [len(str(outcome.output)) for outcome in outcomes[:-1]] == [3 * MIB] * 5
    assert {outcome.omitted for outcome in outcomes} == {False}


def test_inputs_too_large_for_one_answer_come_in_full_and_in_order(
    agent: AgentTasks, database: Connection[Any]
) -> None:
    ids = [store(database, size * MIB) for size in (9, 3, 3, 3, 9, 1)]
    agent.create(**WORK, input_artifacts=ids)
    [claim] = agent.claim("DESIGN")
    inputs = agent.inputs(claim)
    assert [item.artifact_id for item in inputs] == ids
    assert [len(item.content_text or "") // MIB for item in inputs] == [9, 3, 3, 3, 9, 1]


def test_an_input_that_was_deleted_is_an_error(agent: AgentTasks, database: Connection[Any]) -> None:
    artifact = store(database, 1)
    agent.create(**WORK, input_artifacts=[artifact])
    [claim] = agent.claim("DESIGN")
    database.execute("delete from public.agent_artifacts")
    with pytest.raises(ContractNotFound, match=f"input artifact {artifact}"):
        agent.inputs(claim)
