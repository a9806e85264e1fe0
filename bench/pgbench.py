"""Runs pgbench, and reads its log and report."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import tempfile
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
    """

    seconds: float
    commands: tuple[float, ...]


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
            lines = [line for line in result.stderr.split("\n") if re.search("rror|FATAL|aborted", line)]
            raise BenchError(f"pgbench in {database}: {'; '.join(lines)[:500] or result.stderr[-500:]}")
        seconds = _mean(Path(folder), skip)
    _, _, report = result.stdout.partition("statement latencies")
    latencies = re.findall(r"^ +([\d.]+|-?nan) +\d+ +\S", report, re.MULTILINE)
    if len(latencies) != len(commands):
        raise BenchError(f"pgbench in {database}: its report is not understood: {result.stdout[-500:]}")
    return Run(seconds, tuple(0.0 if "nan" in text else float(text) / 1000 for text in latencies))


def _terminated(command: str) -> str:
    return command if command.startswith("\\") or command.endswith("\\gset") else f"{command};"


def _mean(folder: Path, skip: int) -> float:
    """Return the mean time, in seconds, of the transactions that count."""
    transactions = []  # end, duration, and number within its client, from 1
    for file in folder.iterdir():
        for line in file.read_text().splitlines():
            _, number, duration, _, seconds, microseconds = (int(part) for part in line.split())
            transactions.append((seconds + microseconds / 1e6, duration / 1e6, number))
    begin = min(end - duration for end, duration, _ in transactions)
    last = max(end for end, _, _ in transactions)
    warm = begin + WARM_UP * (last - begin)
    counted = [
        duration
        for end, duration, number in transactions
        if end - duration >= warm and not (skip and number % skip == 0)
    ]
    if not counted:
        raise BenchError("a run was too short for its transactions: use more --seconds")
    return statistics.fmean(counted)
