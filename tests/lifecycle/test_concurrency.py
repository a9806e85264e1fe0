"""Concurrent calls in SQL: no deadlock, nothing lost, and the engine's rules hold afterwards.

Most tests interleave two transactions step by step: one waits for the other, and it is known for what. The
rest let threads run against each other. tests/reliability/test_concurrency.py does so over HTTP.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from threading import Barrier, Event
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.conftest import Project
from tests.lifecycle.helpers import (
    Database,
    claim,
    claimed,
    contract,
    create,
    end_lease,
    held,
    leases,
)
from tests.lifecycle.invariants import check_invariants
from tests.sql import Caller, Row, jsonb, refused

Answer = list[Row] | str
FIELDS = {"parent_agent": "P", "target_agent": "T", "objective": "o"}
ROUNDS = 12


class Session(Caller):
    """A caller whose calls run in a thread of its own, so that they may wait for those of others.

    Deadlocks are detected soon, and a wait that never ends is cut off: both are errors of the call.
    """

    def __init__(self, connection: psycopg.Connection[Any], role: str, threads: ThreadPoolExecutor) -> None:
        connection.execute("set deadlock_timeout = '100ms'")
        connection.execute("set lock_timeout = '30s'")
        super().__init__(connection, role)
        self.threads = threads

    def begin(self, level: str = "read committed") -> None:
        self.connection.execute(f"begin isolation level {level}".encode())

    def commit(self) -> None:
        self.connection.execute("commit")

    def answer(self, function: str, **fields: Any) -> Answer:
        """Call the function and return its answer, or the SQLSTATE of the error."""
        try:
            return self(function, **fields)
        except psycopg.Error as error:
            return str(error.sqlstate)

    def start(self, function: str, **fields: Any) -> Future[Answer]:
        """Call the function, and return when the call has ended or waits for a lock."""
        future = self.threads.submit(self.answer, function, **fields)
        info = self.connection.info
        with psycopg.connect(info.dsn, password=info.password, autocommit=True) as other:
            other.autocommit = True
            query = "select wait_event_type = 'Lock' from pg_stat_activity where pid = %s"
            while not future.done() and other.execute(query, [info.backend_pid]).fetchone() != (True,):
                time.sleep(0.01)
        return future


@pytest.fixture
def session(project: Project, database: Database) -> Iterator[Callable[[str], Session]]:
    """`session("anon")` opens a session of that role."""
    with ExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor(16))

        def make(role: str) -> Session:
            connection = stack.enter_context(psycopg.connect(project.database_url, autocommit=True))
            return Session(connection, role, threads)

        yield make


def at_once(calls: Iterable[Callable[[], Any]]) -> list[Any]:
    """Run the calls in threads that start together, and return their results."""
    calls = list(calls)
    barrier = Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def item(row: Row, **fields: Any) -> dict[str, Any]:
    return {name: str(value) for name, value in held(row).items()} | fields


def statuses(database: Database, ids: list[UUID]) -> list[str]:
    check_invariants(database)
    return [contract(database, contract_id)["status"] for contract_id in ids]


class TestCompletions:
    def test_the_second_of_two_sees_the_result_of_the_first(
        self, session: Callable[[str], Session], anon: Caller, database: Database
    ) -> None:
        row = claimed(anon)
        first, second = session("anon"), session("anon")
        with first.connection.transaction():
            first("complete_task_contract", **held(row), idempotency_key=UUID(int=1), result_summary="first")
            answer = second.start("complete_task_contract", **held(row), idempotency_key=UUID(int=2))
        assert answer.result() == "TC004"
        assert contract(database, row["contract_id"])["result_summary"] == "first"


class TestBulkCompletions:
    @pytest.mark.parametrize("bad", [None, {"contract_id": "x"}, {"execution_tokens": "many"}], ids=str)
    def test_in_opposite_order_they_record_each_result_once(
        self, session: Callable[[str], Session], anon: Caller, database: Database, bad: dict[str, Any] | None
    ) -> None:
        """Also if one item is refused, which makes the call record the others one by one."""
        workers = [session("anon") for _ in range(4)]
        for _ in range(ROUNDS):
            rows = [claimed(anon) for _ in range(12)]
            joined = [create(anon, f"A{n}", depends_on=[r["contract_id"] for r in rows]) for n in range(3)]
            items = [item(row, output=n) for n, row in enumerate(rows)]
            orders = [items, items[::-1], items[6:] + items[:6], items[::2] + items[1::2]]
            extra = [bad] if bad else []
            answers = at_once(
                partial(worker.answer, "complete_task_contracts", results=jsonb(order + extra))
                for worker, order in zip(workers, orders, strict=True)
            )
            assert [a for a in answers if isinstance(a, str)] == []
            counts = Counter(row["was_duplicate"] for answer in answers for row in answer)
            assert (counts[False], counts[True]) == (12, 36)
            assert statuses(database, [r["contract_id"] for r in rows]) == ["completed"] * 12
            assert statuses(database, joined) == ["pending"] * 3
            assert database.execute("select count(*) from ehg_tasks.held").fetchone() == (0,)

    def test_with_renewals_in_opposite_order(
        self, session: Callable[[str], Session], anon: Caller, database: Database
    ) -> None:
        first, second = session("anon"), session("anon")
        for _ in range(ROUNDS):
            items = [item(claimed(anon)) for _ in range(20)]
            completed, renewed = at_once([
                partial(first.answer, "complete_task_contracts", results=jsonb(items)),
                partial(second.answer, "renew_task_contracts", claims=jsonb(items[::-1])),
            ])  # fmt: skip
            assert [row["success"] for row in completed] == [True] * 20
            assert len({row["state"] for row in renewed}) == 1  # all before the completion, or all after
            check_invariants(database)

    @pytest.mark.parametrize("form", ["{}", "{{{}}}"])
    def test_a_result_waits_for_the_call_that_ends_its_attempt(
        self, session: Callable[[str], Session], anon: Caller, database: Database, form: str
    ) -> None:
        """In either form of a UUID, the contract is locked before the claim is checked."""
        row = claimed(anon)
        other, worker = session("anon"), session("anon")
        other.begin()
        other("cancel_task_contract", contract_id=row["contract_id"])
        result = item(row, contract_id=form.format(row["contract_id"]), output="late")
        call = worker.start("complete_task_contracts", results=jsonb([result]))
        other.commit()
        answers = call.result()
        assert not isinstance(answers, str)
        assert [(each["contract_id"], each["code"]) for each in answers] == [(row["contract_id"], "TC003")]
        assert statuses(database, [row["contract_id"]]) == ["cancelled"]


class TestDependencies:
    @pytest.mark.parametrize("level", ["repeatable read", "serializable"])
    @pytest.mark.parametrize("end", ["complete", "complete together", "fail", "cancel", "write", "delete"])
    def test_a_transaction_that_may_not_see_a_dependent_ends_nothing(
        self, session: Callable[[str], Session], anon: Caller, database: Database, level: str, end: str
    ) -> None:
        row = claimed(anon)
        other = session("service_role")
        other.begin(level)
        other.run("select count(*) from public.agent_task_contracts")
        dependent = create(anon, "U", depends_on=[row["contract_id"]], on_dependency_failure="run")
        with refused("TC003", "needs the isolation level READ COMMITTED"):
            if end == "complete":
                other("complete_task_contract", **held(row))
            elif end == "complete together":
                other("complete_task_contracts", results=jsonb([item(row)]))
            elif end == "fail":
                other("fail_task_contract", **held(row), error_message="e", retry=False)
            elif end == "cancel":
                other("cancel_task_contract", contract_id=row["contract_id"])
            elif end == "write":
                other.run("update public.agent_task_contracts set status = 'failed'")
            else:
                other.run("delete from public.agent_task_contracts")
        other.connection.execute("rollback")
        assert statuses(database, [row["contract_id"]]) == ["in_progress"]
        anon("complete_task_contract", **held(row))
        assert claim(anon, "U")["contract_id"] == dependent
        check_invariants(database)

    def test_two_dependencies_of_one_contract_finish_at_the_same_time(
        self, session: Callable[[str], Session], anon: Caller, database: Database
    ) -> None:
        rows = [claimed(anon), claimed(anon)]
        last = create(anon, depends_on=[row["contract_id"] for row in rows])
        first, second = session("anon"), session("anon")
        first.begin()
        first("complete_task_contract", **held(rows[0]))
        waiting = second.start("complete_task_contract", **held(rows[1]))
        assert not waiting.done()
        first.commit()
        assert not isinstance(waiting.result(), str)
        check_invariants(database)
        assert claim(anon)["contract_id"] == last

    def test_many_dependencies_of_many_contracts_finish_at_the_same_time(
        self, session: Callable[[str], Session], anon: Caller, database: Database
    ) -> None:
        workers = [session("anon") for _ in range(8)]
        for _ in range(ROUNDS):
            rows = [claimed(anon) for _ in range(8)]
            ids = [row["contract_id"] for row in rows]
            last = [create(anon, f"A{n}", depends_on=ids[n % 3 :]) for n in range(6)]
            answers = at_once(
                partial(worker.answer, "complete_task_contract", **held(row))
                for worker, row in zip(workers, rows, strict=True)
            )
            assert [a for a in answers if isinstance(a, str)] == []
            assert statuses(database, last) == ["pending"] * 6
            assert database.execute("select count(*) from ehg_tasks.held").fetchone() == (0,)
            database.execute("delete from public.agent_task_contracts")

    def test_failures_with_shared_dependents_cascade_at_the_same_time(
        self, session: Callable[[str], Session], anon: Caller, database: Database
    ) -> None:
        """Half of the layers run all the same, so that contracts fall and are freed together."""
        workers = [session("anon") for _ in range(6)]
        chance = random.Random(7)
        for _ in range(ROUNDS):
            rows = [claimed(anon) for _ in range(6)]
            layer, dependents = [row["contract_id"] for row in rows], []
            for depth in range(4):
                layer = [
                    create(
                        anon,
                        f"A{n % 3}",
                        depends_on=chance.sample(layer, min(3, len(layer))),
                        on_dependency_failure="run" if depth % 2 else "cancel",
                    )
                    for n in range(6)
                ]
                dependents += layer
            answers = at_once(
                partial(worker.answer, "fail_task_contract", **held(row), error_message="e", retry=False)
                for worker, row in zip(workers, rows, strict=True)
            )
            assert [a for a in answers if isinstance(a, str)] == []
            after = statuses(database, dependents)
            assert after[:6] == ["cancelled"] * 6
            assert after[6:12] == ["pending"] * 6
            database.execute("delete from public.agent_task_contracts")

    @pytest.mark.parametrize("cancelled_first", [True, False])
    def test_a_dependent_is_cancelled_while_its_dependency_completes(
        self, session: Callable[[str], Session], anon: Caller, database: Database, cancelled_first: bool
    ) -> None:
        row = claimed(anon)
        dependent = create(anon, depends_on=[row["contract_id"]])
        first, second = session("anon"), session("anon")
        calls: list[tuple[str, dict[str, Any]]] = [
            ("cancel_task_contract", {"contract_id": dependent}),
            ("complete_task_contract", held(row)),
        ]
        (function, fields), other = calls if cancelled_first else calls[::-1]
        first.begin()
        first(function, **fields)
        waiting = second.start(other[0], **other[1])
        assert not waiting.done()
        first.commit()
        assert not isinstance(waiting.result(), str)
        assert statuses(database, [row["contract_id"], dependent]) == ["completed", "cancelled"]

    def test_a_dependent_is_cancelled_while_its_dependency_fails(
        self, session: Callable[[str], Session], anon: Caller, database: Database
    ) -> None:
        """What was cancelled first keeps its reason."""
        row = claimed(anon)
        dependent = create(anon, depends_on=[row["contract_id"]])
        first, second = session("anon"), session("anon")
        first.begin()
        first("cancel_task_contract", contract_id=dependent, reason="not needed")
        waiting = second.start("fail_task_contract", **held(row), error_message="e", retry=False)
        assert not waiting.done()
        first.commit()
        assert not isinstance(waiting.result(), str)
        assert statuses(database, [row["contract_id"], dependent]) == ["failed", "cancelled"]
        assert contract(database, dependent)["error_message"] == "not needed"

    def test_a_dependency_cannot_become_final_while_a_contract_is_made_to_wait_for_it(
        self, session: Callable[[str], Session], anon: Caller, database: Database
    ) -> None:
        row = claimed(anon)
        creator, worker = session("anon"), session("anon")
        creator.begin()
        dependent = create(creator, depends_on=[row["contract_id"]])
        waiting = worker.start("complete_task_contract", **held(row))
        assert not waiting.done()
        creator.commit()
        assert not isinstance(waiting.result(), str)
        check_invariants(database)
        assert claim(anon)["contract_id"] == dependent

    def test_a_dependency_that_appears_while_the_call_waits_is_not_one(
        self, session: Callable[[str], Session], anon: Caller, database: Database
    ) -> None:
        """It is not locked, so it could complete before the call commits, and never be settled."""
        contract_id, dependency = uuid4(), uuid4()
        blocker, creator = session("anon"), session("anon")
        blocker.begin()
        create(blocker, contract_id=contract_id)
        waiting = creator.start(
            "create_task_contract", **FIELDS, contract_id=contract_id, depends_on=[dependency]
        )
        assert not waiting.done()
        create(anon, contract_id=dependency)
        blocker.connection.execute("rollback")
        assert waiting.result() == "TC005"
        assert [row["contract_id"] for row in anon("claim_task_contract", target_agent="T", limit=9)] == [
            dependency
        ]

    def test_a_dependency_is_requeued_before_what_waits_for_it(
        self, session: Callable[[str], Session], anon: Caller, database: Database
    ) -> None:
        first = create(anon)
        second = create(anon, depends_on=[first])
        anon("cancel_task_contract", contract_id=first)
        one, other = session("service_role"), session("service_role")
        one.begin()
        one("requeue_task_contract", contract_id=first)
        waiting = other.start("requeue_task_contract", contract_id=second)
        assert not waiting.done()
        one.commit()
        assert not isinstance(waiting.result(), str)
        check_invariants(database)
        assert [row["contract_id"] for row in anon("claim_task_contract", target_agent="T", limit=9)] == [
            first
        ]


class TestCreations:
    def test_bulk_creations_that_repeat_each_other_in_opposite_order(
        self, session: Callable[[str], Session], anon: Caller, database: Database
    ) -> None:
        workers = [session("anon") for _ in range(4)]
        for _ in range(ROUNDS):
            dependencies = [str(create(anon, "OTHER")) for _ in range(3)]
            items = [
                FIELDS
                | {
                    "target_agent": f"A{n % 5}",
                    "contract_id": str(uuid4()),
                    "depends_on": dependencies[: n % 4],
                }
                for n in range(60)
            ]
            orders = [items, items[::-1], items[30:] + items[:30], items[::2] + items[1::2]]
            answers = at_once(
                partial(worker.answer, "create_task_contracts", contracts=jsonb(order))
                for worker, order in zip(workers, orders, strict=True)
            )
            assert [a for a in answers if isinstance(a, str)] == []
            assert sum(row["created"] for answer in answers for row in answer) == 60
            check_invariants(database)


class TestMaxRunning:
    def test_eight_workers_never_exceed_the_limit(
        self, session: Callable[[str], Session], anon: Caller, service: Caller, database: Database
    ) -> None:
        service("register_task_agent", name="T", max_running=3, with_token=False)
        anon("create_task_contracts", contracts=jsonb([FIELDS] * 120))
        most: list[int] = []
        ended = Event()

        def work(worker: Session, number: int) -> int:
            done = 0
            while not ended.is_set():
                rows = worker("claim_task_contract", target_agent="T", limit=1 + number % 3, lease_seconds=60)
                for row in rows:
                    worker("complete_task_contract", **held(row))
                    done += 1
            return done

        def watch() -> int:
            left = 1
            while left:
                most.append(len(leases(database)))
                [left] = database.execute(
                    "select count(*) from public.agent_task_contracts where status <> 'completed'"
                ).fetchone() or [0]
            ended.set()
            return 0

        workers = [session("anon") for _ in range(8)]
        done = at_once([watch, *(partial(work, worker, n) for n, worker in enumerate(workers))])
        assert sum(done) == 120
        assert max(most) == 3
        check_invariants(database)

    def test_a_limit_that_is_set_meanwhile_holds(
        self, session: Callable[[str], Session], anon: Caller, service: Caller, database: Database
    ) -> None:
        service("register_task_agent", name="T", with_token=False)
        anon("create_task_contracts", contracts=jsonb([FIELDS] * 9))
        worker, backend = session("anon"), session("service_role")
        worker.begin()
        assert len(worker("claim_task_contract", target_agent="T", limit=2)) == 2
        waiting = backend.start("register_task_agent", name="T", max_running=3, with_token=False)
        assert not waiting.done()
        worker.commit()
        assert not isinstance(waiting.result(), str)
        assert len(anon("claim_task_contract", target_agent="T", limit=9)) == 1

    def test_a_pause_waits_for_the_claims_that_have_begun(
        self, session: Callable[[str], Session], anon: Caller, service: Caller
    ) -> None:
        """Once it has returned, nothing is handed out any more."""
        service("register_task_agent", name="T", with_token=False)
        create(anon)
        create(anon)
        worker, backend = session("anon"), session("service_role")
        worker.begin()
        claim(worker)
        waiting = backend.start("pause_task_agent", name="T")
        assert not waiting.done()
        worker.commit()
        assert not isinstance(waiting.result(), str)
        assert anon("claim_task_contract", target_agent="T") == []

    def test_a_claim_that_frees_and_expires_work_does_not_deadlock_with_another(
        self, session: Callable[[str], Session], anon: Caller, service: Caller, database: Database
    ) -> None:
        """Both lock the agent first."""
        service("register_task_agent", name="T", max_running=50, with_token=False)
        workers = [session("anon") for _ in range(4)]
        for _ in range(ROUNDS):
            rows = [claimed(anon, priority=10 * n) for n in range(6)]
            for row in rows[:3]:
                anon("fail_task_contract", **held(row), error_message="e")
                database.execute("update ehg_tasks.held set not_before = clock_timestamp()")
            for row in rows[3:]:
                end_lease(database, row["contract_id"])
            database.execute("delete from ehg_tasks.low_water_marks")
            answers = at_once(
                partial(worker.answer, "claim_task_contract", target_agent="T", limit=2) for worker in workers
            )
            assert [a for a in answers if isinstance(a, str)] == []
            assert sum(len(answer) for answer in answers) == 6
            check_invariants(database)
            database.execute("delete from public.agent_task_contracts")


class TestMarks:
    def test_transactions_that_free_work_of_the_same_agents_in_opposite_order(
        self, session: Callable[[str], Session], anon: Caller, database: Database
    ) -> None:
        """Neither waits for the other, although both make the first work of each agent ready."""
        rows = [claimed(anon) for _ in range(4)]
        for row, agent in zip(rows, ("A", "B", "B", "A"), strict=True):
            create(anon, agent, depends_on=[row["contract_id"]])
        database.execute("delete from ehg_tasks.low_water_marks")
        first, second = session("anon"), session("anon")
        first.begin()
        second.begin()
        first("complete_task_contract", **held(rows[0]))
        second("complete_task_contract", **held(rows[2]))
        calls = [
            first.start("complete_task_contract", **held(rows[1])),
            second.start("complete_task_contract", **held(rows[3])),
        ]
        for caller, call in zip((first, second), calls, strict=True):
            assert not isinstance(call.result(), str), call.result()
            caller.commit()
        check_invariants(database)
        for agent in ("A", "B"):
            assert len(anon("claim_task_contract", target_agent=agent, limit=9)) == 2

    @pytest.mark.parametrize("level", ["read committed", "repeatable read", "serializable"])
    @pytest.mark.parametrize("mark", ["raised", "deleted", "as it was"])
    def test_a_writer_with_an_older_snapshot_fails_or_its_contract_is_found(
        self, session: Callable[[str], Session], anon: Caller, database: Database, level: str, mark: str
    ) -> None:
        """Its snapshot may show a mark before its contract that is no longer there."""
        create(anon)
        if mark == "raised":
            create(anon)
        writer = session("service_role")
        writer.begin(level)
        writer.run("select count(*) from public.agent_task_contracts")
        if mark != "as it was":
            claim(anon)
            database.execute("select ehg_tasks.raise_low_water_marks('T')")
        old = uuid4()
        try:
            writer.run(
                "insert into public.agent_task_contracts"
                " (id, parent_agent, target_agent, objective, created_at)"
                " values (%s, 'P', 'T', 'o', now() - interval '1 hour')",
                [old],
            )
            writer.commit()
        except psycopg.errors.SerializationFailure:
            assert level != "read committed"
            return
        check_invariants(database)
        assert claim(anon)["contract_id"] == old

    @pytest.mark.parametrize("mark_before_it", [True, False])
    @pytest.mark.parametrize(
        "write", ["insert", "status", "order", "id", "release", "requeue", "settle", "due"]
    )
    def test_work_that_is_not_committed_yet_is_not_passed_over(
        self,
        session: Callable[[str], Session],
        anon: Caller,
        database: Database,
        write: str,
        mark_before_it: bool,
    ) -> None:
        """The marks stay where they are while any transaction is making work ready."""
        table = "public.agent_task_contracts"
        insert = (
            f"insert into {table} (id, parent_agent, target_agent, objective, created_at)"
            " values (%s, 'P', 'T', 'o', now() - %s::interval)"
        )
        old = uuid4() if write == "insert" else create(anon, "OTHER" if write == "order" else "T")
        row = claim(anon) if write not in ("insert", "order") else {}
        if write == "requeue":
            anon("cancel_task_contract", contract_id=old)
        elif write == "settle":
            old = create(anon, depends_on=[old])
        others = [create(anon) for _ in range(3)]
        claim(anon, contract_id=others.pop(0))
        if mark_before_it:
            others.insert(0, uuid4())
            database.execute(insert.encode(), [others[0], "2 hours"])
        if write == "due":
            anon("fail_task_contract", **held(row), error_message="e")
            database.execute("update ehg_tasks.held set not_before = clock_timestamp()")
        database.execute("select ehg_tasks.raise_low_water_marks('T')")

        writer = session("service_role")
        writer.begin()
        if write == "insert":
            writer.run(insert, [old, "1 hour"])
        elif write == "status":
            writer.run(f"update {table} set status = 'pending' where id = %s", [old])
        elif write == "order":
            writer.run(f"update {table} set target_agent = 'T' where id = %s", [old])
        elif write == "id":
            known, old = old, uuid4()
            writer.run(f"update {table} set id = %s, status = 'pending' where id = %s", [old, known])
        elif write == "requeue":
            writer("requeue_task_contract", contract_id=old)
        elif write == "release":
            writer("release_task_contract", **held(row))
        elif write == "settle":
            writer("complete_task_contract", **held(row))
        else:
            writer("claim_task_contract", target_agent="T", contract_id=uuid4())

        for contract_id in others:
            # Does not wait, and finds no other work than what is committed.
            rows = anon("claim_task_contract", target_agent="T")
            assert [r["contract_id"] for r in rows] == [contract_id]
            database.execute("select ehg_tasks.raise_low_water_marks('T')")
        writer.commit()
        check_invariants(database)
        assert [r["contract_id"] for r in anon("claim_task_contract", target_agent="T", limit=9)] == [old]


class TestCleanup:
    def test_clean_up_does_not_wait_for_what_depends_on_the_contracts_that_it_ends(
        self, session: Callable[[str], Session], anon: Caller, service: Caller, database: Database
    ) -> None:
        """It holds locks on contracts of any age, so a wait could be a deadlock with a bulk completion."""
        stale, mine = claimed(anon, max_retries=0), claimed(anon)
        first = create(anon, depends_on=[stale["contract_id"]])
        second = create(anon, depends_on=[stale["contract_id"], mine["contract_id"]])
        last = claimed(anon)
        for row in (stale, last):
            end_lease(database, row["contract_id"])
        cleaner, worker, other = session("service_role"), session("anon"), session("service_role")
        other.begin()
        other.run("select from public.agent_task_contracts where id = %s for update", [first])
        cleanup = cleaner.start("cleanup_stale_contracts")
        completion = worker.start("complete_task_contracts", results=jsonb([item(mine), item(last)]))
        other.commit()
        for call in (cleanup, completion):
            assert not isinstance(call.result(), str), call.result()
        service("cleanup_stale_contracts")
        ids = [stale["contract_id"], first, second]
        assert statuses(database, ids) == ["failed", "cancelled", "cancelled"]
