"""Calls in SQL as one of the API roles, made as the Data API makes them: log in, then set the role."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

Row = dict[str, Any]


class Caller:
    """Runs SQL as an API role, each call in its own transaction.

    Args:
        connection: a superuser's connection for this caller alone.
        role: anon, authenticated or service_role.

    `headers` are the request's HTTP headers, as the Data API passes them on.
    """

    def __init__(self, connection: psycopg.Connection[Any], role: str) -> None:
        self.connection = connection
        self.role = role
        self.headers: dict[str, str] = {}
        connection.execute("set session authorization authenticator")

    def __call__(self, function: str, /, **parameters: Any) -> list[Row]:
        """Call `public.<function>` with named parameters, given without their prefix `p_`."""
        names = [sql.SQL("{} => %s").format(sql.Identifier(f"p_{name}")) for name in parameters]
        query = sql.SQL("select * from public.{}({})").format(
            sql.Identifier(function), sql.SQL(", ").join(names)
        )
        return self.run(query, [_adapt(value) for value in parameters.values()])

    def run(self, query: str | sql.Composed, parameters: list[Any] | None = None) -> list[Row]:
        """Run one statement and return its rows."""
        with self.connection.transaction(), self.connection.cursor(row_factory=dict_row) as cursor:
            cursor.execute(sql.SQL("set local role {}").format(sql.Identifier(self.role)))
            if self.headers:
                cursor.execute("select set_config('request.headers', %s, true)", [json.dumps(self.headers)])
            cursor.execute(query, parameters)
            return cursor.fetchall() if cursor.description else []


def _adapt(value: Any) -> Any:
    return Jsonb(value) if isinstance(value, dict) else value


def jsonb(value: Any) -> Jsonb:
    """Pass a list or a scalar as jsonb. (Objects are passed as jsonb by default.)"""
    return Jsonb(value)


@contextmanager
def refused(code: str, match: str = "") -> Iterator[None]:
    """Assert that the block raises this SQLSTATE, with a message that contains `match`."""
    with pytest.raises(psycopg.Error) as raised:
        yield
    assert raised.value.sqlstate == code, raised.value
    assert match in str(raised.value)
