"""The world of a matrix case: what is there before, how each operation is written, what it changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import psycopg
from postgrest import ReturnMethod
from psycopg import Connection
from supabase import Client

FIRST, SECOND, NEW = (UUID(f"00000000-0000-4000-8000-00000000000{n}") for n in (1, 2, 9))
ARTIFACT, NEW_ARTIFACT = (UUID(f"00000000-0000-4000-8000-0000000000a{n}") for n in (1, 9))
TOKEN = UUID("00000000-0000-4000-8000-00000000c1a1")

SEED = f"""
delete from public.agent_task_contracts;
delete from public.agent_artifacts;
delete from public.strategic_directives_v2;
insert into public.strategic_directives_v2 (id) values ('SD-1');
insert into public.agent_artifacts (id, type, summary) values ('{ARTIFACT}', 'context', 's');
insert into public.agent_task_contracts (id, parent_agent, target_agent, objective, sd_id, status, started_at)
values ('{FIRST}', 'P', 'T', 'waits', 'SD-1', 'pending', null),
       ('{SECOND}', 'P', 'T', 'is worked on', null, 'in_progress', now());
insert into ehg_tasks.leases (contract_id, target_agent, claim_token, claimed_at, expires_at, attempt)
values ('{SECOND}', 'T', '{TOKEN}', now(), now() + interval '30 minutes', 1);
insert into ehg_tasks.handbacks (contract_id, claim_token, outcome, not_before)
values ('{FIRST}', gen_random_uuid(), 'released', now());
"""

# relation -> key column, key of a row that is there, values of a new row, column and value of an update
RELATIONS: dict[str, tuple[str, str, dict[str, str], tuple[str, Any]]] = {
    "public.agent_task_contracts": (
        "id",
        str(FIRST),
        {"id": str(NEW), "parent_agent": "P", "target_agent": "T", "objective": "new"},
        ("priority", 7),
    ),
    "public.task_contract_stats": ("target_agent", "T", {"target_agent": "T"}, ("contracts", 1)),
    "public.agent_artifacts": (
        "id",
        str(ARTIFACT),
        {"id": str(NEW_ARTIFACT), "type": "context", "summary": "new"},
        ("summary", "changed"),
    ),
    "public.strategic_directives_v2": ("id", "SD-1", {"id": "SD-9"}, ("id", "SD-1")),
    "ehg_tasks.leases": (
        "contract_id",
        str(SECOND),
        {
            "contract_id": str(FIRST),
            "target_agent": "T",
            "claimed_at": "2026-01-01",
            "expires_at": "2026-01-01",
            "attempt": "1",
        },
        ("attempt", 9),
    ),
    "ehg_tasks.handbacks": (
        "contract_id",
        str(FIRST),
        {
            "contract_id": str(SECOND),
            "claim_token": str(TOKEN),
            "outcome": "failed",
            "not_before": "2026-01-01",
        },
        ("outcome", "failed"),
    ),
}
TABLES = [name for name in RELATIONS if name != "public.task_contract_stats"]

CONTRACT = {"parent_agent": "P", "target_agent": "T", "objective": "o"}
HELD = {"contract_id": str(SECOND), "claim_token": str(TOKEN)}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "create_task_contract": CONTRACT,
    "create_task_contracts": {"contracts": [CONTRACT]},
    "claim_task_contract": {"target_agent": "T"},
    "renew_task_contract": HELD,
    "complete_task_contract": HELD,
    "fn_complete_task_contract_idempotent": HELD | {"idempotency_key": str(NEW)},
    "fail_task_contract": HELD | {"error_message": "e"},
    "release_task_contract": HELD,
    "cancel_task_contract": {"contract_id": str(FIRST)},
    "task_contract_outcomes": {"contract_ids": [str(FIRST)]},
    "task_contract_inputs": HELD,
    "read_task_contract": {"contract_id": str(FIRST)},
    "cleanup_stale_contracts": {},
    "prune_task_contracts": {},
    "describe_task_contracts": {},
}


def statement(relation: str, operation: str) -> str:
    """The operation in SQL; its values are constants of this module."""
    key, there, new, (column, value) = RELATIONS[relation]
    columns = ", ".join(new)
    insert = f"insert into {relation} ({columns}) values ({', '.join(map(repr, new.values()))})"
    again = insert.replace(repr(new[key]), repr(there))
    update = f"update {relation} set {column} = {value!r}"
    return {
        "select": f"select * from {relation}",
        "select one column": f"select {key} from {relation}",
        "insert": insert,
        "insert returning": f"{insert} returning *",
        "update one": f"{update} where {key} = {there!r}",
        "update all": update,
        "update returning": f"{update} where {key} = {there!r} returning *",
        "upsert": f"{again} on conflict ({key}) do update set {column} = {value!r}",
        "upsert ignoring": f"{again} on conflict ({key}) do nothing",
        "upsert ignoring, no target": f"{again} on conflict do nothing",
        "delete one": f"delete from {relation} where {key} = {there!r}",
        "delete all": f"delete from {relation}",
        "truncate": f"truncate {relation} cascade",
    }[operation]


def request(api: Client, relation: str, operation: str) -> Callable[[], Any] | None:
    """The operation on the Data API; None for what it cannot express."""
    table = api.table(relation.partition(".")[2])
    key, there, new, (column, value) = RELATIONS[relation]
    change = {column: value}
    minimal = ReturnMethod.minimal
    requests: dict[str, Callable[[], Any]] = {
        "select": lambda: table.select("*").execute(),
        "select one column": lambda: table.select(key).execute(),
        "insert": lambda: table.insert(new, returning=minimal).execute(),
        "insert returning": lambda: table.insert(new).execute(),
        "update one": lambda: table.update(change, returning=minimal).eq(key, there).execute(),
        "update all": lambda: table.update(change, returning=minimal).execute(),
        "update returning": lambda: table.update(change).eq(key, there).execute(),
        "upsert": lambda: table.upsert(
            new | {key: there} | change, returning=minimal, on_conflict=key
        ).execute(),
        "upsert ignoring": lambda: table.upsert(
            new | {key: there}, returning=minimal, on_conflict=key, ignore_duplicates=True
        ).execute(),
        "delete one": lambda: table.delete(returning=minimal).eq(key, there).execute(),
        "delete all": lambda: table.delete(returning=minimal).execute(),
    }
    return requests.get(operation)


Snapshot = dict[str, dict[str, str]]


def snapshot(connection: Connection[Any]) -> Snapshot:
    """Every row of every table, as the superuser sees it."""
    found = {}
    for table in TABLES:
        rows = connection.execute(f"select t.{RELATIONS[table][0]}::text, t::text from {table} t".encode())
        found[table] = dict(rows.fetchall())
    return found


def changes(before: Snapshot, after: Snapshot, relation: str) -> str:
    """What happened to the rows of a relation, in the matrix' words."""
    old, new = before.get(relation, {}), after.get(relation, {})
    counts = {
        "+": len(new.keys() - old.keys()),
        "~": sum(old[key] != new[key] for key in old.keys() & new.keys()),
        "-": len(old.keys() - new.keys()),
    }
    return " ".join(f"{sign}{count}" for sign, count in counts.items() if count) or "unchanged"


def perform(connection: Connection[Any], role: str, query: str, relation: str | None = None) -> str:
    """Run one statement in a role, within the transaction that is open; the outcome in the matrix' words.

    Raises:
        AssertionError: it was refused, and something is other than before.
    """
    before = snapshot(connection)
    try:
        with connection.transaction():
            connection.execute("set local session authorization authenticator")
            connection.execute(f"set local role {role}".encode())
            cursor = connection.execute(query.encode())
            read = query.startswith("select") and cursor.description is not None
            rows = len(cursor.fetchall()) if read else 0
            connection.execute("reset role")
            connection.execute("reset session authorization")
    except psycopg.Error as error:
        assert snapshot(connection) == before
        return str(error.sqlstate)
    if relation is None:
        return "ok"
    return f"{rows} rows" if read else changes(before, snapshot(connection), relation)
