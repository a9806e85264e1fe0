"""`ehg-tasks work --exec`: real programs, good and bad."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ehg_tasks import AgentTasks
from tests.cli.conftest import Program

Read = Callable[[str], dict[str, Any]]
MIB = 2**20

# What a program does, by the objective of its contract.
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
    case ["leaves something behind"]:
        pass
    case ["leave"]:
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


@pytest.fixture
def create(agent: AgentTasks) -> Callable[..., str]:
    def make(objective: str, **fields: Any) -> str:
        work = {"parent_agent": "PLANNER", "target_agent": "DESIGN", "objective": objective}
        return str(agent.create(**(work | fields)).contract_id)

    return make


Create = Callable[..., str]


def work(program: Program, command: str, *options: str, **env: str) -> str:
    """Work until nothing is left; what it told on the way."""
    answer = program("work", "--agent", "DESIGN", "--exec", command, "--once", *options, **env)
    assert (answer.code, answer.out) == (0, ""), answer
    return answer.err


class TestResults:
    def test_the_contract_goes_in_and_the_result_comes_out(
        self, as_agent: Program, agent: AgentTasks, create: Create, command: str, row: Read
    ) -> None:
        contract = create("echo", constraints={"colour": "grün"}, max_tokens=7)
        work(as_agent, command)
        output = agent.outcome(contract).output
        assert isinstance(output, dict)
        assert output["contract_id"] == contract
        assert (output["constraints"], output["max_tokens"]) == ({"colour": "grün"}, 7)
        assert (output["attempt"], row(contract)["status"]) == (1, "completed")
        assert not any("token" in name for name in output.keys() - {"max_tokens"})
        assert "inputs" not in output

    def test_inputs(
        self, as_agent: Program, agent: AgentTasks, create: Create, command: str, database: Any
    ) -> None:
        artifact = database.execute(
            "insert into public.agent_artifacts (type, summary, content_text)"
            " values ('analysis', 'a study', 'all of it') returning id"
        ).fetchone()[0]
        contract = create("echo", input_artifacts=[artifact])
        work(as_agent, command)
        output: Any = agent.outcome(contract).output
        assert [i["content_text"] for i in output["inputs"]] == ["all of it"]

    def test_no_secret_goes_in(
        self, as_agent: Program, agent: AgentTasks, create: Create, command: str
    ) -> None:
        contract = create("environment")
        secrets = {"SUPABASE_SECRET_KEY": "sb_secret_x", "SUPABASE_PASSWORD": "x", "SUPABASE_DB_URL": "x"}
        secrets |= {"SUPABASE_ACCESS_TOKEN": "x", "EHG_TASKS_CLAIM_TOKEN": "x", "OURS": "stays"}
        work(as_agent, command, **secrets)
        output: Any = agent.outcome(contract).output
        assert output["OURS"] == "stays"
        assert [name for name in output if name.startswith(("SUPABASE", "EHG"))] == ["SUPABASE_URL"]

    @pytest.mark.parametrize("objective", ["nothing", "null"])
    def test_no_output(
        self, as_agent: Program, create: Create, command: str, row: Read, objective: str
    ) -> None:
        contract = create(objective)
        work(as_agent, command)
        assert (row(contract)["status"], row(contract)["output_artifact_id"]) == ("completed", None)

    def test_a_program_need_not_read(self, as_agent: Program, create: Create, row: Read) -> None:
        contract = create("x" * 65536, constraints={"x": "y" * 65000})
        work(as_agent, "true")
        assert row(contract)["status"] == "completed"

    def test_what_it_leaves_behind_holds_nobody_up(
        self, as_agent: Program, agent: AgentTasks, create: Create, command: str
    ) -> None:
        contract = create("leave")
        work(as_agent, command)
        assert agent.outcome(contract).output == "done"

    def test_many_at_once(self, as_agent: Program, create: Create, command: str, row: Read) -> None:
        contracts = [create(f"echo {n}") for n in range(12)]
        told = work(as_agent, command, "--concurrency", "4")
        assert [row(contract)["status"] for contract in contracts] == ["completed"] * 12
        assert all(len(line) < 200 for line in told.splitlines())


class TestFailures:
    @pytest.mark.parametrize(
        ("objective", "message"),
        [
            ("exit 1", "CommandFailed: exit code 1\nfirst line\n\x1b[31mlast line"),
            ("exit 64", "CommandFailed: exit code 64\nfirst line\n\x1b[31mlast line"),
            ("die SIGKILL", "CommandFailed: killed by SIGKILL\nhere it comes"),
            ("die SIGSEGV", "CommandFailed: killed by SIGSEGV\nhere it comes"),
            ("print 7b62", "CommandFailed: its output is not JSON: Expecting property name"),
            ("print 31202032", "CommandFailed: its output is not JSON: Extra data (line 1, column 4)"),
            ("print 4e614e", "CommandFailed: its output is not JSON: NaN is no JSON number"),
            ("print 22ff22", "CommandFailed: its output is not UTF-8"),
            ("flood output", "CommandFailed: its output is larger than 1 MiB"),
        ],
    )
    def test_another_attempt_follows(
        self, as_agent: Program, create: Create, command: str, row: Read, objective: str, message: str
    ) -> None:
        contract = create(objective)
        told = work(as_agent, command)
        assert (row(contract)["status"], row(contract)["retry_count"]) == ("pending", 1)
        assert row(contract)["error_message"].startswith(message)
        assert "\x1b" not in told

    def test_for_good(self, as_agent: Program, create: Create, command: str, row: Read) -> None:
        contract = create("exit 65")
        work(as_agent, command)
        assert (row(contract)["status"], row(contract)["retry_count"]) == ("failed", 0)
        assert row(contract)["error_message"] == "exit code 65\nfirst line\n\x1b[31mlast line"

    def test_a_flood_of_errors(self, as_agent: Program, create: Create, command: str, row: Read) -> None:
        contract = create("flood errors")
        work(as_agent, command)
        message = row(contract)["error_message"]
        assert message.endswith("eee\nthe end")
        assert len(message) < 5000

    def test_an_output_that_does_not_fit(
        self, as_agent: Program, create: Create, command: str, row: Read
    ) -> None:
        contract = create("echo", output_schema={"type": "array"})
        work(as_agent, command)
        assert row(contract)["status"] == "pending"
        assert "does not fit the contract's output_schema" in row(contract)["error_message"]

    def test_a_hang_ends_with_all_its_processes(
        self, as_agent: Program, create: Create, row: Read, tmp_path: Path
    ) -> None:
        contract = create("hang")
        with pipe(tmp_path / "alive") as ours:
            # Both hold the pipe open for as long as they live, and neither minds a SIGTERM.
            hang = "exec 3>alive; trap '' TERM; echo so far >&2; sleep 600 & wait"
            work(as_agent, shlex.join(["sh", "-c", hang]), "--timeout", "5")
            assert os.read(ours, 100) == b""  # nobody holds it
        assert row(contract)["error_message"] == "CommandFailed: no result within 5 s\nso far"

    def test_a_command_that_cannot_run(self, as_agent: Program, create: Create, row: Read) -> None:
        contract = create("x")
        (as_agent.folder / "program").write_text("#!/no/such/interpreter\n")
        (as_agent.folder / "program").chmod(0o755)
        work(as_agent, "./program")
        assert row(contract)["error_message"].startswith("CommandFailed: cannot run ./program: No such file")


@contextmanager
def pipe(path: Path) -> Iterator[int]:
    """A named pipe, open for reading without waiting: no data is an end where nobody holds the other end."""
    os.mkfifo(path)
    ours = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        yield ours
    finally:
        os.close(ours)


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


class TestTheEnd:
    @pytest.mark.parametrize("signal_", [signal.SIGTERM, signal.SIGINT])
    def test_asked_to_end(
        self, as_agent: Program, create: Create, row: Read, tmp_path: Path, signal_: signal.Signals
    ) -> None:
        contract = create("hang")
        os.mkfifo(tmp_path / "alive")
        hang = shlex.join(["sh", "-c", "echo started > alive; exec 3>alive; exec sleep 600"])
        with working(as_agent, hang, "--grace", "0") as worker, (tmp_path / "alive").open() as alive:
            assert alive.readline() == "started\n"
            worker.send_signal(signal_)
            _, told = worker.communicate(timeout=60)
            assert alive.read() == ""
        assert (worker.returncode, "Traceback" in told) == (0, False)
        assert (row(contract)["status"], row(contract)["retry_count"]) == ("pending", 0)

    def test_running_commands_may_finish(
        self, as_agent: Program, create: Create, row: Read, tmp_path: Path
    ) -> None:
        contract, next_ = create("first", priority=60), create("second")
        for name in ("started", "go"):
            os.mkfifo(tmp_path / name)
        command = shlex.join(["sh", "-c", "echo yes > started; cat go"])
        with working(as_agent, command) as worker:
            assert (tmp_path / "started").read_text() == "yes\n"
            worker.send_signal(signal.SIGTERM)
            (tmp_path / "go").write_text('"finished"')
            worker.communicate(timeout=60)
        assert worker.returncode == 0
        assert [row(c)["status"] for c in (contract, next_)] == ["completed", "pending"]

    def test_one_of_several_is_killed(
        self,
        as_agent: Program,
        create: Create,
        command: str,
        row: Read,
        database: psycopg.Connection[Any],
        tmp_path: Path,
    ) -> None:
        """Every contract ends exactly once, those of the killed worker included."""
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
        assert sorted(row(c)["status"] for c in contracts) == ["completed"] * 9 + ["in_progress"]

        database.execute("update ehg_tasks.leases set expires_at = now()")
        work(as_agent, command)
        rows = [row(contract) for contract in contracts]
        assert [r["status"] for r in rows] == ["completed"] * 10
        assert sum(r["retry_count"] for r in rows) == 1
        counted = database.execute("select count(*) from public.agent_artifacts").fetchone()
        assert counted == (10,)  # one output each


class TestRefusals:
    @pytest.mark.parametrize(
        ("command", "why"),
        [
            ("no-such-program --x", "--exec: there is no program 'no-such-program'. Give its path"),
            ("", "--exec: there is no program ''"),
            ("'open", "--exec cannot be read: No closing quotation"),
        ],
    )
    def test_no_command(self, as_agent: Program, command: str, why: str) -> None:
        assert why in as_agent.refuses(7, "work", "--agent", "DESIGN", "--exec", command)

    def test_no_key(self, program: Program) -> None:
        assert "Set SUPABASE_PUBLISHABLE_KEY" in program.refuses(3, "work", "--agent", "A", "--exec", "true")

    def test_a_key_that_nobody_knows(self, program: Program) -> None:
        unknown = program.with_env(SUPABASE_PUBLISHABLE_KEY="sb_publishable_" + "x" * 22 + "_12345678")
        answer = unknown("work", "--agent", "A", "--exec", "true")
        assert (answer.code, answer.out) == (4, "")
        assert json.loads(json.dumps(answer.err)).splitlines()[-1].startswith("ehg-tasks: ")
