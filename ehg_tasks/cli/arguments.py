"""Arguments that several commands share, and how their values are read."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

from ehg_tasks.errors import BadArgument

if TYPE_CHECKING:
    from ehg_tasks.models import ClaimHandle

Command = TypeVar("Command", bound=Callable[..., Any])

MAX_FILE_BYTES = 64 * 2**20  # far above the limits of the server

ContractId = Annotated[str, typer.Argument(metavar="ID", help="The id of the contract.", show_default=False)]
AgentName = Annotated[str, typer.Argument(metavar="NAME", help="The name of the agent.", show_default=False)]
Token = Annotated[
    str,
    typer.Option(
        "--token",
        metavar="TOKEN",
        envvar="EHG_TASKS_CLAIM_TOKEN",
        help="The claim token. Pass it in the environment to keep it out of the process list.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def option(name: str, help: str, kind: Any = str, **settings: Any) -> Any:  # noqa: A002 - Typer's name
    """Return the annotation of an optional option, for `with_options`.

    Args:
        name: the option, such as `--parent`.
        help: its help text.
        kind: the type of its value.
        settings: more arguments of `typer.Option`.
    """
    return Annotated[kind | None, typer.Option(name, help=help, **settings)]


def json_option(name: str, help: str) -> Any:  # noqa: A002
    """Return the annotation of an option that takes JSON."""
    help = f"{help}: JSON, @FILE, or - for standard input."  # noqa: A001
    return option(name, help, metavar="JSON", callback=json_value)


def with_options(options: Mapping[str, Any]) -> Callable[[Command], Command]:
    """Add options to a command, which takes their values as `**options`; an option not given is None.

    Args:
        options: the `option` for each keyword. In the help they precede the command's own options.
    """

    def decorate(command: Command) -> Command:
        signature = inspect.signature(command, eval_str=True)
        own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        added = [
            inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None, annotation=added)
            for name, added in options.items()
        ]
        parameters = sorted([*added, *own], key=lambda p: p.default is not p.empty)  # required ones first
        command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        return command

    return decorate


def claim_handle(contract_id: str, token: str) -> ClaimHandle:
    """Return the claim that the arguments ID and --token name.

    Raises:
        BadArgument: one of them is not a UUID.
    """
    from uuid import UUID

    from ehg_tasks.models import ClaimHandle
    from ehg_tasks.values import uuid_text

    return ClaimHandle(
        contract_id=UUID(uuid_text("ID", contract_id)), claim_token=UUID(uuid_text("--token", token))
    )


def read_text(name: str, source: str) -> str:
    """Return the text of a file, or of standard input if the source is `-`.

    Raises:
        BadArgument: the source cannot be read, is too large or is not UTF-8; `name` is the argument.
    """
    if source == "-" and (sys.stdin is None or sys.stdin.closed):  # reading it closes it
        raise BadArgument(f"{name}: standard input is closed; only one option can read it")
    try:
        with sys.stdin.buffer if source == "-" else Path(source).open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise BadArgument(f"{name}: {source} is larger than {MAX_FILE_BYTES // 2**20} MiB")
        return data.decode("utf-8-sig")
    except OSError as error:
        raise BadArgument(f"{name}: cannot read {source}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise BadArgument(f"{name}: {source} is not UTF-8") from None


def parse_json(name: str, text: str) -> Any:
    """Return the value of a JSON text.

    Raises:
        BadArgument: the text is not JSON, or holds NaN or Infinity.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BadArgument(f"{name} is not JSON: {error}") from None


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")


# --- callbacks of options ----------------------------------------------------------------------


def text_value(option: typer.CallbackParam, given: str | None) -> str | None:
    """Return the given text, or standard input for `-`."""
    return read_text(option.opts[0], "-").strip() if given == "-" else given


def json_value(option: typer.CallbackParam, given: str | None) -> Any:
    """Return the value of JSON text, of a JSON file (@FILE) or of JSON on standard input (-)."""
    if given is None:
        return None
    name = option.opts[0]
    if given == "-" or given.startswith("@"):
        given = read_text(name, given.removeprefix("@"))
    return parse_json(name, given)


def time_value(option: typer.CallbackParam, given: str | None) -> datetime | None:
    """Parse an ISO 8601 time; without a zone, it is local time."""
    if given is None:
        return None
    try:
        time = datetime.fromisoformat(given)
        return time if time.tzinfo else time.astimezone()
    except (ValueError, OverflowError):
        raise BadArgument(
            f"{option.opts[0]} is not an ISO 8601 time",
            hint="Use the form 2026-11-23 or 2026-11-23T09:30:00Z.",
        ) from None
