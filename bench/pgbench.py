"""Runs pgbench, and reads its log and report."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.server import BenchError, Server

PROTOCOL = "prepared"
WARM_UP = 0.2  # the part of a run in which new connections fill their caches; it does not count


@dataclass(frozen=True)
class Limit:
    """When a run ends: after `seconds`, or after `transactions` of each client."""

    seconds: int = 0
    transactions: int = 0

    @property
    def option(self) -> str:
        """The option of pgbench."""
        return f"--transactions={self.transactions}" if self.transactions else f"--time={self.seconds}"


@dataclass(frozen=True)
class Run:
    """What one run of pgbench measured.

    Attributes:
        seconds: mean time of a transaction, in seconds, as its client saw it.
        commands: mean time of each command of the script, in seconds; 0 if it never ran.
        transactions: how many each client ended.
    """

    seconds: float
    commands: tuple[float, ...]
    transactions: tuple[int, ...]


def run(
    server: Server,
    commands: Sequence[str],
    *,
    database: str,
    user: str,
    options: str,
    variables: Mapping[str, str],
    clients: int,
    limit: Limit,
    skip: int = 0,
) -> Run:
    """Run a script of pgbench.

    Args:
        server: where.
        commands: SQL statements without their semicolons, and meta commands.
        database: database to connect to.
        user: role to log in as.
        options: PGOPTIONS.
        variables: variables of the script.
        clients: how many clients run it at the same time.
        limit: when to stop.
        skip: every how many transactions of a client one does not count; 0 if all count.

    Raises:
        BenchError: a statement failed, or found nothing to work on.
    """
    defines = [part for name, value in variables.items() for part in ("--define", f"{name}={value}")]
    with tempfile.TemporaryDirectory(dir=server.scratch) as folder:
        result = subprocess.run(
            [
                server.programs / "pgbench", "--no-vacuum", f"--protocol={PROTOCOL}", f"--client={clients}",
                f"--jobs={min(clients, os.cpu_count() or 1)}", limit.option, *defines, "--file=-",
                "--report-per-command", "--log", f"--log-prefix={folder}/log",
            ],
            env=server.environment(database, user, options),
            input="\n".join(map(_terminated, commands)), capture_output=True, text=True, check=False,
        )  # fmt: skip
        if result.returncode != 0:
            error = re.search(r"error: (.*(?:ERROR|FATAL|expected).*)", result.stderr)
            raise BenchError(f"pgbench in {database}: {error[1] if error else result.stderr[-500:].strip()}")
        log = _read(Path(folder))
    _, _, report = result.stdout.partition("statement latencies")
    latencies = re.findall(r"^ +([\d.]+|-?nan) +\d+ +\S", report, re.MULTILINE)
    if len(latencies) != len(commands):
        raise BenchError(f"pgbench in {database}: its report is not understood: {result.stdout[-500:]}")
    times = tuple(0.0 if "nan" in text else float(text) / 1000 for text in latencies)
    return Run(_mean(log, skip), times, tuple(Counter(transaction.client for transaction in log).values()))


def _terminated(command: str) -> str:
    return command if command.startswith("\\") or command.endswith("\\gset") else f"{command};"


@dataclass(frozen=True)
class _Transaction:
    client: int
    number: int  # of its client, from 1
    begin: float  # seconds since the epoch
    duration: float  # seconds


def _read(folder: Path) -> list[_Transaction]:
    log = []
    for file in folder.iterdir():
        for line in file.read_text().splitlines():
            client, number, duration, _, seconds, microseconds = (int(part) for part in line.split())
            begin = seconds + (microseconds - duration) / 1e6
            log.append(_Transaction(client, number, begin, duration / 1e6))
    return log


def _mean(log: Sequence[_Transaction], skip: int) -> float:
    """Return the mean time, in seconds, of the transactions that count."""
    first = min(transaction.begin for transaction in log)
    last = max(transaction.begin for transaction in log)
    warm = first + WARM_UP * (last - first)
    counted = [
        transaction.duration
        for transaction in log
        if transaction.begin >= warm and not (skip and transaction.number % skip == 0)
    ]
    if not counted:
        raise BenchError("a run was too short for its transactions: use more --seconds")
    return statistics.fmean(counted)
