"""What the earlier functions answered and what the same calls answer now, call by call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.databases import Databases
from tests.migrations.existing import existing
from tests.sql import Caller

UNKNOWN = UUID(int=0)
PENDING, IN_PROGRESS, _, COMPLETED, FAILED, CANCELLED = (
    UUID(f"00000000-0000-4000-8000-00000000000{n}") for n in range(1, 7)
)
CREATE = {"parent_agent": "P", "target_agent": "NEW", "objective": "o"}
SAME = object()
RECORDED = {"success": True}
REFUSED = {"success": False}  # an answer in earlier times, and no error

# role, function, parameters, the earlier answer, today's. An answer is a SQLSTATE, or rows with what
# matters of their earlier columns.
CALLS: list[tuple[str, str, dict[str, Any], Any, Any]] = [
    ("service_role", "create_task_contract", CREATE, [{}], SAME),
    ("service_role", "create_task_contract", CREATE | {"max_tokens": 0}, [{}], "TC005"),
    ("service_role", "create_task_contract", CREATE | {"objective": ""}, [{}], "TC005"),
    ("service_role", "create_task_contract", CREATE | {"objective": "o" * 65_537}, [{}], "TC006"),
    ("service_role", "create_task_contract", CREATE | {"sd_id": "none"}, "23503", SAME),
    ("anon", "create_task_contract", CREATE, "42501", [{}]),
    ("service_role", "claim_task_contract", {"target_agent": "T"}, [{"contract_id": PENDING}], SAME),
    ("service_role", "claim_task_contract", {"target_agent": "nobody"}, [], SAME),
    ("anon", "claim_task_contract", {"target_agent": "T"}, [], [{"contract_id": PENDING}]),
    ("service_role", "complete_task_contract", {"contract_id": IN_PROGRESS}, [RECORDED], SAME),
    (
        "service_role",
        "complete_task_contract",
        {"contract_id": IN_PROGRESS, "success": False, "error_message": "e"},
        [RECORDED],
        SAME,
    ),
    # Nobody has claimed it: the caller has done the work itself.
    ("service_role", "complete_task_contract", {"contract_id": PENDING}, [REFUSED], [RECORDED]),
    ("service_role", "complete_task_contract", {"contract_id": COMPLETED}, [REFUSED], "TC003"),
    ("service_role", "complete_task_contract", {"contract_id": FAILED}, [REFUSED], "TC003"),
    ("service_role", "complete_task_contract", {"contract_id": CANCELLED}, [REFUSED], "TC003"),
    ("service_role", "complete_task_contract", {"contract_id": UNKNOWN}, [REFUSED], "TC001"),
    ("anon", "complete_task_contract", {"contract_id": IN_PROGRESS}, [REFUSED], "TC002"),
    ("service_role", "read_task_contract", {"contract_id": PENDING}, [{"objective": "waits"}], SAME),
    ("service_role", "read_task_contract", {"contract_id": UNKNOWN}, [], SAME),
    ("anon", "read_task_contract", {"contract_id": PENDING}, [], "42501"),
    ("authenticated", "read_task_contract", {"contract_id": PENDING}, [{"status": "pending"}], SAME),
    # What was created at -infinity counts from its last change.
    (
        "service_role",
        "cleanup_stale_contracts",
        {},
        [{"failed_count": 0, "cancelled_count": 2}],
        [{"failed_count": 0, "cancelled_count": 1}],
    ),
    # It wrote a column that does not exist.
    (
        "service_role",
        "fn_complete_task_contract_idempotent",
        {"contract_id": IN_PROGRESS, "idempotency_key": UNKNOWN},
        "42703",
        [RECORDED | {"was_duplicate": False}],
    ),
    (
        "service_role",
        "fn_complete_task_contract_idempotent",
        {"contract_id": COMPLETED, "idempotency_key": UNKNOWN},
        [REFUSED],
        "TC003",
    ),
]
OF_EACH_CALL = {
    "create_task_contract": {"contract_id", "contract_summary"},
    "complete_task_contract": {"message"},
}
"""Columns that differ from call to call, or are for people."""


@pytest.fixture(scope="module")
def databases_then_and_now(databases: Databases) -> Iterator[list[psycopg.Connection[Any]]]:
    """The existing database, and a copy with the migrations."""
    then = databases.create()
    with databases.connect(then, owner=True) as connection:
        connection.execute(existing().encode())
    now = databases.create(then)
    databases.migrate(now)
    with databases.connect(then) as first, databases.connect(now) as second:
        yield [first, second]
    for name in (then, now):
        databases.drop(name)


def answer(
    connection: psycopg.Connection[Any], role: str, function: str, parameters: dict[str, Any]
) -> list[dict[str, Any]] | str:
    """The rows that a call returns, or its SQLSTATE. Nothing is kept."""
    try:
        with connection.transaction(force_rollback=True):
            return Caller(connection, role)(function, **parameters)
    except psycopg.Error as error:
        return error.sqlstate or "none"


@pytest.mark.parametrize(
    ("role", "function", "parameters", "then", "now"),
    CALLS,
    ids=[f"{n} {role} {function}" for n, (role, function, *_) in enumerate(CALLS)],
)
def test_a_call_answers_as_it_did_or_as_the_page_says(
    databases_then_and_now: list[psycopg.Connection[Any]],
    role: str,
    function: str,
    parameters: dict[str, Any],
    then: Any,
    now: Any,
) -> None:
    old, new = (answer(connection, role, function, parameters) for connection in databases_then_and_now)
    for actual, wanted in ((old, then), (new, then if now is SAME else now)):
        if isinstance(actual, str):
            assert actual == wanted
        else:
            shown = [{name: row[name] for name in keys} for row, keys in zip(actual, wanted, strict=True)]
            assert shown == wanted
    if isinstance(old, list) and isinstance(new, list) and old and new:
        assert old[0].keys() <= new[0].keys()
    if now is SAME and isinstance(old, list) and isinstance(new, list):
        columns = [name for name in (old[0] if old else {}) if name not in OF_EACH_CALL.get(function, set())]
        assert [[row[name] for name in columns] for row in new] == [
            [row[name] for name in columns] for row in old
        ]
