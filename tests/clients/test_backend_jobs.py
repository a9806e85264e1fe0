"""`BackendTasks` over HTTP: everything that agents and dashboards can do, and maintenance."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from psycopg import Connection

from ehg_tasks import (
    AgentTasks,
    BackendTasks,
    BadArgument,
    ClaimLost,
    ContractNotFound,
    ContractStatus,
    IdempotencyConflict,
    InvalidData,
    PruneReport,
    StatusConflict,
)
from tests.clients.helpers import WORK, Contracts
from tests.lifecycle.helpers import end_lease


def test_a_backend_job_does_what_agents_and_dashboards_do(backend: BackendTasks) -> None:
    created = backend.create(**WORK)
    [claim] = backend.claim("DESIGN")
    assert backend.get(created.contract_id).status == "in_progress"
    backend.complete(claim, output=[1])
    assert backend.outcome(created.contract_id).output == [1]
    assert [row.id for row in backend.list(status="completed")] == [created.contract_id]


def test_a_backend_job_completes_a_claimed_contract_by_its_id(
    backend: BackendTasks, agent: AgentTasks
) -> None:
    created = backend.create(**WORK)
    [claim] = agent.claim("DESIGN")
    done = backend.complete(created.contract_id, result_summary="by hand")
    assert done.status == ContractStatus.COMPLETED
    with pytest.raises(IdempotencyConflict):
        agent.complete(claim, result_summary="too late")
    assert backend.outcome(created.contract_id).result_summary == "by hand"


def test_an_update_or_a_deletion_affects_one_contract(backend: BackendTasks, contracts: Contracts) -> None:
    created, other = backend.create(**WORK), backend.create(**WORK)
    updated = backend.update(created.contract_id, priority=99, constraints={"a": 1}, sd_id=None)
    assert (updated.priority, updated.constraints) == (99, {"a": 1})
    assert backend.get(other.contract_id).priority == 50
    backend.delete(created.contract_id)
    assert [row["id"] for row in contracts()] == [other.contract_id]
    with pytest.raises(ContractNotFound):
        backend.delete(created.contract_id)
    with pytest.raises(ContractNotFound):
        backend.update(created.contract_id, priority=1)


def test_a_bad_update_is_refused_and_nothing_changes(backend: BackendTasks, contracts: Contracts) -> None:
    created = backend.create(**WORK)
    before = contracts()
    with pytest.raises(InvalidData) as raised:
        backend.update(created.contract_id, status="done")
    assert raised.value.code == "23514"
    with pytest.raises(BadArgument, match="not a column: color"):
        backend.update(created.contract_id, color="red")
    assert contracts() == before


def test_cleanup_requeues_an_expired_lease(backend: BackendTasks, database: Connection[Any]) -> None:
    created = backend.create(**WORK)
    backend.claim("DESIGN")
    end_lease(database, created.contract_id)
    report = backend.cleanup()
    assert (report.requeued_count, report.failed_count, report.cancelled_count) == (1, 0, 0)
    assert backend.get(created.contract_id).status == "pending"


def test_cleanup_cancels_nothing_without_a_maximum_wait(
    backend: BackendTasks, contracts: Contracts, database: Connection[Any]
) -> None:
    backend.create(**WORK)
    database.execute("update ehg_tasks.ready set claimable_since = '2026-01-01'")
    assert backend.cleanup(max_wait_minutes=None).cancelled_count == 0
    assert contracts()[0]["status"] == "pending"
    assert backend.cleanup().cancelled_count == 1
    assert contracts()[0]["status"] == "cancelled"


def test_prune_deletes_contracts_that_ended_long_ago(backend: BackendTasks, contracts: Contracts) -> None:
    old, recent = backend.create(**WORK), backend.create(**WORK)
    backend.update(old.contract_id, status="failed", completed_at=datetime(2026, 1, 1, tzinfo=UTC))
    backend.cancel(recent.contract_id)
    assert backend.prune() == PruneReport(deleted_count=1, deleted_artifact_count=0)
    assert [row["id"] for row in contracts()] == [recent.contract_id]


@pytest.mark.parametrize("delete_artifacts", [False, True])
def test_prune_deletes_the_outputs_of_its_contracts_on_request(
    backend: BackendTasks, database: Connection[Any], delete_artifacts: bool
) -> None:
    created = backend.create(**WORK)
    backend.complete(created.contract_id, output=[1])
    backend.update(created.contract_id, completed_at=datetime(2026, 1, 1, tzinfo=UTC))
    report = backend.prune(delete_artifacts=delete_artifacts)
    assert (report.deleted_count, report.deleted_artifact_count) == (1, int(delete_artifacts))
    left = database.execute("select count(*) from public.agent_artifacts").fetchone()
    assert left == (int(not delete_artifacts),)


def test_a_requeued_contract_starts_afresh_and_keeps_its_history(
    backend: BackendTasks, agent: AgentTasks
) -> None:
    created = agent.create(**WORK, max_retries=0)
    with pytest.raises(ContractNotFound):
        backend.requeue(uuid4())
    [lost] = agent.claim("DESIGN")
    with pytest.raises(StatusConflict, match="is in_progress"):
        backend.requeue(created.contract_id)
    assert agent.fail(lost, "no colors").status == ContractStatus.FAILED
    change = backend.requeue(created.contract_id, max_retries=3)
    assert (change.status, change.was_duplicate) == (ContractStatus.PENDING, False)
    assert backend.requeue(created.contract_id).was_duplicate
    row = backend.get(created.contract_id)
    assert (row.retry_count, row.max_retries, row.error_message) == (0, 3, None)
    [claim] = agent.claim("DESIGN")
    assert claim.attempt == 2
    with pytest.raises(ClaimLost):
        agent.complete(lost)
    agent.complete(claim)
    assert [attempt.outcome for attempt in backend.history(created.contract_id)] == ["failed", "completed"]


def test_none_for_a_required_argument_is_refused_and_nothing_changes(
    backend: BackendTasks, contracts: Contracts
) -> None:
    """It must not become the default: prune(older_than_days=None) would delete contracts."""
    created = backend.create(**WORK)
    backend.update(created.contract_id, status="failed", completed_at=datetime(2026, 1, 1, tzinfo=UTC))
    before = contracts()
    none: Any = None
    calls: list[Callable[[], object]] = [
        lambda: backend.prune(older_than_days=none),
        lambda: backend.prune(limit=none),
        lambda: backend.prune(delete_artifacts=none),
        lambda: backend.requeue(none),
        lambda: backend.register_agent(none),
        lambda: backend.register_agent("DESIGN", with_token=none),
        lambda: backend.rotate_agent("DESIGN", grace_minutes=none),
        lambda: backend.pause_agent(none),
        lambda: backend.cleanup(limit=none),
        lambda: backend.claim(none),
        lambda: backend.claim("DESIGN", limit=none),
        lambda: backend.cancel(none),
        lambda: backend.complete(none),
        lambda: backend.read(none),
        lambda: backend.outcomes([none]),
    ]
    for call in calls:
        with pytest.raises(BadArgument):
            call()
    assert contracts() == before


def test_describe_returns_the_live_table(backend: BackendTasks) -> None:
    assert len(backend.describe()["columns"]) == 28
