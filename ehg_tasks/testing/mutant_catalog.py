"""Changes to what the catalog of a database holds: rights, policies, triggers, constraints and roles."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from ehg_tasks.testing.catalog import API_ROLES
from ehg_tasks.testing.mutant_rules import edits

if TYPE_CHECKING:
    from psycopg import Connection

ROLES = (*API_ROLES, "public")
PRIVILEGES = ("select", "insert", "update", "delete", "truncate", "references", "trigger")
_POLICIES = """
select quote_ident(p.polname), c.oid::regclass::text, p.polpermissive,
       case p.polcmd
         when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' when 'd' then 'delete'
         else 'all' end,
       array(select case r.oid when 0 then 'public' else r.oid::regrole::text end
             from unnest(p.polroles) as r (oid)),
       pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)
from pg_policy p join pg_class c on c.oid = p.polrelid
where c.relnamespace = any (%s::text[]::regnamespace[])
order by 2, 1
"""
_RELATIONS = """
select c.oid::regclass::text, c.relkind in ('r', 'p'), c.relrowsecurity,
       coalesce(c.reloptions, '{}') && array['security_invoker=true', 'security_invoker=on'],
       array(select lower(a.privilege_type) || ' '
                    || case a.grantee when 0 then 'public' else a.grantee::regrole::text end
             from aclexplode(c.relacl) a)
from pg_class c
where c.relnamespace = any (%s::text[]::regnamespace[]) and c.relkind in ('r', 'p', 'v')
order by 1
"""
_FUNCTIONS = """
select p.oid::regprocedure::text, pg_get_functiondef(p.oid), p.prosecdef,
       exists (select from unnest(p.proconfig) as s where s like 'search_path=%%'),
       array(select case a.grantee when 0 then 'public' else a.grantee::regrole::text end
             from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a)
