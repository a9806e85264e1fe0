"""What the README and the other pages say to type, typed."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from ehg_tasks.cli import app
from tests.cli.conftest import Program
from tests.conftest import Project

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


def python(program: Program, code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=program.folder, env=program.env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class TestPython:
    def test_the_first_one_hands_work_over(self, as_agent: Program) -> None:
        assert python(as_agent, blocks("python")[0]) == "{'page': 'start.svg'}\n"

    def test_a_worker(self, as_agent: Program) -> None:
        for objective in ("Draw a page", "Paint a wall"):
            assert (
                as_agent("create", "--parent", "P", "--target", "DESIGN", "--objective", objective).code == 0
            )
        python(as_agent, blocks("python")[1])
        assert as_agent("claim", "DESIGN", "--json").json == []

    def test_a_stack(self, program: Program) -> None:
        use = "\n    assert agent.claim('DESIGN') == []\n    agent.close()\n"
        python(program, blocks("python")[2].rstrip() + use)

    def test_there_are_no_others(self) -> None:
        assert len(blocks("python")) == 3


def test_the_same_on_the_command_line(as_agent: Program) -> None:
    create, work, outcome = blocks("sh")[1].splitlines()
    draw = as_agent.folder / "draw-page"
    draw.write_text(f"#!{sys.executable}\nimport json, sys\njson.load(sys.stdin)\nprint('{{\"page\": 1}}')\n")
    draw.chmod(0o755)
    made = as_agent(*shlex.split(create)[1:], "--json").json
    assert as_agent(*shlex.split(work, comments=True)[1:]).code == 0
    told = as_agent(*shlex.split(outcome.replace("CONTRACT_ID", made["contract_id"]))[1:], "--json").json
    assert told[0]["output"] == {"page": 1}


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
def test_a_command_that_a_page_mentions_is_there_with_its_options(line: str) -> None:
    command = typer.main.get_command(app)
    words = line.split("#")[0].split()[1:]
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]  # type: ignore[attr-defined]
    assert not getattr(command, "commands", {}), f"no such command: {line}"
    options = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options


def test_the_hosted_part_names_files_that_are_there(program: Program, project: Project) -> None:
    for name in re.findall(r"`(supabase/[\w/.]+|docs/[\w/.-]+)`", README):
        assert (ROOT / name).exists(), name
    for name in re.findall(r"\]\(((?!https)[\w/.-]+)\)", README):
        assert (ROOT / name).exists(), name
    exported = program("migrations", "export", "./supabase")
    assert exported.code == 0
    assert len(list((program.folder / "supabase" / "migrations").iterdir())) == 7
    assert program.with_env(SUPABASE_SECRET_KEY=project.secret_key)("verify").code == 0
