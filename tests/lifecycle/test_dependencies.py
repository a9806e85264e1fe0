"""Contracts that wait for others: fan-out, fan-in, chains, failures, deletions, repeats."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.lifecycle.helpers import Database, claim, claimed, contract, create, end_lease, held
from tests.lifecycle.invariants import check_invariants
from tests.sql import Caller, Row, jsonb, refused

Contracts = Callable[[], list[dict[str, Any]]]
FIELDS = {"parent_agent": "P", "target_agent": "T", "objective": "o"}


def statuses(database: Database, ids: list[UUID]) -> list[str]:
    check_invariants(database)
    return [contract(database, contract_id)["status"] for contract_id in ids]


def ready(caller: Caller) -> list[UUID]:
    """Claim all that can be claimed."""
    return [row["contract_id"] for row in caller("claim_task_contract", target_agent="T", limit=100)]


def run(caller: Caller, contract_id: UUID, **result: Any) -> None:
    """Claim a contract and record its result."""
    row = claim(caller, contract_id=contract_id)
    caller("complete_task_contract", **held(row), **result)


def create_chain(caller: Caller, length: int, after: UUID | None = None) -> list[UUID]:
    """Create contracts in one call, each of which waits for the one before it."""
    ids = [uuid4() for _ in range(length)]
    items = [
        FIELDS | {"contract_id": str(contract_id), "depends_on": [str(previous)] if previous else []}
        for contract_id, previous in zip(ids, [after, *ids], strict=False)
    ]
    caller("create_task_contracts", contracts=jsonb(items))
    return ids


class TestWaiting:
    def test_a_contract_cannot_be_claimed_before_its_dependency_is_complete(self, anon: Caller) -> None:
        first = create(anon)
        second = create(anon, depends_on=[first], priority=90)
        row = claim(anon)
        assert row["contract_id"] == first
        assert ready(anon) == []
        anon("complete_task_contract", **held(row))
        assert ready(anon) == [second]

    def test_fan_out(self, anon: Caller, database: Database) -> None:
        first = create(anon)
        others = [create(anon, depends_on=[first]) for _ in range(3)]
        run(anon, first)
        check_invariants(database)
        assert ready(anon) == others

    def test_fan_in(self, anon: Caller, database: Database) -> None:
        parts = [create(anon, target_agent=f"PART {n}") for n in range(3)]
        last = create(anon, depends_on=[*parts, parts[0]])
        for n in range(3):
            assert ready(anon) == []
            [outcome] = anon("task_contract_outcomes", contract_ids=[last])
            assert (outcome["waiting"], outcome["waits_for"]) == ("dependencies", 3 - n)
            row = claim(anon, f"PART {n}")
            anon("complete_task_contract", **held(row))
            check_invariants(database)
        assert ready(anon) == [last]

    def test_a_chain_of_one_call_runs_in_its_order(self, anon: Caller, database: Database) -> None:
        ids = create_chain(anon, 4)
        for contract_id in ids:
            row = claim(anon)
            assert row["contract_id"] == contract_id
            assert ready(anon) == []
            anon("complete_task_contract", **held(row))
            check_invariants(database)

    def test_a_thousand_contracts_wait_for_one(self, anon: Caller, database: Database) -> None:
        first = create(anon, "FIRST")
        items = [FIELDS | {"depends_on": [str(first)], "objective": str(n)} for n in range(1000)]
        rows = anon("create_task_contracts", contracts=jsonb(items))
        assert ready(anon) == []
        anon("complete_task_contract", **held(claim(anon, "FIRST")))
        check_invariants(database)
        claimed_ids: list[UUID] = []
        while batch := ready(anon):
            claimed_ids += batch
        assert claimed_ids == [row["contract_id"] for row in rows]

    def test_a_dependency_that_is_already_complete_is_not_waited_for(self, anon: Caller) -> None:
        first = create(anon)
        run(anon, first)
        assert ready(anon) == []
        second = create(anon, depends_on=[first])
        assert ready(anon) == [second]

    def test_the_service_role_may_complete_the_dependency_without_a_claim(
        self, anon: Caller, service: Caller
    ) -> None:
        first = create(anon, "OTHER")
        second = create(anon, depends_on=[first])
        service("complete_task_contract", contract_id=first)
        assert ready(anon) == [second]

    def test_a_retry_of_the_dependency_keeps_the_others_waiting(
        self, anon: Caller, database: Database
    ) -> None:
        row = claimed(anon)
        create(anon, depends_on=[row["contract_id"]])
        anon("fail_task_contract", **held(row), error_message="e")
        check_invariants(database)
        assert ready(anon) == []


def by_failing(anon: Caller, service: Caller, database: Database, row: Row) -> None:
    anon("fail_task_contract", **held(row), error_message="e", retry=False)


def by_completing_without_success(anon: Caller, service: Caller, database: Database, row: Row) -> None:
    anon("complete_task_contract", **held(row), success=False, error_message="e")


def by_cancelling(anon: Caller, service: Caller, database: Database, row: Row) -> None:
    anon("cancel_task_contract", contract_id=row["contract_id"])


def by_expiring(anon: Caller, service: Caller, database: Database, row: Row) -> None:
    service.run("update public.agent_task_contracts set max_retries = 0")
    end_lease(database, row["contract_id"])
    service("cleanup_stale_contracts")


def by_a_direct_write(anon: Caller, service: Caller, database: Database, row: Row) -> None:
    service.run("update public.agent_task_contracts set status = 'failed' where status = 'in_progress'")


def by_deleting(anon: Caller, service: Caller, database: Database, row: Row) -> None:
    service.run("delete from public.agent_task_contracts where id = %s", [row["contract_id"]])


FAILURES: list[tuple[Callable[[Caller, Caller, Database, Row], None], str]] = [
    (by_failing, "failed"),
    (by_completing_without_success, "failed"),
    (by_cancelling, "was cancelled"),
    (by_expiring, "failed"),
    (by_a_direct_write, "failed"),
    (by_deleting, "was deleted"),
]


class TestFailure:
    @pytest.mark.parametrize(("end", "what"), FAILURES)
    def test_it_cancels_what_depends_on_success_and_says_why(
        self,
        anon: Caller,
        service: Caller,
        database: Database,
        end: Callable[[Caller, Caller, Database, Row], None],
        what: str,
    ) -> None:
        row = claimed(anon)
        second = create(anon, depends_on=[row["contract_id"]])
        third = create(anon, depends_on=[second])
        end(anon, service, database, row)
        assert statuses(database, [second, third]) == ["cancelled", "cancelled"]
        after = [contract(database, contract_id) for contract_id in (second, third)]
        assert [row["error_message"] for row in after] == [
            f"task contract {row['contract_id']}, which this one depends on, {what}",
            f"task contract {second}, which this one depends on, was cancelled",
        ]
        assert all(row["completed_at"] is not None for row in after)

    @pytest.mark.parametrize("end", [end for end, _ in FAILURES])
    def test_what_runs_all_the_same_runs(
        self,
        anon: Caller,
        service: Caller,
        database: Database,
        end: Callable[[Caller, Caller, Database, Row], None],
    ) -> None:
        row = claimed(anon)
        second = create(anon, depends_on=[row["contract_id"]], on_dependency_failure="run")
        third = create(anon, depends_on=[second])
        end(anon, service, database, row)
        assert statuses(database, [second, third]) == ["pending", "pending"]
        assert ready(anon) == [second]

    def test_one_failed_dependency_of_several_cancels_at_once(self, anon: Caller, database: Database) -> None:
        first, second = create(anon, "A"), create(anon, "B")
        third = create(anon, depends_on=[first, second])
        anon("cancel_task_contract", contract_id=second)
        assert statuses(database, [first, third]) == ["pending", "cancelled"]

    def test_a_contract_that_runs_all_the_same_waits_for_every_dependency(
        self, anon: Caller, database: Database
    ) -> None:
        first, second = create(anon, "A"), create(anon, "B")
        third = create(anon, depends_on=[first, second], on_dependency_failure="run")
        anon("cancel_task_contract", contract_id=second)
        check_invariants(database)
        assert ready(anon) == []
        anon("complete_task_contract", **held(claim(anon, "A")))
        assert ready(anon) == [third]

    def test_a_dependency_that_has_failed_before_cancels_at_creation(
        self, anon: Caller, database: Database
    ) -> None:
        first, second = create(anon), create(anon)
        anon("cancel_task_contract", contract_id=first)
        anon("fail_task_contract", **held(claim(anon)), error_message="e", retry=False)
        for failed, what in ((first, "was cancelled"), (second, "failed")):
            ids = [uuid4() for _ in range(3)]
            items = [
                FIELDS | {"contract_id": str(ids[0]), "depends_on": [str(failed)]},
                FIELDS | {"contract_id": str(ids[1]), "depends_on": [str(ids[0])]},
                FIELDS
                | {"contract_id": str(ids[2]), "depends_on": [str(failed)], "on_dependency_failure": "run"},
            ]
            rows = anon("create_task_contracts", contracts=jsonb(items))
            assert [row["created"] for row in rows] == [True] * 3
            assert statuses(database, ids) == ["cancelled", "cancelled", "pending"]
            assert contract(database, ids[0])["error_message"] == (
                f"task contract {failed}, which this one depends on, {what}"
            )
            assert ready(anon) == [ids[2]]

    def test_the_reason_is_the_first_of_several(self, anon: Caller, database: Database) -> None:
        """Also of contracts that fall together: the one that failed, or one that was cancelled."""
        ids = [create(anon) for _ in range(2)]
        middle = [create(anon, depends_on=[ids[0]]) for _ in range(3)]
        last = create(anon, depends_on=[ids[1], *middle])
        anon("cancel_task_contract", contract_id=ids[0])
        reasons = [
            row["error_message"] for row in anon("task_contract_outcomes", contract_ids=[*middle, last])
        ]
        assert reasons == [
            f"task contract {contract_id}, which this one depends on, was cancelled"
            for contract_id in (ids[0], ids[0], ids[0], min(middle))
        ]
        check_invariants(database)

    def test_a_chain_of_300_falls(self, anon: Caller, database: Database) -> None:
        ids = create_chain(anon, 300)
        anon("cancel_task_contract", contract_id=ids[0])
        assert set(statuses(database, ids)) == {"cancelled"}

    def test_a_chain_of_3000_falls_within_the_time_that_a_request_has(
        self, anon: Caller, service: Caller, database: Database
    ) -> None:
        """Otherwise no one could end its first contract: each call, and clean-up, would be cut off."""
        first = last = create(anon)
        for _ in range(3):
            last = create_chain(anon, 1000, after=last)[-1]
        service.connection.execute("set statement_timeout = '8s'")
        service("cancel_task_contract", contract_id=first)
        check_invariants(database)
        left = database.execute(
            "select count(*) from public.agent_task_contracts where status <> 'cancelled'"
        )
        assert left.fetchone() == (0,)

    def test_a_failure_cancels_only_what_waits(
        self, anon: Caller, service: Caller, database: Database
    ) -> None:
        """A dependent that a direct write has set in progress or finished stays as it is."""
        first = create(anon)
        others = [create(anon, depends_on=[first]) for _ in range(2)]
        for contract_id, status in zip(others, ("in_progress", "completed"), strict=True):
            service.run(
                "update public.agent_task_contracts set status = %s where id = %s", [status, contract_id]
            )
        anon("cancel_task_contract", contract_id=first)
        assert statuses(database, others) == ["in_progress", "completed"]

    def test_a_cancelled_contract_no_longer_waits(self, anon: Caller, database: Database) -> None:
        first = create(anon)
        second = create(anon, depends_on=[first])
        anon("cancel_task_contract", contract_id=second)
        run(anon, first)
        assert statuses(database, [first, second]) == ["completed", "cancelled"]


class TestDeletion:
    def test_a_completed_dependency_may_be_deleted(
        self, anon: Caller, service: Caller, database: Database
    ) -> None:
        first = create(anon)
        second, third = create(anon, "OTHER"), create(anon, depends_on=[first])
        fourth = create(anon, depends_on=[first, second])
        run(anon, first)
        service("prune_task_contracts", older_than_days=0)
        assert statuses(database, [third, fourth]) == ["pending", "pending"]
        assert ready(anon) == [third]

    def test_contracts_and_what_depends_on_them_may_be_deleted_together(
        self, anon: Caller, service: Caller, database: Database
    ) -> None:
        first = create(anon)
        create(anon, depends_on=[first])
        third = create(anon, depends_on=[first], on_dependency_failure="run")
        service.run("delete from public.agent_task_contracts where id <> %s", [third])
        assert statuses(database, [third]) == ["pending"]
        assert database.execute("select count(*) from ehg_tasks.dependencies").fetchone() == (0,)
        assert ready(anon) == [third]


class TestRefusals:
    @pytest.mark.parametrize(
        ("fields", "code", "message"),
        [
            ({"depends_on": [UUID(int=1)]}, "TC005", f"there is no earlier task contract {UUID(int=1)}"),
            ({"depends_on": [None]}, "TC005", "depends_on must not hold null"),
            ({"depends_on": [UUID(int=n) for n in range(101)]}, "TC006", "depends_on has 101 entries"),
            ({"depends_on": [], "on_dependency_failure": "ignore"}, "TC005", "must be 'cancel' or 'run'"),
        ],
        ids=["unknown", "null", "101", "on_dependency_failure"],
    )
    def test_invalid_dependencies_are_refused_and_nothing_is_created(
        self, anon: Caller, contracts: Contracts, fields: dict[str, Any], code: str, message: str
    ) -> None:
        with refused(code, message):
            anon("create_task_contract", **FIELDS, **fields)
        assert contracts() == []

    def test_a_contract_cannot_depend_on_itself_or_on_a_later_one(
        self, anon: Caller, contracts: Contracts, database: Database
    ) -> None:
        ids = [str(uuid4()) for _ in range(3)]
        for wrong in (1, 2):
            items: list[dict[str, Any]] = [FIELDS | {"contract_id": contract_id} for contract_id in ids]
            items[1] |= {"depends_on": [ids[0], ids[wrong]]}
            message = f"contract 2 of 3: depends_on: there is no earlier task contract {ids[wrong]}"
            with refused("TC005", message):
                anon("create_task_contracts", contracts=jsonb(items))
            assert contracts() == []
        with refused("TC005", f"there is no earlier task contract {ids[0]}"):
            anon("create_task_contract", **FIELDS, contract_id=ids[0], depends_on=[UUID(ids[0])])
        check_invariants(database)

    def test_the_first_contract_at_fault_is_named(self, anon: Caller, contracts: Contracts) -> None:
        unknown = [str(UUID(int=n)) for n in (1, 2)]
        items = [FIELDS, *(FIELDS | {"depends_on": [contract_id]} for contract_id in unknown)]
        with refused("TC005", f"contract 2 of 3: depends_on: there is no earlier task contract {unknown[0]}"):
            anon("create_task_contracts", contracts=jsonb(items))
        assert contracts() == []

    @pytest.mark.parametrize("depends_on", ["x", 1, {}, True], ids=repr)
    def test_dependencies_must_be_an_array(self, anon: Caller, contracts: Contracts, depends_on: Any) -> None:
        with refused("TC005", "depends_on must be an array of contract ids"):
            anon("create_task_contracts", contracts=jsonb([FIELDS | {"depends_on": depends_on}]))
        assert contracts() == []

    def test_an_id_that_is_not_a_uuid_is_refused(self, anon: Caller, contracts: Contracts) -> None:
        with refused("22P02", "contract 2 of 2"):
            anon("create_task_contracts", contracts=jsonb([FIELDS, FIELDS | {"depends_on": ["x"]}]))
        assert contracts() == []

    def test_a_hundred_dependencies_are_accepted(self, anon: Caller) -> None:
        rows = anon("create_task_contracts", contracts=jsonb([FIELDS] * 100))
        last = create(anon, depends_on=[row["contract_id"] for row in rows])
        [outcome] = anon("task_contract_outcomes", contract_ids=[last])
        assert outcome["waits_for"] == 100


class TestRepeat:
    @pytest.fixture
    def two(self, anon: Caller) -> list[UUID]:
        return [create(anon, "OTHER"), create(anon, "OTHER")]

    def test_the_same_dependencies_in_any_order_are_the_same_request(
        self, anon: Caller, two: list[UUID], contracts: Contracts
    ) -> None:
        contract_id = create(anon, depends_on=two)
        before = contracts()
        for depends_on in (two, two[::-1], two + two):
            [answer] = anon("create_task_contract", **FIELDS, contract_id=contract_id, depends_on=depends_on)
            assert answer["created"] is False
        assert contracts() == before

    @pytest.mark.parametrize(
        "change",
        [
            {"depends_on": []},
            {"depends_on": "first"},
            {"depends_on": "three"},
            {"on_dependency_failure": "run"},
        ],
        ids=["none", "fewer", "more", "on_dependency_failure"],
    )
    def test_other_dependencies_are_another_request(
        self, anon: Caller, two: list[UUID], contracts: Contracts, change: dict[str, Any]
    ) -> None:
        contract_id = create(anon, depends_on=two)
        choices = {"first": two[:1], "three": [*two, create(anon, "OTHER")]}
        fields: dict[str, Any] = FIELDS | {"contract_id": contract_id, "depends_on": two} | change
        fields["depends_on"] = choices.get(str(fields["depends_on"]), fields["depends_on"])
        before = contracts()
        with refused("TC004"):
            anon("create_task_contract", **fields)
        assert contracts() == before

    def test_null_stands_for_the_default_of_on_dependency_failure(
        self, anon: Caller, two: list[UUID]
    ) -> None:
        fields = {"depends_on": two, "on_dependency_failure": None}
        default, run = create(anon, depends_on=two), create(anon, depends_on=two, on_dependency_failure="run")
        [answer] = anon("create_task_contract", **FIELDS, **fields, contract_id=default)
        assert answer["created"] is False
        with refused("TC004"):
            anon("create_task_contract", **FIELDS, **fields, contract_id=run)

    def test_what_was_deleted_is_not_compared(self, anon: Caller, service: Caller, two: list[UUID]) -> None:
        contract_id = create(anon, depends_on=two, on_dependency_failure="run")
        service.run("delete from public.agent_task_contracts where id = %s", [two[0]])
        fields = {"contract_id": contract_id, "on_dependency_failure": "run"}
        [answer] = anon("create_task_contract", **FIELDS, **fields, depends_on=two)
        assert answer["created"] is False

    def test_it_succeeds_after_the_dependencies_are_final(self, anon: Caller, two: list[UUID]) -> None:
        contract_id = create(
            anon, depends_on=two, not_before=(later := datetime.now(UTC) + timedelta(days=1))
        )
        anon("cancel_task_contract", contract_id=two[0])
        fields = {"contract_id": contract_id, "depends_on": two, "not_before": later}
        [answer] = anon("create_task_contract", **FIELDS, **fields)
        assert answer["created"] is False

    def test_in_bulk_only_the_given_fields_are_compared(self, anon: Caller, two: list[UUID]) -> None:
        contract_id = create(anon, depends_on=two, on_dependency_failure="run")
        same = FIELDS | {"contract_id": str(contract_id)}
        for fields in ({}, {"on_dependency_failure": "run"}, {"depends_on": [str(n) for n in two]}):
            [answer] = anon("create_task_contracts", contracts=jsonb([same | fields]))
            assert answer["created"] is False
        for other in ({"on_dependency_failure": "cancel"}, {"depends_on": [str(two[0])]}):
            with refused("TC004"):
                anon("create_task_contracts", contracts=jsonb([same | other]))

    def test_a_repeat_of_a_whole_chain_creates_nothing(
        self, anon: Caller, contracts: Contracts, database: Database
    ) -> None:
        items: list[dict[str, Any]] = [FIELDS | {"contract_id": str(uuid4())} for _ in range(3)]
        items[1]["depends_on"] = [items[0]["contract_id"]]
        items[2]["depends_on"] = [items[0]["contract_id"], items[1]["contract_id"]]
        anon("create_task_contracts", contracts=jsonb(items))
        before = contracts()
        answers = anon("create_task_contracts", contracts=jsonb(items))
        assert [row["created"] for row in answers] == [False] * 3
        assert contracts() == before
        check_invariants(database)

    def test_two_equal_items_of_one_call_create_one_contract(
        self, anon: Caller, two: list[UUID], database: Database
    ) -> None:
        item = FIELDS | {"contract_id": str(uuid4()), "depends_on": [str(n) for n in two]}
        answers = anon("create_task_contracts", contracts=jsonb([item, item]))
        assert [row["created"] for row in answers] == [True, False]
        check_invariants(database)

    def test_a_new_contract_may_depend_on_a_later_item_that_exists(
        self, anon: Caller, two: list[UUID], database: Database
    ) -> None:
        items = [
            FIELDS | {"depends_on": [str(two[0])]},
            FIELDS | {"contract_id": str(two[0]), "target_agent": "OTHER"},
        ]
        answers = anon("create_task_contracts", contracts=jsonb(items))
        assert [row["created"] for row in answers] == [True, False]
        check_invariants(database)
