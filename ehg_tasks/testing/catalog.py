"""What a database grants to the API roles, read from its catalog, one line of text for each item.

    schema public anon USAGE
    rls public.notes
    policy public.notes "People read their own notes"
    trigger public.notes "notes_updated"
    grant public.notes authenticated SELECT
    grant public.notes(body) authenticated UPDATE
    execute public.share_note(uuid, text) authenticated

A test that compares a list of these with the catalog finds the policy, grant or function that was added
without a test. Objects that belong to an extension are left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from ehg_tasks.verify import EXPECTED

if TYPE_CHECKING:
    from psycopg import Connection

API_ROLES = ("anon", "authenticated", "service_role")

_ITEMS = """
with spaces as (
  select oid, quote_ident(nspname) as name, nspacl from pg_namespace where nspname = any(%(schemas)s)
), relations as (
  select c.*, s.name || '.' || quote_ident(c.relname) as name
  from pg_class c join spaces s on s.oid = c.relnamespace
  where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
    and not exists (
      select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
), functions as (
  select p.*, s.name || '.' || quote_ident(p.proname) || '(' || oidvectortypes(p.proargtypes) || ')' as name
  from pg_proc p join spaces s on s.oid = p.pronamespace
  where not exists (
    select from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
), grants as (
  select 'schema ' || name as object, nspacl as acl, '' as omitted from spaces
  union all
  select 'grant ' || name, relacl, '' from relations
  union all
  select 'grant ' || r.name || '(' || quote_ident(a.attname) || ')', a.attacl, ''
  from pg_attribute a join relations r on r.oid = a.attrelid where not a.attisdropped
  union all
  -- A function without an access list is open to everyone.
  select 'execute ' || name, coalesce(proacl, acldefault('f', proowner)), 'EXECUTE' from functions
)
select case when relrowsecurity then 'rls ' else 'no rls ' end || name
         || case when relforcerowsecurity then ' forced' else '' end
from relations where relkind in ('r', 'p')
union
select 'policy ' || r.name || ' "' || p.polname || '"' from pg_policy p join relations r on r.oid = p.polrelid
union
select 'trigger ' || r.name || ' "' || t.tgname || '"'
from pg_trigger t join relations r on r.oid = t.tgrelid where not t.tgisinternal
union
select g.object || ' ' || coalesce(r.rolname, 'PUBLIC')
         || case when a.privilege_type = g.omitted then '' else ' ' || a.privilege_type end
from grants g, aclexplode(g.acl) a left join pg_roles r on r.oid = a.grantee
where a.grantee = 0 or r.rolname = any(%(roles)s)
"""


@dataclass(frozen=True)
class Gaps:
    """The differences between a list and a catalog: true if there are any; `str()` explains them.

    Attributes:
        missing: items in the catalog that the list lacks.
        unknown: entries in the list that match nothing in the catalog.
    """

    missing: tuple[str, ...]
    unknown: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.missing or self.unknown)

    def __str__(self) -> str:
        lines = []
        if self.missing:
            lines += ["The list does not cover these. Test each of them, then add its line:"]
            lines += [f"    {item!r}," for item in self.missing]
        if self.unknown:
            lines += ["These entries match nothing in the database. Correct or remove them:"]
            lines += [f"    {entry!r},{self._suggestion(entry)}" for entry in self.unknown]
        return "\n".join(lines)

    def _suggestion(self, entry: str) -> str:
        near = get_close_matches(entry, self.missing, n=1, cutoff=0.8)
        return f"  # perhaps {near[0]!r}?" if near else ""


def items(connection: Connection[Any], schemas: Iterable[str] = ("public",)) -> list[str]:
    """Everything that a list must cover, sorted.

    That is: for each table, whether row level security is on (`no rls ...` if it is off); for schemas,
    relations, columns and functions, what anon, authenticated, service_role and PUBLIC may do; and every
    policy and trigger.

    Args:
        connection: to the database to look at, as any role.
        schemas: where to look.

    Raises:
        ValueError: a schema does not exist.
    """
    from psycopg.rows import scalar_row

    schemas = list(schemas)
    with connection.transaction(force_rollback=True), connection.cursor(row_factory=scalar_row) as cursor:
        # So that types are written with their schema, whatever the search path is.
        cursor.execute("set local search_path to ''")
        existing = cursor.execute("select nspname::text from pg_namespace").fetchall()
        unknown = sorted(set(schemas).difference(existing))
        if unknown:
            raise ValueError(f"no such schema: {', '.join(unknown)}")
        return sorted(cursor.execute(_ITEMS, {"schemas": schemas, "roles": list(API_ROLES)}).fetchall())


def packaged() -> set[str]:
    """The items of a project that has only this package's migrations, which its own tests cover."""
    return set(json.loads(EXPECTED.read_text("utf-8"))["items"])


def uncovered(
    connection: Connection[Any],
    covered: Iterable[str],
    schemas: Iterable[str] = ("public",),
    *,
    known: Iterable[str] | None = None,
) -> Gaps:
    """The items that `covered` lacks, and the entries in it that match nothing in the catalog.

    Args:
        connection: to the database to look at.
        covered: the items that have tests, as `items` writes them.
        schemas: where to look.
        known: items that need no entry; by default those of this package (`packaged`).

    Raises:
        ValueError: a schema does not exist.
    """
    live, listed = items(connection, schemas), list(dict.fromkeys(covered))
    expected = {*listed, *(packaged() if known is None else known)}
    return Gaps(
        missing=tuple(item for item in live if item not in expected),
        unknown=tuple(entry for entry in listed if entry not in set(live)),
    )


def assert_covered(
    connection: Connection[Any],
    covered: Iterable[str],
    schemas: Iterable[str] = ("public",),
    *,
    known: Iterable[str] | None = None,
) -> None:
    """Assert that `covered` and the catalog agree. The arguments are those of `uncovered`.

    Raises:
        AssertionError: they do not agree; the message has the lines to add, correct or remove.
        ValueError: a schema does not exist.
    """
    __tracebackhide__ = True
    gaps = uncovered(connection, covered, schemas, known=known)
    if gaps:
        raise AssertionError(str(gaps))
