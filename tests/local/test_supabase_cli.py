"""The real Supabase CLI takes this project's configuration and applies its migrations."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ehg_tasks import BackendTasks, migrations
from ehg_tasks.local import LocalStack
from ehg_tasks.verify import compare
from tests.supabase_cli import SupabaseCLI

VERSIONS = [path.name.partition("_")[0] for path in migrations.migrations()]


def applied(supabase_cli: SupabaseCLI, url: str) -> tuple[list[Any], str]:
    """The versions that the CLI lists on both sides, and what it has to say about the configuration."""
    answer = supabase_cli.run("migration", "list", f"--remote={url}")
    listed = [
        cells[0].strip("` ") for line in answer.stdout.splitlines() if len(cells := line.split("|")) == 3
        and cells[0].strip("` ") == cells[1].strip("` ") and cells[0].strip("` ").isdigit()
    ]  # fmt: skip
    return listed, answer.stderr + answer.stdout


def test_it_applies_the_migrations_and_lists_them(supabase_cli: SupabaseCLI, tmp_path: Path) -> None:
    empty = tmp_path / "none"
    empty.mkdir()
    with LocalStack(tmp_path / "stack", migrations=empty) as stack:
        assert applied(supabase_cli, stack.db_url)[0] == []
        supabase_cli.run("migration", "up", f"--remote={stack.db_url}")
        listed, said = applied(supabase_cli, stack.db_url)
        assert listed == VERSIONS
        assert "WARN" not in said.upper()
        assert "unknown" not in said.lower()
        with psycopg.connect(stack.superuser_url) as connection:
            [owner] = connection.execute(
                "select relowner::regrole::text from pg_class"
                " where oid = 'public.agent_task_contracts'::regclass"
            ).fetchall()
        assert owner == ("postgres",)


def test_the_way_that_the_readme_tells(supabase_cli: SupabaseCLI, tmp_path: Path) -> None:
    """Exported, pushed by the CLI, verified: in a folder that is no checkout of this project."""
    empty = tmp_path / "none"
    empty.mkdir()
    export = [sys.executable, "-m", "ehg_tasks", "migrations", "export", str(tmp_path / "supabase")]
    subprocess.run(export, check=True, capture_output=True)
    with LocalStack(tmp_path / "stack", migrations=empty) as stack:
        supabase_cli.run("db", "push", f"--remote={stack.db_url}", workdir=tmp_path)
    # The API reads the catalog when it starts.
    with LocalStack(tmp_path / "stack", migrations=empty) as stack, BackendTasks(stack.settings()) as backend:
        assert compare(backend.describe()).differences == ()


def test_it_sees_what_the_stack_applied_as_applied(supabase_cli: SupabaseCLI, tmp_path: Path) -> None:
    with LocalStack(tmp_path / "stack") as stack:
        assert applied(supabase_cli, stack.db_url)[0] == VERSIONS
        again = supabase_cli.run("migration", "up", f"--remote={stack.db_url}")
        assert "up to date" in again.stdout + again.stderr


@pytest.mark.parametrize("path", migrations.migrations(), ids=lambda path: path.stem)
def test_a_migration_is_named_and_told(path: Path) -> None:
    version, _, name = path.stem.partition("_")
    assert len(version) == 14
    assert version.isdigit()
    assert name
    assert path.read_text().startswith("-- ")
