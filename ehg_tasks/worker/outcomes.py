"""How a handler ended: what is recorded of an attempt."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Self

from pydantic import BaseModel, ValidationError

from ehg_tasks import limits
from ehg_tasks.errors import BadArgument, one_line
from ehg_tasks.values import storable
from ehg_tasks.worker.tasks import FinalFailure, Result


@dataclass(frozen=True)
class Success:
    """An attempt with a result, as it is sent.

    Attributes:
        output: a JSON value.
        size: its length as JSON.
        summary: the result in words.
        execution_tokens: how many tokens the work took.
    """

    output: Any
    size: int
    summary: str | None
    execution_tokens: int | None


@dataclass(frozen=True)
class Failure:
    """An attempt that failed.

    Attributes:
        message: why.
        retry: whether another attempt may help.
        error: the unexpected exception, if there was one; its traceback is logged.
    """

    message: str
    retry: bool = True
    error: BaseException | None = None

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """Turn a handler's exception into a failure."""
        try:
            text = str(error).strip()
        except BaseException:  # noqa: BLE001 - the handler's class, and its failure must be reported anyway
            text = ""
        if isinstance(error, FinalFailure):
            return cls(storable_text(text or "the handler gave up"), retry=False)
        kind = type(error).__name__
        return cls(storable_text(f"{kind}: {text}" if text else kind), error=error)


Outcome = Success | Failure | None
"""What ends an attempt; None releases the claim."""


def outcome_of(value: Any, model: type[BaseModel] | None) -> Success | Failure:
    """Turn what a handler returned into an outcome.

    Args:
        value: the output, or a `Result`.
        model: what the output must be valid for, if anything.
    """
    result = value if isinstance(value, Result) else Result(value)
    output = result.output
    try:
        if model is not None and not isinstance(output, model):
            output = model.model_validate(output)
        if isinstance(output, BaseModel):
            output = output.model_dump(mode="json")
        # As the server will read it: tuples become arrays, and keys strings.
        text = json.dumps(storable("the output", output))
        output = json.loads(text)
    except ValidationError as error:
        return Failure(storable_text(f"the output is not a {error.title}: {one_line(error)}"))
    except (BadArgument, RecursionError) as error:
        return Failure(str(error))
    summary = None if result.summary is None else storable_text(str(result.summary))
    return Success(output, len(text), summary, result.execution_tokens)


def storable_text(text: str) -> str:
    """The text as the server accepts it: at most 64 KiB of UTF-8, without NUL."""
    data = text.replace("\0", "\ufffd").encode("utf-8", "replace")
    return data[: limits.TEXT_BYTES].decode("utf-8", "ignore")
