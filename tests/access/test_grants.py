"""What the API roles hold, read from the catalog: the same in a project of either grant era."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg import Connection

from tests.databases import Databases

API_ROLES = ("anon", "authenticated", "service_role")

# Everything in schemas public and ehg_tasks that anybody but its owner may use. What is not here is closed.
RELATIONS = {
    "agent_task_contracts": {
        "anon": {"INSERT", "UPDATE"},
        "authenticated": {"SELECT"},
        "service_role": {"SELECT", "INSERT", "UPDATE", "DELETE"},
    },
    "agent_artifacts": {
        "authenticated": {"SELECT"},
        "service_role": {"SELECT", "INSERT", "UPDATE", "DELETE"},
    },
    "strategic_directives_v2": {
        "authenticated": {"SELECT"},
        "service_role": {"SELECT", "INSERT", "UPDATE", "DELETE"},
    },
    "task_contract_stats": {"authenticated": {"SELECT"}, "service_role": {"SELECT"}},
}
AGENTS = {"anon", "service_role"}
FUNCTIONS = {
    "create_task_contract": AGENTS,
    "create_task_contracts": AGENTS,
    "claim_task_contract": AGENTS,
    "renew_task_contract": AGENTS,
    "complete_task_contract": AGENTS,
    "fn_complete_task_contract_idempotent": AGENTS,
    "fail_task_contract": AGENTS,
    "release_task_contract": AGENTS,
    "cancel_task_contract": AGENTS,
    "task_contract_outcomes": AGENTS,
    "task_contract_inputs": AGENTS,
    "read_task_contract": {"anon", "authenticated", "service_role"},
    "cleanup_stale_contracts": {"service_role"},
    "prune_task_contracts": {"service_role"},
    "describe_task_contracts": {"service_role"},
}

GRANTS = """
select 'relation' as kind, n.nspname, c.relname as name, a.grantee, a.privilege_type
from pg_class c
join pg_namespace n on n.oid = c.relnamespace,
  aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a
where n.nspname in ('public', 'ehg_tasks') and c.relkind in ('r', 'v', 'm', 'f', 'p', 'S')
  and a.grantee <> c.relowner
union all
select 'function', n.nspname, p.proname, a.grantee, a.privilege_type
from pg_proc p
join pg_namespace n on n.oid = p.pronamespace, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
where n.nspname in ('public', 'ehg_tasks') and a.grantee <> p.proowner
union all
select 'schema', n.nspname, n.nspname, a.grantee, a.privilege_type
from pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
where n.nspname = 'ehg_tasks' and a.grantee <> n.nspowner
union all
select 'column', n.nspname, c.relname || '.' || t.attname, a.grantee, a.privilege_type
from pg_attribute t
join pg_class c on c.oid = t.attrelid
join pg_namespace n on n.oid = c.relnamespace, aclexplode(t.attacl) a
where n.nspname in ('public', 'ehg_tasks')
"""


def live(connection: Connection[Any]) -> set[tuple[str, str, str, str, str]]:
    named = f"""
        select kind, nspname, name, case grantee when 0 then 'PUBLIC' else grantee::regrole::text end,
               privilege_type
        from ({GRANTS}) as g
    """
    return set(connection.execute(named.encode()).fetchall())


def expected() -> set[tuple[str, str, str, str, str]]:
    relations = {
        ("relation", "public", name, role, privilege)
        for name, holders in RELATIONS.items()
        for role, held in holders.items()
        for privilege in held
    }
    surface = {
        ("function", "public", name, role, "EXECUTE") for name, roles in FUNCTIONS.items() for role in roles
    }
    # Behind each function of the surface stands one of the same name in the engine, for the same roles;
    # read_task_contract has none, and the earlier name of a completion calls the one behind complete.
    engine = {
        ("function", "ehg_tasks", name, role, "EXECUTE")
        for name, roles in FUNCTIONS.items()
        for role in roles
        if name not in {"create_task_contract", "read_task_contract", "fn_complete_task_contract_idempotent"}
    }
    schema = {("schema", "ehg_tasks", "ehg_tasks", role, "USAGE") for role in AGENTS}
    return relations | surface | engine | schema


@pytest.mark.parametrize("old_era", [False, True], ids=["grants nothing", "grants everything"])
def test_a_fresh_project_of_either_grant_era_ends_alike(databases: Databases, old_era: bool) -> None:
    name = databases.create(old_era=old_era)
    databases.migrate(name)
    with databases.connect(name) as connection:
        assert live(connection) == expected()


def test_the_live_project_has_these_grants(database: Connection[Any]) -> None:
    assert live(database) == expected()


def test_applying_the_migrations_twice_changes_no_grant(databases: Databases) -> None:
    name = databases.migrated()
    databases.migrate(name)
    with databases.connect(name) as connection:
        assert live(connection) == expected()


def test_the_engine_schema_is_not_exposed() -> None:
    """The Data API offers the functions of exposed schemas; the engine's are for the surface alone."""
    import tomllib
    from pathlib import Path

    config = tomllib.loads((Path(__file__).parents[2] / "supabase" / "config.toml").read_text())
    assert "ehg_tasks" not in config["api"]["schemas"]
