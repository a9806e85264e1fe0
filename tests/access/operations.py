"""Run an operation of the access matrix, in SQL or over HTTP, and report its outcome."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

import psycopg
from postgrest import APIError, ReturnMethod
from psycopg import Connection
from supabase import Client

from tests.access.matrix import FUNCTIONS
from tests.access.seed import SAMPLES, SEED, VIEWS


def statement(relation: str, operation: str) -> str:
    """An operation on a relation in schema public, in SQL."""
    key, existing, new, (column, value) = SAMPLES[relation]
    columns = ", ".join(new)
    insert = f"insert into {relation} ({columns}) values ({', '.join(map(repr, new.values()))})"
    duplicate = insert.replace(repr(new[key]), repr(existing))
    update = f"update {relation} set {column} = {value!r}"
    return {
        "select": f"select * from {relation}",
        "select one column": f"select {key} from {relation}",
        "insert": insert,
        "insert returning": f"{insert} returning *",
        "update one": f"{update} where {key} = {existing!r}",
        "update all": update,
        "update returning": f"{update} where {key} = {existing!r} returning *",
        "upsert": f"{duplicate} on conflict ({key}) do update set {column} = {value!r}",
        "upsert ignoring": f"{duplicate} on conflict ({key}) do nothing",
        "upsert ignoring, no target": f"{duplicate} on conflict do nothing",
        "delete one": f"delete from {relation} where {key} = {existing!r}",
        "delete all": f"delete from {relation}",
        "truncate": f"truncate {relation} cascade",
    }[operation]


def request(api: Client, relation: str, operation: str) -> Callable[[], Any] | None:
    """The same operation on the Data API; None if the API cannot express it."""
    table = api.table(relation.partition(".")[2])
    key, existing, new, (column, value) = SAMPLES[relation]
    change = {column: value}
    minimal = ReturnMethod.minimal
    requests: dict[str, Callable[[], Any]] = {
        "select": lambda: table.select("*").execute(),
        "select one column": lambda: table.select(key).execute(),
        "insert": lambda: table.insert(new, returning=minimal).execute(),
        "insert returning": lambda: table.insert(new).execute(),
        "update one": lambda: table.update(change, returning=minimal).eq(key, existing).execute(),
        "update all": lambda: table.update(change, returning=minimal).execute(),
        "update returning": lambda: table.update(change).eq(key, existing).execute(),
        "upsert": lambda: table.upsert(
            new | {key: existing} | change, returning=minimal, on_conflict=key
        ).execute(),
        "upsert ignoring": lambda: table.upsert(
            new | {key: existing}, returning=minimal, on_conflict=key, ignore_duplicates=True
        ).execute(),
        "delete one": lambda: table.delete(returning=minimal).eq(key, existing).execute(),
        "delete all": lambda: table.delete(returning=minimal).execute(),
    }
    return requests.get(operation)


def engine_statements(table: str, column: str) -> dict[str, str]:
    """Each operation on a table of the engine, in SQL."""
    return {
        "select": f"select * from {table}",
        "insert": f"insert into {table} default values",
        "update all": f"update {table} set {column} = {column}",
        "delete all": f"delete from {table}",
        "truncate": f"truncate {table} cascade",
    }


def call(schema: str, function: str) -> str:
    """A call of a function with the arguments of its row in the matrix, in SQL."""
    arguments = {f"p_{name}": _literal(value) for name, value in FUNCTIONS[function].arguments.items()}
    return f"select * from {schema}.{function}({', '.join(f'{n} => {v}' for n, v in arguments.items())})"


def _literal(value: Any) -> str:
    match value:
        case [str(), *_]:
            return f"array{value!r}::uuid[]"
        case [dict(), *_]:
            return f"'{json.dumps(value)}'"
    return repr(value)


Snapshot = dict[str, dict[str, str]]  # table -> key (of an engine table: the row) -> row


@functools.cache
def engine_tables(connection: Connection[Any]) -> dict[str, str]:
    """Each table in schema ehg_tasks with its first column."""
    return dict(
        connection.execute(
            "select format('ehg_tasks.%I', c.relname), quote_ident(a.attname)"
            " from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum = 1"
            " where c.relnamespace = 'ehg_tasks'::regnamespace and c.relkind in ('r', 'p')"
        ).fetchall()
    )


def snapshot(connection: Connection[Any]) -> Snapshot:
    """Every row of every table, as the superuser sees it."""
    keys = {name: f"t.{sample.key}" for name, sample in SAMPLES.items() if name not in VIEWS}
    keys |= dict.fromkeys(engine_tables(connection), "t")
    return {
        table: dict(connection.execute(f"select {key}::text, t::text from {table} t".encode()).fetchall())
        for table, key in keys.items()
    }


def changes(before: Snapshot, after: Snapshot, relation: str) -> str:
    """What happened to the rows of a relation, as an outcome."""
    old, new = before.get(relation, {}), after.get(relation, {})
    counts = {
        "+": len(new.keys() - old.keys()),
        "~": sum(old[key] != new[key] for key in old.keys() & new.keys()),
        "-": len(old.keys() - new.keys()),
    }
    return " ".join(f"{sign}{count}" for sign, count in counts.items() if count) or "unchanged"


def run_in_sql(connection: Connection[Any], role: str, query: str, relation: str | None = None) -> str:
    """Run one statement as a role, in the open transaction, and return its outcome.

    Raises:
        AssertionError: the statement was refused, but something changed.
    """
    before = snapshot(connection)
    try:
        with connection.transaction():
            connection.execute("set local session authorization authenticator")
            connection.execute(f"set local role {role}".encode())
            cursor = connection.execute(query.encode())
            rows = len(cursor.fetchall()) if query.startswith("select") else None
            connection.execute("reset role")
            connection.execute("reset session authorization")
    except psycopg.Error as error:
        assert snapshot(connection) == before
        return str(error.sqlstate)
    if relation is None:
        return "ok"
    return changes(before, snapshot(connection), relation) if rows is None else f"{rows} rows"


def run_over_http(
    connection: Connection[Any], act: Callable[[], Any], relation: str | None = None, *, reads: bool = False
) -> str:
    """Send one request to the Data API, on the rows of the seed, and return its outcome.

    Raises:
        AssertionError: the request was refused, but something changed.
    """
    connection.execute(SEED)
    before = snapshot(connection)
    try:
        answer = act()
    except APIError as error:
        assert snapshot(connection) == before
        return str(error.code)
    if relation is None:
        return "ok"
    return f"{len(answer.data)} rows" if reads else changes(before, snapshot(connection), relation)
