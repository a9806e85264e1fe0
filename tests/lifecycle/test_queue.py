"""The engine's tables follow direct writes to the contracts; marks never stand after what they mark."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.conftest import Project
from tests.lifecycle.helpers import Database, attempts, claim, contract, create, end_lease, end_wait, held
from tests.lifecycle.invariants import check_invariants
from tests.sql import Caller, jsonb

LATER = datetime.now(UTC) + timedelta(days=1)


@pytest.fixture
def database(database: Database) -> Database:
    """Without the marks of earlier tests."""
    database.execute("delete from ehg_tasks.low_water_marks")
    database.execute("delete from ehg_tasks.lease_marks")
    return database


def raise_marks(database: Database, agent: str = "T") -> None:
    database.execute("select ehg_tasks.raise_low_water_marks(%s)", [agent])
    check_invariants(database)


class TestOrder:
    @pytest.mark.parametrize("not_before", [None, LATER], ids=["ready", "held"])
    @pytest.mark.parametrize(
        ("column", "value"),
        [
            ("target_agent", "U"),
            ("target_agent", "U\u200b"),
            ("priority", 90),
            ("created_at", datetime(2020, 1, 1, tzinfo=UTC)),
        ],
    )
    def test_a_waiting_contract_takes_the_place_that_is_written(
        self, anon: Caller, service: Caller, database: Database, not_before: Any, column: str, value: Any
    ) -> None:
        create(anon)
        moved = create(anon, not_before=not_before)
        service.run(f"update public.agent_task_contracts set {column} = %s where id = %s", [value, moved])
        check_invariants(database)
        end_wait(database, moved)
        assert claim(anon, "U" if column == "target_agent" else "T")["contract_id"] == moved


class TestId:
    def test_everything_follows_a_new_id(self, anon: Caller, service: Caller, database: Database) -> None:
        running, ready, delayed = (create(anon) for _ in range(3))
        row = claim(anon)
        waiting = create(anon, depends_on=[running])
        service.run("delete from public.agent_task_contracts where id = %s", [delayed])
        delayed = create(anon, not_before=LATER)
        raise_marks(database)
        for number, old in enumerate((running, ready, delayed, waiting)):
            service.run(
                "update public.agent_task_contracts set id = %s where id = %s", [UUID(int=number), old]
            )
            check_invariants(database)
        assert claim(anon)["contract_id"] == UUID(int=1)
        anon("complete_task_contract", contract_id=UUID(int=0), claim_token=row["claim_token"])
        assert claim(anon)["contract_id"] == UUID(int=3)


class TestStatus:
    def test_the_same_status_again_changes_nothing(
        self, anon: Caller, service: Caller, database: Database
    ) -> None:
        row = claim(anon, contract_id=create(anon))
        delayed = create(anon, not_before=LATER)
        service.run("update public.agent_task_contracts set status = status")
        check_invariants(database)
        assert anon("claim_task_contract", target_agent="T", contract_id=delayed) == []
        assert attempts(database, row["contract_id"])[0]["ended_at"] is None

    def test_a_name_with_invisible_characters_is_that_of_the_queue(
        self, anon: Caller, service: Caller, database: Database
    ) -> None:
        contract_id = create(anon)
        service.run("update public.agent_task_contracts set target_agent = 'T\u200b'")
        anon("release_task_contract", **held(claim(anon)))
        check_invariants(database)
        assert claim(anon)["contract_id"] == contract_id
        service.run(
            "insert into public.agent_task_contracts (parent_agent, target_agent, objective)"
            " values ('P', 'U​', 'o')"
        )
        check_invariants(database)

    def test_the_oldest_of_the_new_pending_contracts_is_marked(
        self, service: Caller, database: Database
    ) -> None:
        service.run(
            "insert into public.agent_task_contracts"
            " (parent_agent, target_agent, objective, status, created_at)"
            " select 'P', 'T', 'o', case n when 4 then 'completed' else 'pending' end,"
            " now() - n * interval '1 hour'"
            " from generate_series(1, 4) as n"
        )
        check_invariants(database)

    def test_truncating_the_contracts_empties_the_engine(self, anon: Caller, database: Database) -> None:
        create(anon)
        create(anon, not_before=LATER, depends_on=[claim(anon)["contract_id"]])
        create(anon)
        database.execute("truncate public.agent_task_contracts cascade")
        check_invariants(database)


class TestDependents:
    def test_what_runs_all_the_same_runs_after_a_cancelled_one(
        self, anon: Caller, database: Database
    ) -> None:
        first = create(anon, "OTHER")
        second, third = (create(anon, depends_on=[first]) for _ in range(2))
        last = create(anon, depends_on=[second, third], on_dependency_failure="run")
        anon("cancel_task_contract", contract_id=first)
        check_invariants(database)
        assert database.execute("select contract_id from ehg_tasks.ready").fetchall() == [(last,)]

    def test_what_is_not_pending_stays_after_a_cancelled_one(
        self, anon: Caller, service: Caller, database: Database
    ) -> None:
        first = create(anon)
        second = create(anon, depends_on=[first])
        third = create(anon, depends_on=[second])
        service.run("update public.agent_task_contracts set status = 'in_progress' where id = %s", [third])
        anon("cancel_task_contract", contract_id=first)
        assert contract(database, third)["status"] == "in_progress"

    def test_what_no_longer_waits_stays_when_the_other_is_requeued_and_cancelled(
        self, anon: Caller, service: Caller, database: Database
    ) -> None:
        first = create(anon)
        second, third = create(anon, depends_on=[first]), create(anon, "OTHER")
        create(anon, depends_on=[first, third])
        anon("complete_task_contract", **held(claim(anon)))
        service("requeue_task_contract", contract_id=first)
        create(anon, depends_on=[first])
        anon("cancel_task_contract", contract_id=first)
        assert contract(database, second)["status"] == "pending"
        service.run("delete from public.agent_task_contracts where id = %s", [second])
        check_invariants(database)


class TestMarks:
    def test_they_rise_to_the_first_contract_of_each_priority(self, anon: Caller, database: Database) -> None:
        other = create(anon, "U")
        ids = [create(anon, priority=priority) for priority in (50, 50, 50, 90)]
        claim(anon)
        claim(anon)
        for _ in range(2):
            raise_marks(database)
        assert database.execute(
            "select priority, contract_id from ehg_tasks.low_water_marks where target_agent = 'T'"
        ).fetchall() == [(50, ids[1])]
        assert claim(anon, "U")["contract_id"] == other

    def test_the_marks_of_an_agent_without_work_do_not_concern_others(
        self, anon: Caller, database: Database
    ) -> None:
        create(anon)
        create(anon, "U")
        claim(anon)
        raise_marks(database)

    def test_work_that_comes_back_lowers_them(self, anon: Caller, database: Database) -> None:
        first, _ = create(anon), create(anon)
        row = claim(anon)
        raise_marks(database)
        anon("release_task_contract", **held(row))
        check_invariants(database)
        assert claim(anon)["contract_id"] == first

    def test_work_that_is_freed_sets_them(self, anon: Caller, database: Database) -> None:
        first = create(anon)
        for _ in range(3):
            create(anon, depends_on=[first])
        row = claim(anon)
        raise_marks(database)
        anon("complete_task_contract", **held(row))
        check_invariants(database)

    def test_a_lease_mark_does_not_stand_after_a_lease_that_has_expired_or_will(
        self, anon: Caller, database: Database
    ) -> None:
        rows = [claim(anon, contract_id=create(anon)) for _ in range(2)]
        for row, seconds_ago in zip(rows, (10, 20), strict=True):
            end_lease(database, row["contract_id"], seconds_ago)
        raise_marks(database)
        create(anon, "U")
        claim(anon, "U")
        raise_marks(database, "U")
        create(anon, "U")
        claim(anon, "U", lease_seconds=5)
        check_invariants(database)

    def test_those_of_other_agents_and_priorities_do_not_count(
        self, anon: Caller, database: Database
    ) -> None:
        create(anon, "U")
        ids = [create(anon, priority=priority) for priority in (90, 50, 90, 40)]
        assert claim(anon)["contract_id"] == ids[0]
        assert claim(anon)["contract_id"] == ids[2]
        rows = anon("claim_task_contract", target_agent="T", limit=2)
        assert [row["contract_id"] for row in rows] == [ids[1], ids[3]]


class TestLeases:
    def test_a_claim_ends_the_expired_leases_of_its_own_agent_only(
        self, anon: Caller, database: Database
    ) -> None:
        own, other = claim(anon, contract_id=create(anon)), claim(anon, "U", contract_id=create(anon, "U"))
        for row in (own, other):
            end_lease(database, row["contract_id"])
        assert claim(anon)["contract_id"] == own["contract_id"]
        assert attempts(database, other["contract_id"])[0]["ended_at"] is None

    def test_a_certain_contract_that_is_locked_is_not_waited_for(
        self, anon: Caller, database: Database, project: Project
    ) -> None:
        contract_id = create(anon)
        with psycopg.connect(project.database_url) as other:
            other.execute("select from public.agent_task_contracts for update")
            anon.connection.execute("set lock_timeout = '1s'")
            assert anon("claim_task_contract", target_agent="T", contract_id=contract_id) == []

    def test_an_attempt_that_has_ended_is_not_renewed(self, anon: Caller, database: Database) -> None:
        row = claim(anon, contract_id=create(anon), lease_seconds=60)
        anon("release_task_contract", **held(row))
        before = attempts(database, row["contract_id"])
        item = {name: str(value) for name, value in held(row).items()}
        [renewal] = anon("renew_task_contracts", claims=jsonb([item]))
        assert renewal["state"] == "lost"
        assert attempts(database, row["contract_id"]) == before


class TestRebuild:
    """tests/migrations has more of it, on databases that are older than the engine."""

    def test_the_engine_is_in_step_with_whatever_was_written_without_the_triggers(
        self, anon: Caller, database: Database
    ) -> None:
        first, running, ready, delayed, moved, moved_later = (create(anon, f"A{n}") for n in range(6))
        waiting = create(anon, depends_on=[first])
        create(anon, "A0")
        claim(anon, "A1")
        for contract_id in (delayed, moved_later):
            database.execute(
                "with r as (delete from ehg_tasks.ready where contract_id = %s returning *)"
                " insert into ehg_tasks.held (contract_id, target_agent, priority, created_at, not_before)"
                " select contract_id, target_agent, priority, created_at, 'infinity' from r",
                [contract_id],
            )
        database.execute("delete from ehg_tasks.held where contract_id = %s", [waiting])
        database.execute("set session_replication_role = replica")
        change = "update public.agent_task_contracts set {} where id = %s"
        earlier = "priority = 90, created_at = created_at - interval '1 hour'"
        for sql, contract_id in {
            "status = 'pending'": running,
            "status = 'completed'": ready,
            "status = 'failed'": delayed,
            earlier: moved,
            f"target_agent = 'A5\u200b', {earlier}": moved_later,
        }.items():
            database.execute(change.format(sql).encode(), [contract_id])
        database.execute("delete from ehg_tasks.low_water_marks where target_agent = 'A1'")
        database.execute("reset session_replication_role")
        database.execute("select ehg_tasks.rebuild_queue()")
        check_invariants(database)
        database.execute("set session_replication_role = replica")
        gone = [first, moved, running]
        database.execute("delete from public.agent_task_contracts where id = any (%s)", [gone])
        database.execute("reset session_replication_role")
        database.execute("select ehg_tasks.rebuild_queue()")
        assert [row["error_message"] for row in anon("task_contract_outcomes", contract_ids=[waiting])] == [
            f"task contract {first}, which this one depends on, was deleted"
        ]
        for table in ("dependencies", "attempts"):
            query = f"select count(*) from ehg_tasks.{table} where contract_id = any (%s)"
            assert database.execute(query.encode(), [[*gone, waiting]]).fetchone() == (0,)
