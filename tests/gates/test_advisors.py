"""Supabase's database advisors, run by the real CLI, report what docs/advisors.md explains and no more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ehg_tasks import migrations
from tests.databases import Databases
from tests.supabase_cli import SupabaseCLI

PAGE = Path(__file__).parents[2] / "docs" / "advisors.md"
HARDENED = (migrations.folder() / "optional" / "hardened.sql").read_bytes()

Finding = tuple[str, str, str, str]  # level, name, table, index or policy or constraint


def explained() -> dict[Finding, str]:
    """The page's table of findings, each with its reason."""
    rows = [line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines()]
    told = {}
    for row in rows:
        if row[0] in {"ERROR", "WARN", "INFO"}:
            level, name, table, *rest, reason = (cell.strip("|` ") for cell in row)
            told[level, name, table, rest[0] if rest else ""] = reason
    return told


@pytest.fixture
def name(databases: Databases) -> Iterator[str]:
    """A database that is new: what the advisors say of its indexes does not depend on the tests."""
    name = databases.migrated()
    yield name
    databases.drop(name)


@pytest.fixture
def advised(databases: Databases, name: str, supabase_cli: SupabaseCLI) -> set[Finding]:
    return advice(supabase_cli, databases.url(name, owner=True))


def advice(supabase_cli: SupabaseCLI, url: str) -> set[Finding]:
    answer = supabase_cli.json("db", "advisors", f"--remote={url}", "--level=info")
    found = set()
    for finding in answer["results"]:
        schema, table = finding["metadata"]["schema"], finding["metadata"]["name"]
        key = finding["cacheKey"].removeprefix(f"{finding['name']}_{schema}_{table}").removeprefix("_")
        found.add((finding["level"], finding["name"], f"{schema}.{table}", key))
    return found


def test_each_finding_is_explained_and_each_explanation_has_its_finding(advised: set[Finding]) -> None:
    assert advised == set(explained())
    assert all(explained().values())


def test_the_only_warnings_are_the_two_specified_policies(advised: set[Finding]) -> None:
    policies = {"Anon can create task contracts", "Anon can update task contracts"}
    assert {finding for finding in advised if finding[0] != "INFO"} == {
        ("WARN", "rls_policy_always_true", "public.agent_task_contracts", policy) for policy in policies
    }


def test_the_hardened_profile_has_no_warning(
    databases: Databases, name: str, supabase_cli: SupabaseCLI
) -> None:
    with databases.connect(name, owner=True) as connection:
        connection.execute(HARDENED)
    found = advice(supabase_cli, databases.url(name, owner=True))
    assert found == {finding for finding in explained() if finding[0] == "INFO"}


def test_what_is_wrong_is_reported(databases: Databases, name: str, supabase_cli: SupabaseCLI) -> None:
    with databases.connect(name, owner=True) as connection:
        connection.execute(
            "create function public.wrong() returns integer language sql as 'select 1';"
            " alter table public.agent_artifacts disable row level security"
        )
    found = advice(supabase_cli, databases.url(name, owner=True)) - set(explained())
    assert {(level, lint) for level, lint, *_ in found} >= {
        ("WARN", "function_search_path_mutable"),
        ("ERROR", "policy_exists_rls_disabled"),
        ("ERROR", "rls_disabled_in_public"),
    }


# Hosted projects run lints that the CLI does not carry yet; these are their questions.
READABLE = """
    select distinct c.oid::regclass::text
    from pg_class c
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'v', 'm', 'f')
      and has_column_privilege(%s, c.oid, a.attnum, 'select')
"""
DEFINERS = """
    select p.oid::regprocedure::text
    from pg_proc p
    where p.pronamespace = 'public'::regnamespace and p.prosecdef
      and has_function_privilege(%s, p.oid, 'execute')
"""


@pytest.mark.parametrize(
    ("role", "readable"),
    [
        ("anon", set()),
        (
            "authenticated",
            {"agent_task_contracts", "agent_artifacts", "strategic_directives_v2", "task_contract_stats"},
        ),
    ],
)
def test_what_lints_0026_to_0029_ask(databases: Databases, name: str, role: str, readable: set[str]) -> None:
    with databases.connect(name) as connection:
        assert connection.execute(DEFINERS, [role]).fetchall() == []
        assert {relation for (relation,) in connection.execute(READABLE, [role])} == readable
    assert all(f"`{relation}`" in PAGE.read_text() for relation in readable)
