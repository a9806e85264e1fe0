"""The contestants' databases."""

from __future__ import annotations

import re
import sys

from bench.contestants import Contestant
from bench.server import SUPERUSER, Connection, Server

FILL = 50_000  # pieces of work inserted by one statement


def say(text: str) -> None:
    """Report progress."""
    print(text, file=sys.stderr, flush=True)


class Databases:
    """Makes databases, fills, copies and drops them.

    Args:
        server: where.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._names: set[str] = set()

    def connect(self, database: str) -> Connection:
        """Connect as the owner of the contestants' objects."""
        return self._server.connect(database, "postgres")

    def get(self, contestant: Contestant, waiting: int) -> str:
        """Return the database with this backlog. It is made when it is first asked for."""
        empty = _name(contestant, "empty")
        if empty not in self._names:
            self._create(empty, "template1")
            with self._server.connect(empty, SUPERUSER) as connection:
                connection.execute("set session authorization postgres")
                contestant.install(connection)
        if not waiting:
            return empty
        name = _name(contestant, str(waiting))
        if name not in self._names:
            self._create(name, empty)
            self.fill(contestant, name, waiting)
        return name

    def add(self, contestant: Contestant, database: str, count: int) -> None:
        """Add to the backlog."""
        with self.connect(database) as connection:
            for first in range(1, count + 1, FILL):
                last = min(first + FILL - 1, count)
                connection.execute(contestant.fill.encode(), {"first": first, "last": last})

    def fill(self, contestant: Contestant, database: str, count: int) -> None:
        """Add a backlog, and bring the statistics up to date."""
        say(f"{database}: {count:,} more are waiting")
        self.add(contestant, database, count)
        with self._server.connect(database, SUPERUSER) as connection:
            connection.execute("vacuum analyze")
            connection.execute("checkpoint")

    def copy(self, contestant: Contestant, source: str, suffix: str) -> str:
        """Return a copy of a database."""
        name = _name(contestant, suffix)
        self._create(name, source)
        return name

    def drop(self, *names: str) -> None:
        """Drop databases that are no longer needed."""
        with self._server.connect("postgres", SUPERUSER) as connection:
            for name in names:
                connection.execute(f"drop database {name} with (force)".encode())
                self._names.remove(name)

    def _create(self, name: str, template: str) -> None:
        with self._server.connect("postgres", SUPERUSER) as connection:
            create = f"create database {name} owner postgres template {template} strategy file_copy"
            connection.execute(create.encode())
        self._names.add(name)


def _name(contestant: Contestant, suffix: str) -> str:
    return re.sub(r"\W+", "_", f"{contestant.name} {suffix}")
