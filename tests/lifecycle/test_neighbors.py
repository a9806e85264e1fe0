"""A call shows and changes what it is called for, and leaves other contracts, agents and attempts alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from tests.lifecycle.helpers import (
    Database,
    artifacts,
    attempts,
    claim,
    claimed,
    contract,
    create,
    end_lease,
    end_wait,
    held,
    reach_time_limit,
)
from tests.sql import Caller, jsonb, refused


def status(database: Database, contract_id: UUID) -> str:
    return str(contract(database, contract_id)["status"])


def without_lease(service: Caller) -> UUID:
    """A contract that another client set in progress, two hours ago."""
    contract_id = create(service)
    service.run(
        "update public.agent_task_contracts"
        f" set status = 'in_progress', started_at = now() - interval '2 hours' where id = '{contract_id}'"
    )
    return contract_id


class TestContracts:
    def test_the_history_is_that_of_one_contract(self, anon: Caller) -> None:
        first, second = claimed(anon), claimed(anon)
        for row in (first, second):
            [attempt] = anon("task_contract_history", contract_id=row["contract_id"])
            assert attempt["contract_id"] == row["contract_id"]

    def test_a_renewal_leaves_earlier_attempts_as_they_were(self, anon: Caller, database: Database) -> None:
        row = claimed(anon)
        anon("release_task_contract", **held(row))
        [before] = attempts(database, row["contract_id"])
        anon("renew_task_contract", **held(claim(anon)), progress=jsonb({"percent": 1}))
        assert attempts(database, row["contract_id"])[0] == before

    def test_an_output_is_stored_under_the_directive_of_its_contract(
        self, anon: Caller, database: Database
    ) -> None:
        database.execute(
            "insert into public.strategic_directives_v2 (id) values ('SD-N') on conflict do nothing"
        )
        row = claimed(anon, sd_id="SD-N")
        anon("complete_task_contract", **held(row), output=jsonb({"a": 1}))
        assert [stored["sd_id"] for stored in artifacts(database)] == ["SD-N"]

    def test_dependents_of_others_wait_on(self, anon: Caller, database: Database) -> None:
        failing, running = claimed(anon), claimed(anon)
        own = create(anon, depends_on=[failing["contract_id"]])
        other = create(anon, depends_on=[running["contract_id"]])
        last = create(anon, depends_on=[other])
        anon("fail_task_contract", **held(failing), error_message="e", retry=False)
        assert [status(database, each) for each in (own, other, last)] == ["cancelled", "pending", "pending"]

    def test_what_expires_settles_its_own_dependents(self, anon: Caller, database: Database) -> None:
        expired, running = claimed(anon, max_retries=0), claimed(anon, max_retries=0)
        own, other = (create(anon, depends_on=[row["contract_id"]]) for row in (expired, running))
        end_lease(database, expired["contract_id"])
        assert anon("claim_task_contract", target_agent="T") == []
        assert (status(database, own), status(database, other)) == ("cancelled", "pending")

    def test_dependents_of_what_is_retried_wait_on(self, anon: Caller, database: Database) -> None:
        expired = claimed(anon, max_retries=1)
        waiting = create(anon, depends_on=[expired["contract_id"]])
        end_lease(database, expired["contract_id"])
        assert claim(anon)["contract_id"] == expired["contract_id"]
        assert status(database, waiting) == "pending"

    def test_contracts_of_one_transaction_are_claimed_in_order(self, service: Caller) -> None:
        rows = service.run(
            "select c.contract_id from generate_series(1, 9) n"
            " cross join lateral public.create_task_contract('P', 'T', 'o' || n) c order by n"
        )
        claims = service("claim_task_contract", target_agent="T", limit=9)
        assert [row["contract_id"] for row in claims] == [row["contract_id"] for row in rows]

    def test_leases_that_end_together_end_each_in_its_own_way(
        self, anon: Caller, service: Caller, database: Database
    ) -> None:
        over, silent = claimed(anon, timeout_minutes=7), claimed(anon, timeout_minutes=9)
        end_lease(database, silent["contract_id"])
        reach_time_limit(database, over["contract_id"])
        service("cleanup_stale_contracts")
        [first], [second] = (attempts(database, row["contract_id"]) for row in (over, silent))
        assert (first["outcome"], first["error_message"]) == (
            "timed_out",
            "the attempt reached its time limit of 7 min",
        )
        assert (second["outcome"], second["error_message"]) == (
            "expired",
            "the lease expired before a result was recorded",
        )

    def test_a_contract_without_a_lease_ends_although_others_have_one(
        self, anon: Caller, service: Caller, database: Database
    ) -> None:
        claimed(anon)
        forgotten = without_lease(service)
        [report] = service("cleanup_stale_contracts", limit=1)
        assert (report["requeued_count"], report["failed_count"]) == (1, 0)
        assert status(database, forgotten) == "pending"

    def test_a_repeat_is_compared_with_its_own_dependencies(self, anon: Caller) -> None:
        needed, own = create(anon), uuid4()
        create(anon, contract_id=own)
        create(anon, depends_on=[needed])  # another contract depends on it
        with refused("TC004"):
            create(anon, contract_id=own, depends_on=[needed])


class TestAgents:
    def test_resuming_an_agent_leaves_others_paused(self, service: Caller, authenticated: Caller) -> None:
        for name in ("A", "B"):
            service("pause_task_agent", name=name)
        service("resume_task_agent", name="A")
        rows = authenticated.run(
            "select name, paused_at is null as runs from public.task_agents order by name"
        )
        assert rows == [{"name": "A", "runs": True}, {"name": "B", "runs": False}]

    def test_rotating_a_token_leaves_those_of_others(self, anon: Caller, service: Caller) -> None:
        [first], [second] = (service("register_task_agent", name=name) for name in ("A", "B"))
        [rotated] = service("rotate_task_agent", name="A", grace_minutes=0)
        for name, token in (("A", rotated["token"]), ("B", second["token"])):
            anon.headers = {"x-agent-token": token}
            assert anon("claim_task_contract", target_agent=name) == []
        anon.headers = {"x-agent-token": first["token"]}
        with refused("42501"):
            anon("claim_task_contract", target_agent="A")

    def test_a_request_key_can_serve_another_agent_once_its_claim_has_ended(self, anon: Caller) -> None:
        key = uuid4()
        create(anon, "A")
        create(anon, "B")
        row = claim(anon, "A", request_key=key)
        with refused("TC004"):
            anon("claim_task_contract", target_agent="B", request_key=key)
        anon("complete_task_contract", **held(row))
        assert claim(anon, "B", request_key=key)["target_agent"] == "B"

    def test_the_statistics_are_those_of_each_agent(self, anon: Caller, authenticated: Caller) -> None:
        tomorrow = datetime.now(UTC) + timedelta(days=1)
        for agent, count in (("A", 1), ("B", 2)):
            for _ in range(count):
                create(anon, agent, not_before=tomorrow)
        create(anon, "C")
        rows = authenticated.run("select target_agent, held from public.task_contract_stats order by 1")
        assert [tuple(row.values()) for row in rows] == [("A", 1), ("B", 2), ("C", 0)]

    def test_durations_of_unknown_length_do_not_count(
        self, anon: Caller, authenticated: Caller, database: Database
    ) -> None:
        for seconds in (10, 20, 110):
            row = claimed(anon)
            anon("complete_task_contract", **held(row))
            database.execute(
                "update public.agent_task_contracts set started_at = completed_at - make_interval(secs => %s)"
                " where id = %s",
                [seconds, row["contract_id"]],
            )
        for times in ("started_at = '-infinity'", "completed_at = 'infinity'"):
            row = claimed(anon)
            anon("complete_task_contract", **held(row))
            database.execute(
                f"update public.agent_task_contracts set {times} where id = %s".encode(), [row["contract_id"]]
            )
        [row] = authenticated.run(
            "select median_duration_seconds, p95_duration_seconds from public.task_contract_stats"
        )
        assert list(row.values()) == [pytest.approx(20), pytest.approx(101)]


class TestMarks:
    """Claims begin at remembered places, which must not hide anything."""

    @pytest.mark.parametrize("marked", ["T", "U"])
    def test_a_lease_that_has_ended_is_seen_from_any_mark(
        self, anon: Caller, database: Database, marked: str
    ) -> None:
        first, second = claimed(anon), claimed(anon)
        end_lease(database, second["contract_id"], seconds_ago=10)
        end_lease(database, first["contract_id"], seconds_ago=20)
        for agent in (marked, "T"):
            database.execute("select ehg_tasks.raise_low_water_marks(%s)", [agent])
        anon("renew_task_contract", **held(second))
        assert claim(anon)["contract_id"] == first["contract_id"]
        assert [each["outcome"] for each in attempts(database, first["contract_id"])] == ["expired", None]

    def test_contracts_of_the_same_time_are_all_seen(
        self, anon: Caller, service: Caller, database: Database
    ) -> None:
        insert = (
            "insert into public.agent_task_contracts (id, parent_agent, target_agent, objective, created_at)"
            " select ('00000000-0000-4000-8000-00000000000' || n)::uuid, 'P', '{}', 'o', '2026-01-01'"
            " from generate_series(1, 3) n"
        )
        service.run(insert.format("T"))
        database.execute("select ehg_tasks.raise_low_water_marks('T')")
        assert len(anon("claim_task_contract", target_agent="T", limit=9)) == 3


class TestLimits:
    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"depends_on": [str(uuid4()) for _ in range(101)]}, "contract 2 of 2: depends_on"),
            ({"on_dependency_failure": "stop"}, "on_dependency_failure must be"),
            ({"not_before": "2126-01-01T00:00:00Z"}, "not_before must be"),
            ({"timeout_minutes": 10081}, "timeout_minutes must be"),
            ({"max_retries": 101}, "max_retries between 0 and 100"),
            ({"created_by": "x" * 101}, "created_by is longer than 100"),
            ({"b": 1, "a": 2}, "unknown field: a, b"),
        ],
    )
    def test_a_bad_contract_among_good_ones_is_named(
        self, anon: Caller, database: Database, fields: dict[str, object], message: str
    ) -> None:
        good = {"parent_agent": "P", "target_agent": "T", "objective": "o"}
        with refused("TC006" if "depends_on" in fields else "TC005", message):
            anon("create_task_contracts", contracts=jsonb([good, good | fields]))
        with refused("TC006" if "depends_on" in fields else "TC005"):
            anon("create_task_contracts", contracts=jsonb([good | fields, good | fields]))
        assert database.execute("select count(*) from public.agent_task_contracts").fetchone() == (0,)

    def test_nulls_in_place_of_fields_and_of_elements_are_accepted(self, anon: Caller) -> None:
        item = {"parent_agent": "P", "target_agent": "T", "objective": "o"}
        tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
        rows = anon(
            "create_task_contracts",
            contracts=jsonb(
                [item | {"depends_on": None, "not_before": tomorrow}, item | {"input_artifacts": [None]}]
            ),
        )
        assert [row["created"] for row in rows] == [True, True]

    def test_contracts_with_null_fields_are_claimed_in_large_batches(
        self, anon: Caller, service: Caller
    ) -> None:
        service.run(
            "insert into public.agent_task_contracts"
            " (parent_agent, target_agent, objective, input_artifacts, constraints)"
            " select 'P', 'T', 'o', null, null from generate_series(1, 30)"
        )
        assert len(anon("claim_task_contract", target_agent="T", limit=100)) == 30

    def test_retries_wait_longer_each_time_up_to_five_minutes(self, database: Database) -> None:
        row = database.execute(
            "select array_agg(extract(epoch from ehg_tasks.retry_wait(n))::integer order by n)"
            " from unnest(array[0, 1, 2, 3, 6, 7, 1000]) n"
        ).fetchone()
        assert row == ([5, 5, 10, 20, 160, 300, 300],)

    def test_the_second_retry_waits_longer_than_the_first(self, anon: Caller, database: Database) -> None:
        contract_id = create(anon)
        for _ in range(2):
            anon("fail_task_contract", **held(claim(anon)), error_message="e")
            end_wait(database, contract_id)
        first, second = (row["retry_at"] - row["ended_at"] for row in attempts(database, contract_id))
        assert second > 1.5 * first

    def test_a_contract_without_inputs_has_an_empty_list_of_them(self, anon: Caller, service: Caller) -> None:
        [row] = service("read_task_contract", contract_id=create(anon))
        assert row["input_artifact_contents"] == []
