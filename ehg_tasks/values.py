"""What Postgres can store, checked before it is sent. No I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from ehg_tasks.errors import BadArgument

# JSON writes NUL as \u0000; an even number of backslashes before it belongs to the text.
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_UUIDS = frozenset(
    {"contract_id", "claim_token", "request_key", "agent_id", "output_artifact_id", "idempotency_key"}
)


def parameters(required: Mapping[str, Any], optional: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON parameters of a database function, named `p_…`; see `item_fields`."""
    return {f"p_{name}": value for name, value in item_fields(required, optional).items()}


def item_fields(required: Mapping[str, Any], optional: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a database function without their prefix, as an item of a bulk call has them.

    A required one that is None is sent as null. An optional one is left out, so that its default lives
    in SQL alone.

    Raises:
        BadArgument: a value is not JSON that Postgres can store, or an id is not a UUID.
    """
    given = {name: value for name, value in optional.items() if value is not None}
    return {name: _field(name, value) for name, value in (dict(required) | given).items()}


def _field(name: str, value: Any) -> Any:
    return uuid_text(name, value) if name in _UUIDS else storable(name, value)


def storable(name: str, value: Any) -> Any:
    """Return the value if it is JSON that Postgres can store, a UUID as text.

    Raises:
        BadArgument: it is not.
    """
    if isinstance(value, UUID):
        return str(value)
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode()
    except UnicodeEncodeError as error:
        surrogate = ascii(error.object[error.start])
        raise BadArgument(
            f"{name} is not valid Unicode: it contains the lone surrogate {surrogate}"
        ) from None
    except (TypeError, ValueError, RecursionError) as error:
        raise BadArgument(f"{name} is not JSON: {error}") from None
    if _NUL.search(text):
        raise BadArgument(f"{name} contains a NUL character (\\u0000), which Postgres cannot store")
    return value


def uuid_text(name: str, value: UUID | str) -> str:
    """Return a UUID as text.

    Raises:
        BadArgument: the value is not a UUID. The message quotes it only if it is a contract's id.
    """
    try:
        return str(value if isinstance(value, UUID) else UUID(value))
    except (TypeError, ValueError, AttributeError):
        quoted = f": {value[:60]!r}" if name.startswith("contract_id") and isinstance(value, str) else ""
        raise BadArgument(f"{name} is not a UUID{quoted}") from None


def timestamp(name: str, value: datetime) -> str:
    """Return a time as text, to the microsecond.

    Raises:
        BadArgument: it has no time zone.
    """
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise BadArgument(f"{name} must be a datetime with a time zone")
    return value.isoformat()
