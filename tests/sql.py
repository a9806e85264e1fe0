"""Calls in SQL as one of the API roles, the way the Data API makes them: log in, then set the role."""

from __future__ import annotations

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
    """One API role on a connection of its own. Each call is a transaction."""

    def __init__(self, connection: psycopg.Connection[Any], role: str) -> None:
        self.connection = connection
        self.role = role
        connection.execute("set session authorization authenticator")

    def __call__(self, function: str, /, **parameters: Any) -> list[Row]:
        """Call `public.<function>` by name, each parameter without its `p_`."""
        names = [sql.SQL("{} => %s").format(sql.Identifier(f"p_{name}")) for name in parameters]
        query = sql.SQL("select * from public.{}({})").format(
            sql.Identifier(function), sql.SQL(", ").join(names)
        )
        return self.run(query, [_adapt(value) for value in parameters.values()])

    def run(self, query: str | sql.Composed, parameters: list[Any] | None = None) -> list[Row]:
        """Run one statement in this role."""
        with self.connection.transaction(), self.connection.cursor(row_factory=dict_row) as cursor:
            cursor.execute(sql.SQL("set local role {}").format(sql.Identifier(self.role)))
            cursor.execute(query, parameters)
            return cursor.fetchall() if cursor.description else []


def _adapt(value: Any) -> Any:
    return Jsonb(value) if isinstance(value, dict) else value


def jsonb(value: Any) -> Jsonb:
    """A list or a scalar that is meant as jsonb."""
    return Jsonb(value)


@contextmanager
def refused(code: str, match: str = "") -> Iterator[None]:
    """The block is refused with this SQLSTATE (and a message that has `match` in it)."""
    with pytest.raises(psycopg.Error) as raised:
        yield
    assert raised.value.sqlstate == code, raised.value
    assert match in str(raised.value)
