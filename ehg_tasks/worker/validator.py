"""The child process that checks outputs against JSON Schemas: one line of JSON in, one line out.

A schema comes from another agent: a regular expression or a reference in it may never end or take all
memory, and only a process can be limited and stopped. It runs as a file and imports nothing from this
package.

A request is [schema, output], or [schema] to check the schema itself. The schema is JSON in a string, by
which validators are kept. The answer is null, or what is wrong and whether that is final.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator, SchemaError, ValidationError
from jsonschema.exceptions import best_match
from jsonschema.validators import validator_for
from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]

MAX_QUOTED = 500  # characters of a message, which quotes the value
NO_SCHEMA = "the contract's output_schema is not a valid JSON Schema"
Problem = tuple[str, bool]


@lru_cache(64)
def validator(schema: str) -> Any:
    """Return the validator of a schema, or what is wrong with the schema."""
    try:
        value = json.loads(schema)
        kind = validator_for(value, default=Draft202012Validator)
        kind.check_schema(value)
    except RecursionError:
        return "the contract's output_schema is nested too deeply"
    except SchemaError as error:
        return f"{NO_SCHEMA}: {shown(error)}"
    except Exception as error:  # noqa: BLE001 - an unknown $schema, or anything else that an agent may write
        return f"{NO_SCHEMA}: {type(error).__name__}"
    # This registry knows the drafts and fetches nothing.
    return kind(value, registry=REGISTRY)


def problem(schema: str, *outputs: Any) -> Problem | None:
    """Return None if the schema and the outputs are valid, or else the answer."""
    found = validator(schema)
    if isinstance(found, str):
        return found, True
    for output in outputs:
        try:
            mismatch = best_match(found.iter_errors(output))
        except RecursionError:
            return (
                "the output cannot be checked: it or the contract's output_schema recurses too deeply",
                True,
            )
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - an unknown reference, an invalid pattern, …
            return f"the contract's output_schema cannot be used: {cut(str(error))}", True
        if mismatch:
            return f"the output does not match the contract's output_schema: {shown(mismatch)}", False
    return None


def shown(error: ValidationError | SchemaError) -> str:
    """The JSON path and the message of a problem, in one line."""
    return f"{cut(error.json_path)}: {cut(error.message)}"


def cut(text: str) -> str:
    """The text in one line, cut to a readable length."""
    line = " ".join(text.split())
    return line if len(line) <= MAX_QUOTED else line[: MAX_QUOTED - 1] + "…"


def limit_cpu(seconds: int) -> None:
    """Kill this process if it uses more than this CPU time from now on."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + seconds + 1, hard))


def main(memory: int, seconds: int) -> None:
    """Answer until standard input ends, as it does when the worker ends.

    Args:
        memory: how much this process may take, in bytes.
        seconds: how much CPU time a check may take.
    """
    # These are meant for the worker, but are sent to its whole process group.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":  # macOS does not enforce it
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    out_of_memory = False
    while not out_of_memory and (line := sys.stdin.buffer.readline()):
        limit_cpu(seconds)
        try:
            answer = problem(*json.loads(line))
        except RecursionError:
            answer = "the output or the contract's output_schema is nested too deeply", False
        except MemoryError:
            answer = "the output cannot be checked: that takes too much memory", True
            out_of_memory = True  # the worker starts another process for the next check
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
