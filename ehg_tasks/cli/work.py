"""``ehg-tasks work``: a worker whose handler is a command."""

from __future__ import annotations

import logging
import shlex
import shutil
from typing import Annotated

import typer

from ehg_tasks.cli.output import plain
from ehg_tasks.errors import BadArgument


def work(
    agent: Annotated[str, typer.Option(help="Whose contracts to work on.", show_default=False)],
    command: Annotated[
        str,
        typer.Option(
            "--exec",
            metavar="COMMAND",
            help="The program and its arguments, quoted as for a shell but run without one.",
            show_default=False,
        ),
    ],
    concurrency: Annotated[int, typer.Option(min=1, max=100, help="How many contracts at once.")] = 1,
    timeout: Annotated[
        float | None,
        typer.Option(
            min=0.1, metavar="SECONDS", help="Of one run (default: the contract's timeout_minutes)."
        ),
    ] = None,
    grace: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="For running commands, once asked to end.")
    ] = 30,
    once: Annotated[
        bool,
        typer.Option("--once", help="End when there is nothing to claim; retries that wait are left."),
    ] = False,
) -> None:
    """Work on an agent's contracts with a program of yours (publishable key).

    The program gets the contract as JSON on standard input (its input artifacts as `inputs`) and writes
    the result as JSON to standard output, 1 MiB at most; nothing is no output. It gets no key and no
    claim token. Exit code 0 completes the contract, 65 fails it for good, any other lets it be tried
    again; the last lines on standard error are the error message.

    Ctrl-C or SIGTERM: no new contracts, running ones may finish, the rest is released; a second one
    releases at once.
    """
    try:
        arguments = shlex.split(command)
    except ValueError as error:
        raise BadArgument(f"--exec cannot be read: {error}") from None
    if not arguments or shutil.which(arguments[0]) is None:
        name = arguments[0] if arguments else ""
        raise BadArgument(f"--exec: there is no program {name!r}", hint="Give its path, or put it in PATH.")

    from ehg_tasks import AgentTasks
    from ehg_tasks.cli.execute import Command
    from ehg_tasks.worker import Worker

    _log_to_stderr()
    with AgentTasks.from_env() as client:
        worker = Worker(
            client,
            agent,
            Command(arguments, timeout),
            concurrency=concurrency,
            grace_seconds=grace,
            until_idle=once,
        )
        worker.run()


class _OneLine(logging.Formatter):
    """Time, level and message in a line; what an agent wrote cannot break out of it."""

    def format(self, record: logging.LogRecord) -> str:
        return plain(super().format(record)).replace("\n", " | ")

    def formatException(self, ei: object) -> str:  # noqa: ARG002, N802 - the message has it
        return ""


def _log_to_stderr() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("ehg_tasks.worker")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
