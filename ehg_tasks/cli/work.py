"""`ehg-tasks work`: a worker that runs a program for each contract."""

from __future__ import annotations

import json
import logging
import shlex
import shutil
from datetime import UTC, datetime
from typing import Annotated, Literal

import typer

from ehg_tasks import limits
from ehg_tasks.cli.agents import PANEL
from ehg_tasks.cli.output import exit_code
from ehg_tasks.errors import BadArgument, TaskContractError

app = typer.Typer()


@app.command(rich_help_panel=PANEL)
def work(
    agent: Annotated[str, typer.Option(help="The agent whose contracts to work on.", show_default=False)],
    command: Annotated[
        str,
        typer.Option(
            "--exec",
            metavar="COMMAND",
            help="The program and its arguments, quoted as for a shell. No shell runs them.",
            show_default=False,
        ),
    ],
    concurrency: Annotated[
        int, typer.Option(min=1, max=limits.CLAIMS, help="How many contracts to work on at once.")
    ] = 1,
    timeout: Annotated[
        float | None,
        typer.Option(min=0.1, metavar="SECONDS", help="Time limit of a run (default: timeout_minutes)."),
    ] = None,
    lease: Annotated[
        int,
        typer.Option(
            min=limits.LEASE_SECONDS,
            metavar="SECONDS",
            help="Length of the leases: how soon others can claim the contracts if this worker dies.",
        ),
    ] = 60,
    renew_every: Annotated[
        float | None,
        typer.Option(min=0.1, metavar="SECONDS", help="Time between renewals (default: 5, or --lease / 4)."),
    ] = None,
    grace: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="How long programs may continue after a signal."),
    ] = 30,
    log_format: Annotated[
        Literal["text", "json"],
        typer.Option(help="Log lines for people, or a JSON object a line."),
    ] = "text",
    once: Annotated[
        bool,
        typer.Option(
            "--once",
            help="Exit when nothing can be claimed, without waiting for retries that are due later.",
        ),
    ] = False,
) -> None:
    """Work on the contracts of an agent by running a program for each.

    The program reads the contract as JSON from standard input (its input artifacts are in `inputs`) and
    writes the result as JSON to standard output: at most 1 MiB, or nothing if there is no output. It
    receives neither keys nor the claim token. Exit code 0 completes the contract, 65 fails it without a
    retry, and any other code fails the attempt. The last lines on standard error become the error message.

    It logs to standard error: when it starts, claims a contract, records an outcome, and stops.

    On Ctrl-C or SIGTERM, the worker claims no more contracts, lets running programs finish for --grace
    seconds, and releases the rest. A second signal releases them at once.
    """
    try:
        arguments = shlex.split(command)
    except ValueError as error:
        raise BadArgument(f"--exec cannot be parsed: {error}") from None
    if not arguments or shutil.which(arguments[0]) is None:
        name = arguments[0] if arguments else ""
        raise BadArgument(f"--exec: no program {name!r} was found", hint="Give its path, or add it to PATH.")

    from ehg_tasks import AgentTasks
    from ehg_tasks.cli.command_handler import CommandHandler
    from ehg_tasks.worker import Worker
    from ehg_tasks.worker.telemetry import log

    _log_to_stderr(log_format)
    with AgentTasks.from_env() as client:
        worker = Worker(
            client,
            agent,
            CommandHandler(arguments, timeout),
            concurrency=concurrency,
            lease_seconds=lease,
            renew_every=renew_every,
            grace_seconds=grace,
            until_idle=once,
        )
        log(
            logging.INFO,
            f"working for {agent} at {client.connection.url} with {arguments[0]}: {concurrency} at"
            f" once, leases of {lease} s, renewed every {worker.seconds_between_renewals:g} s",
            agent=agent,
        )
        try:
            worker.run()
        except TaskContractError as error:
            if log_format == "json":  # the worker has logged it; every line is JSON
                raise typer.Exit(exit_code(error)) from None
            raise
        log(logging.INFO, "stopped", agent=agent)


class _WithoutTraceback(logging.Formatter):
    """Omits tracebacks: the message says what happened."""

    def format(self, record: logging.LogRecord) -> str:
        return super().format(logging.makeLogRecord(vars(record) | {"exc_info": None, "exc_text": None}))


class _JsonLine(logging.Formatter):
    """Writes the record as a JSON object; its names are those of the worker's records."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"time": time, "level": record.levelname, "message": record.getMessage()}
        extra = {name: getattr(record, name, None) for name in ("agent", "contract_id", "attempt", "seconds")}
        if extra["seconds"] is not None:
            extra["seconds"] = round(extra["seconds"], 3)
        return json.dumps(line | extra)


def _log_to_stderr(log_format: str) -> None:
    handler = logging.StreamHandler()
    text = _WithoutTraceback("%(asctime)s %(levelname)s %(message)s")
    handler.setFormatter(_JsonLine() if log_format == "json" else text)
    logger = logging.getLogger("ehg_tasks.worker")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
