"""Output that cannot be written: one line of error, and nothing is claimed whose token would be lost."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.cli.conftest import CreateContract, Program, ReadRow


def test_a_full_disk_is_one_line_of_error(as_backend: Program, create: CreateContract) -> None:
    create()
    for arguments in (["list"], ["list", "--json"], ["count"]):
        with Path("/dev/full").open("w") as full:
            process = subprocess.run(
                as_backend.command(*arguments),
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                env=as_backend.env,
                cwd=as_backend.folder,
            )
        assert (process.returncode, process.stderr) == (
            1,
            "ehg-tasks: cannot write the output: No space left on device\n",
        )


def test_a_claim_is_refused_if_standard_output_is_closed(
    as_agent: Program, create: CreateContract, row: ReadRow
) -> None:
    contract_id = create()
    process = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *as_agent.command("claim", "DESIGN", "--json")],
        stderr=subprocess.PIPE,
        text=True,
        env=as_agent.env,
        cwd=as_agent.folder,
    )
    assert (process.returncode, process.stderr) == (1, "ehg-tasks: standard output is closed\n")
    assert row(contract_id)["status"] == "pending"


def test_characters_that_the_terminal_does_not_know_are_escaped(
    as_backend: Program, create: CreateContract
) -> None:
    create("図を描く")
    result = as_backend("list", PYTHONIOENCODING="ascii")
    assert (result.code, result.err) == (0, "")
    assert r"\u56f3\u3092" in result.out
