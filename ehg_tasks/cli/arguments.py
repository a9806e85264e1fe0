"""Arguments that several commands share, and how their values are read."""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

from ehg_tasks.errors import BadArgument

if TYPE_CHECKING:
    from ehg_tasks.models import ClaimHandle

Command = TypeVar("Command", bound=Callable[..., Any])

STATUSES = ("pending", "in_progress", "completed", "failed", "cancelled")
_UNITS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
MAX_FILE_BYTES = 64 * 2**20  # far above the limits of the server

ContractId = Annotated[str, typer.Argument(metavar="ID", help="The id of the contract.", show_default=False)]
IdOrStart = Annotated[
    str,
    typer.Argument(
        metavar="ID",
        help="The id of the contract. With a secret key or as a signed-in user, its first characters do.",
        show_default=False,
    ),
]
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


def status_names(incomplete: str) -> list[str]:
    """Return the statuses that begin so, for the shell's completion."""
    return [status for status in STATUSES if status.startswith(incomplete)]


def past_time(option: typer.CallbackParam, given: str | None) -> datetime | None:
    """Parse a time, or how long ago it was, such as 2h."""
    return _time(option.opts[0], given, -1)


def future_time(option: typer.CallbackParam, given: str | None) -> datetime | None:
    """Parse a time, or how long it is until then, such as 2h."""
    return _time(option.opts[0], given, 1)


def _time(name: str, given: str | None, sign: int) -> datetime | None:
    """Parse an ISO 8601 time, local if it has no zone, or a distance from now."""
    if given is None:
        return None
    distance = re.fullmatch("([0-9]+)([smhdw])", given)
    try:
        if distance is not None:
            return datetime.now(UTC) + sign * int(distance[1]) * _UNITS[distance[2]]
        time = datetime.fromisoformat(given)
        return time if time.tzinfo else time.astimezone()
    except (ValueError, OverflowError):
        raise BadArgument(
            f"{name} is not a time: {given[:60]!r}",
            hint="Use 30s, 15m, 2h, 3d or 1w, or the form 2026-11-23 or 2026-11-23T09:30:00Z.",
        ) from None


# --- filters -----------------------------------------------------------------------------------

FILTERS = {
    "status": option(
        "--status",
        "Only those that are pending, in_progress, completed, failed or cancelled.",
        metavar="STATUS",
        autocompletion=status_names,
    ),
    "target_agent": option("--target", "Only those for this target agent.", metavar="AGENT"),
    "parent_agent": option("--parent", "Only those from this parent agent.", metavar="AGENT"),
    "session_id": option("--session", "Only those of this session.", metavar="UUID"),
    "sd_id": option("--sd", "Only those of this strategic directive.", metavar="ID"),
    "created_after": option(
        "--created-after",
        "Only those created at this time or later: 2026-11-23T09:30, or 2h for two hours ago.",
        metavar="TIME",
        callback=past_time,
    ),
    "created_before": option(
        "--created-before", "Only those created before this time.", metavar="TIME", callback=past_time
    ),
    "ended_after": option(
        "--ended-after",
        "Only those that ended at this time or later.",
        metavar="TIME",
        callback=past_time,
    ),
    "ended_before": option(
        "--ended-before", "Only those that ended before this time.", metavar="TIME", callback=past_time
    ),
}
"""The option for each filter of `ehg_tasks.pages.ContractFilters`."""
WHOSE = ("target_agent", "parent_agent", "session_id", "sd_id")
"""The filters that say whose contracts they are, for commands that change all that match."""
