"""`ehg-tasks local` through its real entry point."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

from ehg_tasks.local import LocalStack
from tests.cli.conftest import Program


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
            assert "Documents: 5 checked" in bare("demo").out
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
