"""The commands of backend jobs."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import Any

import psycopg
import pytest

from ehg_tasks import AgentTasks
from tests.access import specification as spec
from tests.cli.conftest import CreateContract, Program
from tests.conftest import Project


def make_old(database: psycopg.Connection[Any], contract: str, column: str) -> None:
    statement = f"update public.agent_task_contracts set {column} = now() - interval '40 days' where id = %s"
    database.execute(statement.encode(), [contract])


class TestCleanup:
    def test_expired_claims_are_requeued_and_old_contracts_cancelled(
        self,
        as_backend: Program,
        agent: AgentTasks,
        create: CreateContract,
        database: psycopg.Connection[Any],
    ) -> None:
        old, claimed = create(priority=1), create(priority=2)
        [claim] = agent.claim("DESIGN")
        assert str(claim.contract_id) == claimed
        database.execute("update ehg_tasks.leases set expires_at = now()")
        make_old(database, old, "created_at")
        report = as_backend("cleanup", "--max-wait-minutes", "0", "--json").json
        assert report == {"failed_count": 0, "cancelled_count": 0, "requeued_count": 1}
        assert as_backend("cleanup").out == "0 back to pending, 0 failed, 1 cancelled\n"

    @pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM])
    def test_every_repeats_until_a_signal(self, as_backend: Program, signal_: signal.Signals) -> None:
        process = subprocess.Popen(
            as_backend.command("cleanup", "--every", "0.1", "--json"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=as_backend.folder,
            env=as_backend.env,
        )
        assert process.stdout is not None
        for _ in range(2):
            assert json.loads(process.stdout.readline())["failed_count"] == 0
        process.send_signal(signal_)
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, b"")


def test_prune_deletes_contracts_that_ended_long_ago(
    as_backend: Program, agent: AgentTasks, create: CreateContract, database: psycopg.Connection[Any]
) -> None:
    old, recent = create(), create()
    for contract in (old, recent):
        agent.cancel(contract)
    make_old(database, old, "completed_at")
    assert as_backend("prune", "--older-than-days", "50").out == "0 deleted\n"
    assert as_backend("prune", "--json").json == {"deleted_count": 1}
    assert [contract["id"] for contract in as_backend("list", "--json").json] == [recent]


class TestDescribe:
    def test_the_json_has_every_column(self, as_backend: Program) -> None:
        description = as_backend("describe", "--format", "json").json
        assert [column["name"] for column in description["columns"]] == [column[0] for column in spec.COLUMNS]
        assert description == as_backend("describe", "--json").json

    def test_the_markdown_has_every_fact_of_the_specification(
        self, as_backend: Program, create: CreateContract
    ) -> None:
        create()
        page = as_backend("describe").out
        lines = page.splitlines()
        assert lines[:4] == [
            "# agent_task_contracts Table",
            "",
            "**Rows**: 1",
            f"**RLS**: Enabled ({len(spec.POLICIES)} policies)",
        ]
        assert f"## Columns ({len(spec.COLUMNS)} total)" in lines
        for name, type_, size, nullable, default in spec.COLUMNS:
            kind = f"{type_}({size})" if size else type_
            null, value = "YES" if nullable else "**NO**", f"`{default}`" if default else "-"
            assert any(line.startswith(f"| {name} | `{kind}` | {null} | {value} | ") for line in lines)
        assert "- `agent_task_contracts_pkey`: PRIMARY KEY (id)" in lines
        assert "- `agent_task_contracts_sd_id_fkey`: sd_id → strategic_directives_v2(id)" in lines
        check = "agent_task_contracts_status_check"
        assert f"- `{check}`: {spec.CONSTRAINTS[check]}" in lines
        for name, definition in (spec.INDEXES | spec.ADDED_INDEXES).items():
            assert f"- `{name}`\n  ```sql\n  {definition}\n  ```\n" in page
        for n, (name, command, roles, using, with_check) in enumerate(sorted(spec.POLICIES), 1):
            policy = [f"### {n}. {name} ({command})", "", f"- **Roles**: {{{roles[0]}}}"]
            policy += [f"- **Using**: `{using}`"] if using else []
            policy += [f"- **With Check**: `{with_check}`"] if with_check else []
            assert "\n".join(policy) in page
        assert (
            "### trg_task_contracts_updated\n\n- **Timing**: BEFORE UPDATE\n"
            "- **Action**: `EXECUTE FUNCTION update_task_contracts_timestamp()`\n"
        ) in page
        assert "- **When**: `(CURRENT_USER = 'anon'::name)`" in lines
        for heading in ("Constraints", "Indexes", "RLS Policies", "Triggers"):
            assert f"## {heading}" in lines


class TestVerify:
    def test_a_migrated_project_matches(self, as_backend: Program) -> None:
        result = as_backend("verify")
        assert (result.code, result.out) == (0, "The project matches this version (specified profile).\n")
        assert as_backend("verify", "--json").json == {
            "matches": True,
            "profile": "specified",
            "differences": [],
        }

    def test_a_difference_is_printed_and_exits_with_1(
        self, as_backend: Program, database: psycopg.Connection[Any]
    ) -> None:
        database.execute("grant select on public.agent_task_contracts to anon")
        try:
            result = as_backend("verify")
            as_json = as_backend("verify", "--json")
        finally:
            database.execute("revoke select on public.agent_task_contracts from anon")
        difference = "extra grant: SELECT on public.agent_task_contracts to anon"
        assert (result.code, result.out) == (1, f"{difference}\n")
        assert result.err == (
            "1 difference from this version (specified profile)."
            " Apply its migrations (supabase db push), and remove what is extra.\n"
        )
        assert (as_json.code, json.loads(as_json.out)["differences"]) == (1, [difference])


@pytest.mark.parametrize("command", ["cleanup", "prune", "describe", "verify"])
def test_backend_jobs_need_the_secret_key(as_agent: Program, project: Project, command: str) -> None:
    assert "Set SUPABASE_SECRET_KEY" in as_agent.refuses(3, command)
    error = as_agent.refuses(3, command, SUPABASE_SECRET_KEY=project.publishable_key)
    assert "BackendTasks needs a secret key, but was given a publishable key" in error
