"""Check outputs against the contracts' output schemas, in a child process that can be stopped."""

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
from ehg_tasks.worker.tasks import Failure

PROGRAM = Path(__file__).with_name("validator.py")
CHECK_SECONDS = 10.0
UNCHECKED = "the output cannot be checked"


def require_jsonschema() -> None:
    """Raise SettingsError if the extra `worker` is not installed."""
    if find_spec("jsonschema") is None:
        raise SettingsError("the worker needs jsonschema", hint="Run: pip install 'ehg-tasks[worker]'.")


class OutputChecker:
    """Checks in a child process (see `validator.py`), which starts with the first schema."""

    def __init__(self) -> None:
        self._child: Process | None = None
        self._turn = asyncio.Lock()

    async def check(self, schema: Any, output: Any) -> Failure | None:
        """Return what is wrong with an output, or None. Schema and output are JSON values."""
        if schema is None or schema is True or schema == {}:
            return None
        try:
            request = json.dumps([schema, output]).encode() + b"\n"
            async with self._turn:
                # A child may die of a signal that arrives while it starts, so try twice.
                answer = await self._ask(request) or await self._ask(request)
        except TimeoutError:
            return Failure(
                f"{UNCHECKED}: the contract's output_schema takes longer than {CHECK_SECONDS:.0f} s"
            )
        except RecursionError:
            return Failure(f"{UNCHECKED}: it is nested too deeply")
        except OSError as error:
            return Failure(f"{UNCHECKED}: {error}", error=error)
        if not answer:
            return Failure(f"{UNCHECKED}: the process that checks it died")
        problem = json.loads(answer)
        return None if problem is None else Failure(problem[0], retry=not problem[1])

    async def close(self) -> None:
        """End the child."""
        child, self._child = self._child, None
        if child is not None:
            with suppress(ProcessLookupError):
                child.kill()
            # Also reads what is left, so that the pipes are closed.
            await asyncio.shield(child.communicate())

    @staticmethod
    async def _start() -> Process:
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("SUPABASE_", "EHG_"))
        }
        return await asyncio.create_subprocess_exec(
            sys.executable, "-P", str(PROGRAM), stdin=PIPE, stdout=PIPE, env=environment
        )

    async def _ask(self, request: bytes) -> bytes:
        """The child's answer; empty if it died."""
        child = self._child = self._child or await self._start()
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
            if not answer:  # it died or was too slow, or the worker stops; the next check starts another
                await self.close()
        return answer
