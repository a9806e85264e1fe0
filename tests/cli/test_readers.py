"""The commands of readers."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from ehg_tasks import AgentTasks, BackendTasks, ContractStatus, DashboardTasks, TaskContract
from ehg_tasks.cli.arguments import FILTERS, STATUSES
from ehg_tasks.pages import ContractFilters
from tests.cli.conftest import CreateContract, Program
from tests.conftest import Project

SESSION = "00000000-0000-4000-8000-000000000001"
HINT = (
    "Set SUPABASE_SECRET_KEY, or SUPABASE_PUBLISHABLE_KEY with SUPABASE_ACCESS_TOKEN or with SUPABASE_EMAIL"
)


class TestList:
    def test_the_oldest_come_first_unless_newest_is_given(
        self, as_backend: Program, create: CreateContract
    ) -> None:
        ids = [create() for _ in range(3)]
        assert [contract["id"] for contract in as_backend.here("list", "--json").json] == ids
        newest = as_backend.here("list", "--newest", "--limit", "2", "--json").json
        assert [contract["id"] for contract in newest] == [ids[2], ids[1]]

    def test_a_notice_says_that_there_are_more_than_the_limit(
        self, as_backend: Program, create: CreateContract
    ) -> None:
        ids = [create() for _ in range(3)]
        result = as_backend.here("list", "--limit", "2")
        assert [contract in result.out for contract in ids] == [True, True, False]
        assert result.err == "There are more than these 2. Raise --limit, or filter.\n"
        assert as_backend.here("list", "--limit", "3").err == ""

    def test_every_filter_of_the_clients_has_an_option(self) -> None:
        assert FILTERS.keys() == ContractFilters.__annotations__.keys()
        assert list(STATUSES) == list(ContractStatus)

    @pytest.mark.parametrize(
        "filters",
        [
            ["--target", "QA"],
            ["--parent", "LEAD"],
            ["--session", SESSION],
            ["--sd", "SD-1"],
            ["--status", "pending"],
            ["--created-after", "2020-01-01", "--created-before", "2099-01-01T00:00:00Z", "--target", "QA"],
        ],
        ids=" ".join,
    )
    def test_list_and_count_filter(
        self,
        as_backend: Program,
        agent: AgentTasks,
        create: CreateContract,
        database: psycopg.Connection[Any],
        filters: list[str],
    ) -> None:
        database.execute("insert into public.strategic_directives_v2 (id) values ('SD-1')")
        wanted = create(target_agent="QA", session_id=SESSION, parent_agent="LEAD", sd_id="SD-1")
        agent.cancel(create())
        assert [contract["id"] for contract in as_backend.here("list", "--json", *filters).json] == [wanted]
        assert as_backend.here("count", *filters).out == "1\n"

    def test_created_after_and_created_before_are_bounds(
        self, as_backend: Program, create: CreateContract
    ) -> None:
        create()
        assert as_backend.here("count", "--created-before", "2020-01-01").out == "0\n"
        assert as_backend.here("count", "--created-after", "2099-01-01", "--json").json == 0

    def test_times_may_be_ages(self, as_backend: Program, agent: AgentTasks, create: CreateContract) -> None:
        ended, _ = create(), create()
        agent.cancel(ended)
        assert as_backend.here("count", "--created-after", "1h", "--created-before", "0s").out == "2\n"
        assert as_backend.here("count", "--created-before", "1m").out == "0\n"
        [row] = as_backend.here("list", "--ended-after", "2d", "--ended-before", "0s", "--json").json
        assert row["id"] == ended
        assert as_backend.here("count", "--ended-before", "1w").out == "0\n"

    @pytest.mark.parametrize("columns", [80, 120])
    def test_a_terminal_shows_whole_ids_and_statuses(
        self, as_backend: Program, agent: AgentTasks, create: CreateContract, columns: int
    ) -> None:
        contracts = [create("Draw it. " * 20, target_agent="AN-AGENT-WITH-A-LONG-NAME") for _ in range(2)]
        [claim, _] = agent.claim("AN-AGENT-WITH-A-LONG-NAME", limit=2)
        agent.fail(claim, "There is no ink. " * 20, retry=False)
        result = as_backend.at_terminal("list", columns=columns)
        header, _, failed, running = result.out.splitlines()
        assert header.split()[:3] == ["ID", "STATUS", "TARGET"]
        assert header.split()[-2:] == ["ENDED", "DETAIL"]
        assert failed.startswith(f"{contracts[0]}  failed       AN-AGENT")
        assert running.startswith(f"{contracts[1]}  in_progress  AN-AGENT")
        assert "There is" in failed
        assert failed.rstrip().endswith("…")
        assert all(len(line) <= columns for line in (header, failed, running))

    def test_a_file_has_the_objective_and_the_error(
        self, as_backend: Program, agent: AgentTasks, create: CreateContract
    ) -> None:
        create()
        [claim] = agent.claim("DESIGN")
        agent.fail(claim, "no ink", retry=False)
        header, _, row = as_backend.here("list").out.splitlines()
        assert header.split() == [
            "ID",
            "STATUS",
            "TARGET",
            "PARENT",
            "CREATED",
            "ENDED",
            "OBJECTIVE",
            "ERROR",
        ]
        assert "Draw the start page." in row
        assert row.rstrip().endswith("no ink")

    def test_control_characters_of_agents_are_escaped(
        self, as_backend: Program, create: CreateContract, database: psycopg.Connection[Any]
    ) -> None:
        objective = "[red]\x1b[2J\x9b2J\n" + "long " * 50
        contract = create(objective)
        # Only a direct write can leave such a name.
        database.execute("update public.agent_task_contracts set target_agent = e'A\\x1b[31m'")
        table = as_backend.here("list").out
        [line] = [line for line in table.splitlines() if contract in line]
        assert "[red]\\x1b[2J\\x9b2J long" in line
        assert "long l…" in line
        assert "A\\x1b[31m" in line
        document = as_backend.here("show", contract, "--json").out
        assert "\x1b" not in table + document
        assert "\x9b" not in table + document
        assert json.loads(document)["objective"] == objective

    @pytest.mark.parametrize(
        ("arguments", "error"),
        [
            (["list", "--status", "done"], "status must be one of pending, in_progress"),
            (["count", "--session", "x"], "--session is not a UUID"),
            (
                ["list", "--created-after", "tomorrow"],
                "--created-after is not a time: 'tomorrow'. Use 30s, 15m, ",
            ),
            (["list", "--ended-before", "1y"], "--ended-before is not a time: '1y'"),
            (["list", "--ended-before", "9999999999w"], "is not a time"),
            (["show", "x"], "neither a UUID nor the start of one: 'x'"),
        ],
    )
    def test_bad_arguments_are_refused(self, as_backend: Program, arguments: list[str], error: str) -> None:
        assert error in as_backend.here(*arguments).refusal(7)


class TestShow:
    def test_every_column_is_shown(self, as_backend: Program, create: CreateContract) -> None:
        contract = create("one\ntwo", constraints={"color": "grün"})
        assert as_backend.here("show", contract, "--json").json.keys() == TaskContract.model_fields.keys()
        lines = as_backend.here("show", contract).out.splitlines()
        assert f"id                          {contract}" in lines
        assert 'constraints                 {"color": "grün"}' in lines
        assert lines[lines.index("objective                   one") + 1].strip() == "two"

    def test_an_unknown_contract_is_an_error(self, as_backend: Program) -> None:
        error = as_backend.here("show", SESSION).refusal(5)
        assert error == f"ehg-tasks: there is no task contract {SESSION}"


def test_stats_has_a_row_for_each_agent_and_status(as_backend: Program, create: CreateContract) -> None:
    create()
    create(not_before=datetime.now(UTC) + timedelta(hours=1))
    [statistics] = as_backend.here("stats", "--json").json
    names = ("target_agent", "status", "contracts", "held", "running", "over_budget")
    assert [statistics[name] for name in names] == ["DESIGN", "pending", 2, 1, None, 0]
    header, _, row = as_backend.here("stats").out.splitlines()
    assert header.split()[:4] == ["AGENT", "STATUS", "COUNT", "HELD"]
    assert row.split()[:4] == ["DESIGN", "pending", "2", "1"]


def test_agents_lists_the_registry_with_what_runs_and_waits(
    as_backend: Program, as_user: Program, backend: BackendTasks, agent: AgentTasks, create: CreateContract
) -> None:
    assert as_backend.here("agents").err == "No agent is registered.\n"
    backend.register_agent("DESIGN", description="draws pages", max_running=3, with_token=False)
    backend.register_agent("QA")
    backend.pause_agent("QA")
    create()
    create()
    agent.claim("DESIGN")
    create(not_before=datetime.now(UTC) + timedelta(hours=1))
    header, _, *rows = as_user.here("agents").out.splitlines()
    assert header.split() == ["NAME", "TOKEN", "PAUSED", "RUNNING", "MAX", "READY", "HELD", "DESCRIPTION"]
    assert [row.split() for row in rows] == [
        ["DESIGN", "no", "no", "1", "3", "1", "1", "draws", "pages"],
        ["QA", "yes", "yes", "0", "-", "0", "0", "-"],
    ]
    assert [row["name"] for row in as_backend.here("agents", "--json").json] == ["DESIGN", "QA"]


class TestWatch:
    def test_updates_are_appended_when_output_is_not_a_terminal(
        self, as_backend: Program, create: CreateContract
    ) -> None:
        contract = create()
        result = as_backend("watch", "--every", "0.1", "--times", "2")
        assert (result.code, result.err) == (0, "")
        assert result.out.count(contract) == 2
        assert "\x1b" not in result.out

    def test_an_update_is_a_line_of_json(self, as_backend: Program, create: CreateContract) -> None:
        contract = create()
        lines = as_backend("watch", "--every", "0.1", "--times", "2", "--json").out.splitlines()
        assert [json.loads(line)["newest"][0]["id"] for line in lines] == [contract, contract]
        assert json.loads(lines[0])["stats"][0]["contracts"] == 1

    @pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM])
    def test_a_narrow_terminal_shows_whole_ids_until_a_signal(
        self, as_backend: Program, create: CreateContract, signal_: signal.Signals
    ) -> None:
        contract = create()
        terminal, stdout = pty.openpty()
        process = subprocess.Popen(
            as_backend.command("watch", "--every", "0.1"),
            stdin=stdout,
            stdout=stdout,
            stderr=subprocess.PIPE,
            cwd=as_backend.folder,
            env=as_backend.env | {"TERM": "xterm", "COLUMNS": "60"},
        )
        os.close(stdout)
        assert process.stderr is not None
        with process.stderr as errors:
            screen = b""
            while screen.count(contract.encode()) < 2:  # the second one is drawn over the first
                assert select.select([terminal], [], [], 60)[0], screen
                screen += os.read(terminal, 65536)
            process.send_signal(signal_)
            assert process.wait(60) == 0
            assert errors.read() == b""
        while select.select([terminal], [], [], 0)[0]:
            screen += os.read(terminal, 65536)
            if b"\x1b[?25h" in screen:
                break
        os.close(terminal)
        assert b"\x1b[?25l" in screen  # the cursor was hidden,
        assert b"\x1b[?25h" in screen  # and is shown again

    def test_the_last_update_reports_its_error(self, program: Program) -> None:
        unknown = program.with_env(SUPABASE_SECRET_KEY="sb_secret_" + "x" * 22 + "_12345678")
        unknown.refuses(4, "watch", "--times", "3")
        unknown.refuses(8, "watch", "--times", "1", SUPABASE_URL="http://127.0.0.1:9")

    def test_a_closed_pipe_ends_it(self, as_backend: Program, create: CreateContract) -> None:
        create()
        script = '"$@" | true; echo "${PIPESTATUS[0]}"'
        process = subprocess.run(
            ["bash", "-c", script, "bash", *as_backend.command("watch", "--every", "0.1")],
            capture_output=True,
            text=True,
            cwd=as_backend.folder,
            env=as_backend.env,
            timeout=120,
        )
        assert (process.stdout, process.stderr) == ("1\n", "")


class TestCredentials:
    @pytest.mark.parametrize(
        "arguments", [["list"], ["count"], ["show", SESSION], ["stats"], ["agents"], ["watch"], ["metrics"]]
    )
    def test_readers_need_a_secret_key_or_a_user(self, as_agent: Program, arguments: list[str]) -> None:
        assert HINT in as_agent.refuses(3, *arguments)

    def test_a_user_may_sign_in_with_a_token(
        self, as_user: Program, create: CreateContract, user_token: str
    ) -> None:
        contract = create()
        assert [row["id"] for row in as_user("list", "--json").json] == [contract]
        assert as_user("stats", "--json").json[0]["contracts"] == 1
        error = as_user.refuses(4, "list", SUPABASE_ACCESS_TOKEN=user_token[:-4] + "AAAA")
        assert user_token[:-4] not in error
        assert "was given" in as_user.refuses(3, "list", SUPABASE_ACCESS_TOKEN="nonsense")

    def test_a_user_may_sign_in_with_a_password(
        self, as_agent: Program, create: CreateContract, project: Project
    ) -> None:
        email, password = f"eva-{uuid.uuid4().hex[:8]}@example.com", "correct-horse-battery"
        with DashboardTasks(url=project.url, key=project.publishable_key) as dashboard:
            dashboard.sign_up(email, password)
        contract = create()
        as_eva = as_agent.with_env(SUPABASE_EMAIL=email, SUPABASE_PASSWORD=password)
        assert [row["id"] for row in as_eva("list", "--json").json] == [contract]
        assert "wrong-horse" not in as_eva.refuses(4, "list", SUPABASE_PASSWORD="wrong-horse")
        assert HINT in as_agent.refuses(3, "list", SUPABASE_EMAIL=email)
