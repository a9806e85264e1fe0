"""``ehg-tasks migrations``: the SQL that a project needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ehg_tasks import migrations
from ehg_tasks.cli.output import AsJson, print_json, say
from ehg_tasks.errors import BadArgument, TaskContractError

app = typer.Typer(help="The migrations of this version, to apply to a project.", no_args_is_help=True)


def _files() -> dict[str, Path]:
    """The SQL files by their place below a project's `supabase` folder."""
    groups = {"migrations": migrations.migrations(), "optional": migrations.optional()}
    return {f"{group}/{file.name}": file for group, files in groups.items() for file in files}


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the migrations in their order, and the optional SQL files."""
    if as_json:
        print_json(list(_files()))
        return
    for name in _files():
        typer.echo(name)


@app.command()
def export(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A project's supabase folder.", show_default=False)
    ],
    as_json: AsJson = False,
) -> None:
    """Copy the SQL files to DIR/migrations and DIR/optional.

    Files that are there already and differ are never overwritten: then nothing is copied.
    """
    try:
        new = {name: file for name, file in _files().items() if not (folder / name).exists()}
        differing = [
            name
            for name, file in _files().items()
            if name not in new and (folder / name).read_bytes() != file.read_bytes()
        ]
        if differing:
            raise BadArgument(
                f"{folder} holds other versions of {', '.join(differing)}",
                hint="Nothing was copied: move them away, or choose another folder.",
            )
        for name, file in new.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(file.read_bytes())
    except OSError as error:
        raise TaskContractError(f"cannot write to {error.filename or folder}: {error.strerror}") from None
    if as_json:
        print_json(list(new))
        return
    for name in new:
        typer.echo(folder / name)
    say(f"Copied {len(new)} files, {len(_files()) - len(new)} were there. Next: supabase db push.")
    if new:
        say(f"{folder}/optional is applied by hand, where it is wanted; each file says what it does.")
