"""What readers see on the command line."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import uuid
from typing import Any

import pytest

from ehg_tasks import AgentTasks, DashboardTasks
from tests.cli.conftest import Program
from tests.conftest import Project

WORK: dict[str, Any] = {
    "parent_agent": "PLANNER",
    "target_agent": "DESIGN",
    "objective": "Draw the start page.",
}
HINT = (
    "Set SUPABASE_SECRET_KEY, or SUPABASE_PUBLISHABLE_KEY with SUPABASE_ACCESS_TOKEN or with SUPABASE_EMAIL"
)


def created(agent: AgentTasks, count: int = 1, **fields: Any) -> list[str]:
    return [str(agent.create(**(WORK | fields)).contract_id) for _ in range(count)]


class TestList:
    def test_order_and_limit(self, as_backend: Program, agent: AgentTasks) -> None:
        ids = created(agent, 3)
        assert [c["id"] for c in as_backend("list", "--json").json] == ids
        assert [c["id"] for c in as_backend("list", "--newest", "--limit", "2", "--json").json] == ids[:0:-1]
        told = as_backend("list", "--limit", "2")
        assert (ids[0] in told.out, ids[1] in told.out, ids[2] in told.out) == (True, True, False)
        assert told.err == "There are more than these 2: see --limit and the filters.\n"
        assert as_backend("list", "--limit", "3").err == ""

    def test_filters(self, as_backend: Program, agent: AgentTasks) -> None:
        session = str(uuid.uuid4())
        [wanted] = created(agent, target_agent="QA", session_id=session, parent_agent="LEAD")
        [other] = created(agent)
        agent.cancel(other)
        for filters in (
            ["--target", "QA"],
            ["--parent", "LEAD"],
            ["--session", session],
            ["--status", "pending"],
            ["--target", "QA", "--created-after", "2020-01-01", "--created-before", "2099-01-01T00:00:00Z"],
        ):
            assert [c["id"] for c in as_backend("list", "--json", *filters).json] == [wanted]
        assert as_backend("list", "--json", "--created-before", "2020-01-01").json == []
        assert as_backend("count").out == "2\n"
        assert as_backend("count", "--status", "cancelled", "--json").json == 1

    def test_what_others_wrote_is_not_obeyed(self, as_backend: Program, agent: AgentTasks) -> None:
        [contract] = created(agent, objective="[red]\x1b[2J\x9b2J\n" + "long " * 50, target_agent="A\x1b[31m")
        told = as_backend("list").out
        [line] = [line for line in told.splitlines() if contract in line]
        assert "[red]\\x1b[2J\\x9b2J long" in line
        assert line.rstrip().endswith("…")
        assert "A\\x1b[31m" in line
        raw = as_backend("show", contract, "--json").out
        assert "\x1b" not in told + raw
        assert "\x9b" not in told + raw
        assert json.loads(raw)["objective"].startswith("[red]\x1b[2J\x9b2J\n")

    @pytest.mark.parametrize(
        ("arguments", "why"),
        [
            (["list", "--status", "done"], "status must be one of pending, in_progress"),
            (["count", "--session", "x"], "session_id is not a UUID"),
            (["list", "--created-after", "tomorrow"], "--created-after is no time in ISO 8601. Write 2026-"),
            (["show", "x"], "is not a UUID"),
        ],
    )
    def test_refusals(self, as_backend: Program, arguments: list[str], why: str) -> None:
        assert why in as_backend.refuses(7, *arguments)


class TestShowAndStats:
    def test_show(self, as_backend: Program, agent: AgentTasks) -> None:
        [contract] = created(agent, constraints={"colour": "grün"}, objective="one\ntwo")
        told = as_backend("show", contract, "--json").json
        assert len(told) == 28
        lines = as_backend("show", contract).out.splitlines()
        assert f"id                          {contract}" in lines
        assert 'constraints                 {"colour": "grün"}' in lines
        assert lines[lines.index("objective                   one") + 1].strip() == "two"
        assert "(PGRST" not in as_backend.refuses(5, "show", str(uuid.uuid4()))

    def test_stats(self, as_backend: Program, agent: AgentTasks) -> None:
        created(agent, 2)
        [figures] = as_backend("stats", "--json").json
        assert (figures["target_agent"], figures["status"], figures["contracts"]) == ("DESIGN", "pending", 2)
        header, _, row = as_backend("stats").out.splitlines()
        assert header.split()[:3] == ["AGENT", "STATUS", "COUNT"]
        assert row.split()[:3] == ["DESIGN", "pending", "2"]


class TestWatch:
    def test_without_a_terminal(self, as_backend: Program, agent: AgentTasks) -> None:
        [contract] = created(agent)
        told = as_backend("watch", "--every", "0.1", "--times", "2")
        assert (told.code, told.err) == (0, "")
        assert told.out.count(contract) == 2
        assert "\x1b" not in told.out

    def test_as_json_lines(self, as_backend: Program, agent: AgentTasks) -> None:
        [contract] = created(agent)
        lines = as_backend("watch", "--every", "0.1", "--times", "2", "--json").out.splitlines()
        assert [json.loads(line)["newest"][0]["id"] for line in lines] == [contract, contract]
        assert json.loads(lines[0])["stats"][0]["contracts"] == 1

    def test_a_terminal_until_interrupted(self, as_backend: Program, agent: AgentTasks) -> None:
        [contract] = created(agent)
        ours, theirs = pty.openpty()
        watching = subprocess.Popen(
            as_backend.command("watch", "--every", "0.1"),
            stdin=theirs,
            stdout=theirs,
            stderr=subprocess.PIPE,
            cwd=as_backend.folder,
            env=as_backend.env | {"TERM": "xterm", "COLUMNS": "60"},
        )
        os.close(theirs)
        assert watching.stderr is not None
        with watching.stderr as errors:
            screen = b""
            while screen.count(contract.encode()) < 2:  # drawn again, in its place, and not cut
                assert select.select([ours], [], [], 60)[0], screen
                screen += os.read(ours, 65536)
            watching.send_signal(signal.SIGINT)
            assert watching.wait(60) == 0
            assert errors.read() == b""
        os.close(ours)
        assert b"\x1b[" in screen

    def test_refusals_end_it(self, as_agent: Program, program: Program) -> None:
        unknown = "sb_secret_" + "x" * 22 + "_12345678"
        program.refuses(4, "watch", "--times", "3", SUPABASE_SECRET_KEY=unknown)
        program.refuses(
            8, "watch", "--times", "1", SUPABASE_URL="http://127.0.0.1:9", SUPABASE_SECRET_KEY=unknown
        )


class TestWhoReads:
    @pytest.mark.parametrize(
        "command", [["list"], ["count"], ["show", str(uuid.uuid4())], ["stats"], ["watch"]]
    )
    def test_somebody_has_to(self, as_agent: Program, command: list[str]) -> None:
        assert HINT in as_agent.refuses(3, *command)

    def test_a_user_by_token(self, as_user: Program, agent: AgentTasks, user_token: str) -> None:
        ids = created(agent, 2)
        assert [c["id"] for c in as_user("list", "--json").json] == ids
        assert as_user("stats", "--json").json[0]["contracts"] == 2
        refusal = as_user.refuses(4, "list", SUPABASE_ACCESS_TOKEN=user_token[:-4] + "AAAA")
        assert user_token[:-4] not in refusal
        assert "was given" in as_user.refuses(3, "list", SUPABASE_ACCESS_TOKEN="nonsense")

    def test_a_user_by_password(self, as_agent: Program, agent: AgentTasks, project: Project) -> None:
        email, password = f"eva-{uuid.uuid4().hex[:8]}@example.com", "correct-horse-battery"
        with DashboardTasks(url=project.url, key=project.publishable_key) as dashboard:
            dashboard.sign_up(email, password)
        ids = created(agent)
        env = {"SUPABASE_EMAIL": email, "SUPABASE_PASSWORD": password}
        assert [c["id"] for c in as_agent("list", "--json", **env).json] == ids
        assert "wrong-horse" not in as_agent.refuses(
            4, "list", **(env | {"SUPABASE_PASSWORD": "wrong-horse"})
        )
        assert HINT in as_agent.refuses(3, "list", SUPABASE_EMAIL=email)

    def test_the_pipe_may_close(self, as_backend: Program, agent: AgentTasks) -> None:
        created(agent)
        script = '"$@" | true; echo "${PIPESTATUS[0]}"'
        done = subprocess.run(
            ["bash", "-c", script, "bash", *as_backend.command("watch", "--every", "0.1")],
            capture_output=True,
            text=True,
            cwd=as_backend.folder,
            env=as_backend.env,
            timeout=120,
        )
        assert (done.stdout, done.stderr) == ("1\n", "")
