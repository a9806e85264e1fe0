"""The command line: it reads arguments and prints results; the clients do the work.

Commands import heavy libraries themselves, so that `--help` answers at once.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Annotated

import typer
from typer.core import TyperArgument

from ehg_tasks import __version__
from ehg_tasks.cli import agents, backend, contracts, readers, registry, setup, work
from ehg_tasks.cli.output import EXIT_CODES, exit_with
from ehg_tasks.errors import TaskContractError

_MEANINGS = (f"{code} {meaning}" for code, (meaning, _) in EXIT_CODES.items())
app = typer.Typer(
    name="ehg-tasks",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    epilog=f"Exit codes: {', '.join(_MEANINGS)}.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for panel in (agents, work, contracts, readers, registry, backend, setup):
    app.add_typer(panel.app)


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"ehg-tasks {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Agent task contracts on Supabase: work that one AI agent hands to another."""


def _options() -> dict[str, str]:
    """What the arguments of the given command are called here, by the names of their parameters."""
    group = typer.main.get_group(app)
    command = next((group.commands[word] for word in sys.argv[1:] if word in group.commands), None)
    names: dict[str, str] = {}
    if "--file" in sys.argv:  # what is wrong is in the file, whose keys have these names
        return names
    for each in command.params if command else ():
        if isinstance(each, TyperArgument) and each.name and each.metavar:
            names[each.name.removesuffix("s")] = each.metavar  # `contract_ids` takes several ids
        elif each.name:
            names[each.name] = each.opts[0]
    return names


def run() -> None:
    """Run the command line. An expected failure is one line on standard error and an exit code."""
    if sys.stdout is None:  # closed: a claim would be made, and its token lost
        exit_with(TaskContractError("standard output is closed"))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal may not know every character
    try:
        app()
    except TaskContractError as error:
        exit_with(error, _options())
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is still buffered is not written at exit
        exit_with(TaskContractError(f"cannot write the output: {error.strerror or error}"))
