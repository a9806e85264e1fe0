"""The page docs/functions.md: the functions, views and table in public, read from a database's catalog."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from psycopg import Connection

from ehg_tasks import errors, migrations
from tools.failures import Failure, Source

INTRODUCTION = Path(__file__).with_suffix(".md").read_text("utf-8")
# The migrations that define what callers use, in reading order. Each is a chapter.
CHAPTERS = (
    "create", "claim", "finish", "read", "agents", "maintenance", "dashboard", "agent_task_contracts",
)  # fmt: skip
DEFINITION = re.compile(
    r"^create (?:or replace )?(function|view|table)(?: if not exists)? public\.(\w+)", re.MULTILINE
)
ROLES = ["anon", "authenticated", "service_role"]
TYPES = {"timestamp with time zone": "timestamptz", "character varying": "varchar"}
# Words with an underscore that are no identifiers.
WORDS = ("service_role", "in_progress", "timed_out")
LIMIT = re.compile(r"(?P<what>\S+) (?:is|has) .*?(?P<unit>bytes|entries)?, the limit is (?P<limit>\d+)")

FUNCTION = """
    select p.oid, obj_description(p.oid, 'pg_proc'), format_type(p.prorettype, null),
           array(select r.role from unnest(%(roles)s::text[]) as r (role)
                 where has_function_privilege(r.role, p.oid, 'EXECUTE'))
    from pg_proc p
    where p.pronamespace = 'public'::regnamespace and p.proname = %(name)s
"""
PARAMETERS = """
    select a.mode is not distinct from 't', a.name, format_type(a.type, null),
           pg_get_function_arg_default(p.oid, a.place::integer)
    from pg_proc p,
         unnest(p.proargnames, coalesce(p.proallargtypes, p.proargtypes::oid[]), p.proargmodes)
           with ordinality as a (name, type, mode, place)
    where p.oid = %(function)s
    order by a.place
"""
RELATION = """
    select obj_description(c.oid, 'pg_class'),
           array(select r.role from unnest(%(roles)s::text[]) as r (role)
                 where has_table_privilege(r.role, c.oid, 'SELECT'))
    from pg_class c
    where c.relnamespace = 'public'::regnamespace and c.relname = %(name)s
"""
COLUMNS = """
    select a.attname, format_type(a.atttypid, a.atttypmod), col_description(a.attrelid, a.attnum)
    from pg_class c
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    where c.relnamespace = 'public'::regnamespace and c.relname = %(name)s
    order by a.attnum
"""
TYPE_COMMENT = "select obj_description(to_regtype(%(name)s), 'pg_type')"


@dataclass(frozen=True)
class Entry:
    """A function or relation: its comment, who may use it, what it raises, and its part of the page."""

    name: str
    comment: str
    roles: list[str]
    lines: list[str]
    failures: Sequence[Failure] = ()


@dataclass(frozen=True)
class Catalog:
    """Reads the catalog of a migrated database."""

    connection: Connection[Any]

    def rows(self, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        return self.connection.execute(query, {"roles": ROLES, **parameters}).fetchall()

    @cached_property
    def source(self) -> Source:
        """The source of the functions."""
        return Source(self.connection)

    @cached_property
    def meanings(self) -> dict[str, str]:
        """The comments on the table's columns. What has the same name elsewhere means the same."""
        return {name: about for name, _, about in self.rows(COLUMNS, name="agent_task_contracts")}

    def about(self, name: str, comment: str | None = None) -> str:
        """What a parameter or a column is."""
        return _code(comment or self.meanings.get(name.removeprefix("p_")) or "")

    def function(self, name: str) -> Entry:
        """The entry of a function."""
        [(function, comment, returned, roles)] = self.rows(FUNCTION, name=name)
        parameters = self.rows(PARAMETERS, function=function)
        inputs = [
            (f"`{parameter}`", _type(type_), _default(default), self.about(parameter))
            for is_result, parameter, type_, default in parameters
            if not is_result
        ]
        lines = [
            _code(comment) + "\n",
            f"Callers: {', '.join(roles)}.\n",
            *_table(("parameter", "type", "default", ""), inputs),
        ]
        columns = [(column, type_, None) for is_result, column, type_, _ in parameters if is_result]
        if columns:
            lines += ["\nReturns rows:\n", *self.columns(columns)]
        elif columns := self.rows(COLUMNS, name=returned):
            [(about,)] = self.rows(TYPE_COMMENT, name=f"public.{returned}")
            lines += [f"\nReturns rows of the type `{returned}`. {_code(about)}\n", *self.columns(columns)]
        else:
            lines += [f"\nReturns {returned}."]
        return Entry(name, comment, roles, lines, self.source.failures(f"public.{name}"))

    def relation(self, name: str) -> Entry:
        """The entry of a table or view."""
        [(comment, roles)] = self.rows(RELATION, name=name)
        lines = [_code(comment) + "\n", f"Readers: {', '.join(roles)}.\n"]
        return Entry(name, comment, roles, lines + list(self.columns(self.rows(COLUMNS, name=name))))

    def columns(self, columns: Iterable[Sequence[Any]]) -> Iterator[str]:
        """A table of columns: name, type, comment."""
        rows = [(f"`{name}`", _type(type_), self.about(name, about)) for name, type_, about in columns]
        return _table(("column", "type", ""), rows)


