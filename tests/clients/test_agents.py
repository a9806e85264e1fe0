"""`AgentTasks` over HTTP, as a program uses it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from psycopg import Connection

from ehg_tasks import (
    AgentTasks,
    AttemptOutcome,
    BadArgument,
    ClaimLost,
    ConnectionFailed,
    ContractNotFound,
    ContractStatus,
    IdempotencyConflict,
    MigrationsMissing,
    NewContract,
    StatusConflict,
    TaskContractError,
    TooLarge,
    WaitReason,
)
from ehg_tasks.new_contract import OnDependencyFailure
from tests.clients.helpers import WORK, Contracts
from tests.conftest import Project
from tests.lifecycle.helpers import end_wait


def test_one_agent_creates_a_contract_and_another_completes_it(agent: AgentTasks, project: Project) -> None:
    created = agent.create(
        **WORK, priority=70, constraints={"colors": ["red"]}, output_schema={"type": "object"}
    )
    assert (created.created, created.contract_summary) == (True, "PLANNER -> DESIGN: draw")
    with AgentTasks(url=project.url, key=project.publishable_key) as other:
        [claim] = other.claim("DESIGN")
        assert claim.contract_id == created.contract_id
        assert (claim.objective, claim.priority, claim.attempt) == ("draw", 70, 1)
        assert (claim.constraints, claim.output_schema) == ({"colors": ["red"]}, {"type": "object"})
        assert other.renew(claim).lease_expires_at >= claim.lease_expires_at
        done = other.complete(claim, output={"page": 1}, result_summary="a page", execution_tokens=120)
        assert (done.status, done.was_duplicate) == (ContractStatus.COMPLETED, False)
    outcome = agent.outcome(created.contract_id)
    assert outcome.output == {"page": 1}
    assert (outcome.result_summary, outcome.execution_tokens) == ("a page", 120)
    assert outcome.output_artifact_id == done.output_artifact_id


@pytest.mark.parametrize("output", [{"a": [1, None, 2.5]}, [], [[1]], "text", "5", "", 5, True, False])
def test_an_output_is_read_back_unchanged(agent: AgentTasks, output: Any) -> None:
    agent.create(**WORK)
    [claim] = agent.claim("DESIGN")
    agent.complete(claim, output=output)
    assert agent.outcome(claim.contract_id).output == output


def test_text_is_read_back_unchanged(agent: AgentTasks) -> None:
    text = "ünïcödé 🤖 'quotes' \"double\" \\back\\slash\n\ttab {curly} %s $1 $$ -- /* */"
    agent.create(NewContract(**WORK | {"objective": text}, constraints={text: text}))
    [claim] = agent.claim("DESIGN")
    assert (claim.objective, claim.constraints) == (text, {text: text})


def test_nulls_among_the_input_artifacts_do_not_hide_a_contract(
    agent: AgentTasks, database: Connection[Any]
) -> None:
    """Only a direct write to the table can leave such an array."""
    artifact = uuid4()
    database.execute(
        "insert into public.agent_artifacts (id, type, summary, content_text) values (%s, 'a', 's', 'text')",
        [artifact],
    )
    database.execute(
        "insert into public.agent_task_contracts (parent_agent, target_agent, objective, input_artifacts)"
        " values ('P', 'DESIGN', 'o', array[null, %s]::uuid[])",
        [artifact],
    )
    [claim] = agent.claim("DESIGN")
    assert claim.input_artifacts == [artifact]
    assert [(item.artifact_id, item.content_text) for item in agent.inputs(claim)] == [(artifact, "text")]


def test_creating_a_contract_again_changes_nothing(agent: AgentTasks, contracts: Contracts) -> None:
    contract = NewContract(**WORK, contract_id=uuid4())
    assert agent.create(contract).created
    before = contracts()
    assert not agent.create(contract).created
    with pytest.raises(IdempotencyConflict):
        agent.create(**WORK | {"objective": "other"}, contract_id=contract.contract_id)
    assert contracts() == before


def test_fields_left_out_get_the_defaults_that_new_contract_shows(
    agent: AgentTasks, contracts: Contracts
) -> None:
    """`create` does not send these fields, so the database fills in its defaults."""
    contract = NewContract(**WORK)
    agent.create(contract)
    [row] = contracts()
    not_columns = {"contract_id", "not_before", "depends_on", "on_dependency_failure"}
    shown = contract.model_dump(exclude=not_columns)
    assert {name: row[name] for name in shown} == shown
    outcome = agent.outcome(row["id"])
    assert (outcome.waiting, outcome.waits_for) == ("ready", None)


def test_a_misspelled_field_is_refused(agent: AgentTasks, contracts: Contracts) -> None:
    """The type checker refuses it too: otherwise mypy would report an unused `ignore`."""
    with pytest.raises(BadArgument, match="targt_agent"):
        agent.create(parent_agent="P", targt_agent="T", objective="o")  # type: ignore[call-overload]
    assert contracts() == []


def test_a_contract_and_fields_together_are_refused(agent: AgentTasks, contracts: Contracts) -> None:
    with pytest.raises(BadArgument, match="not both"):
        agent.create(NewContract(**WORK), priority=1)  # type: ignore[call-overload]
    assert contracts() == []


def test_a_contract_waits_for_its_time_and_for_what_it_depends_on(agent: AgentTasks) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    delayed = agent.create(**WORK, not_before=later)
    first = agent.create(**WORK)
    second = agent.create(NewContract(**WORK, depends_on=[first.contract_id]))
    outcomes = agent.outcomes([delayed.contract_id, first.contract_id, second.contract_id])
    assert [(o.waiting, o.next_attempt_at, o.waits_for, o.attempt) for o in outcomes] == [
        (WaitReason.DELAYED, later, 0, None),
        (WaitReason.READY, None, None, None),
        (WaitReason.DEPENDENCIES, None, 1, None),
    ]
    [claim] = agent.claim("DESIGN", limit=3)
    assert claim.contract_id == first.contract_id
    agent.complete(claim)
    assert [claim.contract_id for claim in agent.claim("DESIGN", limit=3)] == [second.contract_id]


@pytest.mark.parametrize(("on_failure", "status"), [("cancel", "cancelled"), ("run", "pending")])
def test_a_failed_dependency_cancels_a_contract_or_lets_it_run(
    agent: AgentTasks, on_failure: OnDependencyFailure, status: str
) -> None:
    first = uuid4()
    contracts = [
        NewContract(**WORK, contract_id=first),
        NewContract(**WORK, depends_on=[first], on_dependency_failure=on_failure),
    ]
    _, second = agent.create_many(contracts)
    agent.cancel(first)
    outcome = agent.outcome(second.contract_id)
    assert outcome.status == status
    assert (str(first) in (outcome.error_message or "")) == (on_failure == "cancel")


def test_an_unknown_dependency_is_refused(agent: AgentTasks, contracts: Contracts) -> None:
    unknown = uuid4()
    with pytest.raises(BadArgument, match=str(unknown)):
        agent.create(**WORK, depends_on=[unknown])
    assert contracts() == []


def test_a_lease_is_shorter_than_the_time_limit_on_request(agent: AgentTasks) -> None:
    agent.create(**WORK, timeout_minutes=30)
    [claim] = agent.claim("DESIGN", lease_seconds=60)
    assert claim.lease_expires_at - datetime.now(UTC) < timedelta(minutes=2)
    lease = agent.renew(claim, progress={"message": "half", "percent": 50})
    assert lease.lease_expires_at > claim.lease_expires_at
    assert agent.outcome(claim.contract_id).progress == {"message": "half", "percent": 50}
    agent.renew(claim)
    assert agent.outcome(claim.contract_id).progress == {"message": "half", "percent": 50}
    with pytest.raises(BadArgument, match=r"^lease_seconds must be at least 5"):
        agent.claim("DESIGN", lease_seconds=4)


def test_a_claim_may_name_its_contract(agent: AgentTasks) -> None:
    agent.create(**WORK, priority=90)
    created = agent.create(**WORK)
    [claim] = agent.claim("DESIGN", contract_id=created.contract_id)
    assert claim.contract_id == created.contract_id
    assert agent.claim("DESIGN", contract_id=created.contract_id) == []


def test_the_history_shows_how_each_attempt_ended(agent: AgentTasks, database: Connection[Any]) -> None:
    created = agent.create(**WORK)
    assert agent.history(created.contract_id) == []
    agent_id = uuid4()
    [claim] = agent.claim("DESIGN", agent_id=agent_id)
    agent.renew(claim, progress={"percent": 5})
    failed = agent.fail(claim, "no colors")
    end_wait(database, created.contract_id)
    [claim] = agent.claim("DESIGN")
    agent.complete(claim, execution_tokens=7)
    first, second = agent.history(created.contract_id)
    assert (first.attempt, first.outcome, first.agent_id) == (1, AttemptOutcome.FAILED, agent_id)
    assert (first.error_message, first.progress) == ("no colors", {"percent": 5})
    assert first.next_attempt_at == failed.next_attempt_at
    assert (second.attempt, second.outcome, second.execution_tokens) == (2, AttemptOutcome.COMPLETED, 7)
    assert first.ended_at is not None
    assert first.claimed_at < first.ended_at < second.claimed_at
    with pytest.raises(ContractNotFound):
        agent.history(uuid4())


def test_contracts_created_in_one_call_are_claimed_in_their_order(agent: AgentTasks) -> None:
    contracts = [NewContract(**WORK | {"objective": str(number)}) for number in range(1000)]
    assert len(agent.create_many(contracts)) == 1000
    claims = agent.claim("DESIGN", limit=100)
    assert [claim.objective for claim in claims] == [str(number) for number in range(100)]


def test_a_call_over_its_limit_is_refused_as_a_whole(agent: AgentTasks, contracts: Contracts) -> None:
    with pytest.raises(TooLarge, match="1001"):
        agent.create_many([NewContract(**WORK)] * 1001)
    with pytest.raises(TooLarge, match="101"):
        agent.claim("DESIGN", limit=101)
    assert contracts() == []


def test_outcomes_are_read_in_as_many_calls_as_needed(agent: AgentTasks) -> None:
    ids = [
        created.contract_id
        for _ in range(2)
        for created in agent.create_many([NewContract(**WORK) for _ in range(600)])
    ]
    assert [outcome.contract_id for outcome in agent.outcomes([*ids, ids[0], uuid4()])] == ids


def test_a_failed_attempt_is_retried_unless_the_agent_forbids_it(agent: AgentTasks) -> None:
    agent.create(**WORK)
    [claim] = agent.claim("DESIGN")
    failed = agent.fail(claim, "no colors")
    assert (failed.status, failed.retry_count) == (ContractStatus.PENDING, 1)
    assert failed.next_attempt_at is not None
    agent.create(**WORK)
    [claim] = agent.claim("DESIGN")
    assert agent.fail(claim, "no", retry=False).status == ContractStatus.FAILED


def test_a_released_contract_can_be_claimed_and_cancelled(agent: AgentTasks) -> None:
    created = agent.create(**WORK)
    [claim] = agent.claim("DESIGN")
    assert agent.release(claim).status == ContractStatus.PENDING
    [claim] = agent.claim("DESIGN")
    assert agent.cancel(created.contract_id, "not needed").status == ContractStatus.CANCELLED
    with pytest.raises(StatusConflict, match="already cancelled"):
        agent.complete(claim)


def test_every_call_with_a_lost_claim_is_refused(agent: AgentTasks, contracts: Contracts) -> None:
    agent.create(**WORK)
    [lost] = agent.claim("DESIGN")
    agent.release(lost)
    [claim] = agent.claim("DESIGN")
    before = contracts()
    for method in (agent.renew, agent.complete, agent.inputs):
        with pytest.raises(ClaimLost) as raised:
            method(lost)
        assert raised.value.code == "TC002"
    assert contracts() == before
    assert agent.complete(claim).success


def test_an_unknown_contract_is_reported(agent: AgentTasks) -> None:
    for method in (agent.outcome, agent.cancel):
        with pytest.raises(ContractNotFound):
            method(uuid4())


def test_an_output_that_is_not_json_is_refused_and_nothing_changes(
    agent: AgentTasks, contracts: Contracts
) -> None:
    agent.create(**WORK)
    [claim] = agent.claim("DESIGN")
    before = contracts()
    with pytest.raises(BadArgument, match="output is not JSON"):
        agent.complete(claim, output=float("nan"))
    assert contracts() == before


def test_a_server_that_cannot_be_reached_is_reported() -> None:
    with (
        AgentTasks(url="http://127.0.0.1:9", key="sb_publishable_x", retries=1) as agent,
        pytest.raises(ConnectionFailed, match=r"cannot reach http://127\.0\.0\.1:9"),
    ):
        agent.claim("DESIGN")


def test_a_missing_function_is_reported_as_a_missing_migration(
    agent: AgentTasks, database: Connection[Any]
) -> None:
    database.execute("alter function public.task_contract_outcomes rename to renamed_by_a_test")
    try:
        with pytest.raises(MigrationsMissing, match="supabase db push"):
            agent.outcome(uuid4())
    finally:
        database.execute("alter function public.renamed_by_a_test rename to task_contract_outcomes")


def test_a_closed_client_refuses_calls(project: Project) -> None:
    agent = AgentTasks(url=project.url, key=project.publishable_key)
    agent.close()
    with pytest.raises(TaskContractError, match="closed"):
        agent.claim("DESIGN")
