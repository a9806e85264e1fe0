"""`ehg-tasks work --exec` with programs that succeed, fail or hang."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from ehg_tasks import AgentTasks
from tests.cli.conftest import CreateContract, Program, ReadRow
from tests.lifecycle.helpers import end_lease

# A program that does what the objective of its contract says.
PROGRAM = """
import json, os, signal, subprocess, sys
contract = json.load(sys.stdin)
match contract["objective"].split():
    case ["echo", *_]:
        json.dump(contract, sys.stdout)
    case ["environment"]:
        json.dump(dict(os.environ), sys.stdout)
    case ["nothing"]:
        print()
    case ["null"]:
        print("null")
    case ["leave", "a", "process"]:
        subprocess.Popen(["sleep", "600"])
        print('"done"')
    case ["print", text]:
        sys.stdout.buffer.write(bytes.fromhex(text))
    case ["exit", code]:
        print("first line", file=sys.stderr)
        print("\\x1b[31mlast line", file=sys.stderr)
        print('"output"')
        sys.exit(int(code))
    case ["die", name]:
        print("here it comes", file=sys.stderr, flush=True)
        os.kill(os.getpid(), getattr(signal, name))
    case ["flood", "output"]:
        while True:
            os.write(1, b"x" * 65536)
    case ["flood", "errors"]:
        for n in range(200):
            os.write(2, b"e" * 65536 + b"\\n")
        print("the end", file=sys.stderr)
        sys.exit(1)
