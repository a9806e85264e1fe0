"""Mutants: changes to the database that break a rule, each with the tests that must notice it.

The mutants of policies, grants and functions are computed from the specification, the access matrix and
the packaged description of the catalog. A mutant is SQL that runs after the migrations, or a change to a
function's body.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ehg_tasks.testing.catalog import packaged
from ehg_tasks.verify import expected
from tests.access import matrix
from tests.access import specification as spec
from tests.access.matrix import ROLES
from tests.access.seed import VIEWS

TABLE = "public.agent_task_contracts"
RELATIONS = "access/test_relations.py::test_a_role_on_a_relation_in_sql"
ENGINE_TABLES = "access/test_relations.py::test_no_policy_gives_access_to_the_engines_tables"
FUNCTIONS = "access/test_functions.py"
CALLS = f"{FUNCTIONS}::test_a_role_calls_a_function_in_sql"
ENGINE_CALLS = f"{FUNCTIONS}::test_a_role_calls_every_function_of_the_engine"
OWNERS_RIGHTS = f"{FUNCTIONS}::test_only_entry_points_of_the_engine_run_with_their_owners_rights"
GRANTS = "access/test_grants.py::test_the_grants_are_those_of_the_matrix"
GUARDS = "access/test_guards.py"
POLICIES = "access/test_specification.py::test_the_policies_are_as_specified"
TRIGGER_TESTS = {
    "_anon_": GUARDS,
    "_follow_": "lifecycle/test_queue.py",
    "_updated": "lifecycle/test_trigger.py",
}
PRIVILEGES = ("select", "insert", "update", "delete", "truncate", "references", "trigger")


@dataclass(frozen=True)
class Mutant:
    """One change, and the tests of which at least one must fail (pytest node ids, without `tests/`).

    `replace` is (function, part of its body, replacement). `equivalent` says why a change has no effect
    that a test could notice.
    """

    name: str
    test: str
    sql: str = ""
    replace: tuple[str, str, str] | None = None
    equivalent: str = ""


def policies() -> Iterator[Mutant]:
    """Each specified policy dropped, widened, made restrictive, with another command or condition."""
    for name, command, (role,), using, check in sorted(spec.POLICIES, key=str):
        yield from _policy(f'"{name}"', command.lower(), role, using, check)
    for command, role in [("select", "anon"), ("update", "authenticated"), ("delete", "authenticated")]:
        added = f"create policy added on {TABLE} for {command} to {role} using (true)"
        yield Mutant(f"policy added for {command} to {role}", RELATIONS, added)
    yield Mutant(
        "policy added for select to anon, with the privilege on one column",
        RELATIONS,
        f"create policy added on {TABLE} for select to anon using (true);"
        f" grant select (id) on {TABLE} to anon",
    )


def _policy(name: str, command: str, role: str, using: str | None, check: str | None) -> Iterator[Mutant]:
    conditions = (f"using ({using}) " if using else "") + (f"with check ({check})" if check else "")
    # service_role bypasses row level security, so a change to its policy shows only in the catalog.
    test = POLICIES if role == "service_role" else RELATIONS
    catalog_alone = POLICIES if command == "select" else RELATIONS

    def replaced(kind: str, command: str, conditions: str) -> str:
        create = f"create policy {name} on {TABLE} {kind} for {command} to {role} {conditions}"
        return f"drop policy {name} on {TABLE}; {create}"

    def altered(change: str) -> str:
        return f"alter policy {name} on {TABLE} {change}"

    yield Mutant(f"policy {name} dropped", test, f"drop policy {name} on {TABLE}")
    yield Mutant(
        f"policy {name} widened to public",
        POLICIES if (command, role) == ("update", "anon") else RELATIONS,
        altered("to public"),
    )
    for other in ROLES[:2]:
        if other != role:
            yield Mutant(f"policy {name} widened to {other}", POLICIES, altered(f"to {role}, {other}"))
    yield Mutant(f"policy {name} made restrictive", test, replaced("as restrictive", command, conditions))
    if using:
        yield Mutant(f"policy {name} using (false)", test, altered("using (false)"))
    if check:
        yield Mutant(f"policy {name} with check (false)", test, altered("with check (false)"))
    if using and check:
        yield Mutant(f"policy {name} without a check", POLICIES, replaced("", command, f"using ({using})"))
    if command == "all":
        yield Mutant(f"policy {name} for select alone", test, replaced("", "select", "using (true)"))
    else:
        everything = replaced("", "all", "using (true) with check (true)")
        yield Mutant(f"policy {name} for all commands", catalog_alone, everything)


def tables() -> Iterator[Mutant]:
    """Row level security disabled, and each privilege taken from a role that holds it or given to one."""
    held = packaged()
    for table in sorted(item.removeprefix("rls ") for item in held if item.startswith("rls ")):
        yield Mutant(
            f"row level security disabled on {table}",
            RELATIONS if table in matrix.RLS_ALONE else ENGINE_TABLES,
            f"alter table {table} disable row level security",
        )
        for role in ROLES:
            for privilege in PRIVILEGES:
                is_held = f"grant {table} {role} {privilege.upper()}" in held
                yield _privilege(table, role, privilege, is_held)
    for view in VIEWS:
        for role in ROLES:
            for privilege in PRIVILEGES:
                is_held = f"grant {view} {role} {privilege.upper()}" in held
                yield _privilege(view, role, privilege, is_held)
        yield Mutant(
            f"view {view} with its owner's rights",
            RELATIONS,
            f"alter view {view} set (security_invoker = false)",
            equivalent=""
            if view != "public.task_agents"
            else (
                "the view reads a function alone, and PostgreSQL always asks for its reader's EXECUTE on that"
            ),
        )
    yield _privilege(TABLE, "anon", "select (id)", is_held=False)
    yield _privilege(TABLE, "public", "select", is_held=False)


def _privilege(relation: str, role: str, privilege: str, is_held: bool) -> Mutant:
    what = f"{privilege} on {relation}"
    if is_held:
        return Mutant(
            f"{what} taken from {role}",
            f"{RELATIONS}[specified-{relation}-{role}]",
            f"revoke {what} from {role}",
        )
    # A policy may still refuse access, so this may show only in the catalog.
    return Mutant(f"{what} given to {role}", GRANTS, f"grant {what} to {role}")


def functions() -> Iterator[Mutant]:
    """EXECUTE taken from each caller and given to PUBLIC, and whose rights a function runs with."""
    facts = expected()
    for function, attributes in facts["function"].items():
        schema, name = function.partition("(")[0].split(".")
        for role in ROLES:
            if f"EXECUTE on {function} to {role}" in facts["grant"]:
                called = CALLS if name in matrix.FUNCTIONS else RELATIONS
                of = name if name in matrix.FUNCTIONS else "public.task_agents"
                yield Mutant(
                    f"execute on {function} taken from {role}",
                    f"{called}[specified-{of}-{role}] {GRANTS}",
                    f"revoke execute on function {function} from {role}",
                )
        yield Mutant(
            f"execute on {function} given to PUBLIC",
            # A function in public gives no access while the engine's cannot be called.
            GRANTS if schema == "public" else f"{ENGINE_CALLS} {GRANTS}",
            f"grant execute on function {function} to public",
        )
        other = "invoker" if attributes["security"] == "definer" else "definer"
        yield Mutant(
            f"{function} turned {other}",
            f"{CALLS}[specified-{name}-anon] {OWNERS_RIGHTS}" if name in matrix.FUNCTIONS else OWNERS_RIGHTS,
            f"alter function {function} security {other}",
        )
        if attributes["security"] == "definer":
            yield Mutant(
                f"search_path of {function} unset",
                f"{FUNCTIONS}::test_every_search_path_is_fixed",
                f"alter function {function} reset search_path",
            )
    yield Mutant(
        "search_path of the engine without pg_temp at its end",
        "reliability/test_poison.py::test_the_engine_does_not_use_a_callers_temporary_objects",
        "alter function ehg_tasks.create_task_contract set search_path = ''",
    )


def schemas() -> Iterator[Mutant]:
    """USAGE on the engine's schema taken from each role and given to PUBLIC, and CREATE given to a role."""
    for role in matrix.SCHEMAS["ehg_tasks"]:
        sql = f"revoke usage on schema ehg_tasks from {role}"
        yield Mutant(sql, f"{CALLS}[specified-task_contract_history-{role}]", sql)
    for sql in (
        "grant usage on schema ehg_tasks to public",
        "grant create on schema ehg_tasks to service_role",
        "grant create on schema public to anon",
    ):
        yield Mutant(sql, GRANTS, sql)


