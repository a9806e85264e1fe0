"""Arguments that several commands take, and how their texts are read."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from ehg_tasks.errors import BadArgument

if TYPE_CHECKING:
    from ehg_tasks.models import ClaimHandle

MOST_BYTES = 64 * 2**20  # of a file; the server's own limits are far below

ContractId = Annotated[str, typer.Argument(metavar="ID", help="The contract's id.", show_default=False)]
Token = Annotated[
    str,
    typer.Option(
        "--token",
        metavar="TOKEN",
        envvar="EHG_TASKS_CLAIM_TOKEN",
        help="The claim token; in the environment it stays out of the process list.",
        show_default=False,
    ),
]
Agent = Annotated[str, typer.Argument(metavar="AGENT", help="The target agent.", show_default=False)]


def held(contract_id: str, token: str) -> ClaimHandle:
    """The claim of these two texts."""
    from uuid import UUID

    from ehg_tasks.models import ClaimHandle
    from ehg_tasks.values import uuid_text

    return ClaimHandle(
        contract_id=UUID(uuid_text("ID", contract_id)), claim_token=UUID(uuid_text("--token", token))
    )


def content(name: str, source: str) -> str:
    """What a file, or with `-` standard input, holds."""
    try:
        with sys.stdin.buffer if source == "-" else Path(source).open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise BadArgument(f"{name}: {source} is larger than {MOST_BYTES // 2**20} MiB")
        return data.decode("utf-8-sig")
    except OSError as error:
        raise BadArgument(f"{name}: cannot read {source}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise BadArgument(f"{name}: {source} is not UTF-8") from None


def json_value(name: str, given: str | None) -> Any:
    """JSON from the argument itself, from a file (@NAME) or from standard input (-)."""
    if given is None:
        return None
    if given == "-":
        return parsed(name, content(name, "-"))
    return parsed(name, content(name, given[1:]) if given.startswith("@") else given)


def parsed(name: str, text: str) -> Any:
    """The JSON value of a text.

    Raises:
        BadArgument: it is none, or holds a number that JSON does not know.
    """
    try:
        return json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise BadArgument(f"{name} is not JSON: {error.msg} ({where})") from None
    except RecursionError:
        raise BadArgument(f"{name} is not JSON: nested too deeply") from None
    except ValueError as error:
        raise BadArgument(f"{name} is not JSON: {error}") from None


def _no_constant(found: str) -> NoReturn:
    raise ValueError(f"{found} is no JSON number")