"""


@pytest.fixture
def command(tmp_path: Path) -> str:
    script = tmp_path / "program with a space.py"
    script.write_text(PROGRAM)
    return shlex.join([sys.executable, str(script)])


def work(program: Program, command: str, *options: str, **env: str) -> str:
    """Work until nothing can be claimed; return the log."""
    result = program("work", "--agent", "DESIGN", "--exec", command, "--once", *options, **env)
    assert (result.code, result.out) == (0, ""), result
    return result.err


class TestResults:
    def test_the_program_reads_the_contract_and_writes_the_result(
        self, as_agent: Program, agent: AgentTasks, create: CreateContract, command: str, row: ReadRow
    ) -> None:
        contract = create("echo", constraints={"color": "grün"}, max_tokens=7)
        work(as_agent, command)
        output = agent.outcome(contract).output
        assert isinstance(output, dict)
        assert output["contract_id"] == contract
        assert (output["constraints"], output["max_tokens"]) == ({"color": "grün"}, 7)
        assert (output["attempt"], row(contract)["status"]) == (1, "completed")
        assert not any("token" in name for name in output.keys() - {"max_tokens"})
        assert "inputs" not in output

    def test_the_program_receives_the_input_artifacts(
        self, as_agent: Program, agent: AgentTasks, create: CreateContract, command: str, artifact: str
    ) -> None:
        contract = create("echo", input_artifacts=[artifact])
        work(as_agent, command)
        output: Any = agent.outcome(contract).output
        assert [item["content_text"] for item in output["inputs"]] == ["all of it"]

    def test_the_program_inherits_the_environment_without_secrets(
        self, as_agent: Program, agent: AgentTasks, create: CreateContract, command: str
    ) -> None:
        contract = create("environment")
        secrets = {"SUPABASE_SECRET_KEY": "sb_secret_x", "SUPABASE_PASSWORD": "x", "SUPABASE_DB_URL": "x"}
        secrets |= {"SUPABASE_ACCESS_TOKEN": "x", "EHG_TASKS_CLAIM_TOKEN": "x", "EHG_AGENT_TOKEN": "x"}
        secrets["OURS"] = "stays"
        work(as_agent, command, **secrets)
        output: Any = agent.outcome(contract).output
        assert output["OURS"] == "stays"
        assert [name for name in output if name.startswith(("SUPABASE", "EHG"))] == ["SUPABASE_URL"]

    @pytest.mark.parametrize("objective", ["nothing", "null"])
    def test_no_output_completes_the_contract_without_an_artifact(
        self, as_agent: Program, create: CreateContract, command: str, row: ReadRow, objective: str
    ) -> None:
        contract = create(objective)
        work(as_agent, command)
        assert (row(contract)["status"], row(contract)["output_artifact_id"]) == ("completed", None)

    def test_a_program_may_ignore_its_input(
        self, as_agent: Program, create: CreateContract, row: ReadRow
    ) -> None:
        contract = create("x" * 65536, constraints={"x": "y" * 65000})
        work(as_agent, "true")
        assert row(contract)["status"] == "completed"

    def test_a_process_left_running_does_not_delay_the_result(
        self, as_agent: Program, agent: AgentTasks, create: CreateContract, command: str
    ) -> None:
        contract = create("leave a process")
        work(as_agent, command)
        assert agent.outcome(contract).output == "done"

    def test_contracts_are_worked_on_concurrently(
        self, as_agent: Program, create: CreateContract, command: str, row: ReadRow
    ) -> None:
        contracts = [create(f"echo {n}") for n in range(12)]
        log = work(as_agent, command, "--concurrency", "4")
        assert [row(contract)["status"] for contract in contracts] == ["completed"] * 12
        assert all(len(line) < 200 for line in log.splitlines())


class TestFailures:
    @pytest.mark.parametrize(
        ("objective", "message"),
        [
            ("exit 1", "CommandFailed: exit code 1\nfirst line\n\x1b[31mlast line"),
            ("die SIGKILL", "CommandFailed: killed by SIGKILL\nhere it comes"),
            ("print 7b62", "CommandFailed: its output is not JSON: Expecting property name"),
            ("print 31202032", "CommandFailed: its output is not JSON: Extra data: line 1 column 4"),
            ("print 4e614e", "CommandFailed: its output is not JSON: NaN is not a JSON number"),
            ("print 22ff22", "CommandFailed: its output is not UTF-8"),
            ("flood output", "CommandFailed: its output is larger than 1 MiB"),
        ],
    )
    def test_a_failed_attempt_is_retried(
        self,
        as_agent: Program,
        create: CreateContract,
        command: str,
        row: ReadRow,
        objective: str,
        message: str,
    ) -> None:
        contract = create(objective)
        log = work(as_agent, command)
        assert (row(contract)["status"], row(contract)["retry_count"]) == ("pending", 1)
        assert row(contract)["error_message"].startswith(message)
        assert "\x1b" not in log

    def test_exit_code_65_is_not_retried(
        self, as_agent: Program, create: CreateContract, command: str, row: ReadRow
    ) -> None:
        contract = create("exit 65")
        work(as_agent, command)
        assert (row(contract)["status"], row(contract)["retry_count"]) == ("failed", 0)
        assert row(contract)["error_message"] == "exit code 65\nfirst line\n\x1b[31mlast line"

    def test_only_the_last_lines_of_standard_error_are_kept(
        self, as_agent: Program, create: CreateContract, command: str, row: ReadRow
    ) -> None:
        contract = create("flood errors")
        work(as_agent, command)
        message = row(contract)["error_message"]
        assert message.endswith("eee\nthe end")
        assert len(message) < 5000

    def test_an_output_that_does_not_fit_its_schema_is_retried(
        self, as_agent: Program, create: CreateContract, command: str, row: ReadRow
    ) -> None:
        contract = create("echo", output_schema={"type": "array"})
        work(as_agent, command)
        assert row(contract)["status"] == "pending"
        assert "does not match the contract's output_schema" in row(contract)["error_message"]

    def test_a_timeout_kills_the_program_and_its_children(
        self, as_agent: Program, create: CreateContract, row: ReadRow, tmp_path: Path
    ) -> None:
        contract = create("hang")
        with named_pipe(tmp_path / "alive") as reader:
            # The shell and its child hold the pipe open while they live, and ignore SIGTERM.
            hang = "exec 3>alive; trap '' TERM; echo so far >&2; sleep 600 & wait"
            work(as_agent, shlex.join(["sh", "-c", hang]), "--timeout", "5")
            assert os.read(reader, 100) == b""  # no process holds it open
        assert row(contract)["error_message"] == "CommandFailed: no result within 5 s\nso far"

    def test_a_program_that_cannot_start_fails_the_attempt(
        self, as_agent: Program, create: CreateContract, row: ReadRow
    ) -> None:
        contract = create("x")
        (as_agent.folder / "program").write_text("#!/no/such/interpreter\n")
        (as_agent.folder / "program").chmod(0o755)
        work(as_agent, "./program")
        assert row(contract)["error_message"].startswith("CommandFailed: cannot run ./program: No such file")


def test_a_cancelled_contract_kills_its_program(
    as_agent: Program, agent: AgentTasks, create: CreateContract, tmp_path: Path
) -> None:
    contract = create("hang")
    os.mkfifo(tmp_path / "alive")
    hang = shlex.join(["sh", "-c", "echo started > alive; exec 3>alive; exec sleep 600"])
    options = ("--once", "--lease", "5", "--renew-every", "0.1")
    with working(as_agent, hang, *options) as worker, (tmp_path / "alive").open() as alive:
        assert alive.readline() == "started\n"
        agent.cancel(contract)
        assert alive.read() == ""
        _, log = worker.communicate(timeout=60)
    assert (worker.returncode, "the work is dropped: the contract was cancelled" in log) == (0, True)


@contextmanager
def named_pipe(path: Path) -> Iterator[int]:
    """A named pipe, open for reading; a read is empty when no process holds it open for writing."""
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        yield reader
    finally:
        os.close(reader)


@contextmanager
def working(program: Program, command: str, *options: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        program.command("work", "--agent", "DESIGN", "--exec", command, *options),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=program.folder,
        env=program.env,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


class TestSignals:
    @pytest.mark.parametrize("signal_", [signal.SIGTERM, signal.SIGINT])
    def test_after_the_grace_period_running_contracts_are_released(
        self, as_agent: Program, create: CreateContract, row: ReadRow, tmp_path: Path, signal_: signal.Signals
    ) -> None:
        contract = create("hang")
        os.mkfifo(tmp_path / "alive")
        hang = shlex.join(["sh", "-c", "echo started > alive; exec 3>alive; exec sleep 600"])
        with working(as_agent, hang, "--grace", "0") as worker, (tmp_path / "alive").open() as alive:
            assert alive.readline() == "started\n"
            worker.send_signal(signal_)
            _, log = worker.communicate(timeout=60)
            assert alive.read() == ""
        assert (worker.returncode, "Traceback" in log) == (0, False)
        assert (row(contract)["status"], row(contract)["retry_count"]) == ("pending", 0)

    def test_running_programs_may_finish_and_nothing_more_is_claimed(
        self, as_agent: Program, create: CreateContract, row: ReadRow, tmp_path: Path
    ) -> None:
        first, second = create("first", priority=60), create("second")
        for name in ("started", "go"):
            os.mkfifo(tmp_path / name)
        command = shlex.join(["sh", "-c", "echo yes > started; cat go"])
        with working(as_agent, command) as worker:
            assert (tmp_path / "started").read_text() == "yes\n"
            worker.send_signal(signal.SIGTERM)
            (tmp_path / "go").write_text('"finished"')
            worker.communicate(timeout=60)
        assert worker.returncode == 0
        assert [row(contract)["status"] for contract in (first, second)] == ["completed", "pending"]

    def test_the_contract_of_a_killed_worker_ends_once_after_its_lease(
        self,
        as_agent: Program,
        create: CreateContract,
        command: str,
        row: ReadRow,
        database: psycopg.Connection[Any],
        tmp_path: Path,
    ) -> None:
        contracts = [create(f"echo {n}") for n in range(10)]
        os.mkfifo(tmp_path / "started")
        hang = shlex.join(["sh", "-c", "echo $$ > started; exec sleep 600"])
        with working(as_agent, hang) as killed:
            orphan = int((tmp_path / "started").read_text())
            with working(as_agent, command, "--once") as one, working(as_agent, command, "--once") as two:
                killed.kill()
                killed.wait()
                for worker in (one, two):
                    worker.communicate(timeout=60)
                    assert worker.returncode == 0
        with suppress(ProcessLookupError):
            os.kill(orphan, signal.SIGKILL)
        assert sorted(row(contract)["status"] for contract in contracts) == ["completed"] * 9 + [
            "in_progress"
        ]

        [held] = [contract for contract in contracts if row(contract)["status"] == "in_progress"]
        end_lease(database, UUID(held))
        work(as_agent, command)
        rows = [row(contract) for contract in contracts]
        assert [r["status"] for r in rows] == ["completed"] * 10
        assert sum(r["retry_count"] for r in rows) == 1
        artifacts = database.execute("select count(*) from public.agent_artifacts").fetchone()
        assert artifacts == (10,)  # one output each


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("no-such-program --x", "--exec: no program 'no-such-program' was found. Give its path"),
        ("", "--exec: no program '' was found"),
        ("'open", "--exec cannot be parsed: No closing quotation"),
    ],
)
def test_a_command_that_is_not_a_program_is_refused(as_agent: Program, command: str, error: str) -> None:
    assert error in as_agent.refuses(7, "work", "--agent", "DESIGN", "--exec", command)


@pytest.mark.parametrize(
    ("options", "code", "error"),
    [
        (["--lease", "4"], 2, "--lease"),
        (["--lease", "5", "--renew-every", "5"], 7, "--renew-every must be more than 0 and less than"),
    ],
)
def test_a_lease_that_would_expire_between_renewals_is_refused(
    as_agent: Program, options: list[str], code: int, error: str
) -> None:
    result = as_agent("work", "--agent", "DESIGN", "--exec", "true", "--once", *options)
    assert (result.code, result.out) == (code, "")
    assert error in result.err


def test_an_unknown_key_ends_the_worker(program: Program) -> None:
    unknown = program.with_env(SUPABASE_PUBLISHABLE_KEY="sb_publishable_" + "x" * 22 + "_12345678")
    result = unknown("work", "--agent", "A", "--exec", "true")
    assert (result.code, result.out) == (4, "")
    assert result.err.splitlines()[-1].startswith("ehg-tasks: ")


class TestLog:
    def test_it_says_what_it_does_when_it_starts_claims_and_stops(
        self, as_agent: Program, create: CreateContract
    ) -> None:
        contract = create("x")
        secret = "a secret argument"
        log = work(as_agent, shlex.join(["true", secret]), "--lease", "30", "--renew-every", "3")
        start, claimed, completed, stopped = (line.split(" INFO ")[1] for line in log.splitlines())
        url = as_agent.env["SUPABASE_URL"]
        assert start == f"working for DESIGN at {url} with true: 1 at once, leases of 30 s, renewed every 3 s"
        assert claimed == f"task contract {contract}: claimed, attempt 1"
        assert completed.startswith(f"task contract {contract}: completed")
        assert stopped == "stopped"
        assert secret not in log

    def test_as_json_every_line_is_an_object(
        self, as_agent: Program, program: Program, create: CreateContract, command: str
    ) -> None:
        contract = create("exit 65")
        log = work(as_agent, command, "--log-format", "json")
        start, claimed, failed, stopped = map(json.loads, log.splitlines())
        for line in (start, claimed, failed, stopped):
            assert line.keys() == start.keys()
            assert line["agent"] == "DESIGN"
        assert start["message"].startswith("working for DESIGN at ")
        assert (claimed["contract_id"], claimed["attempt"]) == (contract, 1)
        assert (failed["contract_id"], failed["level"]) == (contract, "WARNING")
        assert failed["seconds"] > 0
        assert datetime.fromisoformat(failed["time"]) >= datetime.fromisoformat(start["time"])

        unknown = program.with_env(SUPABASE_PUBLISHABLE_KEY="sb_publishable_" + "x" * 22 + "_12345678")
        result = unknown("work", "--agent", "A", "--exec", "true", "--log-format", "json")
        messages = [json.loads(line)["message"] for line in result.err.splitlines()]
        assert result.code == 4
        assert any(message.startswith("the worker ends: ") for message in messages)
