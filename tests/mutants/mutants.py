"""What could be broken in the rules, and the test that has to notice: data for `make mutants`.

A mutant is SQL that runs after the migrations, or an edit of a function: a part of its body that is
replaced. `test` names the tests of which one must turn red (pytest node ids, without `tests/`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

TABLE = "public.agent_task_contracts"
ROLES = ("anon", "authenticated", "service_role")
MATRIX = "access/test_matrix.py"
SPEC = "access/test_specification.py"
CATALOG = f"{SPEC}::test_policies_and_row_level_security"
GRANTS = "access/test_grants.py::test_the_live_project_has_these_grants"
FUNCTIONS = "access/test_functions.py"
RELATION = f"{MATRIX}::test_a_relation_in_sql"
CALL = f"{MATRIX}::test_a_function_in_sql"
ENGINE = f"{MATRIX}::test_a_function_of_the_engine"


@dataclass(frozen=True)
class Mutant:
    """One change, and the test that notices it.

    `edit` is (function, part of its body, what stands there instead). `equivalent` says why no test
    can notice, for a change that changes nothing.
    """

    name: str
    test: str
    sql: str = ""
    edit: tuple[str, str, str] | None = None
    equivalent: str = ""


# --- policies -----------------------------------------------------------------------------------------

POLICIES = {
    "Anon can create task contracts": ("insert", "anon", "", "with check (true)"),
    "Anon can update task contracts": ("update", "anon", "using (true)", "with check (true)"),
    "Authenticated users can read task contracts": ("select", "authenticated", "using (true)", ""),
    "Service role full access on task contracts": (
        "all",
        "service_role",
        "using (true)",
        "with check (true)",
    ),
}


def policies() -> Iterator[Mutant]:
    """Each policy dropped, widened, made restrictive, its command and conditions changed."""
    for name, (command, role, using, check) in POLICIES.items():
        quoted = f'"{name}"'
        drop = f"drop policy {quoted} on {TABLE};"
        # service_role has BYPASSRLS, so its policy shows in the catalog alone.
        test = CATALOG if role == "service_role" else RELATION

        def make(command: str, to: str, using: str, check: str, kind: str = "", quoted: str = quoted) -> str:
            return f"create policy {quoted} on {TABLE} {kind} for {command} to {to} {using} {check};"

        yield Mutant(f"policy {quoted} dropped", test, drop)
        yield Mutant(
            f"policy {quoted} widened to public",
            RELATION if role != "anon" or command != "update" else CATALOG,
            f"alter policy {quoted} on {TABLE} to public",
        )
        for other in ROLES[:2]:
            if other != role:
                yield Mutant(
                    f"policy {quoted} widened to {other}",
                    CATALOG,
                    f"alter policy {quoted} on {TABLE} to {role}, {other}",
                )
        yield Mutant(
            f"policy {quoted} made restrictive",
            test,
            drop + make(command, role, using, check, "as restrictive"),
        )
        if using:
            yield Mutant(
                f"policy {quoted} using (false)", test, f"alter policy {quoted} on {TABLE} using (false)"
            )
        if check:
            yield Mutant(
                f"policy {quoted} with check (false)",
                test,
                f"alter policy {quoted} on {TABLE} with check (false)",
            )
        if using and check:
            yield Mutant(
                f"policy {quoted} without a check",
                CATALOG,
                drop + make(command, role, using, ""),
            )
        if command != "all":
            yield Mutant(
                f"policy {quoted} for all commands",
                RELATION if command != "select" else CATALOG,
                drop + make("all", role, "using (true)", "with check (true)"),
            )
        else:
            yield Mutant(
                f"policy {quoted} for select alone", test, drop + make("select", role, "using (true)", "")
            )
    yield Mutant(
        "a SELECT policy for anon", RELATION, f'create policy "x" on {TABLE} for select to anon using (true)'
    )
    yield Mutant(
        "a SELECT policy for anon, and the privilege on one column",
        RELATION,
        f'create policy "x" on {TABLE} for select to anon using (true); grant select (id) on {TABLE} to anon',
    )
    yield Mutant(
        "an UPDATE policy for users",
        RELATION,
        f'create policy "x" on {TABLE} for update to authenticated using (true)',
    )
    yield Mutant(
        "a DELETE policy for users",
        RELATION,
        f'create policy "x" on {TABLE} for delete to authenticated using (true)',
    )
    for relation in (
        TABLE,
        "public.agent_artifacts",
        "public.strategic_directives_v2",
        "ehg_tasks.leases",
        "ehg_tasks.handbacks",
    ):
        yield Mutant(
            f"row level security disabled on {relation}",
            RELATION,
            f"alter table {relation} disable row level security",
        )


# --- grants -------------------------------------------------------------------------------------------

HELD = {
    TABLE: {
        "anon": "insert update",
        "authenticated": "select",
        "service_role": "select insert update delete",
    },
    "public.task_contract_stats": {"authenticated": "select", "service_role": "select"},
}
GIVEN = [
    *((TABLE, "anon", privilege) for privilege in ("select", "select (id)", "delete", "truncate")),
    *((TABLE, "authenticated", privilege) for privilege in ("insert", "update", "delete", "truncate")),
    *((TABLE, "service_role", privilege) for privilege in ("truncate",)),
    (TABLE, "public", "select"),
    ("public.task_contract_stats", "anon", "select"),
    ("public.agent_artifacts", "anon", "select"),
    ("public.agent_artifacts", "anon", "insert"),
    ("public.strategic_directives_v2", "anon", "select"),
    ("ehg_tasks.leases", "service_role", "select"),
    ("ehg_tasks.handbacks", "service_role", "delete"),
]
INVISIBLE = [(TABLE, role, privilege) for role in ROLES for privilege in ("references", "trigger")]


def grants() -> Iterator[Mutant]:
    """Each privilege taken, and what nobody has, given."""
    for relation, roles in HELD.items():
        for role, privileges in roles.items():
            for privilege in privileges.split():
                yield Mutant(
                    f"{privilege} on {relation} taken from {role}",
                    RELATION,
                    f"revoke {privilege} on {relation} from {role}",
                )
    for relation, role, privilege in GIVEN:
        yield Mutant(
            f"{privilege} on {relation} given to {role}",
            f"{RELATION} {GRANTS}",  # a policy, or a closed table behind it, may hold by itself
            f"grant {privilege} on {relation} to {role}",
        )
    for relation, role, privilege in INVISIBLE:
        yield Mutant(
            f"{privilege} on {relation} given to {role}",
            GRANTS,
            f"grant {privilege} on {relation} to {role}",
        )
    for function, arguments in {
        "claim_task_contract": "text, integer, uuid, uuid",
        "cleanup_stale_contracts": "integer, integer",
        "prune_task_contracts": "integer, integer",
        "describe_task_contracts": "",
        "task_contract_outcomes": "uuid[]",
    }.items():
        for schema, test in (("public", CALL), ("ehg_tasks", f"{ENGINE} {GRANTS}")):
            name = f"{schema}.{function}({arguments})"
            # A door that opens onto a closed one lets nobody in: the catalog shows it alone.
            test = GRANTS if schema == "public" else test
            yield Mutant(
                f"execute on {name} given to PUBLIC", test, f"grant execute on function {name} to public"
            )
            yield Mutant(
                f"execute on {name} given to authenticated",
                test if schema == "public" else GRANTS,
                f"grant execute on function {name} to authenticated",
            )
            yield Mutant(
                f"execute on {name} taken from service_role",
                CALL,
                f"revoke execute on function {name} from service_role",
            )
    for helper in ("lock_contract(uuid)", "expire_leases(text, integer)", "end_attempts(uuid[], text)"):
        yield Mutant(
            f"execute on ehg_tasks.{helper} given to anon",
            f"{ENGINE} {GRANTS}",
            f"grant execute on function ehg_tasks.{helper} to anon",
        )
    yield Mutant("usage on the engine taken from anon", CALL, "revoke usage on schema ehg_tasks from anon")
    yield Mutant("usage on the engine given to PUBLIC", GRANTS, "grant usage on schema ehg_tasks to public")


# --- functions: whose rights, which search path -------------------------------------------------------


def signatures() -> dict[str, str]:
    """The functions of the engine that the API roles reach, with their arguments."""
    return {
        "create_task_contracts": "jsonb",
        "claim_task_contract": "text, integer, uuid, uuid",
        "renew_task_contract": "uuid, uuid",
        "complete_task_contract": "uuid, uuid, text, integer, boolean, text, uuid, uuid, uuid, jsonb",
        "fail_task_contract": "uuid, uuid, text, boolean",
        "release_task_contract": "uuid, uuid",
        "cancel_task_contract": "uuid, text",
        "task_contract_outcomes": "uuid[]",
        "task_contract_inputs": "uuid, uuid",
        "cleanup_stale_contracts": "integer, integer",
        "prune_task_contracts": "integer, integer",
        "describe_task_contracts": "",
    }


def attributes() -> Iterator[Mutant]:
    """Definers turned invoker and the other way round, search paths unset, guards and triggers gone."""
    for function, arguments in signatures().items():
        name = f"ehg_tasks.{function}({arguments})"
        yield Mutant(
            f"{name} turned invoker",
            # The service role has rights of its own on the table.
            f"{CALL} {FUNCTIONS}::test_definers_stand_in_the_engine_alone",
            f"alter function {name} security invoker",
        )
        yield Mutant(
            f"search_path of {name} unset",
            f"{FUNCTIONS}::test_every_search_path_is_fixed",
            f"alter function {name} reset search_path",
        )
        yield Mutant(
            f"public.{function} turned definer",
            f"{FUNCTIONS}::test_definers_stand_in_the_engine_alone",
            f"alter function public.{function}({arguments}) security definer",
        )
    yield Mutant(
        "search_path of the engine without pg_temp at its end",
        "reliability/test_poison.py::test_a_caller_s_temporary_objects_are_not_those_of_the_engine",
        "alter function ehg_tasks.create_task_contracts(jsonb) set search_path = ''",
    )
    yield Mutant(
        "read_task_contract turned definer",
        CALL,
        "alter function public.read_task_contract(uuid) security definer",
    )
    yield Mutant(
        "task_contract_stats counts with its owner's rights",
        RELATION,
        "alter view public.task_contract_stats set (security_invoker = false)",
    )
    for guard in ("guard_anon_rows", "guard_anon_sizes"):
        yield Mutant(
            f"ehg_tasks.{guard} turned invoker",
            f"{FUNCTIONS}::test_definers_stand_in_the_engine_alone",
            f"alter function ehg_tasks.{guard}() security invoker",
        )
    yield Mutant(
        "guard on the number of rows dropped",
        RELATION,
        f"drop trigger trg_task_contracts_anon_rows on {TABLE}",
    )
    yield Mutant(
        "guard on sizes dropped",
        "access/test_guards.py",
        f"drop trigger trg_task_contracts_anon_sizes on {TABLE}",
    )
    yield Mutant(
        "guard on sizes for inserts alone",
        "access/test_guards.py",
        f"""create or replace trigger trg_task_contracts_anon_sizes before insert on {TABLE}
            for each row when (current_user = 'anon') execute function ehg_tasks.guard_anon_sizes()""",
    )
    yield Mutant(
        "trigger of updated_at dropped",
        "lifecycle/test_trigger.py",
        f"drop trigger trg_task_contracts_updated on {TABLE}",
    )
    yield Mutant(
        "trigger of updated_at disabled",
        "lifecycle/test_trigger.py",
        f"alter table {TABLE} disable trigger trg_task_contracts_updated",
    )
    yield Mutant(
        "claim-order index dropped",
        f"{SPEC}::test_indexes",
        "drop index public.idx_task_contracts_claim_order",
    )
