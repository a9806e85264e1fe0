"""How the command line speaks: data on standard output, errors on standard error, one exit code a kind.

Texts in contracts come from other agents. What a terminal would obey is shown, not obeyed.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from ehg_tasks import errors

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.console import Console
    from rich.table import Table

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

EXIT_CODES: list[tuple[type[errors.TaskContractError], int]] = [
    (errors.SettingsError, 3),
    (errors.AuthenticationFailed, 4),
    (errors.AccessDenied, 4),
    (errors.ContractNotFound, 5),
    (errors.ClaimLost, 6),
    (errors.StatusConflict, 6),
    (errors.IdempotencyConflict, 6),
    (errors.BadArgument, 7),
    (errors.TooLarge, 7),
    (errors.InvalidData, 7),
    (errors.TemporaryError, 8),
    (errors.LocalStackError, 9),
]
"""1 is any other failure, 2 a wrong command line."""

NARROWEST = 80  # columns of a terminal; narrower ones wrap, so that no id is ever cut
NARROW = 110  # below it, tables leave out what matters least
WIDEST = 100_000  # of a file or a pipe: nothing is cut there


def exit_code(error: errors.TaskContractError) -> int:
    """The exit code of the command line for an error."""
    return next((code for kind, code in EXIT_CODES if isinstance(error, kind)), 1)


def fail(error: errors.TaskContractError) -> NoReturn:
    """Say what happened and what to do in one line, and end."""
    say(f"ehg-tasks: {error}")
    sys.exit(exit_code(error))


def say(text: str) -> None:
    """A line for the person at the terminal, beside the data."""
    typer.echo(plain(text), err=True)


def plain(text: str) -> str:
    """The text with escapes in place of control characters (but line ends and tabs)."""
    return "".join(c if c.isprintable() or c in "\n\t" else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def brief(text: str, most: int = 100) -> str:
    """The start of a text, in one line."""
    line = " ".join(text[: 4 * most].split())
    return plain(line if len(line) <= most and len(text) <= 4 * most else line[: most - 1] + "…")


def value(found: Any) -> str:
    """Anything as a person reads it; times in this machine's zone."""
    match found:
        case None:
            return "-"
        case bool():
            return "yes" if found else "no"
        case datetime():
            local = found.astimezone() if 1 < found.year < 9999 else found
            return local.strftime("%Y-%m-%d %H:%M:%S %Z")
        case float():
            return f"{found:.1f}"
        case dict() | list():
            return json.dumps(found, ensure_ascii=False, default=str)
        case _:
            return str(found)


# --- data ---------------------------------------------------------------------------------------


def print_json(found: Any, *, indent: int | None = 2) -> None:
    """One JSON document; models and lists of them included."""
    text = json.dumps(_jsonable(found), ensure_ascii=not _unicode(), indent=indent)
    # json leaves these as they are, and some terminals obey them.
    typer.echo(re.sub("[\x7f-\x9f]", lambda match: f"\\u{ord(match[0]):04x}", text))


def _jsonable(found: Any) -> Any:
    if isinstance(found, list):
        return [_jsonable(item) for item in found]
    return found if found is None or isinstance(found, str | int | dict) else found.model_dump(mode="json")


def _unicode() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def print_fields(model: BaseModel) -> None:
    """The fields of a model, a line each."""
    fields = {name: getattr(model, name) for name in type(model).model_fields}
    width = max(map(len, fields))
    for name, found in fields.items():
        typer.echo(f"{name:{width}}  {_indented(plain(value(found)), width + 2)}")


def _indented(text: str, width: int) -> str:
    return text.replace("\n", "\n" + " " * width)


def console() -> Console:
    """Standard output as rich draws on it; nothing is wrapped or cut where it is no terminal."""
    from rich.console import Console

    screen = Console(highlight=False, markup=False, emoji=False)
    screen.width = max(screen.width, NARROWEST) if screen.is_terminal else WIDEST
    return screen


GIVES_WAY = "OBJECTIVE"  # the column that gets the room which the others leave; they are never cut


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[str] = ()) -> Table:
    """A table in which the objective gives way where there is no room for it."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    drawn.expand = GIVES_WAY in columns and console().width < WIDEST
    for column in columns:
        drawn.add_column(
            column,
            no_wrap=True,
            overflow="ellipsis",
            ratio=1 if drawn.expand and column == GIVES_WAY else None,
            justify="right" if column in numbers else "left",
        )
    for row in rows:
        drawn.add_row(*(Text(plain(cell)) for cell in row))
    return drawn


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[str] = ()) -> None:
    """Print a table."""
    console().print(table(columns, rows, numbers), no_wrap=True)
