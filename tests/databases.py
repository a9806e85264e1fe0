"""Separate databases, for tests that change database objects."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg import Connection, sql

from ehg_tasks import local, migrations

SCHEMAS = (Path(local.__file__).parent / "schemas.sql").read_text()
# The default privileges of a project that was created before 30 October 2026. Newer projects have none.
GRANTS_BY_DEFAULT = """
    alter default privileges for role postgres in schema public
      grant all on tables to anon, authenticated, service_role;
    alter default privileges for role postgres in schema public
      grant all on functions to anon, authenticated, service_role;
    alter default privileges for role postgres in schema public
      grant all on sequences to anon, authenticated, service_role;
"""


@dataclass
class Databases:
    """Creates and drops databases on a server that has the roles of a Supabase project.

    Args:
        superuser_url: connection URL of supabase_admin.
        owner_url: connection URL of postgres, which owns the databases and runs migrations.
    """

    superuser_url: str
    owner_url: str
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    def create(self, template: str | None = None, *, grants_by_default: bool = False) -> str:
        """Create a database and return its name.

        Args:
            template: name of the database to copy; by default, a project without migrations is created.
            grants_by_default: grant everything on new objects to the API roles, as older projects do.
        """
        name = f"test_{next(self.numbers)}"
        with psycopg.connect(self.superuser_url, autocommit=True) as server:
            server.execute(
                sql.SQL("create database {} owner postgres template {}").format(
                    sql.Identifier(name), sql.Identifier(template or "template1")
                )
            )
        if template is None:
            with self.connect(name) as database:
                database.execute(SCHEMAS)
                if grants_by_default:
                    database.execute(GRANTS_BY_DEFAULT)
        return name

    def drop(self, name: str) -> None:
        """Drop a database, even if there are connections to it."""
        with psycopg.connect(self.superuser_url, autocommit=True) as server:
            server.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))

    def migrate(self, name: str, files: list[Path] | None = None) -> None:
        """Apply migration files (by default all of this package), as postgres, each in a transaction."""
        with self.connect(name, owner=True) as database:
            for file in migrations.migrations() if files is None else files:
                database.execute(file.read_text().encode())

    def migrated(self) -> str:
        """Create a database with every migration and return its name."""
        name = self.create()
        self.migrate(name)
        return name

    def connect(self, name: str, *, owner: bool = False) -> Connection[Any]:
        """Connect as the superuser, or as the owner."""
        return psycopg.connect(self.url(name, owner=owner), autocommit=True)

    def url(self, name: str, *, owner: bool = False) -> str:
        """Connection URL of the superuser, or of the owner."""
        parts = urlsplit(self.owner_url if owner else self.superuser_url)
        return parts._replace(path=f"/{name}").geturl()
