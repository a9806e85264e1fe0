"""Every command explains itself, at once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main

from ehg_tasks.cli import app

HEAVY = ("supabase", "postgrest", "httpx", "pydantic", "jsonschema", "psycopg")


def commands(command: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, *path, name)


COMMANDS = dict(commands(typer.main.get_command(app)))


def test_they_are_all_there() -> None:
    top = {path[0] for path in COMMANDS if path}
    agents = {
        "create",
        "claim",
        "renew",
        "complete",
        "fail",
        "release",
        "cancel",
        "outcome",
        "inputs",
        "work",
    }
    readers = {"list", "show", "count", "stats", "watch"}
    assert top == agents | readers | {
        *("cleanup", "prune", "describe", "verify", "migrations", "local", "demo"),
    }


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help(path: tuple[str, ...]) -> None:
    command = COMMANDS[path]
    assert command.help
    for parameter in command.params:
        assert getattr(parameter, "help", None), parameter.name
    answer = subprocess.run(
        [sys.executable, "-m", "ehg_tasks", *path, "--help"], capture_output=True, text=True, check=True
    )
    assert "Usage: " in answer.stdout
    assert " ".join(command.help.split())[:30] in " ".join(answer.stdout.split())


def test_help_waits_for_no_library() -> None:
    program = (
        "import sys, ehg_tasks.cli\n"
        "try: ehg_tasks.cli.run()\n"
        f"finally: print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program, "--help"], capture_output=True, text=True, check=True
    )
    assert answer.stderr == "[]\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion(shell: str) -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "ehg_tasks", "--show-completion", shell], capture_output=True, text=True
    )
    assert (answer.returncode, "_COMPLETE" in answer.stdout) == (0, True)


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["claim"], ["list", "--nonsense"], ["list", "--limit", "x"]]
)
def test_a_wrong_command_line(arguments: list[str]) -> None:
    answer = subprocess.run([sys.executable, "-m", "ehg_tasks", *arguments], capture_output=True, text=True)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert "Usage: " in answer.stderr
