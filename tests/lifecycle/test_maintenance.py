"""Clean-up, pruning, the statistics view and the description of the database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.access.operations import engine_tables
from tests.conftest import Project
from tests.lifecycle.helpers import (
    Database,
    artifact,
    artifacts,
    claim,
    claimed,
    contract,
    create,
    end_lease,
    end_wait,
    held,
    leases,
    waited,
)
from tests.lifecycle.invariants import check_invariants
from tests.sql import Caller, refused

NOTHING = {"failed_count": 0, "cancelled_count": 0, "requeued_count": 0}


def write(database: Database, contract_id: Any, **columns: str) -> None:
    """Set columns of a contract to SQL expressions."""
    values = ", ".join(f"{name} = {value}" for name, value in columns.items())
    database.execute(f"update public.agent_task_contracts set {values} where id = %s".encode(), [contract_id])


def rows(database: Database, table: str) -> list[str]:
    return [text for (text,) in database.execute(f"select t::text from {table} t order by 1".encode())]


def age(database: Database, interval: str) -> None:
    """Move the times at which contracts were created and last changed into the past."""
    database.execute("set session_replication_role = replica")  # the trigger would set updated_at to now
    try:
        database.execute(
            "update public.agent_task_contracts"
            " set created_at = now() - %s::interval, updated_at = now() - %s::interval",
            [interval, interval],
        )
    finally:
        database.execute("reset session_replication_role")


class TestCleanup:
    def test_the_contract_of_a_dead_worker_can_be_claimed_again(
        self, anon: Caller, service: Caller, database: Database
    ) -> None:
        row = claimed(anon)
        assert service("cleanup_stale_contracts") == [NOTHING]
        end_lease(database, row["contract_id"])
        assert service("cleanup_stale_contracts") == [NOTHING | {"requeued_count": 1}]
        after = contract(database, row["contract_id"])
        assert (after["status"], after["retry_count"], after["started_at"]) == ("pending", 1, None)
        assert leases(database) == []
        second = claim(anon)
        assert (second["contract_id"], second["attempt"]) == (row["contract_id"], 2)
        with refused("TC002"):
            anon("complete_task_contract", **held(row))

    def test_each_lost_lease_uses_a_retry(self, anon: Caller, service: Caller, database: Database) -> None:
        contract_id = create(anon)
        for retry_count in (1, 2):
            claim(anon)
            end_lease(database, contract_id)
            service("cleanup_stale_contracts")
            assert contract(database, contract_id)["retry_count"] == retry_count

    def test_a_null_retry_count_counts_as_none(
        self, anon: Caller, service: Caller, database: Database
    ) -> None:
        row = claimed(anon)
        write(database, row["contract_id"], retry_count="null")
        end_lease(database, row["contract_id"])
        assert service("cleanup_stale_contracts") == [NOTHING | {"requeued_count": 1}]
        assert contract(database, row["contract_id"])["retry_count"] == 1

    def test_without_retries_left_the_contract_fails(
        self, anon: Caller, service: Caller, database: Database
    ) -> None:
        row = claimed(anon, max_retries=0)
        end_lease(database, row["contract_id"])
        assert service("cleanup_stale_contracts") == [NOTHING | {"failed_count": 1}]
        after = contract(database, row["contract_id"])
        assert (after["status"], after["retry_count"]) == ("failed", 0)
        assert after["completed_at"] is not None
        assert "expired" in after["error_message"]

    def test_a_contract_that_waited_too_long_is_cancelled(self, service: Caller, database: Database) -> None:
        old, young = create(service), create(service)
        waited(database, old, 25)
        assert service("cleanup_stale_contracts", max_wait_minutes=26 * 60) == [NOTHING]
        assert service("cleanup_stale_contracts", max_wait_minutes=None) == [NOTHING]
        assert service("cleanup_stale_contracts") == [NOTHING | {"cancelled_count": 1}]
        after = contract(database, old)
        assert (after["status"], after["error_message"]) == ("cancelled", "not claimed within 1440 minutes")
        assert contract(database, young)["status"] == "pending"

    def test_the_age_of_a_contract_does_not_matter(
        self, anon: Caller, service: Caller, database: Database
    ) -> None:
        """What counts is how long it could have been claimed: it may have been delayed, or have waited
        for another contract."""
        waiting, running, done = create(service, "OTHER"), claimed(anon)["contract_id"], create(service)
        write(database, done, status="'completed'")
        database.execute("update public.agent_task_contracts set created_at = now() - interval '25 hours'")
        assert service("cleanup_stale_contracts") == [NOTHING]
        statuses = [contract(database, contract_id)["status"] for contract_id in (waiting, running, done)]
        assert statuses == ["pending", "in_progress", "completed"]

    def test_a_contract_that_must_wait_is_not_cancelled(self, service: Caller, database: Database) -> None:
        first = create(service, not_before=datetime.now(UTC) + timedelta(days=300))
        create(service, depends_on=[first])
        database.execute("update public.agent_task_contracts set created_at = now() - interval '25 hours'")
        assert service("cleanup_stale_contracts", max_wait_minutes=1) == [NOTHING]

    def test_a_contract_that_is_due_becomes_ready_without_a_claim(
        self, service: Caller, database: Database
    ) -> None:
        later = datetime.now(UTC) + timedelta(hours=1)
        contract_id = create(service, not_before=later)
        end_wait(database, contract_id)
        assert service("cleanup_stale_contracts") == [NOTHING]
        assert database.execute("select contract_id from ehg_tasks.ready").fetchall() == [(contract_id,)]
        check_invariants(database)
        waited(database, contract_id, hours=25)
        assert service("cleanup_stale_contracts") == [NOTHING | {"cancelled_count": 1}]

    def test_a_contract_in_progress_without_a_lease_expires_by_its_started_at(
        self, service: Caller, database: Database
    ) -> None:
        fresh, stale = create(service), create(service)
        write(database, fresh, status="'in_progress'", started_at="now() - interval '29 minutes'")
        write(database, stale, status="'in_progress'", started_at="now() - interval '31 minutes'")
        assert service("cleanup_stale_contracts") == [NOTHING | {"requeued_count": 1}]
        assert contract(database, fresh)["status"] == "in_progress"
        assert contract(database, stale)["status"] == "pending"

    def test_a_lease_left_behind_by_a_direct_write_is_deleted(
        self, anon: Caller, service: Caller, database: Database
    ) -> None:
        row = claimed(anon)
        write(database, row["contract_id"], status="'completed'")
        assert service("cleanup_stale_contracts") == [NOTHING]
        assert leases(database) == []
        assert contract(database, row["contract_id"])["status"] == "completed"

    def test_it_works_in_batches(self, anon: Caller, service: Caller, database: Database) -> None:
        for _ in range(5):
            create(service)
        for row in anon("claim_task_contract", target_agent="T", limit=5):
            end_lease(database, row["contract_id"])
        counts = [service("cleanup_stale_contracts", limit=2)[0]["requeued_count"] for _ in range(4)]
        assert counts == [2, 2, 1, 0]
        for _ in range(5):
            waited(database, create(service, "OTHER"), 25)
        counts = [service("cleanup_stale_contracts", limit=2)[0]["cancelled_count"] for _ in range(4)]
        assert counts == [2, 2, 1, 0]

    def test_an_old_contract_that_was_claimed_is_not_cancelled_as_unclaimed(
        self, anon: Caller, service: Caller, database: Database
    ) -> None:
        failed, released, expired = (claimed(anon) for _ in range(3))
        anon("fail_task_contract", **held(failed), error_message="e")
        anon("release_task_contract", **held(released))
        end_lease(database, expired["contract_id"])
        assert service("cleanup_stale_contracts") == [NOTHING | {"requeued_count": 1}]
        for row in (failed, released, expired):
            end_wait(database, row["contract_id"])
        anon("claim_task_contract", target_agent="T", contract_id=uuid4())  # makes the retry ready
        database.execute("update public.agent_task_contracts set created_at = now() - interval '25 hours'")
        database.execute("update ehg_tasks.ready set claimable_since = now() - interval '25 hours'")
        assert service("cleanup_stale_contracts") == [NOTHING]
        for row in (failed, released, expired):
            assert contract(database, row["contract_id"])["status"] == "pending"

    def test_it_skips_locked_contracts(
        self, anon: Caller, service: Caller, database: Database, project: Project
    ) -> None:
        """This way it never waits for a claim or a completion."""
        stale, old = claimed(anon)["contract_id"], create(service, "OTHER")
        end_lease(database, stale)
        waited(database, old, 25)
        with psycopg.connect(project.database_url) as other:
            other.execute("select from public.agent_task_contracts for update")
            service.connection.execute("set lock_timeout = '1s'")
            assert service("cleanup_stale_contracts") == [NOTHING]
        assert service("cleanup_stale_contracts") == [NOTHING | {"requeued_count": 1, "cancelled_count": 1}]

    def test_a_dry_run_counts_and_changes_nothing(
        self, anon: Caller, service: Caller, database: Database
    ) -> None:
        stale, last, old = claimed(anon), claimed(anon, max_retries=0), create(service, "OTHER")
        create(anon, "OTHER", depends_on=[last["contract_id"]])
        for row in (stale, last):
            end_lease(database, row["contract_id"])
        waited(database, old, 25)
        tables = ["public.agent_task_contracts", *engine_tables(database)]
        before = [rows(database, each) for each in tables]
        counts = [{"failed_count": 1, "cancelled_count": 1, "requeued_count": 1}]
        assert service("cleanup_stale_contracts", dry_run=True) == counts
        assert [rows(database, each) for each in tables] == before
        assert service("cleanup_stale_contracts") == counts
        check_invariants(database)

    @pytest.mark.parametrize(
        "fields", [{"limit": 0}, {"limit": None}, {"max_wait_minutes": 0}, {"dry_run": None}]
    )
    def test_invalid_arguments_are_refused(self, service: Caller, fields: dict[str, Any]) -> None:
        with refused("TC005"):
            service("cleanup_stale_contracts", **fields)


class TestPrune:
    def test_final_contracts_are_deleted_after_the_given_days(
        self, service: Caller, database: Database
    ) -> None:
        kept = [create(service) for _ in range(3)]
        write(database, kept[0], status="'completed'", completed_at="now() - interval '29 days'")
        write(database, kept[1], created_at="now() - interval '90 days'")
        write(database, kept[2], status="'in_progress'", started_at="now() - interval '90 days'")
        for status in ("completed", "failed", "cancelled"):
            write(database, create(service), status=f"'{status}'", completed_at="now() - interval '31 days'")
        assert service("prune_task_contracts", limit=2) == [{"deleted_count": 2, "deleted_artifact_count": 0}]
        assert service("prune_task_contracts") == [{"deleted_count": 1, "deleted_artifact_count": 0}]
        assert service("prune_task_contracts") == [{"deleted_count": 0, "deleted_artifact_count": 0}]
        remaining = {row[0] for row in database.execute("select id from public.agent_task_contracts")}
        assert remaining == set(kept)

    @pytest.mark.parametrize("status", ["pending", "in_progress"])
    def test_open_contracts_are_kept_at_any_age(
        self, service: Caller, database: Database, status: str
    ) -> None:
        database.execute(
            "insert into public.agent_task_contracts"
            " (parent_agent, target_agent, objective, status, created_at, updated_at, completed_at)"
            " values ('P', 'T', 'o', %s, '2001-01-01', '2001-01-01', '2001-01-01')",
            [status],
        )
        assert service("prune_task_contracts") == [{"deleted_count": 0, "deleted_artifact_count": 0}]

    def test_the_artifacts_of_deleted_contracts_stay(
        self, anon: Caller, service: Caller, database: Database
    ) -> None:
        row = claimed(anon)
        anon("complete_task_contract", **held(row), output={})
        assert service("prune_task_contracts", older_than_days=0) == [
            {"deleted_count": 1, "deleted_artifact_count": 0}
        ]
        assert len(artifacts(database)) == 1

    def test_outputs_are_deleted_on_request(self, anon: Caller, service: Caller, database: Database) -> None:
        row = claimed(anon)
        anon("complete_task_contract", **held(row), output={})
        assert service("prune_task_contracts", older_than_days=0, delete_artifacts=True) == [
            {"deleted_count": 1, "deleted_artifact_count": 1}
        ]
        assert artifacts(database) == []

    def test_only_outputs_that_nobody_else_needs_are_deleted(
        self, anon: Caller, service: Caller, database: Database
    ) -> None:
        """Not those that other programs stored, nor the inputs and outputs of contracts that stay."""
        stored = artifact(database, "by another program")
        rows = [claimed(anon) for _ in range(4)]
        anon("complete_task_contract", **held(rows[0]), output_artifact_id=stored)
        outputs = [
            anon("complete_task_contract", **held(row), output={"n": n})[0]["output_artifact_id"]
            for n, row in enumerate(rows[1:])
        ]
        create(anon, input_artifacts=[outputs[0]])
        write(database, create(anon), output_artifact_id=f"'{outputs[1]}'")
        assert service("prune_task_contracts", older_than_days=0, delete_artifacts=True) == [
            {"deleted_count": 4, "deleted_artifact_count": 1}
        ]
        assert {row["id"] for row in artifacts(database)} == {stored, *outputs[:2]}

    def test_the_output_of_a_run_before_a_requeue_is_deleted_too(
        self, anon: Caller, service: Caller, database: Database
    ) -> None:
        first = claimed(anon)
        anon("complete_task_contract", **held(first), output={"run": 1})
        service("requeue_task_contract", contract_id=first["contract_id"])
        anon("complete_task_contract", **held(claim(anon)), output={"run": 2})
        assert service("prune_task_contracts", older_than_days=0, delete_artifacts=True) == [
            {"deleted_count": 1, "deleted_artifact_count": 2}
        ]
        assert artifacts(database) == []

    def test_an_artifact_that_only_looks_like_an_output_stays(
        self, anon: Caller, service: Caller, database: Database
    ) -> None:
        """Each of the three things that mark an output of the contract must be there."""
        changes = [{"type": "'analysis'"}, {"source_tool": "'other'"}, {"metadata": "'{}'"}]
        for change in changes:
            row = claimed(anon)
            [answer] = anon("complete_task_contract", **held(row), output={})
            [(column, value)] = change.items()
            database.execute(
                f"update public.agent_artifacts set {column} = {value} where id = %s".encode(),
                [answer["output_artifact_id"]],
            )
        assert service("prune_task_contracts", older_than_days=0, delete_artifacts=True) == [
            {"deleted_count": 3, "deleted_artifact_count": 0}
        ]
        assert len(artifacts(database)) == 3

    @pytest.mark.parametrize(
        "fields",
        [
            {"limit": 0},
            {"limit": None},
            {"older_than_days": -1},
            {"older_than_days": None},
            {"delete_artifacts": None},
        ],
    )
    def test_invalid_arguments_are_refused(self, service: Caller, fields: dict[str, Any]) -> None:
        with refused("TC005"):
            service("prune_task_contracts", **fields)


# A direct write can store any time, and PostgreSQL knows two infinite ones.
IMPLAUSIBLE = ["'infinity'", "'-infinity'", "now() + interval '10 years'", "'294276-12-31'", "null"]


class TestImplausibleTimes:
    """No sweep overlooks a row for ever, and none takes it before its time."""

    @pytest.mark.parametrize("started_at", IMPLAUSIBLE)
    def test_a_contract_in_progress_without_a_lease_ends(
        self, service: Caller, database: Database, started_at: str
    ) -> None:
        contract_id = create(service)
        write(database, contract_id, status="'in_progress'", started_at=started_at)
        assert service("cleanup_stale_contracts") == [NOTHING]
        age(database, "31 minutes")
        assert service("cleanup_stale_contracts") == [NOTHING | {"requeued_count": 1}]
        check_invariants(database)

    @pytest.mark.parametrize("completed_at", IMPLAUSIBLE)
    def test_a_final_contract_is_pruned(self, service: Caller, database: Database, completed_at: str) -> None:
        write(database, create(service), status="'failed'", completed_at=completed_at)
        assert service("prune_task_contracts")[0]["deleted_count"] == 0
        age(database, "31 days")
        assert service("prune_task_contracts")[0]["deleted_count"] == 1

    @pytest.mark.parametrize("created_at", [time for time in IMPLAUSIBLE if time != "null"])
    def test_a_contract_that_nobody_claims_is_cancelled(
        self, service: Caller, database: Database, created_at: str
    ) -> None:
        contract_id = create(service)
        write(database, contract_id, created_at=created_at)
        assert service("cleanup_stale_contracts") == [NOTHING]
        waited(database, contract_id, 25)
        assert service("cleanup_stale_contracts") == [NOTHING | {"cancelled_count": 1}]
        check_invariants(database)

    @pytest.mark.parametrize("created_at", [time for time in IMPLAUSIBLE if time != "null"])
    def test_a_contract_is_claimed(self, service: Caller, database: Database, created_at: str) -> None:
        """In its place of the order: the youngest comes last, however young."""
        contract_id, other = create(service), create(service)
        write(database, contract_id, created_at=created_at)
        check_invariants(database)
        order = service.run("select contract_id from public.claim_task_contract('T', 9)")
        first = [contract_id, other] if created_at == "'-infinity'" else [other, contract_id]
        assert [row["contract_id"] for row in order] == first

    @pytest.mark.parametrize("completed_at", [time for time in IMPLAUSIBLE if time != "'-infinity'"])
    def test_the_figures_do_not_count_it_as_finished_in_the_last_hour(
        self, service: Caller, authenticated: Caller, database: Database, completed_at: str
    ) -> None:
        write(database, create(service), status="'completed'", completed_at=completed_at, started_at="now()")
        [row] = authenticated.run("select contracts, finished_last_hour from public.task_contract_stats")
        assert row == {"contracts": 1, "finished_last_hour": 0}


class TestStats:
    def test_it_counts_what_is_held_running_and_over_its_budget(
        self, anon: Caller, service: Caller, authenticated: Caller
    ) -> None:
        first = create(anon, not_before=datetime.now(UTC) + timedelta(days=1))
        create(anon, depends_on=[first])
        create(anon, priority=1)
        for tokens in (10, 11, 12):
            row = claimed(anon, max_tokens=10)
            anon("complete_task_contract", **held(row), execution_tokens=tokens)
        claimed(anon)
        service.run(
            "insert into public.agent_task_contracts (parent_agent, target_agent, objective, status)"
            " values ('P', 'T', 'o', 'in_progress')"
        )
        rows = authenticated.run(
            "select status, contracts, held, running, over_budget"
            " from public.task_contract_stats order by status"
        )
        assert [tuple(row.values()) for row in rows] == [
            ("completed", 3, None, None, 2),
            ("in_progress", 2, None, 1, 0),
            ("pending", 3, 2, None, 0),
        ]

    def test_it_has_one_row_per_agent_and_status(
        self, anon: Caller, authenticated: Caller, database: Database
    ) -> None:
        create(anon, "A")
        old = create(anon, "A")
        write(database, old, created_at="now() - interval '10 minutes'")
        for tokens, seconds in ((100, 10), (300, 30)):
            row = claimed(anon, target_agent="T", max_tokens=1000)
            anon("complete_task_contract", **held(row), execution_tokens=tokens)
            write(database, row["contract_id"], started_at=f"completed_at - interval '{seconds} seconds'")
        waiting, done = authenticated.run("select * from public.task_contract_stats order by target_agent")
        assert (waiting["target_agent"], waiting["status"], waiting["contracts"]) == ("A", "pending", 2)
        assert timedelta(seconds=waiting["oldest_wait_seconds"]) >= timedelta(minutes=10)
        assert waiting["execution_tokens"] is None
        assert (done["status"], done["finished_last_hour"], done["oldest_wait_seconds"]) == (
            "completed",
            2,
            None,
        )
        assert (done["execution_tokens"], done["max_tokens"]) == (400, 2000)
        assert (done["median_duration_seconds"], done["p95_duration_seconds"]) == (20.0, 29.0)


def test_a_description_counts_the_rows(service: Caller) -> None:
    """tests/test_generated.py and tests/cli/test_verify.py cover its other parts."""
    create(service)
    [row] = service("describe_task_contracts")
    assert row["describe_task_contracts"]["row_count"] == 1
