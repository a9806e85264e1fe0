"""The commands and the code in README and the docs work."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from ehg_tasks.cli import app
from tests.cli.conftest import CreateContract, Program

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / ".env.example",
    *sorted((ROOT / "docs").glob("*.md")),
]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.M | re.S)


def run_python(program: Program, code: str) -> str:
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=program.folder, env=program.env, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_the_first_python_example_hands_over_work(as_agent: Program) -> None:
    assert run_python(as_agent, blocks("python")[0]) == "{'page': 'start.svg'}\n"


def test_the_worker_example_works_on_every_contract(as_agent: Program, create: CreateContract) -> None:
    for _ in range(2):
        create()
    run_python(as_agent, blocks("python")[1])
    assert as_agent("claim", "DESIGN", "--json").json == []


def test_the_stack_example_starts_a_stack(program: Program) -> None:
    more = "\n    assert agent.claim('DESIGN') == []\n    agent.close()\n"
    run_python(program, blocks("python")[2].rstrip() + more)


def test_the_command_line_example_hands_over_work(as_agent: Program) -> None:
    create, work, outcome = blocks("sh")[1].splitlines()
    [created] = as_agent(*shlex.split(create)[1:], "--json").json
    contract = created["contract_id"]
    assert as_agent(*shlex.split(work, comments=True)[1:]).code == 0
    [result] = as_agent(*shlex.split(outcome.replace("CONTRACT_ID", contract))[1:], "--json").json
    assert result["output"]["objective"] == "Draw the start page"


def test_the_two_commands_are_targets_of_make() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for line in blocks("sh")[0].splitlines():
        assert re.search(rf"^{line.split()[1]}:", makefile, re.M)


MENTIONED = sorted(
    {
        match.group(0).strip()
        for page in PAGES
        for match in re.finditer(r"ehg-tasks (?!-)[a-z]+[^\n`|>.;,)]*", page.read_text())
    }
)


@pytest.mark.parametrize("line", MENTIONED)
def test_a_mentioned_command_and_its_options_exist(line: str) -> None:
    command = typer.main.get_command(app)
    words = line.split("#")[0].split()[1:]
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]  # type: ignore[attr-defined]
    assert not getattr(command, "commands", {}), f"no such command: {line}"
    options = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options


def test_the_files_that_the_readme_names_exist() -> None:
    names = re.findall(r"`((?:supabase|docs)/[\w/.-]+)`|\]\(((?!https)[\w/.-]+)\)", README)
    assert [name for pair in names for name in pair if name and not (ROOT / name).exists()] == []


def test_the_migrations_are_exported_to_a_supabase_folder(program: Program) -> None:
    [line] = re.findall(r"^ehg-tasks (migrations export .*)$", README, re.M)
    assert program(*shlex.split(line, comments=True)).code == 0
    assert list((program.folder / "supabase" / "migrations").iterdir())
