"""`wait` and `as_completed`: programs that hand out work and go on when it has ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest

from ehg_tasks import (
    AgentTasks,
    AsyncAgentTasks,
    BackendTasks,
    BadArgument,
    Claim,
    ContractNotFound,
    ContractStatus,
    NewContract,
    Outcome,
    TaskContractError,
    WaitReason,
    WaitTimedOut,
)
from tests.clients.helpers import WORK
from tests.conftest import Project


@pytest.fixture
def other(project: Project) -> Iterator[AgentTasks]:
    """The agent that does the work, in another thread."""
    with AgentTasks(url=project.url, key=project.publishable_key) as tasks:
        yield tasks


@pytest.fixture
def elsewhere() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as executor:
        yield executor


def create(agent: AgentTasks, count: int) -> list[UUID]:
    return [row.contract_id for row in agent.create_many([NewContract(**WORK)] * count)]


def test_it_returns_every_outcome_in_the_order_of_the_ids(agent: AgentTasks) -> None:
    ids = create(agent, 3)
    claims = agent.claim("DESIGN", limit=2)
    agent.complete(claims[0], output={"a": 1})
    agent.fail(claims[1], "no", retry=False)
    agent.cancel(ids[2])
    outcomes = agent.wait([ids[2], str(ids[0]), ids[1], ids[0]], timeout=0)
    assert [(row.contract_id, row.status, row.output) for row in outcomes] == [
        (ids[2], ContractStatus.CANCELLED, None),
        (ids[0], ContractStatus.COMPLETED, {"a": 1}),
        (ids[1], ContractStatus.FAILED, None),
    ]
    assert agent.wait([]) == []


def test_outcomes_come_as_their_contracts_end(agent: AgentTasks, other: AgentTasks) -> None:
    """Also while the caller acts on an earlier one."""
    ids = create(agent, 3)
    seen: list[UUID] = []
    other.complete(other.claim("DESIGN")[0])
    for outcome in agent.as_completed(reversed(ids), timeout=30, poll_seconds=0.1):
        seen.append(outcome.contract_id)
        for claim in other.claim("DESIGN"):
            other.complete(claim)
    assert seen == ids


def test_changes_on_the_way_are_told_once(
    agent: AgentTasks, other: AgentTasks, elsewhere: ThreadPoolExecutor
) -> None:
    [first] = create(agent, 1)
    second = agent.create(**WORK, depends_on=[first]).contract_id
    told: list[tuple[UUID, object]] = []
    next_step = threading.Event()

    def note(outcome: Outcome) -> None:
        if why := outcome.progress or outcome.waiting:  # neither between the claim and the report
            told.append((outcome.contract_id, why))
        next_step.set()

    def work() -> None:
        def claim() -> Claim:
            next_step.wait(10)
            next_step.clear()
            return other.claim("DESIGN")[0]

        held = claim()
        other.renew(held, progress={"message": "half"})
        next_step.wait(10)
        time.sleep(0.5)  # nothing changes
        next_step.clear()
        other.complete(held)
        other.complete(claim())

    done = elsewhere.submit(work)
    agent.wait([first, second], timeout=30, poll_seconds=0.1, on_change=note)
    done.result()
    assert told == [
        (first, WaitReason.READY),
        (second, WaitReason.DEPENDENCIES),
        (first, {"message": "half"}),
        (second, WaitReason.READY),
    ]


def test_the_time_is_limited(agent: AgentTasks) -> None:
    ids = create(agent, 2)
    agent.cancel(ids[1])
    with pytest.raises(WaitTimedOut, match=r"1 of 2 contracts have not ended after 0\.3 s") as raised:
        agent.wait(ids, timeout=0.3)
    assert isinstance(raised.value, TimeoutError)
    assert isinstance(raised.value, TaskContractError)
    assert agent.outcome(ids[0]).status == ContractStatus.PENDING


def test_an_unknown_contract_is_an_error(agent: AgentTasks, backend: BackendTasks) -> None:
    unknown = uuid4()
    with pytest.raises(ContractNotFound, match=f"there is no task contract {unknown}"):
        agent.wait([*create(agent, 1), unknown])
    ids = create(agent, 1)
    with pytest.raises(ContractNotFound, match=str(ids[0])):
        agent.wait(ids, poll_seconds=0.1, on_change=lambda row: backend.delete(row.contract_id))


@pytest.mark.parametrize("poll_seconds", [0, -1])
def test_the_time_between_calls_must_be_positive(agent: AgentTasks, poll_seconds: float) -> None:
    with pytest.raises(BadArgument, match="poll_seconds must be more than 0"):
        agent.wait([uuid4()], poll_seconds=poll_seconds)


async def test_the_async_client_does_the_same(project: Project) -> None:
    async with AsyncAgentTasks(url=project.url, key=project.publishable_key) as agent:
        ids = [(await agent.create(**WORK)).contract_id for _ in range(2)]
        for claim in await agent.claim("DESIGN", limit=2):
            await agent.complete(claim)
        assert {row.contract_id async for row in agent.as_completed(ids)} == set(ids)
        assert [row.contract_id for row in await agent.wait(ids)] == ids
