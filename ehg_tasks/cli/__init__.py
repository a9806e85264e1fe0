"""The command line: arguments and printing only.

Heavy libraries are imported inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

from typing import Annotated

import typer

from ehg_tasks import __version__
from ehg_tasks.cli import demo, house, local, migrations, table, tasks, work
from ehg_tasks.cli.output import fail
from ehg_tasks.errors import TaskContractError

app = typer.Typer(
    name="ehg-tasks",
    help="Agent task contracts on Supabase: work that one AI agent hands to another.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for panel, commands in {
    "Agents (publishable key)": (
        *(tasks.create, tasks.claim, tasks.renew, tasks.complete, tasks.fail, tasks.release),
        *(tasks.cancel, tasks.outcome, tasks.inputs, work.work),
    ),
    "Readers (secret key, or a signed-in user)": (
        table.list_,
        table.show,
        table.count,
        table.stats,
        table.watch,
    ),
    "Backend jobs (secret key)": (house.cleanup, house.prune, house.describe, house.verify),
    "Set-up": (demo.demo,),
}.items():
    for command in commands:
        app.command(command.__name__.rstrip("_"), rich_help_panel=panel)(command)
app.add_typer(migrations.app, name="migrations", rich_help_panel="Set-up")
app.add_typer(local.app, name="local", rich_help_panel="Set-up")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"ehg-tasks {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Agent task contracts on Supabase: work that one AI agent hands to another.

    Exit codes: 0 done, 1 other failures, 2 wrong command line, 3 settings, 4 key or permission, 5 no such
    contract, 6 claim lost or status conflict, 7 bad argument, 8 try again later, 9 the embedded stack.
    """


def run() -> None:
    """Run the command line. Every expected failure is one line on standard error and an exit code."""
    try:
        app()
    except TaskContractError as error:
        fail(error)