def text(migrated: Connection[Any]) -> str:
    """The whole page."""
    catalog = Catalog(migrated)
    entries: list[Entry] = []
    lines: list[str] = []
    for file in sorted(migrations.migrations(), key=_place):
        sql = file.read_text("utf-8")
        chapter = [
            entry
            for kind, name in DEFINITION.findall(sql)
            if (entry := catalog.function(name) if kind == "function" else catalog.relation(name)).roles
        ]
        if chapter:
            assert _place(file) < len(CHAPTERS), f"add {file.stem} to CHAPTERS"
            title, _, subtitle = _first_paragraph(sql).partition(": ")
            lines += [f"\n## {title}\n", subtitle[0].upper() + subtitle[1:]]
        for entry in chapter:
            lines += [f"\n### `{entry.name}`\n", *entry.lines, *_failures(entry, entries)]
            entries.append(entry)
    head = INTRODUCTION.format(
        overview="\n".join(_overview(entries)),
        errors="\n".join(_errors()),
        limits="\n".join(_limits(entries)),
    )
    return re.sub(r"\n{3,}", "\n\n", head + "\n".join(lines)) + "\n"


def _place(file: Path) -> int:
    """Where the chapter of a migration comes; after the last one if it is none."""
    name = file.stem.partition("_")[2]
    return CHAPTERS.index(name) if name in CHAPTERS else len(CHAPTERS)


def _first_paragraph(sql: str) -> str:
    """The first paragraph of the comment at the head of a migration: `Title: what it adds.`"""
    return " ".join(sql.partition("\n--\n")[0].replace("-- ", "").split())


def _failures(entry: Entry, before: Iterable[Entry]) -> Iterator[str]:
    """The errors of a function, or a reference to a function before it that has the same."""
    same = next((other.name for other in before if other.failures == entry.failures), None)
    if entry.failures and same:
        yield f"\nErrors: those of [`{same}`](#{same})."
    elif entry.failures:
        yield from ["\nErrors:\n", "```text", *map("  ".join, entry.failures), "```"]


def _overview(entries: Iterable[Entry]) -> Iterator[str]:
    """A table of all functions and relations, with the first sentence of their comments."""
    rows = [
        (
            f"[`{entry.name}`](#{entry.name})",
            *("yes" if role in entry.roles else "" for role in ROLES),
            _code(entry.comment.partition(". ")[0].removesuffix(".") + "."),
        )
        for entry in entries
    ]
    return _table(("", *ROLES, ""), rows)


def _errors() -> Iterator[str]:
    """A table of the exceptions that stand for SQLSTATEs of these functions."""
    rows = [
        (
            ", ".join(f"`{code}`" if len(code) == 5 else f"`{code}…`" for code in kind.codes),
            f"`{kind.__name__}`",
            kind.__doc__ or "",
        )
        for kind in errors.TaskContractError.__subclasses__()
        if any(code.startswith(("TC", "2", "4")) for code in kind.codes) and kind.advice is None
    ]
    return _table(("SQLSTATE", "Python", "meaning"), rows)


def _limits(entries: Iterable[Entry]) -> Iterator[str]:
    """A table of the limits that the messages of TC006 state."""
    limits: dict[str, tuple[str, int]] = {}  # a value that is checked in two ways has the smaller limit
    for message in sorted({failure.message for entry in entries for failure in entry.failures}):
        if match := LIMIT.fullmatch(message):
            what, limit = match["what"], (match["unit"] or "entries", int(match["limit"]))
            limits[what] = min(limits.get(what, limit), limit)
    rows = [
        (
            f"{number:,} {unit}" if unit == "entries" else _bytes(number),
            ", ".join(f"`{what}`" for what, limit in limits.items() if limit == (unit, number)),
        )
        for unit, number in sorted(set(limits.values()))
    ]
    return _table(("limit", ""), rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A Markdown table without the columns that are empty."""
    used = [place for place in range(len(head)) if any(row[place] for row in rows)]
    for row in [head, ["---"] * len(head), *rows] if rows else []:
        cells = (row[place].replace("|", r"\|") for place in used)
        yield f"| {' | '.join(cells)} |"


def _type(name: str) -> str:
    for long, short in TYPES.items():
        name = name.replace(long, short)
    return name


def _bytes(number: int) -> str:
    return f"{number // 2**20} MiB" if number % 2**20 == 0 else f"{number // 2**10} KiB"


def _default(expression: str | None) -> str:
    return "" if expression is None else f"`{expression.partition('::')[0].replace('NULL', 'null')}`"


def _code(prose: str) -> str:
    """Mark identifiers as code."""
    identifier = rf"\b(?!(?:{'|'.join(WORDS)})\b)[a-z]+(?:_[a-z]+)+(?: = (?:\w+|'\w+'))?"
    return re.sub(identifier, r"`\g<0>`", prose)
