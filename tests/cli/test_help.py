"""Help and usage errors."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from ehg_tasks.cli import app
from tests.cli.conftest import Program

HEAVY_LIBRARIES = ("supabase", "postgrest", "httpx", "pydantic", "jsonschema", "psycopg")


def commands(command: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, subcommand in getattr(command, "commands", {}).items():
        yield from commands(subcommand, *path, name)


COMMANDS = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_argument_and_option_has_a_help_text(path: tuple[str, ...]) -> None:
    command = COMMANDS[path]
    assert command.help
    assert [parameter.name for parameter in command.params if not getattr(parameter, "help", "")] == []


def test_help_imports_no_heavy_library() -> None:
    code = (
        "import sys, ehg_tasks.cli\n"
        "try: ehg_tasks.cli.run()\n"
        f"finally: print([name for name in {HEAVY_LIBRARIES} if name in sys.modules], file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True
    )
    assert "Usage: " in result.stdout
    assert result.stderr == "[]\n"


def test_wrong_usage_exits_with_2(program: Program) -> None:
    result = program("list", "--nonsense")
    assert (result.code, result.out) == (2, "")
    assert "Usage: " in result.err


def test_the_shell_completes_statuses(program: Program) -> None:
    script = Path(sys.executable).with_name("ehg-tasks")
    process = subprocess.run(
        [script],
        env=program.env
        | {
            "_EHG_TASKS_COMPLETE": "complete_bash",
            "COMP_WORDS": "ehg-tasks list --status c",
            "COMP_CWORD": "3",
        },
        capture_output=True,
        text=True,
    )
    assert process.stdout.split() == ["completed", "cancelled"]
