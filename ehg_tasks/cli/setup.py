"""The commands for setting up: the demo, `ehg-tasks migrations` and `ehg-tasks local`."""

from __future__ import annotations

import filecmp
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ehg_tasks import migrations
from ehg_tasks.cli.arguments import AsJson
from ehg_tasks.cli.bulk import DryRun, Yes, confirm
from ehg_tasks.cli.demo import demo
from ehg_tasks.cli.output import print_notice, print_result
from ehg_tasks.cli.repeat import until_stopped
from ehg_tasks.errors import BadArgument, LocalStackError, TaskContractError

if TYPE_CHECKING:
    from ehg_tasks.local import LocalStack

PANEL = "Setup"

migrations_app = typer.Typer(
    help="The SQL migrations of this version, to apply to a project.", no_args_is_help=True
)
local_app = typer.Typer(
    help="An embedded Supabase on this machine: no containers, no account.", no_args_is_help=True
)
app = typer.Typer()
app.command(rich_help_panel=PANEL)(demo)
app.add_typer(migrations_app, name="migrations", rich_help_panel=PANEL)
app.add_typer(local_app, name="local", rich_help_panel=PANEL)


# --- migrations --------------------------------------------------------------------------------


def _sql_files() -> dict[str, Path]:
    """Return the SQL files by their paths relative to a project's `supabase` folder."""
    groups = {"migrations": migrations.migrations(), "optional": migrations.optional()}
    return {f"{group}/{file.name}": file for group, files in groups.items() for file in files}


