"""Concurrent calls in SQL: no deadlock, nothing lost, and the engine's rules hold afterwards.

Most tests interleave two transactions step by step: one waits for the other, and it is known for what. The
rest let threads run against each other. tests/reliability/test_concurrency.py does so over HTTP.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from threading import Barrier
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.conftest import Project
from tests.lifecycle.helpers import (
    Database,
    claimed,
    contract,
    create,
    held,
)
from tests.lifecycle.invariants import check_invariants
from tests.sql import Caller, Row

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
        with psycopg.connect(self.connection.info.dsn, password=self.connection.info.password) as other:
            other.autocommit = True
            query = "select wait_event_type = 'Lock' from pg_stat_activity where pid = %s"
            pid = self.connection.info.backend_pid
            while not future.done() and other.execute(query, [pid]).fetchone() != (True,):
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


def at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    """Run the calls in threads that start together, and return their results."""
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
