"""Clean-up, pruning, figures and the description."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from tests.access import specification as spec
from tests.conftest import Project
from tests.lifecycle.helpers import Database, claim, claimed, contract, create, end_lease, leases
from tests.sql import Caller, refused

NOTHING = {"failed_count": 0, "cancelled_count": 0, "requeued_count": 0}


def age(database: Database, contract_id: Any, **columns: str) -> None:
    """Write columns as if it had been so, and leave updated_at to the trigger."""
    values = ", ".join(f"{name} = {value}" for name, value in columns.items())
    database.execute(f"update public.agent_task_contracts set {values} where id = %s".encode(), [contract_id])


class TestCleanUp:
    def test_a_dead_workers_contract_is_claimable_again(
        self, anon: Caller, service: Caller, database: Database
    ) -> None:
        row = claimed(anon)
        assert service("cleanup_stale_contracts") == [NOTHING]
        end_lease(database, row["contract_id"])
        assert service("cleanup_stale_contracts") == [NOTHING | {"requeued_count": 1}]
        now = contract(database, row["contract_id"])
        assert (now["status"], now["retry_count"], now["started_at"]) == ("pending", 1, None)
        assert leases(database) == []
        again = claim(anon)
        assert (again["contract_id"], again["attempt"]) == (row["contract_id"], 2)
        with refused("TC002"):
            anon("complete_task_contract", contract_id=row["contract_id"], claim_token=row["claim_token"])

    def test_without_a_retry_left_it_fails(self, anon: Caller, service: Caller, database: Database) -> None:
        row = claimed(anon, max_retries=0)
        end_lease(database, row["contract_id"])
        assert service("cleanup_stale_contracts") == [NOTHING | {"failed_count": 1}]
        now = contract(database, row["contract_id"])
        assert (now["status"], now["retry_count"]) == ("failed", 0)
        assert now["completed_at"] is not None
        assert "expired" in now["error_message"]

    def test_what_nobody_claims_is_cancelled(self, service: Caller, database: Database) -> None:
        old, young = create(service), create(service)
        age(database, old, created_at="now() - interval '25 hours'")
        assert service("cleanup_stale_contracts", max_wait_minutes=26 * 60) == [NOTHING]
        assert service("cleanup_stale_contracts", max_wait_minutes=None) == [NOTHING]
        assert service("cleanup_stale_contracts") == [NOTHING | {"cancelled_count": 1}]
        assert contract(database, old)["status"] == "cancelled"
        assert contract(database, young)["status"] == "pending"

    def test_only_what_waits_is_cancelled_for_its_age(
        self, anon: Caller, service: Caller, database: Database
    ) -> None:
        held, done = claimed(anon)["contract_id"], create(service, "DONE")
        age(database, held, created_at="now() - interval '25 hours'")
        age(database, done, created_at="now() - interval '25 hours'", status="'completed'")
        assert service("cleanup_stale_contracts") == [NOTHING]
        assert contract(database, held)["status"] == "in_progress"
        assert contract(database, done)["status"] == "completed"

    def test_what_another_client_set_in_progress_counts_from_started_at(
        self, service: Caller, database: Database
    ) -> None:
        fresh, stale = create(service), create(service)
        age(database, fresh, status="'in_progress'", started_at="now() - interval '29 minutes'")
        age(database, stale, status="'in_progress'", started_at="now() - interval '31 minutes'")
        assert service("cleanup_stale_contracts") == [NOTHING | {"requeued_count": 1}]
        assert contract(database, fresh)["status"] == "in_progress"
        assert contract(database, stale)["status"] == "pending"

    def test_a_lease_left_behind_by_a_direct_write_goes(
        self, anon: Caller, service: Caller, database: Database
    ) -> None:
        row = claimed(anon)
        age(database, row["contract_id"], status="'completed'")
        assert service("cleanup_stale_contracts") == [NOTHING]
        assert leases(database) == []
        assert contract(database, row["contract_id"])["status"] == "completed"

    def test_it_works_in_batches(self, anon: Caller, service: Caller, database: Database) -> None:
        for _ in range(5):
            create(service)
        taken = anon("claim_task_contract", target_agent="T", limit=5)
        for row in taken:
            end_lease(database, row["contract_id"])
        counts = [service("cleanup_stale_contracts", limit=2)[0]["requeued_count"] for _ in range(4)]
        assert counts == [2, 2, 1, 0]
        database.execute("update public.agent_task_contracts set created_at = now() - interval '25 hours'")
        counts = [service("cleanup_stale_contracts", limit=2)[0]["cancelled_count"] for _ in range(4)]
        assert counts == [2, 2, 1, 0]

    def test_it_passes_over_what_is_locked(
        self, anon: Caller, service: Caller, database: Database, project: Project
    ) -> None:
        """It never waits for a claim or a completion: here both contracts are locked by another session."""
        stale, old = claimed(anon)["contract_id"], create(service, "OTHER")
        end_lease(database, stale)
        age(database, old, created_at="now() - interval '25 hours'")
        with psycopg.connect(project.database_url) as other:
            other.execute("select from public.agent_task_contracts for update")
            service.connection.execute("set lock_timeout = '1s'")
            assert service("cleanup_stale_contracts") == [NOTHING]
        assert service("cleanup_stale_contracts") == [NOTHING | {"requeued_count": 1, "cancelled_count": 1}]

    @pytest.mark.parametrize("fields", [{"limit": 0}, {"limit": None}, {"max_wait_minutes": 0}])
    def test_bad_arguments(self, service: Caller, fields: dict[str, Any]) -> None:
        with refused("TC005"):
            service("cleanup_stale_contracts", **fields)

    @pytest.mark.parametrize("role", ["anon", "authenticated"])
    @pytest.mark.parametrize("function", ["cleanup_stale_contracts", "prune_task_contracts"])
    def test_it_is_for_backend_jobs(
        self, call_as: Callable[[str], Caller], database: Database, role: str, function: str
    ) -> None:
        with refused("42501", function):
            call_as(role)(function)


class TestPrune:
    def test_final_contracts_go_after_their_time(self, service: Caller, database: Database) -> None:
        kept = [create(service) for _ in range(3)]
        age(database, kept[0], status="'completed'", completed_at="now() - interval '29 days'")
        age(database, kept[1], created_at="now() - interval '90 days'")
        age(database, kept[2], status="'in_progress'", started_at="now() - interval '90 days'")
        for status in ("completed", "failed", "cancelled"):
            age(database, create(service), status=f"'{status}'", completed_at="now() - interval '31 days'")
        assert service("prune_task_contracts", limit=2) == [{"deleted_count": 2}]
        assert service("prune_task_contracts") == [{"deleted_count": 1}]
        assert service("prune_task_contracts") == [{"deleted_count": 0}]
        left = {row[0] for row in database.execute("select id from public.agent_task_contracts")}
        assert left == set(kept)

    @pytest.mark.parametrize("status", ["pending", "in_progress"])
    def test_what_is_open_stays_however_old(self, service: Caller, database: Database, status: str) -> None:
        database.execute(
            "insert into public.agent_task_contracts"
            " (parent_agent, target_agent, objective, status, created_at, updated_at, completed_at)"
            " values ('P', 'T', 'o', %s, '2001-01-01', '2001-01-01', '2001-01-01')",
            [status],
        )
        assert service("prune_task_contracts") == [{"deleted_count": 0}]

    def test_artifacts_stay(self, anon: Caller, service: Caller, database: Database) -> None:
        row = claimed(anon)
        anon("complete_task_contract", contract_id=row["contract_id"], claim_token=row["claim_token"])
        service("prune_task_contracts", older_than_days=0)
        assert database.execute("select count(*) from public.agent_task_contracts").fetchone() == (0,)

    @pytest.mark.parametrize(
        "fields", [{"limit": 0}, {"limit": None}, {"older_than_days": -1}, {"older_than_days": None}]
    )
    def test_bad_arguments(self, service: Caller, fields: dict[str, Any]) -> None:
        with refused("TC005"):
            service("prune_task_contracts", **fields)


class TestStats:
    def test_figures_per_agent_and_status(
        self, anon: Caller, authenticated: Caller, database: Database
    ) -> None:
        create(anon, "A")
        old = create(anon, "A")
        age(database, old, created_at="now() - interval '10 minutes'")
        for tokens, seconds in ((100, 10), (300, 30)):
            row = claimed(anon, target_agent="T", max_tokens=1000)
            anon(
                "complete_task_contract",
                contract_id=row["contract_id"],
                claim_token=row["claim_token"],
                execution_tokens=tokens,
            )
            age(database, row["contract_id"], started_at=f"completed_at - interval '{seconds} seconds'")
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

    def test_an_agent_sees_no_figures(self, anon: Caller) -> None:
        with refused("42501"):
            anon.run("select * from public.task_contract_stats")

    def test_row_level_security_decides_what_is_counted(
        self, authenticated: Caller, service: Caller, database: Database
    ) -> None:
        create(service)
        with database.transaction(force_rollback=True):
            database.execute(
                'drop policy "Authenticated users can read task contracts" on public.agent_task_contracts'
            )
            database.execute("set local role authenticated")
            assert database.execute("select * from public.task_contract_stats").fetchall() == []


class TestDescribe:
    def test_it_tells_the_live_objects(self, service: Caller, database: Connection[Any]) -> None:
        create(service)
        [row] = service("describe_task_contracts")
        told = row["describe_task_contracts"]
        assert told["row_count"] == 1
        assert [column["name"] for column in told["columns"]] == [name for name, *_ in spec.COLUMNS]
        assert {index["name"] for index in told["indexes"]} == {*spec.INDEXES, *spec.ADDED_INDEXES}
        table = [policy for policy in told["policies"] if policy["table"] == "public.agent_task_contracts"]
        assert {
            (p["name"], p["command"], tuple(p["roles"]), p["using"], p["with_check"]) for p in table
        } == spec.POLICIES
        assert {trigger["name"] for trigger in told["triggers"]} == {*spec.TRIGGERS, *spec.ADDED_TRIGGERS}

    def test_a_change_shows(self, service: Caller, database: Connection[Any]) -> None:
        [before] = service("describe_task_contracts")
        with database.transaction(force_rollback=True):
            database.execute("grant select on public.agent_task_contracts to anon")
            database.execute("drop index public.idx_task_contracts_claim_order")
            row = database.execute("select public.describe_task_contracts()").fetchone()
        assert row is not None
        told, then = row[0], before["describe_task_contracts"]
        extra = {"object": "public.agent_task_contracts", "role": "anon", "privilege": "SELECT"}
        assert [grant for grant in told["grants"] if grant not in then["grants"]] == [extra]
        assert len(told["indexes"]) == len(then["indexes"]) - 1
