"""Many at once, over HTTP: nothing is handed out twice, recorded twice, or blocked for good."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg import Connection

from ehg_tasks import (
    AgentTasks,
    BackendTasks,
    Claim,
    IdempotencyConflict,
    NewContract,
    StatusConflict,
    TaskContractError,
)
from tests.conftest import Project

Contracts = Callable[[], list[dict[str, Any]]]
AGENTS = 8


def together(count: int, act: Callable[[int], Any]) -> list[Any]:
    """What each of `count` threads answers; an error of the tree counts as its answer."""

    def caught(number: int) -> Any:
        try:
            return act(number)
        except TaskContractError as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(caught, range(count)))


def make(agent: AgentTasks, count: int) -> list[UUID]:
    new = [NewContract(parent_agent="P", target_agent="T", objective=str(number)) for number in range(count)]
    return [made.contract_id for made in agent.create_many(new)]


@pytest.mark.parametrize("limit", [1, 7])
def test_concurrent_claims_never_hand_one_contract_out_twice(
    project: Project, agent: AgentTasks, contracts: Contracts, limit: int
) -> None:
    ids = make(agent, 120)

    def work(number: int) -> list[UUID]:
        mine: list[UUID] = []
        with AgentTasks(url=project.url, key=project.publishable_key) as worker:
            while claims := worker.claim("T", limit=limit):
                assert len(claims) <= limit
                for claim in claims:
                    worker.complete(claim, result_summary=str(number))
                    mine.append(claim.contract_id)
        return mine

    answers = together(AGENTS, work)
    taken = [contract_id for mine in answers for contract_id in mine]
    assert sorted(taken) == sorted(ids)
    assert {row["status"] for row in contracts()} == {"completed"}
    recorded = {row["id"]: row["result_summary"] for row in contracts()}
    assert recorded == {
        contract_id: str(number) for number, mine in enumerate(answers) for contract_id in mine
    }


def test_repeats_of_one_claim_at_once_get_one_claim(agent: AgentTasks, database: Connection[Any]) -> None:
    make(agent, 40)
    key = uuid4()
    answers = together(AGENTS, lambda _: agent.claim("T", limit=5, request_key=key))
    tokens = {tuple(sorted(claim.claim_token for claim in claims)) for claims in answers}
    assert len(tokens) == 1
    assert database.execute("select count(*) from ehg_tasks.leases").fetchone() == (5,)


def test_replays_of_one_result_at_once_record_one(agent: AgentTasks, database: Connection[Any]) -> None:
    make(agent, 1)
    [claim] = agent.claim("T")
    answers = together(AGENTS, lambda _: agent.complete(claim, output={"n": 1}, result_summary="one"))
    assert Counter(answer.was_duplicate for answer in answers) == {True: AGENTS - 1, False: 1}
    assert len({answer.output_artifact_id for answer in answers}) == 1
    assert database.execute("select count(*) from public.agent_artifacts").fetchone() == (1,)


def test_different_results_at_once_record_one(
    agent: AgentTasks, contracts: Contracts, database: Connection[Any]
) -> None:
    make(agent, 1)
    [claim] = agent.claim("T")
    answers = together(
        AGENTS, lambda number: agent.complete(claim, output={"n": number}, idempotency_key=uuid4())
    )
    [winner] = [answer for answer in answers if not isinstance(answer, Exception)]
    assert all(
        isinstance(answer, IdempotencyConflict | StatusConflict) for answer in answers if answer is not winner
    )
    [row] = contracts()
    assert row["output_artifact_id"] == winner.output_artifact_id
    assert database.execute("select count(*) from public.agent_artifacts").fetchone() == (1,)


def test_one_id_created_at_once_exists_once(agent: AgentTasks, contracts: Contracts) -> None:
    contract_id = uuid4()
    answers = together(
        AGENTS,
        lambda _: agent.create(contract_id=contract_id, parent_agent="P", target_agent="T", objective="o"),
    )
    assert Counter(answer.created for answer in answers) == {True: 1, False: AGENTS - 1}
    assert len(contracts()) == 1


def test_every_act_at_once_ends_every_contract_once(
    agent: AgentTasks, backend: BackendTasks, contracts: Contracts, database: Connection[Any]
) -> None:
    """Claims, results, failures, releases, cancellations and clean-up in each other's way."""
    ids = make(agent, 60)
    released: set[UUID] = set()  # once each: nobody is to release and claim the last one for ever

    def act(number: int) -> None:
        if number == 0:
            for _ in range(15):
                backend.cleanup()
            return
        if number == 1:
            for contract_id in ids[::5]:
                try:
                    agent.cancel(contract_id, "no longer wanted")
                except StatusConflict:
                    continue
            return
        while claims := agent.claim("T", limit=3):
            for position, claim in enumerate(claims):
                finish(claim, number + position)

    def finish(claim: Claim, choice: int) -> None:
        try:
            if choice % 5 == 0 and claim.id not in released:
                released.add(claim.id)
                agent.release(claim)
            elif choice % 7 == 0:
                agent.fail(claim, "cannot", retry=False)
            else:
                agent.complete(claim)
        except TaskContractError as error:
            assert error.code in {"TC002", "TC003"}, error  # noqa: PT017 - any of the two

    assert [error for error in together(6, act) if error is not None] == []
    rest = agent.claim("T", limit=100)
    for claim in rest:
        agent.complete(claim)
    final = contracts()
    assert len(final) == 60
    assert {row["status"] for row in final} <= {"completed", "failed", "cancelled"}
    assert all(row["completed_at"] is not None for row in final)
    assert database.execute("select count(*) from ehg_tasks.leases").fetchone() == (0,)
