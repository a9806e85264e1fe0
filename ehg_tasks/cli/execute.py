"""A worker's handler that is another program: the contract on standard input, the result on its output."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from asyncio import StreamReader
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ehg_tasks.cli.arguments import parsed
from ehg_tasks.errors import BadArgument
from ehg_tasks.worker import AsyncTask, FinalFailure

OUTPUT_BYTES = 2**20  # what the server takes
MESSAGE_BYTES = 4096  # of the last lines on standard error
LOOK_SECONDS = 0.02
LEFTOVER_SECONDS = 2.0  # for what is still in the pipes of a command that has ended
FINAL = 65  # EX_DATAERR


class CommandFailed(Exception):  # noqa: N818 - named for what happened; its name begins the message
    """The command did not give a result; another attempt may."""


class Command:
    """A handler for `Worker` that runs a program for each contract, in a process group of its own.

    The environment is this program's own, without `SUPABASE_…` (but SUPABASE_URL) and without a claim
    token: the program works on what it is given and needs no key.

    Args:
        arguments: the program and its arguments.
        timeout: seconds that one run may take; by default the contract's timeout_minutes.
    """

    def __init__(self, arguments: list[str], timeout: float | None = None) -> None:
        self._arguments = arguments
        self._timeout = timeout

    async def __call__(self, task: AsyncTask) -> Any:
        """Run the program on a contract and return its output.

        Raises:
            FinalFailure: it ended with exit code 65.
            CommandFailed: it ended otherwise, or its output is none.
        """
        contract = task.model_dump(mode="json")
        if task.input_artifacts:
            contract["inputs"] = [artifact.model_dump(mode="json") for artifact in await task.inputs()]
        seconds = self._timeout if self._timeout is not None else task.lease_seconds
        try:
            process = await asyncio.create_subprocess_exec(
                *self._arguments,
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                env=environment(),
                start_new_session=True,
            )
        except OSError as error:
            raise CommandFailed(f"cannot run {self._arguments[0]}: {error.strerror}") from None
        run = _Run(process, json.dumps(contract, ensure_ascii=False).encode())
        try:
            async with asyncio.timeout(seconds):
                await run.end()
        except TimeoutError:
            raise CommandFailed(run.told(f"no result within {seconds:g} s")) from None
        finally:
            _kill(process)
            await asyncio.shield(run.clear())
        return run.result()


def environment() -> dict[str, str]:
    """The environment of the program: no key, no token, no password of the project."""
    return {
        name: value
        for name, value in os.environ.items()
        if name == "SUPABASE_URL" or not name.startswith(("SUPABASE_", "EHG_TASKS_CLAIM_"))
    }


def _kill(process: Process) -> None:
    """Kill the program's whole group; what it started and left behind as well."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


class _Run:
    """One run: three pipes that are fed and emptied at once, so that none of them blocks the others."""

    def __init__(self, process: Process, given: bytes) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._process = process
        self._output = bytearray()
        self._errors = bytearray()
        self._feeding = asyncio.create_task(self._feed(given))
        self._reading = [
            asyncio.create_task(_read(process.stdout, self._output, most=OUTPUT_BYTES)),
            asyncio.create_task(_read(process.stderr, self._errors, last=MESSAGE_BYTES)),
        ]

    async def _feed(self, given: bytes) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        with suppress(BrokenPipeError, ConnectionResetError):  # it need not read
            stdin.write(given)
            await stdin.drain()
        stdin.close()

    async def end(self) -> None:
        """Wait for the program's end, or until its output is too large."""
        # Process.wait() of some Python versions waits for the pipes as well, which something that the
        # program left behind may hold open.
        process, output = self._process, self._output
        await _until(lambda: process.returncode is not None or len(output) > OUTPUT_BYTES)

    async def clear(self) -> None:
        """Take what is left in the pipes of the killed program, and let go of it."""
        tasks = [*self._reading, self._feeding]
        await asyncio.wait(tasks, timeout=LEFTOVER_SECONDS)
        for task in tasks:  # something that left the group may hold a pipe open
            task.cancel()
        await _until(lambda: self._process.returncode is not None)

    def result(self) -> Any:
        """The output, as JSON; None where there is none."""
        if len(self._output) > OUTPUT_BYTES:
            raise CommandFailed(self.told(f"its output is larger than {OUTPUT_BYTES // 2**20} MiB"))
        code = self._process.returncode
        assert code is not None
        if code < 0:
            raise CommandFailed(self.told(f"killed by {signal.Signals(-code).name}"))
        if code == FINAL:
            raise FinalFailure(self.told(f"exit code {code}"))
        if code:
            raise CommandFailed(self.told(f"exit code {code}"))
        try:
            text = self._output.decode()
            return parsed("its output", text) if text.strip() else None
        except UnicodeDecodeError:
            raise CommandFailed(self.told("its output is not UTF-8")) from None
        except BadArgument as error:
            raise CommandFailed(self.told(str(error))) from None

    def told(self, what: str) -> str:
        """What happened, and the last lines that the program wrote to standard error."""
        lines = self._errors.decode("utf-8", "replace").strip()
        return f"{what}\n{lines}" if lines else what


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(LOOK_SECONDS)


async def _read(pipe: StreamReader, kept: bytearray, *, most: int | None = None, last: int = 0) -> None:
    """Read all, and keep little more than the first `most` bytes, or the `last` bytes."""
    while data := await pipe.read(65536):
        if most is None:
            kept += data
            del kept[:-last]
        elif len(kept) <= most:
            kept += data
