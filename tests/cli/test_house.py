"""What backend jobs do on the command line."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ehg_tasks import AgentTasks, migrations
from tests.access import specification as spec
from tests.cli.conftest import Program
from tests.conftest import Project

WORK: dict[str, Any] = {
    "parent_agent": "PLANNER",
    "target_agent": "DESIGN",
    "objective": "Draw the start page.",
}


def aged(database: psycopg.Connection[Any], contract_id: Any, column: str) -> None:
    change = f"update public.agent_task_contracts set {column} = now() - interval '40 days' where id = %s"
    database.execute(change.encode(), [contract_id])


class TestCleanup:
    def test_once(self, as_backend: Program, agent: AgentTasks, database: psycopg.Connection[Any]) -> None:
        waiting, lost = (agent.create(**WORK, priority=priority).contract_id for priority in (1, 2))
        assert agent.claim("DESIGN")[0].contract_id == lost
        database.execute("update ehg_tasks.leases set expires_at = now()")
        aged(database, waiting, "created_at")
        nothing = as_backend("cleanup", "--max-wait-minutes", "0", "--json").json
        assert nothing == {"failed_count": 0, "cancelled_count": 0, "requeued_count": 1}
        assert as_backend("cleanup").out == "0 back to pending, 0 failed, 1 cancelled\n"

    @pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM])
    def test_again_and_again(self, as_backend: Program, signal_: signal.Signals) -> None:
        cleaning = subprocess.Popen(
            as_backend.command("cleanup", "--every", "0.1", "--json"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=as_backend.folder,
            env=as_backend.env,
        )
        assert cleaning.stdout is not None
        for _ in range(2):
            assert json.loads(cleaning.stdout.readline())["failed_count"] == 0
        cleaning.send_signal(signal_)
        _, errors = cleaning.communicate(timeout=60)
        assert (cleaning.returncode, errors) == (0, b"")


def test_prune(as_backend: Program, agent: AgentTasks, database: psycopg.Connection[Any]) -> None:
    old, new = (agent.create(**WORK).contract_id for _ in range(2))
    for contract in (old, new):
        agent.cancel(contract)
    aged(database, old, "completed_at")
    assert as_backend("prune", "--older-than-days", "50").out == "0 deleted\n"
    assert as_backend("prune", "--json").json == {"deleted_count": 1}
    assert [c["id"] for c in as_backend("list", "--json").json] == [str(new)]


class TestDescribe:
    def test_as_json(self, as_backend: Program) -> None:
        told = as_backend("describe", "--format", "json").json
        assert len(told["columns"]) == 28
        assert told == as_backend("describe", "--json").json

    def test_as_markdown(self, as_backend: Program, agent: AgentTasks) -> None:
        """In the shape of the reference document, with every fact that the specification has."""
        agent.create(**WORK)
        told = as_backend("describe").out
        lines = told.splitlines()
        assert lines[:4] == [
            "# agent_task_contracts Table",
            "",
            "**Rows**: 1",
            "**RLS**: Enabled (4 policies)",
        ]
        assert "## Columns (28 total)" in lines
        for name, type_, size, nullable, default in spec.COLUMNS:
            kind = f"{type_}({size})" if size else type_
            null, value = "YES" if nullable else "**NO**", f"`{default}`" if default else "-"
            assert any(line.startswith(f"| {name} | `{kind}` | {null} | {value} | ") for line in lines)
        assert "- `agent_task_contracts_pkey`: PRIMARY KEY (id)" in lines
        assert "- `agent_task_contracts_sd_id_fkey`: sd_id → strategic_directives_v2(id)" in lines
        check = "agent_task_contracts_status_check"
        assert f"- `{check}`: {spec.CONSTRAINTS[check]}" in lines
        for name, definition in (spec.INDEXES | spec.ADDED_INDEXES).items():
            assert f"- `{name}`\n  ```sql\n  {definition}\n  ```\n" in told
        for n, (name, command, roles, using, with_check) in enumerate(sorted(spec.POLICIES), 1):
            policy = [f"### {n}. {name} ({command})", "", f"- **Roles**: {{{roles[0]}}}"]
            policy += [f"- **Using**: `{using}`"] if using else []
            policy += [f"- **With Check**: `{with_check}`"] if with_check else []
            assert "\n".join(policy) in told
        assert (
            "### trg_task_contracts_updated\n\n- **Timing**: BEFORE UPDATE\n"
            "- **Action**: `EXECUTE FUNCTION update_task_contracts_timestamp()`\n"
        ) in told
        assert "- **When**: `(CURRENT_USER = 'anon'::name)`" in lines
        for heading in ("Constraints", "Indexes", "RLS Policies", "Triggers"):
            assert f"## {heading}" in lines


class TestVerify:
    def test_it_matches(self, as_backend: Program) -> None:
        told = as_backend("verify")
        assert (told.code, told.out) == (0, "The project matches this version (specified profile).\n")
        assert as_backend("verify", "--json").json == {
            "matches": True,
            "profile": "specified",
            "differences": [],
        }

    def test_it_does_not(self, as_backend: Program, database: psycopg.Connection[Any]) -> None:
        database.execute("grant select on public.agent_task_contracts to anon")
        try:
            told = as_backend("verify")
            as_json = as_backend("verify", "--json")
        finally:
            database.execute("revoke select on public.agent_task_contracts from anon")
        difference = "extra grant: SELECT on public.agent_task_contracts to anon"
        assert (told.code, told.out) == (1, f"{difference}\n")
        assert told.err == (
            "1 difference from this version (specified profile)."
            " Apply its migrations (supabase db push), and take away what is extra.\n"
        )
        assert (as_json.code, json.loads(as_json.out)["differences"]) == (1, [difference])


class TestKeys:
    @pytest.mark.parametrize("command", ["cleanup", "prune", "describe", "verify"])
    def test_backend_jobs_need_the_secret_key(
        self, as_agent: Program, project: Project, command: str
    ) -> None:
        assert "Set SUPABASE_SECRET_KEY" in as_agent.refuses(3, command)
        wrong = as_agent.refuses(3, command, SUPABASE_SECRET_KEY=project.publishable_key)
        assert "BackendTasks works with a secret key, and was given a publishable key" in wrong


class TestMigrations:
    def test_list(self, program: Program) -> None:
        names = program("migrations", "list", "--json").json
        assert names == sorted(names)
        assert program("migrations", "list").out.splitlines() == names
        assert "migrations/20261123100000_foundation.sql" in names
        assert "optional/hardened.sql" in names

    def test_export(self, program: Program) -> None:
        told = program("migrations", "export", "project/supabase")
        assert told.code == 0
        assert "Next: supabase db push." in told.err
        folder = program.folder / "project/supabase"
        for group, files in (
            ("migrations", migrations.migrations()),
            ("optional", migrations.optional()),
        ):
            assert {f.name: f.read_bytes() for f in (folder / group).iterdir()} == {
                f.name: f.read_bytes() for f in files
            }
        assert program("migrations", "export", "project/supabase", "--json").json == []

    def test_it_overwrites_nothing(self, program: Program) -> None:
        changed = program.folder / "supabase/optional/hardened.sql"
        changed.parent.mkdir(parents=True)
        changed.write_text("-- ours\n")
        refusal = program.refuses(7, "migrations", "export", "supabase")
        assert "supabase holds other versions of optional/hardened.sql. Nothing was copied" in refusal
        assert changed.read_text() == "-- ours\n"
        assert not (program.folder / "supabase/migrations").exists()

    def test_no_such_place(self, program: Program) -> None:
        (program.folder / "file").write_text("")
        assert "cannot write to file" in program.refuses(1, "migrations", "export", "file")


def test_a_fresh_folder_is_left_alone(program: Program, tmp_path: Path) -> None:
    program("migrations", "list")
    assert list(tmp_path.iterdir()) == []
