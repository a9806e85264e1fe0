"""`ehg-tasks demo` through its real entry point, and how it handles other agents' outputs."""

from __future__ import annotations

import signal
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection

from ehg_tasks import AgentTasks, TaskContractError
from ehg_tasks.cli.demo import print_summary
from ehg_tasks.demo.run import cancel_on_error, create, summarize, wait
from tests.cli.conftest import Program
from tests.conftest import Project

Contracts = Callable[[], list[dict[str, Any]]]

PLANTED = """\
Findings
  README.md:13  broken-link  not in the folder: services/payments.md
  on-call.md:13  fence-language  no language: use `text` if none applies
  on-call.md:19  heading-order  h4 after h2: use h3
  services/database.md:4  broken-link  not in the folder: ../images/db.png
  services/database.md:26  broken-link  not in the folder: ../../backups.md
  services/database.md:26  broken-link  not in the folder: restore-drill.md

Documents: 5 checked, 2 clean; """


def test_the_findings_are_the_planted_ones_in_any_current_folder(
    as_agent: Program, project: Project, tmp_path: Path, contracts: Contracts
) -> None:
    (tmp_path / "other.md").write_text("# One\n\n### Three\n")
    answer = as_agent("demo", SUPABASE_SECRET_KEY=project.secret_key)
    assert answer.code == 0, answer
    assert PLANTED in answer.out
    assert "can read 5 of 5 contracts." in answer.out
    assert "Backend job: 5 completed; " in answer.out
    assert {(row["parent_agent"], row["status"]) for row in contracts()} == {("DEMO", "completed")}


def test_without_a_secret_key_there_is_no_backend_job(as_agent: Program) -> None:
    answer = as_agent("demo")
    assert answer.code == 0, answer
    assert "Backend job" not in answer.out


def test_a_document_that_cannot_be_checked_is_a_problem(as_agent: Program, tmp_path: Path) -> None:
    (tmp_path / "latin.md").write_bytes(b"caf\xe9")
    answer = as_agent("demo", ".")
    assert answer.code == 1
    assert "  latin.md: failed: cannot check the document: 'utf-8' codec can't decode" in answer.out


def test_control_characters_in_names_and_findings_are_escaped(as_agent: Program, tmp_path: Path) -> None:
    (tmp_path / "red\x1b[31m.md").write_text("[a](x%1b]0;title%07)\n")
    (tmp_path / "bad\x1b[31m.md").write_bytes(b"caf\xe9")
    answer = as_agent("demo", ".")
    assert r"  red\x1b[31m.md:1  broken-link  not in the folder: x\x1b]0;title\x07" in answer.out
    assert r"  bad\x1b[31m.md: failed: " in answer.out
    assert "\x1b" not in answer.out + answer.err


def test_outputs_of_other_agents_are_printed_as_escaped_lines(
    agent: AgentTasks, capsys: pytest.CaptureFixture[str]
) -> None:
    report = {"words": 1, "findings": [{"line": 1, "rule": "broken-link", "message": "a\x1b[2J\nb"}]}
    contracts = {uuid.uuid4(): name for name in ("report.md", "text.md", "number.md", "failed.md")}
    create(agent, contracts, uuid.uuid4(), "DOCMON-test")
    for claim in agent.claim("DOCMON-test", limit=4):
        match contracts[claim.contract_id]:
            case "report.md":
                agent.complete(claim, output=report)
            case "text.md":
                agent.complete(claim, output="\x1b[2J")
            case "number.md":
                agent.complete(claim, output={"words": 1.5, "findings": []})
            case "failed.md":
                agent.fail(claim, "\x1b[2J", retry=False)
    print_summary(summarize(contracts, wait(agent, contracts, [])))
    lines = capsys.readouterr().out.splitlines()
    assert r"  report.md:1  broken-link  a\x1b[2J b" in lines
    assert "  text.md: completed, but the output is not a document report" in lines
    assert "  number.md: completed, but the output is not a document report" in lines
    assert r"  failed.md: failed: \x1b[2J" in lines


def test_the_demo_leaves_other_contracts_alone(
    as_agent: Program, contracts: Contracts, database: Connection[Any]
) -> None:
    database.execute(
        "insert into public.agent_task_contracts (parent_agent, target_agent, objective, priority)"
        " select 'OTHER', name, 'o', 99 from unnest(array['DOCMON', 'DOCMON-00000000']) as name"
    )
    assert as_agent("demo").code == 0
    others = [row for row in contracts() if row["parent_agent"] == "OTHER"]
    assert [(row["status"], row["retry_count"]) for row in others] == [("pending", 0)] * 2


def test_a_folder_without_documents_is_refused(as_agent: Program, tmp_path: Path) -> None:
    assert "there are no .md files in ." in as_agent.refuses(7, "demo", ".")
    assert "nowhere is not a folder" in as_agent.refuses(7, "demo", "nowhere")


def test_a_missing_or_wrong_key_is_refused(program: Program, project: Project) -> None:
    keyless = program("demo")
    assert (keyless.code, keyless.out) == (3, "")
    assert "SUPABASE_PUBLISHABLE_KEY" in keyless.err
    swapped = program("demo", SUPABASE_PUBLISHABLE_KEY=project.secret_key)
    assert (swapped.code, swapped.out) == (3, "")
    assert "was given a secret key" in swapped.err


@contextmanager
def running_demo(program: Program, folder: Path, contracts: Contracts) -> Iterator[subprocess.Popen[str]]:
    """A demo in progress: at least one document has been checked and many have not."""
    for number in range(400):
        (folder / f"{number}.md").write_text("# A document\n\n" + "word " * 2000)
    with subprocess.Popen(
        program.command("demo", "."),
        cwd=folder,
        env=program.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as demo:
        while not any(row["status"] == "completed" for row in contracts()):
            assert demo.poll() is None
        yield demo


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_no_open_contract(
    as_agent: Program, tmp_path: Path, contracts: Contracts, number: signal.Signals
) -> None:
    with running_demo(as_agent, tmp_path, contracts) as demo:
        demo.send_signal(number)
        _, err = demo.communicate(timeout=60)
    assert demo.returncode == 130
    assert "Traceback" not in err
    assert {row["status"] for row in contracts()} == {"completed", "cancelled"}


def test_the_agent_processes_end_with_a_killed_program(
    as_agent: Program, tmp_path: Path, contracts: Contracts
) -> None:
    with running_demo(as_agent, tmp_path, contracts) as demo:
        demo.kill()
        demo.communicate(timeout=60)  # standard error ends when no process holds it any more


def test_contracts_are_cancelled_when_an_agent_process_ends_early(
    agent: AgentTasks, contracts: Contracts
) -> None:
    new = {uuid.uuid4(): "a.md", uuid.uuid4(): "b.md"}
    ended = subprocess.Popen(["true"])
    ended.wait()
    create(agent, new, uuid.uuid4(), "DOCMON-test")
    agent.claim("DOCMON-test")
    with pytest.raises(TaskContractError, match="an agent process ended"), cancel_on_error(agent, new):
        wait(agent, new, [ended])
    assert [row["status"] for row in contracts()] == ["cancelled"] * 2
