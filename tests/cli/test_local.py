"""`ehg-tasks local`."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ehg_tasks import AgentTasks, ContractNotFound
from ehg_tasks.local import LocalStack
from tests.cli.conftest import Program


def test_a_stack_from_start_to_stop(program: Program, tmp_path: Path) -> None:
    bare = Program(tmp_path, {n: v for n, v in program.env.items() if n != "SUPABASE_URL"}, ())
    assert bare("local", "status").code == 1
    assert "there is no stack" in bare.refuses(9, "local", "env")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "20270101000000_notes.sql").write_text("create table public.notes ();")
    started = bare("local", "start", "--migrations", "own")
    assert started.code == 0, started
    assert "Applied 20261123101300_dashboard.sql\nApplied 20270101000000_notes.sql\n" in started.err
    assert started.err.endswith("keys: ehg-tasks local env. Stop it: ehg-tasks local stop.\n")
    try:
        stack = LocalStack(tmp_path / ".ehg-tasks")
        state = stack.running()
        assert state is not None
        assert stack.url in started.err
        assert bare("local", "status").out.startswith(f"The stack is running at {stack.url} ")
        assert bare("local", "status", "--json").json == state
        assert "already running" in bare.refuses(9, "local", "run")
        env = bare("local", "env").out
        assert dict(line.split("=", 1) for line in env.splitlines()) == stack.env()
        (tmp_path / ".env").write_text("OTHER=1\nSUPABASE_URL=http://127.0.0.1:9\n")
        assert bare("local", "env", "--write", ".env").out == ""
        assert (tmp_path / ".env").read_text() == f"OTHER=1\n{env}"
        assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
        assert "cannot write to own" in bare.refuses(1, "local", "env", "--write", "own")
        assert bare("demo").code == 0
        assert "will not delete everything in the database in" in bare.refuses(7, "local", "reset")
        assert bare("local", "reset", "--dry-run").err == (
            f"Would delete everything in the database in {stack.folder}.\n"
        )
        with AgentTasks(stack.settings()) as agent:
            kept = agent.create(parent_agent="P", target_agent="T", objective="x").contract_id
            declined = bare.at_terminal("local", "reset", answer="\n")
            assert (declined.code, agent.outcome(kept).status) == (1, "pending")
            assert bare("local", "reset", "--yes").code == 0
            with pytest.raises(ContractNotFound):
                agent.outcome(kept)
        assert bare("local", "env").out == env
    finally:
        assert bare("local", "stop").code == 0
    assert bare("local", "status").code == 1
    assert bare("local", "stop").err == "The stack was not running.\n"


@contextmanager
def running_stack(program: Program) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        program.command("local", "run"),
        cwd=program.folder,
        env=program.env,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        while not (line := process.stderr.readline()).startswith("The stack is running at http://127.0.0.1:"):
            assert line, "it ended"
        yield process


@pytest.mark.parametrize("signal_", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_stack_and_all_its_processes(
    program: Program, tmp_path: Path, signal_: signal.Signals
) -> None:
    with running_stack(program) as process:
        state = LocalStack(tmp_path / ".ehg-tasks").running()
        assert state is not None
        process.send_signal(signal_)
        assert process.stderr is not None
        assert "The stack has stopped." in process.stderr.read()
    assert process.returncode == 0
    assert not any(is_alive(pid) for pid in (state["pid"], state["postgres"]))


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"  # a zombie


def test_run_ends_when_another_command_stops_the_stack(program: Program) -> None:
    with running_stack(program) as process:
        assert program("local", "stop").err == "The stack has stopped; its data is kept.\n"
        assert process.stderr is not None
        assert "The stack has stopped." in process.stderr.read()
    assert process.returncode == 0
