"""Mutants: small changes to a database, each of which breaks a rule that a test should notice.

    for mutant in mutants(connection):
        connection.execute(mutant.sql)
        ...  # run the tests: at least one must fail
        connection.execute(mutant.undo)

They are made by rules from what the catalog holds: the bodies of functions, views and policies
(`mutant_rules`), and rights, triggers and constraints (`mutant_catalog`). See docs/mutation-testing.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ehg_tasks.testing import mutant_catalog
from ehg_tasks.testing.mutant_rules import edits

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["Mutant", "mutants"]

_FUNCTIONS = """
select p.oid::regprocedure::text, pg_get_functiondef(p.oid), p.prosrc, l.lanname = 'plpgsql',
       count(*) over (partition by p.pronamespace, p.proname) > 1
from pg_proc p join pg_language l on l.oid = p.prolang
where p.pronamespace = any (%s::text[]::regnamespace[]) and p.prokind in ('f', 'p')
  and l.lanname in ('sql', 'plpgsql') and p.prosrc <> ''
  and not exists (
    select from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
order by 1
"""
_VIEWS = """
select c.oid::regclass::text, pg_get_viewdef(c.oid),
       case when c.reloptions is null then '' else 'with (' || array_to_string(c.reloptions, ', ') || ')' end
from pg_class c
where c.relnamespace = any (%s::text[]::regnamespace[]) and c.relkind = 'v'
order by 1
"""


@dataclass(frozen=True)
class Mutant:
    """One change to a database, and how to undo it.

    Attributes:
        name: what is changed, the same from run to run; unique in a database.
        kind: the rule that made it.
        target: the function (with the types of its parameters), view, table, policy or role.
        line: the line of the function's body, as PostgreSQL counts them in error messages, or None.
        sql: statements that make the change.
        undo: statements that undo it.
        shared: whether it changes a role, which all databases of the server share.
    """

    name: str
    kind: str
    target: str
    line: int | None
    sql: str
    undo: str
    shared: bool = False

    @property
    def title(self) -> str:
        """The name, with the line if there is one."""
        what, _, change = self.name.partition(": ")
        return f"{what} line {self.line}: {change}" if self.line else self.name


def mutants(connection: Connection[Any], schemas: Iterable[str] = ("public",)) -> list[Mutant]:
    """Return the mutants of everything in some schemas, in the same order each time.

    Changes that the database refuses, such as a body that does not compile, are left out.

    Args:
        connection: to the database to mutate, as a role that may change everything; nothing is changed.
        schemas: where to look.

    Raises:
        ValueError: a schema does not exist.
    """
    schemas = list(schemas)
    existing = {name for (name,) in connection.execute("select nspname::text from pg_namespace")}
    if unknown := sorted(set(schemas) - existing):
        raise ValueError(f"no such schema: {', '.join(unknown)}")
    with connection.transaction(force_rollback=True):
        # So that the catalog writes every name with its schema.
        connection.execute("set local search_path to ''")
        found = [*_bodies(connection, schemas), *_others(connection, schemas)]
        return list(_numbered(mutant for mutant in found if _is_possible(connection, mutant)))


def _numbered(found: Iterable[Mutant]) -> Iterator[Mutant]:
    """Tell mutants of the same name apart: the second ends in "(2)"."""
    repeats: Counter[str] = Counter()
    for mutant in found:
        repeats[mutant.name] += 1
        count = repeats[mutant.name]
        yield replace(mutant, name=f"{mutant.name} ({count})") if count > 1 else mutant


def _bodies(connection: Connection[Any], schemas: list[str]) -> Iterator[Mutant]:
    """The edits of functions and views."""
    for signature, definition, body, procedural, overloaded in connection.execute(
        _FUNCTIONS, [schemas]
    ).fetchall():
        name = signature if overloaded else signature.partition("(")[0]
        head, tail = definition.rsplit(body, 1)
        for edit in edits(body, procedural=procedural):
            line = body.count("\n", 0, edit.slices[-1][0]) + 1
            sql = head + edit.apply(body) + tail
            yield Mutant(f"{name}: {edit.change}", edit.kind, signature, line, sql, definition)
    for view, definition, options in connection.execute(_VIEWS, [schemas]).fetchall():
        create = f"create or replace view {view} {options} as "
        for edit in edits(definition):
            sql = create + edit.apply(definition)
            yield Mutant(f"{view}: {edit.change}", edit.kind, view, None, sql, create + definition)


def _others(connection: Connection[Any], schemas: list[str]) -> Iterator[Mutant]:
    for change in mutant_catalog.changes(connection, schemas):
        yield Mutant(
            change.name, change.kind, change.target, None, change.sql, change.undo, shared=change.shared
        )


def _is_possible(connection: Connection[Any], mutant: Mutant) -> bool:
    from psycopg import Error

    try:
        with connection.transaction(force_rollback=True):
            connection.execute(mutant.sql.encode())
    except Error:
        return False
    return True
