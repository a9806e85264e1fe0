"""A project that limits the rows of an answer hides nothing from its clients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ehg_tasks import AgentTasks, NewContract, NewResult, Worker
from tests.conftest import Project
from tests.lifecycle.helpers import leases
from tests.reliability.helpers import Database, create_contracts
from tests.reliability.proxy import Proxy


@pytest.fixture
def proxy(project: Project) -> Iterator[Proxy]:
    with Proxy(project.url) as proxy:
        proxy.max_rows = 5
        yield proxy


@pytest.fixture
def limited(proxy: Proxy, project: Project, agent: AgentTasks) -> Iterator[AgentTasks]:
    """A client that sees five rows of an answer."""
    with AgentTasks(url=proxy.url, key=project.publishable_key) as limited:
        yield limited


@pytest.mark.parametrize(("waiting", "limit"), [(12, 12), (12, 100), (5, 100), (10, 100)])
def test_every_claim_is_seen(limited: AgentTasks, database: Database, waiting: int, limit: int) -> None:
    ids = create_contracts(limited, waiting)
    claims = limited.claim("T", limit=limit)
    assert [claim.contract_id for claim in claims] == ids
    assert {claim.claim_token for claim in claims} == {lease["claim_token"] for lease in leases(database)}


def test_bulk_calls_return_a_row_for_each_item(limited: AgentTasks) -> None:
    contracts = [NewContract(parent_agent="P", target_agent="T", objective=str(n)) for n in range(12)]
    ids = [created.contract_id for created in limited.create_many(contracts)]
    claims = limited.claim("T", limit=12)
    assert [renewal.contract_id for renewal in limited.renew_many(claims)] == ids
    results = limited.complete_many(NewResult(claim, output=1) for claim in claims)
    assert [result.contract_id for result in results] == ids
    assert {result.success for result in results} == {True}
    assert [outcome.contract_id for outcome in limited.outcomes(ids)] == ids


def test_an_answer_with_fewer_rows_than_an_earlier_one_is_not_asked_for_again(
    limited: AgentTasks, proxy: Proxy
) -> None:
    create_contracts(limited, 3)
    assert len(limited.claim("T", limit=100)) == 3
    create_contracts(limited, 2)
    before = len(proxy.calls)
    assert len(limited.claim("T", limit=100)) == 2
    assert len(proxy.calls) == before + 1


def test_a_worker_works_on_every_contract_that_it_claims(
    limited: AgentTasks, proxy: Proxy, database: Database
) -> None:
    create_contracts(limited, 40)
    worker = Worker(limited, "T", lambda _: None, concurrency=16, until_idle=True)
    worker.run()
    assert worker.counters.completed == 40
    assert leases(database) == []
    assert database.execute("select max(attempt) from ehg_tasks.attempts").fetchone() == (1,)
