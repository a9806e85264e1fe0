"""Check outputs against the contracts' output schemas, in child processes that have limits."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ehg_tasks.errors import SettingsError
from ehg_tasks.worker.outcomes import Failure

PROGRAM = Path(__file__).with_name("validator.py")
CHILDREN = 4
CHECK_SECONDS = 10.0
CHECK_BYTES = 512 * 2**20
KEPT_SCHEMAS = 100
UNCHECKED = "the output cannot be checked"


def require_jsonschema() -> None:
    """Raise SettingsError if the extra `worker` is not installed."""
    if find_spec("jsonschema") is None:
        raise SettingsError("the worker needs jsonschema", hint="Run: pip install 'ehg-tasks[worker]'.")


class OutputChecker:
    """Checks in up to four child processes (see `validator.py`), so that a slow check does not delay others.

    What it finds of a schema is final: another attempt would find the same.
    """

    def __init__(self) -> None:
        self._idle: list[Process] = []
        self._busy: set[Process] = set()
        self._turn = asyncio.Semaphore(CHILDREN)
        self._valid: set[str] = set()  # schemas

    async def check(self, schema: Any, *outputs: Any) -> Failure | None:
        """Return what is wrong with a schema, or else with outputs; None if nothing is.

        Schema and outputs are JSON values.
        """
        if schema is None or schema is True or schema == {}:
            return None
        try:
            text = json.dumps(schema)
            if not outputs and text in self._valid:
                return None
            request = json.dumps([text, *outputs]).encode() + b"\n"
            async with self._turn:
                # A child may die of a signal that arrives while it starts, so try twice.
                answer = await self._ask(request) or await self._ask(request)
        except TimeoutError:
            message = f"{UNCHECKED}: the contract's output_schema takes longer than {CHECK_SECONDS:.0f} s"
            return Failure(message, retry=False)
        except RecursionError:
            return Failure(f"{UNCHECKED}: it is nested too deeply")
        except OSError as error:
            return Failure(f"{UNCHECKED}: {error}", error=error)
        if not answer:
            return Failure(f"{UNCHECKED}: the process that checks it died", retry=False)
        problem = json.loads(answer)
        if problem is None:
            if len(self._valid) >= KEPT_SCHEMAS:
                self._valid.clear()
            self._valid.add(text)
            return None
        return Failure(problem[0], retry=not problem[1])

    async def close(self) -> None:
        """End the children."""
        children = [*self._idle, *self._busy]
        self._idle.clear()
        for child in children:
            await _end(child)

    async def _ask(self, request: bytes) -> bytes:
        """A child's answer; empty if it died."""
        child = self._idle.pop() if self._idle else await _start()
        self._busy.add(child)
        assert child.stdin is not None  # noqa: S101 - narrows the type
        assert child.stdout is not None  # noqa: S101
        answer = b""
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                with suppress(BrokenPipeError, ConnectionResetError):  # it died, so there is no answer
                    child.stdin.write(request)
                    await child.stdin.drain()
                answer = await child.stdout.readline()
        finally:
            self._busy.discard(child)
            if answer:
                self._idle.append(child)
            else:  # it died or was too slow, or the worker stops; another check starts another one
                await _end(child)
        return answer


async def _start() -> Process:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("SUPABASE_", "EHG_"))
    }
    limits = str(CHECK_BYTES), str(int(CHECK_SECONDS) + 1)
    return await asyncio.create_subprocess_exec(
        sys.executable, "-P", str(PROGRAM), *limits, stdin=PIPE, stdout=PIPE, env=environment
    )


async def _end(child: Process) -> None:
    with suppress(ProcessLookupError):
        child.kill()
    # Also reads what is left, so that the pipes are closed.
    await asyncio.shield(child.communicate())
