"""What a database opens to the API roles, read from its catalog: a line of text for each thing.

    schema public anon USAGE
    rls public.notes
    policy public.notes "People read their own notes"
    trigger public.notes "notes_updated"
    grant public.notes authenticated SELECT
    grant public.notes(body) authenticated UPDATE
    execute public.share_note(uuid, text) authenticated

A test that holds such a list against the catalog finds what nobody has thought of: the policy, the
grant or the function that came without a test. What belongs to an extension is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
), opened as (
  select 'schema ' || name as thing, nspacl as acl, '' as only from spaces
  union all
  select 'grant ' || name, relacl, '' from relations
  union all
  select 'grant ' || r.name || '(' || quote_ident(a.attname) || ')', a.attacl, ''
  from pg_attribute a join relations r on r.oid = a.attrelid where not a.attisdropped
  union all
  -- Without a list of its own, a function is open to everybody.
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
select o.thing || ' ' || coalesce(r.rolname, 'PUBLIC')
         || case when a.privilege_type = o.only then '' else ' ' || a.privilege_type end
from opened o, aclexplode(o.acl) a left join pg_roles r on r.oid = a.grantee
where a.grantee = 0 or r.rolname = any(%(roles)s)
"""


@dataclass(frozen=True)
class Gaps:
    """Where a list and a catalog differ; true where they do, and in words as a string.

    Attributes:
        missing: what is in the catalog and has no entry in the list.
        unknown: entries of the list that name nothing in the catalog.
    """

    missing: tuple[str, ...]
    unknown: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.missing or self.unknown)

    def __str__(self) -> str:
        lines = []
        if self.missing:
            lines += ["Nothing in the list covers these. Test each of them, then add its line:"]
            lines += [f"    {item!r}," for item in self.missing]
        if self.unknown:
            lines += ["These entries name nothing that is in the database. Correct or remove them:"]
            lines += [f"    {entry!r},{self._meant(entry)}" for entry in self.unknown]
        return "\n".join(lines)

    def _meant(self, entry: str) -> str:
        near = get_close_matches(entry, self.missing, n=1, cutoff=0.8)
        return f"  # or is it {near[0]!r}?" if near else ""


def items(connection: Connection[Any], schemas: Iterable[str] = ("public",)) -> list[str]:
    """Everything that a list has to cover, sorted.

    Of tables whether row level security is on (`no rls ...` where it is off), of schemas, relations,
    columns and functions what anon, authenticated, service_role or PUBLIC may do, and every policy and
    trigger.

    Args:
        connection: of a role that sees the whole catalog, as every role does.
        schemas: where to look.

    Raises:
        ValueError: there is no such schema.
    """
    from psycopg.rows import scalar_row

    schemas = list(schemas)
    with connection.transaction(force_rollback=True), connection.cursor(row_factory=scalar_row) as cursor:
        # Types are written with their schema where the search path does not find them: always the same.
        cursor.execute("set local search_path to ''")
        there = cursor.execute("select nspname::text from pg_namespace").fetchall()
        absent = sorted(set(schemas).difference(there))
        if absent:
            raise ValueError(f"there is no schema {', '.join(absent)}")
        return sorted(cursor.execute(_ITEMS, {"schemas": schemas, "roles": list(API_ROLES)}).fetchall())


def packaged() -> set[str]:
    """The items of this package's own migrations, which its own tests cover, and of schema public."""
    described = json.loads(Path(__file__).parents[1].joinpath("expected.json").read_text("utf-8"))
    table = f"public.{described['table']}"
    found = {f"schema public {role} USAGE" for role in ("PUBLIC", *API_ROLES)}
    found |= {f"rls {name}" for name in described["row_level_security"]}
    found |= {f'policy {row["table"]} "{row["name"]}"' for row in described["policies"]}
    found |= {f'trigger {table} "{row["name"]}"' for row in described["triggers"]}
    found |= {
        _grant(row["object"].replace(",", ", "), row["role"], row["privilege"]) for row in described["grants"]
    }
    # The referenced tables, which a description leaves out, because a database may have its own.
    for name, words in (
        ("agent_artifacts", "agent artifacts"),
        ("strategic_directives_v2", "strategic directives"),
    ):
        found |= {
            f"rls public.{name}",
            f'policy public.{name} "Authenticated users can read {words}"',
            f'policy public.{name} "Service role full access on {words}"',
            f"grant public.{name} authenticated SELECT",
        }
        found |= {
            f"grant public.{name} service_role {act}" for act in ("SELECT", "INSERT", "UPDATE", "DELETE")
        }
    return found


def _grant(thing: str, role: str, privilege: str) -> str:
    if privilege == "EXECUTE":
        return f"execute {thing} {role}"
    kind = "" if thing.startswith("schema ") else "grant "
    return f"{kind}{thing} {role} {privilege}"


def uncovered(
    connection: Connection[Any],
    covered: Iterable[str],
    schemas: Iterable[str] = ("public",),
    *,
    known: Iterable[str] | None = None,
) -> Gaps:
    """What the catalog holds and `covered` does not, and the other way round.

    Args:
        connection: to the database to look at.
        covered: the items, as `items` writes them, that there are tests for.
        schemas: where to look.
        known: items that need no entry; by default those of this package (`packaged`).

    Raises:
        ValueError: there is no such schema.
    """
    there, listed = items(connection, schemas), list(dict.fromkeys(covered))
    expected = {*listed, *(packaged() if known is None else known)}
    return Gaps(
        missing=tuple(item for item in there if item not in expected),
        unknown=tuple(entry for entry in listed if entry not in set(there)),
    )


def assert_covered(
    connection: Connection[Any],
    covered: Iterable[str],
    schemas: Iterable[str] = ("public",),
    *,
    known: Iterable[str] | None = None,
) -> None:
    """Require that `covered` and the catalog agree; the arguments are those of `uncovered`.

    Raises:
        AssertionError: they do not; with the lines to add, to correct or to remove.
        ValueError: there is no such schema.
    """
    __tracebackhide__ = True
    gaps = uncovered(connection, covered, schemas, known=known)
    if gaps:
        raise AssertionError(str(gaps))
