"""A handler that runs a program: the contract on standard input, the result on standard output."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
from asyncio import StreamReader
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ehg_tasks import limits
from ehg_tasks.cli.arguments import parse_json
from ehg_tasks.errors import BadArgument
from ehg_tasks.worker import AsyncTask, FinalFailure
from ehg_tasks.worker.telemetry import log

MAX_MESSAGE_BYTES = 4096  # of the last lines on standard error
POLL_SECONDS = 0.02
DRAIN_SECONDS = 2.0  # to read what is left in the pipes of a program that has ended
FINAL_EXIT_CODE = 65  # EX_DATAERR


class CommandFailed(Exception):  # noqa: N818 - error messages begin with this name
    """The program gave no result; another attempt may succeed."""


class CommandHandler:
    """A handler for `Worker` that runs a program for each contract, in a process group of its own.

    The program inherits the environment, except for tokens and for `SUPABASE_…` variables other than
    SUPABASE_URL: it works on its input and needs no key.

    Args:
        arguments: the program and its arguments.
        timeout: the time limit of a run, in seconds; by default what is left of the contract's
            timeout_minutes.
    """

    def __init__(self, arguments: list[str], timeout: float | None = None) -> None:
        self._arguments = arguments
        self._timeout = timeout

    async def __call__(self, task: AsyncTask) -> Any:
        """Run the program on a contract and return its output.

        Raises:
            FinalFailure: the program exited with 65.
            CommandFailed: the program failed in another way, timed out, or its output is not valid.
        """
        log(
            logging.INFO,
            f"task contract {task.contract_id}: claimed, attempt {task.attempt}",
            agent=task.target_agent,
            claim=task,
        )
        contract = task.model_dump(mode="json")
        if task.input_artifacts:
            contract["inputs"] = [artifact.model_dump(mode="json") for artifact in await task.inputs()]
        seconds = self._timeout if self._timeout is not None else task.seconds_left
        try:
            process = await asyncio.create_subprocess_exec(
                *self._arguments,
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                env=_environment(),
                start_new_session=True,
            )
        except OSError as error:
            raise CommandFailed(f"cannot run {self._arguments[0]}: {error.strerror}") from None
        run = _Run(process, json.dumps(contract, ensure_ascii=False).encode())
        try:
            async with asyncio.timeout(seconds):
                await run.wait()
        except TimeoutError:
            raise CommandFailed(run.message(f"no result within {seconds:g} s")) from None
        finally:
            _kill(process)
            await asyncio.shield(run.close())
        return run.result()


def _environment() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if name == "SUPABASE_URL" or not name.startswith(("SUPABASE_", "EHG_TASKS_CLAIM_", "EHG_AGENT_"))
    }


def _kill(process: Process) -> None:
    """Kill the program's process group, including anything that the program left running."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


class _Run:
    """A running program. Its pipes are served concurrently, so that none of them blocks another."""

    def __init__(self, process: Process, stdin: bytes) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._process = process
        self._output = bytearray()
        self._errors = bytearray()
        self._pipes = [
            asyncio.create_task(self._write(stdin)),
            asyncio.create_task(_read(process.stdout, self._output, first=limits.OUTPUT_BYTES)),
            asyncio.create_task(_read(process.stderr, self._errors, last=MAX_MESSAGE_BYTES)),
        ]

    async def _write(self, data: bytes) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        with suppress(BrokenPipeError, ConnectionResetError):  # the program may not read its input
            stdin.write(data)
            await stdin.drain()
        stdin.close()

    async def wait(self) -> None:
        """Wait until the program has ended or its output is too large."""
        # In some Python versions, Process.wait() also waits for the pipes, which a process that the
        # program left running may hold open.
        process, output = self._process, self._output
        await _until(lambda: process.returncode is not None or len(output) > limits.OUTPUT_BYTES)

    async def close(self) -> None:
        """Read what is left in the pipes of the killed program, and reap it."""
        await asyncio.wait(self._pipes, timeout=DRAIN_SECONDS)
        for task in self._pipes:  # a process that left the group may hold a pipe open
            task.cancel()
        await _until(lambda: self._process.returncode is not None)

    def result(self) -> Any:
        """Return the value of the JSON output, or None if there is no output."""
        if len(self._output) > limits.OUTPUT_BYTES:
            raise CommandFailed(self.message(f"its output is larger than {limits.OUTPUT_BYTES // 2**20} MiB"))
        code = self._process.returncode
        assert code is not None
        if code < 0:
            raise CommandFailed(self.message(f"killed by {signal.Signals(-code).name}"))
        if code:
            failure = FinalFailure if code == FINAL_EXIT_CODE else CommandFailed
            raise failure(self.message(f"exit code {code}"))
        try:
            text = self._output.decode()
            return parse_json("its output", text) if text.strip() else None
        except UnicodeDecodeError:
            raise CommandFailed(self.message("its output is not UTF-8")) from None
        except BadArgument as error:
            raise CommandFailed(self.message(str(error))) from None

    def message(self, reason: str) -> str:
        """Return the reason and the last lines that the program wrote to standard error."""
        lines = self._errors.decode("utf-8", "replace").strip()
        return f"{reason}\n{lines}" if lines else reason


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(POLL_SECONDS)


async def _read(pipe: StreamReader, data: bytearray, *, first: int | None = None, last: int = 0) -> None:
    """Read a pipe to its end; keep the `last` bytes, or little more than the `first` bytes."""
    while chunk := await pipe.read(65536):
        if first is None:
            data += chunk
            del data[:-last]
        elif len(data) <= first:
            data += chunk
