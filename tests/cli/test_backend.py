"""The commands of backend jobs."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from typing import Any

import psycopg
import pytest

from ehg_tasks import AgentTasks
from tests.access import specification as spec
from tests.cli.conftest import CreateContract, Program
from tests.conftest import Project

CHECK = "agent_task_contracts_status_check"
INDEX = "idx_task_contracts_pending"


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
    def test_every_repeats_the_cleanup_until_a_signal(
        self, as_backend: Program, signal_: signal.Signals
    ) -> None:
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
    def test_both_json_options_print_the_description(self, as_backend: Program) -> None:
        description = as_backend("describe", "--format", "json").json
        assert description["table"] == "agent_task_contracts"
        assert description == as_backend("describe", "--json").json

    def test_the_default_is_a_markdown_page_with_a_section_for_each_kind_of_object(
        self, as_backend: Program, create: CreateContract
    ) -> None:
        create()
        page = as_backend("describe").out
        assert page.startswith("# agent_task_contracts Table\n\n**Rows**: 1\n**RLS**: Enabled (4 policies)\n")
        assert re.findall(r"^## (.*)$", page, re.M) == [
            "Columns (28 total)", "Constraints", "Indexes", "RLS Policies", "Triggers"
        ]  # fmt: skip
        for part in (
            "| sd_id | `character varying(50)` | YES | - | ",
            "| priority | `integer(32)` | **NO** | `50` | ",
            "- `agent_task_contracts_pkey`: PRIMARY KEY (id)\n",
            "- `agent_task_contracts_sd_id_fkey`: sd_id → strategic_directives_v2(id)\n",
            f"- `{CHECK}`: {spec.CONSTRAINTS[CHECK]}\n",
            f"- `{INDEX}`\n  ```sql\n  {spec.INDEXES[INDEX]}\n  ```\n",
            "### 2. Anon can update task contracts (UPDATE)\n\n"
            "- **Roles**: {anon}\n- **Using**: `true`\n- **With Check**: `true`\n",
            "### trg_task_contracts_updated\n\n- **Timing**: BEFORE UPDATE\n"
            "- **Action**: `EXECUTE FUNCTION update_task_contracts_timestamp()`\n",
            "- **When**: `(CURRENT_USER = 'anon'::name)`\n",
        ):
            assert part in page


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
