"""``ehg-tasks local``: the embedded Supabase."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from ehg_tasks.errors import LocalStackError

app = typer.Typer(
    help="An embedded Supabase on this machine: no containers, no account.", no_args_is_help=True
)

Directory = Annotated[Path, typer.Option("--dir", help="The stack's folder.", show_default=True)]
ApiPort = Annotated[
    int | None, typer.Option(min=1, max=65535, help="Port of the API (default: 54321 or a free one).")
]
DbPort = Annotated[
    int | None, typer.Option(min=1, max=65535, help="Port of Postgres (default: 54322 or a free one).")
]
DEFAULT = Path(".ehg-tasks")


def _say(text: str) -> None:
    typer.echo(text, err=True)


@app.command()
def start(directory: Directory = DEFAULT, api_port: ApiPort = None, db_port: DbPort = None) -> None:
    """Start the stack and leave it running."""
    from ehg_tasks.local import LocalStack

    stack = LocalStack(directory, api_port=api_port, db_port=db_port, progress=_say)
    stack.start(detach=True)
    _say(f"The stack runs at {stack.url}. Keys: ehg-tasks local env. End it: ehg-tasks local stop.")


@app.command()
def run(directory: Directory = DEFAULT, api_port: ApiPort = None, db_port: DbPort = None) -> None:
    """Run the stack in the foreground, until Ctrl-C or SIGTERM."""
    from ehg_tasks.local import LocalStack

    def ask_to_end(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, ask_to_end)
    stack = LocalStack(directory, api_port=api_port, db_port=db_port, progress=_say)
    if stack.running():
        raise LocalStackError(f"the stack runs already, at {stack.url}", hint="End it: ehg-tasks local stop.")
    try:
        with stack:
            _say(f"The stack runs at {stack.url}. Keys: ehg-tasks local env. End it with Ctrl-C.")
            stack.wait()
            _say("The stack was stopped from elsewhere.")
    except KeyboardInterrupt:
        _say("The stack has ended.")


@app.command()
def status(
    directory: Directory = DEFAULT,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell whether the stack runs: exit code 0 where it does, 1 where it does not."""
    from ehg_tasks.local import LocalStack

    stack = LocalStack(directory)
    state = stack.running()
    if as_json:
        typer.echo(json.dumps(state))
    elif state:
        typer.echo(f"The stack runs at {stack.url} (process {state['pid']}, Postgres {state['postgres']}).")
    else:
        typer.echo(f"The stack in {directory} does not run. Start it: ehg-tasks local start.")
    sys.exit(0 if state else 1)


@app.command()
def env(directory: Directory = DEFAULT) -> None:
    """Print the URL and the keys in .env form: ehg-tasks local env > .env."""
    from ehg_tasks.local import LocalStack

    for name, value in LocalStack(directory).env().items():
        typer.echo(f"{name}={value}")


@app.command()
def reset(directory: Directory = DEFAULT) -> None:
    """Empty the database and apply the migrations; the keys stay."""
    from ehg_tasks.local import LocalStack

    LocalStack(directory, progress=_say).reset()
    _say("The database is empty and migrated.")


@app.command()
def stop(directory: Directory = DEFAULT) -> None:
    """End the stack; its data stays."""
    from ehg_tasks.local import LocalStack

    ran = LocalStack(directory).stop_running()
    _say("The stack has ended; its data stays." if ran else "The stack did not run.")