from pg_proc p
where p.pronamespace = any (%s::text[]::regnamespace[]) and p.prokind in ('f', 'p')
  and not exists (
    select from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
order by 1
"""
_TRIGGERS = """
select quote_ident(t.tgname), c.oid::regclass::text, pg_get_triggerdef(t.oid)
from pg_trigger t join pg_class c on c.oid = t.tgrelid
where c.relnamespace = any (%s::text[]::regnamespace[]) and not t.tgisinternal
order by 2, 1
"""
_CONSTRAINTS = """
select quote_ident(o.conname), c.oid::regclass::text, pg_get_constraintdef(o.oid)
from pg_constraint o join pg_class c on c.oid = o.conrelid
where c.relnamespace = any (%s::text[]::regnamespace[]) and o.contype in ('c', 'f', 'u', 'x')
order by 2, 1
"""
_COLUMNS = """
select c.oid::regclass::text, quote_ident(a.attname), a.attnotnull, pg_get_expr(d.adbin, d.adrelid)
from pg_attribute a
join pg_class c on c.oid = a.attrelid
left join pg_attrdef d
  on d.adrelid = a.attrelid and d.adnum = a.attnum and a.attgenerated = '' and a.attidentity = ''
where c.relnamespace = any (%s::text[]::regnamespace[]) and c.relkind in ('r', 'p')
  and a.attnum > 0 and not a.attisdropped
  and not exists (
    select from pg_index i where i.indrelid = c.oid and i.indisprimary and a.attnum = any (i.indkey))
order by 1, a.attnum
"""
_SCHEMAS = """
select quote_ident(n.nspname),
       array(select lower(a.privilege_type) || ' '
                    || case a.grantee when 0 then 'public' else a.grantee::regrole::text end
             from aclexplode(n.nspacl) a)
from pg_namespace n
where n.oid = any (%s::text[]::regnamespace[])
order by 1
"""


class Change(NamedTuple):
    """One change: what it is called, its rule, what it changes, and the SQL that makes and undoes it."""

    name: str
    kind: str
    target: str
    sql: str
    undo: str
    shared: bool = False


def changes(connection: Connection[Any], schemas: list[str]) -> Iterator[Change]:
    """Yield every change to what some schemas hold, and to the API roles."""
    for change in (_policies, _relations, _functions, _triggers, _constraints, _columns, _schemas):
        yield from change(connection, schemas)
    yield from _roles()


def _policies(connection: Connection[Any], schemas: list[str]) -> Iterator[Change]:
    """Each policy dropped, widened, of the other kind or for all commands; conditions opened and edited."""
    for name, table, permissive, command, roles, using, check in connection.execute(_POLICIES, [schemas]):
        target = f"{name} on {table}"

        def create(
            command: str = command,
            kind: str = "permissive" if permissive else "restrictive",
            using: str | None = using,
            check: str | None = check,
            *,
            target: str = target,
            roles: str = ", ".join(roles),
        ) -> str:
            conditions = (f" using ({using})" if using else "") + (f" with check ({check})" if check else "")
            return f"create policy {target} as {kind} for {command} to {roles}{conditions}"

        def change(what: str, sql: str, *, target: str = target, create: str = create()) -> Change:
            undo = f"drop policy if exists {target}; {create}"
            return Change(f"policy {target} {what}", "policy", f"policy {target}", sql, undo)

        drop, alter = f"drop policy {target}", f"alter policy {target}"
        yield change("dropped", drop)
        for role in ROLES:
            if role not in roles and "public" not in roles:
                widened = role if role == "public" else ", ".join([*roles, role])
                yield change(f"widened to {role}", f"{alter} to {widened}")
        other = "restrictive" if permissive else "permissive"
        yield change(f"made {other}", f"{drop}; {create(kind=other)}")
        if command != "all":
            condition = using or check
            everything = create("all", using=condition, check=check or using)
            yield change("for all commands", f"{drop}; {everything}")
        if using and check:
            yield change("without a check", f"{drop}; {create(check=None)}")
        for clause, condition in (("using", using), ("with check", check)):
            if condition:
                for value in sorted({"true", "false"} - {condition}):
                    yield change(f"{clause} ({value})", f"{alter} {clause} ({value})")
                for edit in edits(condition):
                    edited = f"{alter} {clause} ({edit.apply(condition)})"
                    yield change(f"{clause}: {edit.change}", edited)


def _relations(connection: Connection[Any], schemas: list[str]) -> Iterator[Change]:
    """Row level security disabled, views with their owner's rights, each privilege taken and given."""
    for relation, is_table, secured, invoker, held in connection.execute(_RELATIONS, [schemas]):
        if is_table and secured:
            alter = f"alter table {relation}"
            name = f"row level security disabled on {relation}"
            yield Change(
                name,
                "rls",
                relation,
                f"{alter} disable row level security",
                f"{alter} enable row level security",
            )
        if invoker:
            alter = f"alter view {relation} set (security_invoker ="
            name = f"view {relation} with its owner's rights"
            yield Change(name, "rls", relation, f"{alter} false)", f"{alter} true)")
        for role in ROLES:
            for privilege in PRIVILEGES:
                # The owner's rights, and what a role has through PUBLIC, stay as they are.
                yield _privilege(f"{privilege} on {relation}", role, f"{privilege} {role}" in held, relation)


def _privilege(what: str, role: str, held: bool, target: str) -> Change:
    give, take = f"grant {what} to {role}", f"revoke {what} from {role}"
    if held:
        return Change(f"{what} taken from {role}", "privilege", target, take, give)
    return Change(f"{what} given to {role}", "privilege", target, give, take)


def _functions(connection: Connection[Any], schemas: list[str]) -> Iterator[Change]:
    """EXECUTE taken and given, whose rights a function runs with, and its search path."""
    for function, definition, definer, has_path, held in connection.execute(_FUNCTIONS, [schemas]):
        for role in ROLES:
            if role in held or role == "public":
                yield _privilege(f"execute on function {function}", role, role in held, function)
        alter = f"alter function {function}"
        other = "invoker" if definer else "definer"
        turned = f"{alter} security {other}"
        yield Change(f"{function} turned {other}", "security", function, turned, definition)
        if has_path:
            name = f"search_path of {function} unset"
            yield Change(name, "security", function, f"{alter} reset search_path", definition)


def _triggers(connection: Connection[Any], schemas: list[str]) -> Iterator[Change]:
    """Each trigger dropped, without one of its events or columns, and without its condition."""
    for trigger, table, definition in connection.execute(_TRIGGERS, [schemas]):
        target = f"trigger {trigger} on {table}"
        undo = f"drop trigger if exists {trigger} on {table}; {definition}"
        changed = {"dropped": ""}
        events = re.split(r" (?:BEFORE|AFTER|INSTEAD OF) | ON ", definition)[1]
        listed = events.split(" OR ")
        for event in listed:
            if len(listed) > 1:
                others = " OR ".join(one for one in listed if one != event)
                changed[f"without {event.partition(' ')[0].lower()}"] = definition.replace(events, others, 1)
            columns = event.partition(" OF ")[2].split(", ")
            for column in columns if len(columns) > 1 else []:
                rest = ", ".join(one for one in columns if one != column)
                changed[f"without {column}"] = definition.replace(", ".join(columns), rest, 1)
        condition = re.search(r" WHEN \((.+)\)(?= EXECUTE FUNCTION)", definition)
        if condition:
            changed["without its condition"] = definition.replace(condition[0], "")
        for how, sql in changed.items():
            drop = f"drop trigger {trigger} on {table}; {sql}"
            yield Change(f"{target} {how}", "trigger", target, drop, undo)


def _constraints(connection: Connection[Any], schemas: list[str]) -> Iterator[Change]:
    """Each check, foreign key and unique constraint dropped."""
    for name, table, definition in connection.execute(_CONSTRAINTS, [schemas]):
        drop = f"alter table {table} drop constraint {name}"
        undo = f"alter table {table} add constraint {name} {definition}"
        yield Change(f"constraint {name} on {table} dropped", "constraint", table, drop, undo)


def _columns(connection: Connection[Any], schemas: list[str]) -> Iterator[Change]:
    """Each column without its default, and without NOT NULL."""
    for table, column, not_null, default in connection.execute(_COLUMNS, [schemas]):
        alter = f"alter table {table} alter {column}"
        if default:
            name = f"default of {table}.{column} dropped"
            yield Change(name, "constraint", table, f"{alter} drop default", f"{alter} set default {default}")
        if not_null:
            name = f"{table}.{column} may be null"
            yield Change(name, "constraint", table, f"{alter} drop not null", f"{alter} set not null")


def _schemas(connection: Connection[Any], schemas: list[str]) -> Iterator[Change]:
    """USAGE taken from and given to each role, and CREATE given."""
    for schema, held in connection.execute(_SCHEMAS, [schemas]):
        for role in ROLES:
            for privilege in ("usage", "create"):
                is_held = f"{privilege} {role}" in held
                if not (is_held and role == "public"):
                    yield _privilege(f"{privilege} on schema {schema}", role, is_held, f"schema {schema}")


def _roles() -> Iterator[Change]:
    """Roles that bypass row level security, and roles that are members of others."""
    for role in ("anon", "authenticated"):
        alter = f"alter role {role}"
        name = f"{role} bypasses row level security"
        yield Change(name, "role", role, f"{alter} bypassrls", f"{alter} nobypassrls", shared=True)
        for other in API_ROLES:
            if other != role:
                grant, revoke = f"grant {other} to {role}", f"revoke {other} from {role}"
                yield Change(f"{role} is a member of {other}", "role", role, grant, revoke, shared=True)
