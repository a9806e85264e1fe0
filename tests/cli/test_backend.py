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
from tests.cli.conftest import CreateContract, Program, ReadRow
from tests.conftest import Project
from tests.lifecycle.helpers import end_lease

SOME_ID = "00000000-0000-4000-8000-000000000002"
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
        _, claimed = create(priority=1), create(priority=2)
        [claim] = agent.claim("DESIGN")
        assert str(claim.contract_id) == claimed
        end_lease(database, claim.contract_id)
        database.execute("update ehg_tasks.ready set claimable_since = now() - interval '40 days'")
        dry_run = as_backend.here("cleanup", "--dry-run")
        assert dry_run.out == "1 back to pending, 0 failed, 1 cancelled\n"
        assert dry_run.err == "Nothing was changed.\n"
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


class TestPrune:
    def test_contracts_that_ended_long_ago_are_deleted(
        self,
        as_backend: Program,
        agent: AgentTasks,
        create: CreateContract,
        database: psycopg.Connection[Any],
    ) -> None:
        old, recent = create(), create()
        for contract in (old, recent):
            agent.cancel(contract)
        make_old(database, old, "completed_at")
        assert as_backend("prune", "--older-than-days", "50").out == "0 contracts and 0 artifacts deleted\n"
        dry_run = as_backend("prune", "--dry-run", "--json").json
        assert dry_run == {"deleted_count": 1, "deleted_artifact_count": None}
        dry_run = as_backend.here("prune", "--dry-run")
        assert dry_run.out.startswith("would delete 1 contract that ended before 20")
        assert dry_run.err == "Nothing was changed.\n"
        pruned = as_backend("prune", "--yes", "--json").json
        assert pruned == {"deleted_count": 1, "deleted_artifact_count": 0}
        assert [contract["id"] for contract in as_backend("list", "--json").json] == [recent]

    def test_it_asks_first(
        self, as_backend: Program, agent: AgentTasks, create: CreateContract, row: ReadRow
    ) -> None:
        contract = create()
        agent.cancel(contract)
        command = ("prune", "--older-than-days", "0")
        error = as_backend.refuses(7, *command)
        assert "will not delete 1 contract that ended before" in error
        assert error.endswith("Add --yes, or --dry-run to see what would be done.")
        declined = as_backend.at_terminal(*command, "--artifacts", answer="n\n")
        assert "and the artifacts of their outputs? [y/N]: ehg-tasks: nothing was changed\n" in declined.err
        assert (declined.code, row(contract)["status"]) == (1, "cancelled")
        assert as_backend.at_terminal(*command, answer="y\n").out.endswith(
            "1 contract and 0 artifacts deleted\n"
        )

    def test_outputs_are_deleted_too_on_request(
        self,
        as_backend: Program,
        agent: AgentTasks,
        create: CreateContract,
        database: psycopg.Connection[Any],
    ) -> None:
        contract = create()
        [claim] = agent.claim("DESIGN")
        agent.complete(claim, output={"page": 1})
        make_old(database, contract, "completed_at")
        assert as_backend("prune", "--artifacts", "--yes").out == "1 contract and 1 artifact deleted\n"
        assert database.execute("select count(*) from public.agent_artifacts").fetchone() == (0,)


class TestRequeue:
    def test_contracts_that_ended_are_pending_again(
        self, as_backend: Program, agent: AgentTasks, create: CreateContract, row: ReadRow
    ) -> None:
        contracts = [create(), create()]
        for contract in contracts:
            agent.cancel(contract)
        result = as_backend("requeue", *contracts, "--max-retries", "7")
        lines = [f"{contract}  pending: task contract requeued" for contract in contracts]
        assert (result.code, result.out.splitlines()) == (0, lines)
        rows = [row(contract) for contract in contracts]
        assert [(row["status"], row["max_retries"]) for row in rows] == [("pending", 7)] * 2
        [again] = as_backend("requeue", contracts[0], "--json").json
        assert (again["status"], again["was_duplicate"]) == ("pending", True)


