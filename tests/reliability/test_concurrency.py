"""Concurrent calls over HTTP: nothing is claimed or recorded twice, and every contract ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg import Connection

from ehg_tasks import (
    AgentTasks,
    BackendTasks,
    Claim,
    ClaimLost,
    IdempotencyConflict,
    NewResult,
    StatusConflict,
    TaskContractError,
)
from tests.conftest import Project
from tests.lifecycle.helpers import leases
from tests.reliability.helpers import create_contracts

Contracts = Callable[[], list[dict[str, Any]]]
AGENTS = 8


def in_threads(count: int, call: Callable[[int], Any]) -> list[Any]:
    """Run `call` in `count` threads at once and return the results, with errors in place of results."""

    def result(number: int) -> Any:
        try:
            return call(number)
        except TaskContractError as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(result, range(count)))


@pytest.mark.parametrize("limit", [1, 7])
def test_concurrent_claims_never_return_the_same_contract_twice(
    project: Project, agent: AgentTasks, contracts: Contracts, limit: int
) -> None:
    ids = create_contracts(agent, 120)

    def complete_all(number: int) -> list[UUID]:
        mine: list[UUID] = []
        with AgentTasks(url=project.url, key=project.publishable_key) as worker:
            while claims := worker.claim("T", limit=limit):
                assert len(claims) <= limit
                for claim in claims:
                    worker.complete(claim, result_summary=str(number))
                    mine.append(claim.contract_id)
        return mine

    results = in_threads(AGENTS, complete_all)
    claimed = [contract_id for mine in results for contract_id in mine]
    assert sorted(claimed) == sorted(ids)
    assert {row["status"] for row in contracts()} == {"completed"}
    recorded = {row["id"]: row["result_summary"] for row in contracts()}
    assert recorded == {
        contract_id: str(number) for number, mine in enumerate(results) for contract_id in mine
    }


def test_concurrent_repeats_of_a_claim_call_get_the_same_claims(
    agent: AgentTasks, database: Connection[Any]
) -> None:
    create_contracts(agent, 40)
    key = uuid4()
    results = in_threads(AGENTS, lambda _: agent.claim("T", limit=5, request_key=key))
    tokens = {tuple(sorted(claim.claim_token for claim in claims)) for claims in results}
    assert len(tokens) == 1
    assert len(leases(database)) == 5


def test_concurrent_repeats_of_a_result_record_it_once(agent: AgentTasks, database: Connection[Any]) -> None:
    create_contracts(agent, 1)
    [claim] = agent.claim("T")
    results = in_threads(AGENTS, lambda _: agent.complete(claim, output={"n": 1}, result_summary="one"))
    assert Counter(result.was_duplicate for result in results) == {True: AGENTS - 1, False: 1}
    assert len({result.output_artifact_id for result in results}) == 1
    assert database.execute("select count(*) from public.agent_artifacts").fetchone() == (1,)


def test_concurrent_bulk_calls_in_opposite_orders_record_each_result_once(
    agent: AgentTasks, database: Connection[Any]
) -> None:
    create_contracts(agent, 60)
    claims = agent.claim("T", limit=60)
    results = [NewResult(claim, output={"n": number}) for number, claim in enumerate(claims)]

    def run(number: int) -> Any:
        step = 1 if number % 2 else -1
        agent.renew_many(claims[::step])
        return agent.complete_many(results[::step])

    answers = [answer for part in in_threads(AGENTS, run) for answer in part]
    assert {(answer.status, answer.error) for answer in answers} == {("completed", None)}
    assert Counter(answer.was_duplicate for answer in answers) == {True: 60 * (AGENTS - 1), False: 60}
    assert database.execute("select count(*) from public.agent_artifacts").fetchone() == (60,)


def test_only_one_of_several_concurrent_results_is_recorded(
    agent: AgentTasks, contracts: Contracts, database: Connection[Any]
) -> None:
    create_contracts(agent, 1)
    [claim] = agent.claim("T")
    results = in_threads(
        AGENTS, lambda number: agent.complete(claim, output={"n": number}, idempotency_key=uuid4())
    )
    [winner] = [result for result in results if not isinstance(result, Exception)]
    assert all(
        isinstance(result, IdempotencyConflict | StatusConflict) for result in results if result is not winner
    )
    [row] = contracts()
    assert row["output_artifact_id"] == winner.output_artifact_id
    assert database.execute("select count(*) from public.agent_artifacts").fetchone() == (1,)


def test_concurrent_creations_with_the_same_id_create_one_contract(
    agent: AgentTasks, contracts: Contracts
) -> None:
    contract_id = uuid4()
    results = in_threads(
        AGENTS,
        lambda _: agent.create(contract_id=contract_id, parent_agent="P", target_agent="T", objective="o"),
    )
    assert Counter(result.created for result in results) == {True: 1, False: AGENTS - 1}
    assert len(contracts()) == 1


def test_every_contract_ends_while_all_functions_run_concurrently(
    agent: AgentTasks, backend: BackendTasks, contracts: Contracts, database: Connection[Any]
) -> None:
    ids = create_contracts(agent, 60)
    released: set[UUID] = set()  # once each, or the last contract might be released and claimed forever

    def run(number: int) -> None:
        if number == 0:
            for _ in range(15):
                backend.cleanup()
            return
        if number == 1:
            for contract_id in ids[::5]:
                with suppress(StatusConflict):
                    agent.cancel(contract_id, "no longer wanted")
            return
        while claims := agent.claim("T", limit=3):
            for position, claim in enumerate(claims):
                finish(claim, number + position)

    def finish(claim: Claim, choice: int) -> None:
        with suppress(ClaimLost, StatusConflict):  # it may have been cancelled
            if choice % 5 == 0 and claim.id not in released:
                released.add(claim.id)
                agent.release(claim)
            elif choice % 7 == 0:
                agent.fail(claim, "cannot", retry=False)
            else:
                agent.complete(claim)

    assert [error for error in in_threads(6, run) if error is not None] == []
    for claim in agent.claim("T", limit=100):
        agent.complete(claim)
    final = contracts()
    assert len(final) == 60
    assert {row["status"] for row in final} <= {"completed", "failed", "cancelled"}
    assert all(row["completed_at"] is not None for row in final)
    assert leases(database) == []
