"""Print data to standard output, and notices and errors to standard error.

Text in contracts comes from other agents, so control characters in it are printed as escapes.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from ehg_tasks import errors
from ehg_tasks.text import escaped

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.console import Console
    from rich.table import Table

EXIT_CODES: dict[int, tuple[str, tuple[type[Exception], ...]]] = {
    0: ("success", ()),
    1: ("any other failure", ()),
    2: ("wrong usage", ()),  # Typer's own
    3: ("settings", (errors.SettingsError,)),
    4: ("key or permission", (errors.AuthenticationFailed, errors.AccessDenied)),
    5: ("not found", (errors.ContractNotFound,)),
    6: (
        "claim lost, or status or idempotency conflict",
        (errors.ClaimLost, errors.StatusConflict, errors.IdempotencyConflict),
    ),
    7: ("invalid argument or data", (errors.BadArgument, errors.TooLarge, errors.InvalidData)),
    8: ("temporary failure (try again later)", (errors.TemporaryError, errors.WaitTimedOut)),
    9: ("embedded stack", (errors.LocalStackError,)),
}
"""What an exit code means, and the exceptions that it stands for."""

MIN_WIDTH = 80  # columns; narrower terminals wrap, so that an id is never cut
NARROW_WIDTH = 110  # below it, tables omit their least important columns
FILE_WIDTH = 100_000  # nothing is cut in files and pipes


def exit_with(error: errors.TaskContractError, options: Mapping[str, str] | None = None) -> NoReturn:
    """Print what happened and what to do in one line, and exit with the code of the error.

    Args:
        error: what happened.
        options: the command's options by the names of their parameters, which the error may hold.
    """
    text = str(error)
    for name, option in (options or {}).items():
        # One word may also be a word of the sentence, unless it is the subject.
        place = rf"\b{name}\b" if "_" in name else rf"(?<![^:] )\b(?<!-){name}(?= must | is |: )"
        text = re.sub(place, option, text)
    print_notice(f"ehg-tasks: {text}")
    sys.exit(exit_code(error))


def exit_code(error: errors.TaskContractError) -> int:
    """Return the exit code that stands for an error."""
    return next((code for code, (_, kinds) in EXIT_CODES.items() if isinstance(error, kinds)), 1)


# --- texts -------------------------------------------------------------------------------------


def shortened(text: str, width: int = 100) -> str:
    """Return the start of a text in one line of at most `width` characters, before escaping."""
    start = text[: 4 * width]  # the text may be very long
    line = " ".join(start.split())
    return escaped(line if len(line) <= width and start == text else line[: width - 1] + "…")


def counted(number: int, noun: str = "contract") -> str:
    """Return a number with its noun, in the plural where there is not one."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def as_text(value: Any) -> str:
    """Return a value as text for people, with times in this machine's time zone."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case datetime():
            local = value.astimezone() if 1 < value.year < 9999 else value
            return local.strftime("%Y-%m-%d %H:%M:%S %Z")
        case float():
            return f"{value:.1f}"
        case dict() | list():
            return json.dumps(value, ensure_ascii=False, default=str)
        case _:
            return str(value)


def fields(result: BaseModel | list[Any]) -> str:
    """Return the fields of a model, one per line, or those of several with blank lines between them."""
    if isinstance(result, list):
        return "\n\n".join(map(fields, result))
    names = [name for name, field in type(result).model_fields.items() if not field.exclude]
    width = max(map(len, names))
    next_line = "\n" + " " * (width + 2)
    values = (as_text(getattr(result, name)).replace("\n", next_line) for name in names)
    return "\n".join(f"{name:{width}}  {value}" for name, value in zip(names, values, strict=True))


def status_line(change: Any) -> str:
    """Return a change of a contract's status in one line."""
    next_attempt_at = getattr(change, "next_attempt_at", None)
    retry = f"; next attempt from {as_text(next_attempt_at)}" if next_attempt_at else ""
    return f"{change.contract_id}  {change.status}: {change.message}{retry}"


# --- printing ----------------------------------------------------------------------------------


def print_notice(text: str) -> None:
    """Print a line for the person at the terminal, on standard error."""
    typer.echo(escaped(text), err=True)


def print_result(
    result: Any,
    as_json: bool,
    render: Callable[[Any], str | Table] = fields,
    *,
    empty: str = "",
    indent: int | None = 2,
) -> None:
    """Print a result as JSON, or as text or a table for people.

    Args:
        result: a model, a list of models, or a JSON value.
        as_json: whether to print JSON.
        render: returns the text or the table to print.
        empty: the notice to print in place of an empty result.
        indent: of the JSON; None prints it in one line.
    """
    if as_json:
        print_json(result, indent=indent)
    elif empty and not result:
        print_notice(empty)
    elif isinstance(rendered := render(result), str):
        typer.echo(escaped(rendered))
    else:
        console().print(rendered, no_wrap=True)


def print_json(result: Any, *, indent: int | None = 2) -> None:
    """Print one JSON document, which may hold models."""
    text = json.dumps(
        result,
        default=lambda model: model.model_dump(mode="json"),
        ensure_ascii=(sys.stdout.encoding or "").lower().replace("-", "") != "utf8",
        indent=indent,
    )
    # json leaves these control characters as they are, and some terminals act on them.
    typer.echo(re.sub("[\x7f-\x9f]", lambda match: f"\\u{ord(match[0]):04x}", text))


# --- tables ------------------------------------------------------------------------------------


def console() -> Console:
    """Return standard output as a rich console; files and pipes are wide enough for any line."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    console.width = max(console.width, MIN_WIDTH) if console.is_terminal else FILE_WIDTH
    return console


@dataclass(frozen=True)
class Column:
    """A column of a table: its heading, and how the value of a cell is read from an item."""

    heading: str
    value: Callable[[Any], Any]
    right: bool = False
    min_console: int = 0  # omitted if the terminal is narrower
    max_console: int = FILE_WIDTH  # omitted if it is wider
    max_width: int | None = None  # in terminals
    whole: bool = False  # never cut
    flexible: bool = False  # takes the width that the other columns leave


def table(items: Iterable[Any], columns: Sequence[Column]) -> Table:
    """Return a table with a row for each item, to be printed on `console()`."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    width = console().width
    shown = [column for column in columns if column.min_console <= width <= column.max_console]
    rows = [[shortened(as_text(column.value(item))) for column in shown] for item in items]
    on_terminal = width < FILE_WIDTH
    drawn = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    drawn.header_style = "bold"
    drawn.expand = on_terminal and any(column.flexible for column in shown)
    for n, column in enumerate(shown):
        drawn.add_column(
            column.heading,
            justify="right" if column.right else "left",
            no_wrap=True,
            overflow="ellipsis",
            min_width=max((len(row[n]) for row in rows), default=0) if column.whole else None,
            max_width=column.max_width if on_terminal else None,
            ratio=1 if drawn.expand and column.flexible else None,
        )
    for row in rows:
        drawn.add_row(*map(Text, row))
    return drawn