@migrations_app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the migrations in the order in which they apply, and the optional SQL files."""
    print_result(list(_sql_files()), as_json, "\n".join)


@migrations_app.command()
def export(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The supabase folder of a project.", show_default=False)
    ],
    as_json: AsJson = False,
) -> None:
    """Copy the SQL files to DIR/migrations and DIR/optional.

    Existing files are never overwritten: if one of them differs, nothing is copied.
    """
    files = _sql_files()
    try:
        new = [name for name in files if not (folder / name).exists()]
        existing = [name for name in files if name not in new]
        differing = [name for name in existing if not filecmp.cmp(folder / name, files[name], shallow=False)]
        if differing:
            raise BadArgument(
                f"{folder} holds other versions of {', '.join(differing)}",
                hint="Nothing was copied. Move these files away, or choose another folder.",
            )
        for name in new:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(files[name].read_bytes())
    except OSError as error:
        raise TaskContractError(f"cannot write to {error.filename or folder}: {error.strerror}") from None
    print_result(
        new,
        as_json,
        lambda names: "\n".join(str(folder / name) for name in names),
        empty="All files exist already.",
    )
    if new and not as_json:
        # The CLI applies migrations that are older than the project's last one only if it is told to.
        last = max(path.name for path in (folder / "migrations").glob("*.sql"))
        push = "supabase db push" if f"migrations/{last}" in files else "supabase db push --include-all"
        print_notice(f"Copied {len(new)} files; {len(existing)} existed already. Next: {push}.")
        print_notice(f"The files in {folder}/optional are not migrations. Apply the ones you want by hand.")


# --- local -------------------------------------------------------------------------------------

Directory = Annotated[Path, typer.Option("--dir", help="The folder of the stack.", show_default=True)]
ApiPort = Annotated[
    int | None,
    typer.Option(min=1, max=65535, help="The port of the API (default: 54321, or a free one)."),
]
DbPort = Annotated[
    int | None,
    typer.Option(min=1, max=65535, help="The port of Postgres (default: 54322, or a free one)."),
]
Migrations = Annotated[
    Path | None,
    typer.Option(
        "--migrations",
        metavar="DIR",
        help="A project's own migrations, to apply after those of this version.",
    ),
]
DEFAULT_DIRECTORY = Path(".ehg-tasks")


def _stack(
    directory: Path,
    api_port: int | None = None,
    db_port: int | None = None,
    migrations: Path | None = None,
) -> LocalStack:
    from ehg_tasks.local import LocalStack

    return LocalStack(
        directory,
        api_port=api_port,
        db_port=db_port,
        project_migrations=migrations,
        progress=print_notice,
    )


def _command(verb: str, stack: LocalStack) -> str:
    from ehg_tasks.local.folder import command

    return command(verb, stack.folder)


@local_app.command()
def start(
    directory: Directory = DEFAULT_DIRECTORY,
    api_port: ApiPort = None,
    db_port: DbPort = None,
    own_migrations: Migrations = None,
) -> None:
    """Start the stack in the background."""
    stack = _stack(directory, api_port, db_port, own_migrations)
    stack.start(detach=True)
    print_notice(f"The stack is running at {stack.url}.")
    print_notice(f"Print its keys: {_command('env', stack)}. Stop it: {_command('stop', stack)}.")


@local_app.command()
def run(
    directory: Directory = DEFAULT_DIRECTORY,
    api_port: ApiPort = None,
    db_port: DbPort = None,
    own_migrations: Migrations = None,
) -> None:
    """Run the stack in the foreground until Ctrl-C or SIGTERM."""
    stack = _stack(directory, api_port, db_port, own_migrations)
    with until_stopped():
        if stack.running():
            raise LocalStackError(
                f"the stack is already running at {stack.url}", hint=f"Stop it: {_command('stop', stack)}."
            )
        with stack:
            print_notice(f"The stack is running at {stack.url}.")
            print_notice(f"Print its keys: {_command('env', stack)}. Stop it: Ctrl-C.")
            stack.wait()
    print_notice("The stack has stopped.")


@local_app.command()
def status(directory: Directory = DEFAULT_DIRECTORY, as_json: AsJson = False) -> None:
    """Show whether the stack is running. Exits with 0 if it is, and with 1 if it is not."""
    stack = _stack(directory)
    state = stack.running()
    if state:
        text = f"The stack is running at {stack.url} (process {state['pid']}, Postgres {state['postgres']})."
    else:
        text = f"The stack in {directory} is not running. Start it: {_command('start', stack)}."
    print_result(state, as_json, lambda _: text)
    sys.exit(0 if state else 1)


@local_app.command()
def env(
    directory: Directory = DEFAULT_DIRECTORY,
    write: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Set them in this file, such as .env. Only its owner can read it then."
        ),
    ] = None,
) -> None:
    """Print the URL and the keys in .env format, or write them to a file."""
    variables = _stack(directory).env()
    lines = [f"{name}={value}" for name, value in variables.items()]
    if write is None:
        typer.echo("\n".join(lines))
        return
    from ehg_tasks.local.keys import write_secrets

    try:
        before = write.read_text().splitlines() if write.exists() else []
        kept = [line for line in before if line.partition("=")[0].strip() not in variables]
        write_secrets(write, "\n".join([*kept, *lines]) + "\n")
    except (OSError, UnicodeDecodeError) as error:
        raise TaskContractError(
            f"cannot write to {write}: {getattr(error, 'strerror', None) or error}"
        ) from None
    print_notice(f"{write} names the stack now.")


@local_app.command()
def reset(
    directory: Directory = DEFAULT_DIRECTORY,
    own_migrations: Migrations = None,
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Recreate the database from the migrations; the keys are kept. Asks first."""
    stack = _stack(directory, migrations=own_migrations)
    action = f"delete everything in the database in {stack.folder}"
    if dry_run:
        print_notice(f"Would {action}.")
        return
    confirm(action, yes)
    stack.reset()
    print_notice("The database is empty, and the migrations are applied.")


@local_app.command()
def stop(directory: Directory = DEFAULT_DIRECTORY) -> None:
    """Stop the stack; its data is kept."""
    was_running = _stack(directory).stop_running()
    print_notice("The stack has stopped; its data is kept." if was_running else "The stack was not running.")