class TestAgents:
    def test_the_token_of_a_new_agent_is_printed_once_as_a_line_of_a_dotenv_file(
        self, as_backend: Program, as_agent: Program
    ) -> None:
        result = as_backend("register-agent", "DESIGN", "--description", "draws", "--max-running", "2")
        assert result.code == 0
        assert result.err == "DESIGN is registered. Keep the token: it is not shown again.\n"
        assert "(42501)" in as_agent.refuses(4, "claim", "DESIGN")
        project = "".join(f"{n}={v}\n" for n, v in as_agent.env.items() if n.startswith("SUPABASE_"))
        (as_agent.folder / ".env").write_text(project + result.out)
        from_file = as_agent.with_env(SUPABASE_URL="", SUPABASE_PUBLISHABLE_KEY="")
        assert from_file("claim", "DESIGN", "--json").json == []

        again = as_backend("register-agent", "DESIGN")
        assert (again.code, again.out) == (0, "")
        assert again.err == "DESIGN was registered before. It has a token: rotate-agent issues a new one.\n"
        assert as_backend("register-agent", "DESIGN", "--json").json["token"] is None

    def test_a_rotated_token_replaces_the_previous_one_after_a_grace_period(
        self, as_backend: Program, as_agent: Program
    ) -> None:
        first = as_backend("register-agent", "DESIGN", "--json").json["token"]
        result = as_backend("rotate-agent", "DESIGN")
        name, second = result.out.strip().split("=")
        assert (name, result.code) == ("EHG_AGENT_TOKEN", 0)
        assert result.err.startswith("DESIGN has a new token. The previous one works until 20")
        for token in (first, second):
            assert as_agent("claim", "DESIGN", "--json", EHG_AGENT_TOKEN=token).json == []
        third = as_backend("rotate-agent", "DESIGN", "--grace", "0", "--json").json["token"]
        assert second not in as_agent.refuses(4, "claim", "DESIGN", EHG_AGENT_TOKEN=second)
        assert as_agent("claim", "DESIGN", "--json", EHG_AGENT_TOKEN=third).json == []

    def test_an_agent_without_a_token_is_paused_resumed_and_removed(
        self, as_backend: Program, as_agent: Program, create: CreateContract
    ) -> None:
        create()
        result = as_backend("register-agent", "DESIGN", "--no-token")
        assert (result.code, result.out, result.err) == (0, "", "DESIGN is registered.\n")
        assert as_backend("pause", "DESIGN").out == "DESIGN  agent paused\n"
        assert as_backend("pause", "DESIGN", "--json").json["was_duplicate"] is True
        assert as_agent("claim", "DESIGN", "--json").json == []
        assert as_backend("resume", "DESIGN").out == "DESIGN  agent resumed\n"
        assert len(as_agent("claim", "DESIGN", "--json").json) == 1
        assert as_backend("remove-agent", "DESIGN").out == "DESIGN  agent removed\n"
        for command in ("resume", "remove-agent", "rotate-agent"):
            assert 'no registered agent "DESIGN" (TC001)' in as_backend.refuses(5, command, "DESIGN")

    def test_a_bad_token_is_refused_without_quoting_it(self, as_agent: Program) -> None:
        error = as_agent.refuses(3, "claim", "DESIGN", EHG_AGENT_TOKEN="agent_HIDDEN 1")
        assert error.startswith("ehg-tasks: the agent token is blank, or holds a space")
        assert "HIDDEN" not in error


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
            "notes": [],
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
            " Apply its migrations with psql (docs/adoption.md): supabase db push skips what it has applied."
            " Then remove what is extra.\n"
        )
        assert (as_json.code, json.loads(as_json.out)["differences"]) == (1, [difference])


@pytest.mark.parametrize(
    "command",
    ["cleanup", "prune", "describe", "verify", f"requeue {SOME_ID}", "register-agent A", "rotate-agent A",
     "pause A", "resume A", "remove-agent A"],
)  # fmt: skip
def test_backend_jobs_need_the_secret_key(as_agent: Program, project: Project, command: str) -> None:
    assert "Set SUPABASE_SECRET_KEY" in as_agent.refuses(3, *command.split())
    error = as_agent.refuses(3, *command.split(), SUPABASE_SECRET_KEY=project.publishable_key)
    assert "BackendTasks needs a secret key, but was given a publishable key" in error