def triggers() -> Iterator[Mutant]:
    """Each trigger dropped and disabled, with each of its events and columns missing, and for every role."""
    for trigger, definition in (spec.TRIGGERS | spec.ADDED_TRIGGERS).items():
        [test] = [test for part, test in TRIGGER_TESTS.items() if part in trigger]
        yield Mutant(f"trigger {trigger} dropped", test, f"drop trigger {trigger} on {TABLE}")
        yield Mutant(f"trigger {trigger} disabled", test, f"alter table {TABLE} disable trigger {trigger}")
        changed = {}
        if " INSERT OR UPDATE" in definition:
            changed["without updates"] = re.sub(r" OR UPDATE( OF [\w, ]+)? ON", " ON", definition)
            changed["without inserts"] = definition.replace(" INSERT OR UPDATE", " UPDATE")
        if found := re.search(r" UPDATE OF ([\w, ]+) ON", definition):
            columns = found[1].split(", ")
            for column in columns:
                others = [name for name in columns if name != column]
                if others:
                    changed[f"without {column}"] = definition.replace(found[1], ", ".join(others))
        if " WHEN ((CURRENT_USER = 'anon'::name))" in definition:
            changed["for every role"] = definition.replace(" WHEN ((CURRENT_USER = 'anon'::name))", "")
        for how, sql in changed.items():
            assert sql != definition
            yield Mutant(
                f"trigger {trigger} {how}", test, sql.replace("CREATE TRIGGER", "create or replace trigger")
            )


def indexes() -> Iterator[Mutant]:
    """Each specified index dropped, and one added to the seven."""
    test = "access/test_specification.py::test_the_indexes_are_as_specified"
    for index in spec.INDEXES:
        if not index.endswith("_pkey"):
            yield Mutant(f"index {index} dropped", test, f"drop index public.{index}")
    yield Mutant("an eighth index", test, f"create index an_eighth on {TABLE} (created_at, id)")
