"""`ehg-tasks demo` and `ehg-tasks local` through their real entry point."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from psycopg import Connection

from ehg_tasks.local import LocalStack
from tests.cli.conftest import Program
from tests.conftest import Project

Contracts = Callable[[], list[dict[str, Any]]]


def documents(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "one.md").write_text("# One\n\n### Three\n\n[gone](nowhere.md)\n")
    (folder / "sub" / "two.md").write_text("# Two\n\n```\ncode\n```\n")
    (folder / "three.md").write_text("# Three\n\nAll is well.\n")


class TestDemo:
    def test_on_a_project_of_the_environment(
        self, program: Program, project: Project, tmp_path: Path, contracts: Contracts
    ) -> None:
        documents(tmp_path)
        keys = {
            "SUPABASE_PUBLISHABLE_KEY": project.publishable_key,
            "SUPABASE_SECRET_KEY": project.secret_key,
        }
        answer = program("demo", **keys)
        assert (answer.code, answer.err) == (0, "")
        for line in (
            "one.md:3  heading-order  h3 after h1: use h2",
            "one.md:5  broken-link  no such file: nowhere.md",
            "sub/two.md:3  fence-language",
            "3 documents checked, 1 clean, 3 findings",
            "Backend job: 3 completed",
            "sees 3 of 3 contracts of this run",
        ):
            assert line in answer.out
        rows = contracts()
        assert {(row["parent_agent"], row["target_agent"], row["status"]) for row in rows} == {
            ("DEMO_PARENT", "DOCMON", "completed")
        }
        assert all(row["output_artifact_id"] and row["completed_by_agent_id"] for row in rows)

    def test_without_a_secret_key_there_is_no_backend_job(
        self, program: Program, project: Project, tmp_path: Path
    ) -> None:
        documents(tmp_path)
        answer = program("demo", "--workers", "3", SUPABASE_PUBLISHABLE_KEY=project.publishable_key)
        assert answer.code == 0
        assert "Backend job" not in answer.out

    def test_what_waits_from_another_run_is_left_untouched(
        self,
        program: Program,
        project: Project,
        tmp_path: Path,
        contracts: Contracts,
        database: Connection[Any],
    ) -> None:
        documents(tmp_path)
        database.execute(
            "insert into public.agent_task_contracts (parent_agent, target_agent, objective, priority)"
            " select 'OTHER', 'DOCMON', 'o', 99 from generate_series(1, 5)"
        )
        answer = program("demo", SUPABASE_PUBLISHABLE_KEY=project.publishable_key)
        assert answer.code == 0, answer
        others = [row for row in contracts() if row["parent_agent"] == "OTHER"]
        assert [(row["status"], row["retry_count"]) for row in others] == [("pending", 0)] * 5

    def test_refusals(self, program: Program, project: Project, tmp_path: Path) -> None:
        documents(tmp_path)
        assert "there is no folder" in program.refuses(1, "demo", "nowhere")
        keyless = program("demo")
        assert keyless.code == 3
        assert "SUPABASE_PUBLISHABLE_KEY" in keyless.err
        swapped = program("demo", SUPABASE_PUBLISHABLE_KEY=project.secret_key)
        assert swapped.code == 3
        assert "was given a secret key" in swapped.err

    def test_an_interrupted_run_leaves_nothing_waiting(
        self, program: Program, project: Project, tmp_path: Path, contracts: Contracts
    ) -> None:
        for number in range(400):
            (tmp_path / f"{number}.md").write_text("# A document\n\n" + "word " * 2000)
        with subprocess.Popen(
            program.command("demo"),
            cwd=tmp_path,
            env=program.env | {"SUPABASE_PUBLISHABLE_KEY": project.publishable_key},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as demo:
            while not any(row["status"] == "completed" for row in contracts()):
                assert demo.poll() is None
            demo.send_signal(signal.SIGINT)
        assert demo.returncode != 0
        assert {row["status"] for row in contracts()} <= {"completed", "cancelled", "in_progress"}
        assert not [row for row in contracts() if row["status"] == "pending"]


class TestLocal:
    def test_from_start_to_stop(self, program: Program, tmp_path: Path) -> None:
        bare = Program(tmp_path, {n: v for n, v in program.env.items() if n != "SUPABASE_URL"}, ())
        assert bare("local", "status").code == 1
        assert "there is no stack" in bare.refuses(9, "local", "env")
        started = bare("local", "start")
        assert started.code == 0, started
        try:
            stack = LocalStack(tmp_path / ".ehg-tasks")
            state = stack.running()
            assert state is not None
            assert stack.url in started.err
            assert bare("local", "status").out.startswith(f"The stack runs at {stack.url} ")
            assert bare("local", "status", "--json").json == state
            assert "runs already" in bare.refuses(9, "local", "run")
            printed = dict(line.split("=", 1) for line in bare("local", "env").out.splitlines())
            assert printed == stack.env()
            assert list(printed) == [
                "SUPABASE_URL",
                "SUPABASE_PUBLISHABLE_KEY",
                "SUPABASE_SECRET_KEY",
                "SUPABASE_DB_URL",
            ]
            (tmp_path / ".env").write_text(bare("local", "env").out)
            documents(tmp_path)
            assert "3 documents checked" in bare("demo").out
            assert bare("local", "reset").code == 0
            assert bare("local", "env").out == (tmp_path / ".env").read_text()
        finally:
            assert bare("local", "stop").code == 0
        assert bare("local", "status").code == 1
        assert bare("local", "stop").err == "The stack did not run.\n"

    def test_run_ends_with_a_signal_and_leaves_no_process(self, program: Program, tmp_path: Path) -> None:
        for sign in (signal.SIGTERM, signal.SIGINT):
            with subprocess.Popen(
                program.command("local", "run"),
                cwd=tmp_path,
                env=program.env,
                stderr=subprocess.PIPE,
                text=True,
            ) as running:
                assert running.stderr is not None
                while not (line := running.stderr.readline()).startswith("The stack runs"):
                    assert line, "it ended"
                url = re.search(r"http://127\.0\.0\.1:\d+", line)
                assert url is not None
                state = LocalStack(tmp_path / ".ehg-tasks").running()
                assert state is not None
                running.send_signal(sign)
                assert "The stack has ended." in running.stderr.read()
            assert running.returncode == 0
            for process in (state["pid"], state["postgres"]):
                try:
                    os.kill(process, 0)
                except ProcessLookupError:
                    continue
                zombie = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
                assert zombie, "a process is left behind"

    def test_run_ends_when_it_is_stopped_from_elsewhere(self, program: Program, tmp_path: Path) -> None:
        with subprocess.Popen(
            program.command("local", "run"), cwd=tmp_path, env=program.env, stderr=subprocess.PIPE, text=True
        ) as running:
            assert running.stderr is not None
            while not (line := running.stderr.readline()).startswith("The stack runs"):
                assert line, "it ended"
            assert program("local", "stop").err == "The stack has ended; its data stays.\n"
            assert "stopped from elsewhere" in running.stderr.read()
        assert running.returncode == 0
