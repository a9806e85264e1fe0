"""Commands that change several contracts: by ids, or all that match, after asking."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from ehg_tasks import AgentTasks, BackendTasks
from tests.cli.conftest import CreateContract, Program, ReadRow

SESSION = "00000000-0000-4000-8000-000000000001"
Statuses = Callable[..., list[str]]


@pytest.fixture
def statuses(row: ReadRow) -> Statuses:
    return lambda *contracts: [row(contract)["status"] for contract in contracts]


@pytest.fixture
def fail(agent: AgentTasks, create: CreateContract) -> Callable[..., str]:
    """Creates a contract that has failed, and returns its id."""

    def failed_contract(**fields: str) -> str:
        contract = create(**fields)
        [claim] = agent.claim(fields.get("target_agent", "DESIGN"), contract_id=contract)
        agent.fail(claim, "no ink", retry=False)
        return contract

    return failed_contract


class TestById:
    def test_a_refusal_does_not_keep_the_other_contracts_from_the_change(
        self, as_backend: Program, agent: AgentTasks, create: CreateContract, statuses: Statuses
    ) -> None:
        first, claimed, last = create(), create(), create()
        agent.claim("DESIGN", contract_id=claimed)
        for contract in (first, last):
            agent.cancel(contract)
        result = as_backend.here("requeue", first, claimed, last)
        assert (result.code, result.out.splitlines()) == (
            6,
            [f"{contract}  pending: task contract requeued" for contract in (first, last)],
        )
        [error] = result.err.splitlines()
        assert error.startswith(f"ehg-tasks: task contract {claimed} is in_progress (TC003)")
        assert statuses(first, claimed, last) == ["pending", "in_progress", "pending"]

        printed = as_backend.here("cancel", first, last, "--json")
        assert [row["status"] for row in printed.json] == ["cancelled", "cancelled"]
        unknown = as_backend.here("cancel", SESSION, claimed, "--json")
        assert (unknown.code, [row["contract_id"] for row in json.loads(unknown.out)]) == (5, [claimed])

    def test_nothing_is_changed_if_an_id_is_malformed(
        self, as_backend: Program, as_agent: Program, create: CreateContract, statuses: Statuses
    ) -> None:
        contract = create()
        assert "ID is not a UUID: 'x'" in as_agent.here("cancel", contract, "x").refusal(7)
        assert "nor the start of one: 'x'" in as_backend.here("cancel", contract, "x").refusal(7)
        assert statuses(contract) == ["pending"]

    def test_an_id_may_be_given_by_its_start_with_a_key_that_can_look_it_up(
        self,
        as_backend: Program,
        as_user: Program,
        as_agent: Program,
        agent: AgentTasks,
        create: CreateContract,
    ) -> None:
        contract, other = "ab000000-0000-4000-8000-000000000001", "ab000000-0000-4000-8000-000000000002"
        for contract_id in (contract, other):
            create(contract_id=contract_id)
        agent.claim("DESIGN", contract_id=other)
        start = contract.replace("-", "")
        assert as_user.here("show", start, "--json").json["id"] == contract
        assert [row["attempt"] for row in as_user.here("history", other, "--json").json] == [1]
        assert as_backend.here("outcome", start, "--json").json[0]["contract_id"] == contract
        assert as_backend.here("history", start).err == "No attempt has begun.\n"
        assert as_backend.here("cancel", start, "--json").json[0]["contract_id"] == contract
        assert as_backend.here("requeue", start, "--json").json[0]["contract_id"] == contract
        error = as_backend.here("cancel", "ab00").refusal(7)
        assert f"several contract ids begin with ab00, such as {contract} and {other}" in error
        assert "id begins with ab01" in as_user.here("history", "ab01").refusal(5)
        for command in ("cancel", "outcome", "history"):
            error = as_agent.here(command, "ab00").refusal(7)
            assert error.endswith("An agent cannot look ids up: give the whole id, or use a secret key.")


class TestRequeue:
    def test_all_that_failed_and_match_are_pending_again(
        self,
        as_backend: Program,
        agent: AgentTasks,
        create: CreateContract,
        fail: CreateContract,
        statuses: Statuses,
    ) -> None:
        ours, theirs, cancelled = fail(), fail(target_agent="QA"), create()
        agent.cancel(cancelled)
        command = ("requeue", "--failed", "--target", "DESIGN", "--yes", "--json")
        assert as_backend.here(*command, "--since", "2099-01-01").json == []
        [change] = as_backend.here(*command, "--since", "1h").json
        assert (change["contract_id"], change["status"]) == (ours, "pending")
        assert statuses(ours, theirs, cancelled) == ["pending", "failed", "cancelled"]
        result = as_backend.here("requeue", "--failed", "--cancelled", "--yes")
        assert (result.code, len(result.out.splitlines())) == (0, 2)
        assert statuses(theirs, cancelled) == ["pending", "pending"]

    @pytest.mark.parametrize(
        ("arguments", "error"),
        [
            ([], "no contracts are selected. Give ids, or options such as --failed --since 1h."),
            (["--target", "DESIGN"], "add --failed or --cancelled"),
            (["--dry-run"], "no contracts are selected"),
            ([SESSION, "--failed"], "give ids, or options that select contracts, but not both"),
            ([SESSION, "--dry-run"], "--dry-run is for contracts that options select"),
        ],
    )
    def test_ids_or_options_must_select_contracts(
        self, as_backend: Program, arguments: list[str], error: str
    ) -> None:
        assert error in as_backend.here("requeue", "--yes", *arguments).refusal(7)


class TestCancel:
    def test_all_of_a_session_are_cancelled(
        self, as_backend: Program, agent: AgentTasks, create: CreateContract, statuses: Statuses
    ) -> None:
        waiting, running, other = create(session_id=SESSION), create(session_id=SESSION), create()
        dependent = create(session_id=SESSION, depends_on=[running])
        agent.claim("DESIGN", contract_id=running)
        result = as_backend.here("cancel", "--session", SESSION, "--reason", "no longer needed", "--yes")
        assert (result.code, len(result.out.splitlines())) == (0, 3)
        assert statuses(waiting, running, dependent, other) == ["cancelled"] * 3 + ["pending"]

    def test_with_pending_those_in_progress_go_on(
        self, as_backend: Program, agent: AgentTasks, create: CreateContract, statuses: Statuses
    ) -> None:
        waiting, running = create(), create()
        agent.claim("DESIGN", contract_id=running)
        as_backend.here("cancel", "--target", "DESIGN", "--pending", "--yes")
        assert statuses(waiting, running) == ["cancelled", "in_progress"]

    def test_options_take_the_secret_key(self, as_agent: Program, create: CreateContract) -> None:
        create()
        assert "Set SUPABASE_SECRET_KEY" in as_agent.here("cancel", "--target", "DESIGN", "--yes").refusal(3)
        assert "no contracts are selected" in as_agent.here("cancel", "--yes").refusal(7)


class TestAsking:
    def test_nothing_is_changed_until_a_person_agrees(
        self, as_backend: Program, create: CreateContract, statuses: Statuses
    ) -> None:
        contract = create()
        command = ("cancel", "--target", "DESIGN")
        question = "Cancel 1 contract (1 pending for DESIGN)? [y/N]: "
        refused = as_backend.at_terminal(*command, answer="n\n")
        assert (refused.code, refused.err) == (1, f"{question}ehg-tasks: nothing was changed\n")
        assert statuses(contract) == ["pending"]
        agreed = as_backend.at_terminal(*command, answer="y\n")
        assert (agreed.code, agreed.err) == (0, question)
        assert f"{contract}  cancelled" in agreed.out
        assert statuses(contract) == ["cancelled"]
        assert as_backend.at_terminal(*command).err == "No contract matches.\n"

    def test_what_has_changed_before_the_answer_is_left_alone(
        self,
        as_backend: Program,
        agent: AgentTasks,
        backend: BackendTasks,
        fail: CreateContract,
        row: ReadRow,
    ) -> None:
        repaired, failed = fail(), fail()

        def repair() -> None:
            """Somebody else requeues it, and it is done."""
            backend.requeue(repaired)
            [claim] = agent.claim("DESIGN", contract_id=repaired)
            agent.complete(claim, result_summary="done")

        result = as_backend.at_terminal("requeue", "--failed", answer="y\n", before_answer=repair)
        assert "Requeue 2 contracts (2 failed for DESIGN)?" in result.err
        assert (row(repaired)["status"], row(repaired)["result_summary"]) == ("completed", "done")
        assert row(failed)["status"] == "pending"

    def test_where_nobody_can_be_asked_yes_must_be_given(
        self, as_backend: Program, create: CreateContract, statuses: Statuses
    ) -> None:
        contract = create()
        error = as_backend.here("cancel", "--target", "DESIGN").refusal(7)
        assert "will not cancel 1 contract (1 pending for DESIGN) without asking" in error
        assert "Add --yes, or --dry-run" in error
        assert statuses(contract) == ["pending"]

    def test_a_dry_run_shows_the_contracts_and_changes_nothing(
        self, as_backend: Program, fail: CreateContract, statuses: Statuses
    ) -> None:
        contracts = [fail(), fail()]
        result = as_backend.here("requeue", "--failed", "--dry-run")
        assert [contract in result.out for contract in contracts] == [True, True]
        assert "no ink" in result.out
        assert result.err == "Would requeue 2 contracts (2 failed for DESIGN). Nothing was changed.\n"
        printed = as_backend.here("requeue", "--failed", "--dry-run", "--json").json
        assert [row["contract_id"] for row in printed] == contracts
        assert statuses(*contracts) == ["failed", "failed"]
        real = as_backend.here("requeue", "--failed", "--yes", "--json").json
        assert [row.keys() for row in real] == [row.keys() for row in printed]
