"""The real Supabase CLI accepts this project's configuration and applies its migrations."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from ehg_tasks import BackendTasks, migrations
from ehg_tasks.local import LocalStack
from ehg_tasks.verify import compare
from tests.supabase_cli import SupabaseCLI

VERSIONS = [path.name.partition("_")[0] for path in migrations.migrations()]


@pytest.fixture
def no_migrations(tmp_path: Path) -> Path:
    """An empty folder of migrations."""
    folder = tmp_path / "none"
    folder.mkdir()
    return folder


def list_migrations(supabase_cli: SupabaseCLI, url: str) -> tuple[list[str], str]:
    """The versions that the CLI lists as local and applied, and its whole output."""
    result = supabase_cli.run("migration", "list", f"--remote={url}")
    rows = [[cell.strip("` ") for cell in line.split("|")] for line in result.stdout.splitlines()]
    versions = [row[0] for row in rows if len(row) == 3 and row[0] == row[1] and row[0].isdigit()]
    return versions, result.stderr + result.stdout


def test_the_cli_applies_and_lists_the_migrations_without_a_warning(
    supabase_cli: SupabaseCLI, tmp_path: Path, no_migrations: Path
) -> None:
    with LocalStack(tmp_path / "stack", migrations=no_migrations) as stack:
        assert list_migrations(supabase_cli, stack.db_url)[0] == []
        supabase_cli.run("migration", "up", f"--remote={stack.db_url}")
        versions, output = list_migrations(supabase_cli, stack.db_url)
        assert versions == VERSIONS
        assert "warn" not in output.lower()
        assert "unknown" not in output.lower()
        with psycopg.connect(stack.superuser_url) as connection:
            [owner] = connection.execute(
                "select relowner::regrole::text from pg_class"
                " where oid = 'public.agent_task_contracts'::regclass"
            ).fetchall()
        assert owner == ("postgres",)


@pytest.mark.parametrize("option", [None, "--include-all"], ids=["an empty project", "newer migrations"])
def test_exported_migrations_can_be_pushed_and_verified_outside_a_checkout(
    supabase_cli: SupabaseCLI, tmp_path: Path, no_migrations: Path, option: str | None
) -> None:
    """These are the steps in README. The project's own last migration may be newer than these."""
    export = [sys.executable, "-m", "ehg_tasks", "migrations", "export", str(tmp_path / "supabase")]
    with LocalStack(tmp_path / "stack", migrations=no_migrations) as stack:
        push = ["db", "push", f"--remote={stack.db_url}"]
        if option:
            own = tmp_path / "supabase" / "migrations" / "29991231000000_own.sql"
            own.parent.mkdir(parents=True)
            own.write_text("create table public.own (id integer primary key);")
            supabase_cli.run(*push, workdir=tmp_path)
        exported = subprocess.run(export, check=True, capture_output=True, text=True)
        assert f"Next: {' '.join(['supabase db push', *filter(None, [option])])}." in exported.stderr
        supabase_cli.run(*push, *filter(None, [option]), workdir=tmp_path)
        with BackendTasks(stack.settings()) as backend:
            assert compare(backend.describe()).differences == ()


def test_the_cli_counts_the_migrations_of_the_stack_as_applied(
    supabase_cli: SupabaseCLI, tmp_path: Path
) -> None:
    with LocalStack(tmp_path / "stack") as stack:
        assert list_migrations(supabase_cli, stack.db_url)[0] == VERSIONS
        result = supabase_cli.run("migration", "up", f"--remote={stack.db_url}")
        assert "up to date" in result.stdout + result.stderr


@pytest.mark.parametrize("path", migrations.migrations(), ids=lambda path: path.stem)
def test_a_migration_has_a_timestamp_a_name_and_a_description(path: Path) -> None:
    version, _, name = path.stem.partition("_")
    assert len(version) == 14
    assert version.isdigit()
    assert name
    assert path.read_text().startswith("-- ")
