"""Supabase's database advisors, run by the real CLI, report exactly what docs/advisors.md explains."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ehg_tasks import migrations
from tests.access import matrix
from tests.databases import Databases
from tests.supabase_cli import SupabaseCLI

PAGE = Path(__file__).parents[2] / "docs" / "advisors.md"
HARDENED = (migrations.folder() / "optional" / "hardened.sql").read_bytes()

Finding = tuple[str, str, str, str]  # level, name, relation, and index, policy or constraint


def explained() -> set[Finding]:
    """The findings in the page's table; each must have a reason."""
    findings = set()
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip(" `") for cell in line.strip("|").split("|")]
        if cells[0] in {"ERROR", "WARN", "INFO"}:
            level, name, relation, item, reason = cells
            assert reason, line
            findings.add((level, name, relation, item))
    return findings


@pytest.fixture
def name(databases: Databases) -> Iterator[str]:
    """The name of a new database: what the advisors report about indexes depends on their use."""
    name = databases.migrated()
    yield name
    databases.drop(name)


def advisors(supabase_cli: SupabaseCLI, url: str) -> set[Finding]:
    """What the advisors report."""
    findings = set()
    for result in supabase_cli.json("db", "advisors", f"--remote={url}", "--level=info")["results"]:
        schema, relation = result["metadata"]["schema"], result["metadata"]["name"]
        item = result["cacheKey"].removeprefix(f"{result['name']}_{schema}_{relation}").removeprefix("_")
        findings.add((result["level"], result["name"], f"{schema}.{relation}", item))
    return findings


def test_the_page_explains_exactly_what_the_advisors_report(
    databases: Databases, name: str, supabase_cli: SupabaseCLI
) -> None:
    assert advisors(supabase_cli, databases.url(name, owner=True)) == explained()


def test_the_hardened_profile_has_no_warning(
    databases: Databases, name: str, supabase_cli: SupabaseCLI
) -> None:
    with databases.connect(name, owner=True) as connection:
        connection.execute(HARDENED)
    findings = advisors(supabase_cli, databases.url(name, owner=True))
    assert findings == {finding for finding in explained() if finding[0] == "INFO"}


# Hosted projects run lints that the CLI does not have yet. These queries check the same.
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


@pytest.mark.parametrize("role", ["anon", "authenticated"])
def test_lints_0026_to_0029_would_report_what_the_page_says(
    databases: Databases, name: str, role: str
) -> None:
    select = {relation: operations["select"] for relation, operations in matrix.SPECIFIED.items()}
    readable = {
        relation.removeprefix("public.")
        for relation, outcomes in select.items()
        if outcomes[matrix.ROLES.index(role)] != matrix.NO
    }
    with databases.connect(name) as connection:
        assert connection.execute(DEFINERS, [role]).fetchall() == []
        assert {relation for (relation,) in connection.execute(READABLE, [role])} == readable
    assert all(f"`{relation}`" in PAGE.read_text() for relation in readable)
