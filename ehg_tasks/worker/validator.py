"""The child process that checks outputs against JSON Schemas: one line of JSON in, one line out.

A schema comes from another agent: a regular expression or a reference in it may never end, and only a
process can be stopped. It runs as a file and imports nothing from this package.
"""

from __future__ import annotations

import json
import signal
import sys
from typing import Any

from jsonschema import Draft202012Validator, SchemaError, ValidationError
from jsonschema.exceptions import best_match
from jsonschema.validators import validator_for
from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]

MAX_QUOTED = 500  # characters of a message, which quotes the value


def problem(schema: Any, output: Any) -> tuple[str, bool] | None:
    """Return None if the output is valid, or a message and whether the failure is final."""
    try:
        validator = validator_for(schema, default=Draft202012Validator)
        validator.check_schema(schema)
    except RecursionError:
        return "the contract's output_schema is nested too deeply", True
    except SchemaError as error:
        return f"the contract's output_schema is not a valid JSON Schema: {shown(error)}", True
    except Exception as error:  # noqa: BLE001 - an unknown $schema, or anything else that an agent may write
        return f"the contract's output_schema is not a valid JSON Schema: {type(error).__name__}", True
    try:
        # This registry knows the drafts and fetches nothing.
        mismatch = best_match(validator(schema, registry=REGISTRY).iter_errors(output))
    except RecursionError:
        return "the output cannot be checked: it or the contract's output_schema recurses too deeply", False
    except Exception as error:  # noqa: BLE001 - an unknown reference, an invalid pattern, …
        return f"the contract's output_schema cannot be used: {cut(str(error))}", True
    return (
        (f"the output does not match the contract's output_schema: {shown(mismatch)}", False)
        if mismatch
        else None
    )


def shown(error: ValidationError | SchemaError) -> str:
    """The JSON path and the message of a problem, in one line."""
    return f"{cut(error.json_path)}: {cut(error.message)}"


def cut(text: str) -> str:
    """The text in one line, cut to a readable length."""
    line = " ".join(text.split())
    return line if len(line) <= MAX_QUOTED else line[: MAX_QUOTED - 1] + "…"


def main() -> None:
    """Answer until standard input ends, as it does when the worker ends."""
    # These are meant for the worker, but are sent to its whole process group.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    for line in sys.stdin.buffer:
        try:
            answer = problem(*json.loads(line))
        except RecursionError:
            answer = "the output or the contract's output_schema is nested too deeply", False
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
