"""The program that checks outputs against JSON Schemas, a line of JSON in and a line out.

It is a process of its own because a schema comes from another agent: a regular expression or a
reference in it may run for ever, and only a process can be stopped then. Run as a file, it imports
nothing of this package.
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

SHOWN = 500  # characters of a fault; it quotes the value


def fault(schema: Any, output: Any) -> tuple[str, bool] | None:
    """What is wrong, and whether it is wrong for good: None, or (message, final)."""
    try:
        validator = validator_for(schema, default=Draft202012Validator)
        validator.check_schema(schema)
    except RecursionError:
        return "the contract's output_schema is nested too deeply", True
    except SchemaError as error:
        return f"the contract's output_schema is not a valid JSON Schema: {told(error)}", True
    except Exception as error:  # noqa: BLE001 - an odd $schema, and whatever else an agent may write
        return f"the contract's output_schema is not a valid JSON Schema: {type(error).__name__}", True
    try:
        # This registry holds the drafts themselves and fetches nothing.
        found = best_match(validator(schema, registry=REGISTRY).iter_errors(output))
    except RecursionError:
        return "the output cannot be checked: it or the contract's output_schema recurses too deeply", False
    except Exception as error:  # noqa: BLE001 - a reference to nowhere, a pattern that is none, …
        return f"the contract's output_schema cannot be used: {cut(str(error))}", True
    return (f"the output does not fit the contract's output_schema: {told(found)}", False) if found else None


def told(error: ValidationError | SchemaError) -> str:
    """A fault in one line: where, and what."""
    return f"{cut(error.json_path)}: {cut(error.message)}"


def cut(text: str) -> str:
    """The text in one line of bearable length."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else line[: SHOWN - 1] + "…"


def main() -> None:
    """Answer until standard input ends, which it does with the worker."""
    for number in (signal.SIGINT, signal.SIGTERM):  # meant for the worker, and sent to all its processes
        signal.signal(number, signal.SIG_IGN)
    for line in sys.stdin.buffer:
        try:
            answer = fault(*json.loads(line))
        except RecursionError:
            answer = "the output or the contract's output_schema is nested too deeply", False
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
