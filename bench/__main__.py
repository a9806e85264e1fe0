"""Run the benchmark.

    python -m bench [--quick] [--scenario NAME ...] [--rounds N] [--seconds N] [--report FILE]

Prints the page, and writes it to FILE. What is measured, how, and with which settings is said on the page.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import FrameType

import psycopg

from bench.databases import say
from bench.lab import Lab, Scale
from bench.report import page
from bench.scenarios import SCENARIOS
from bench.server import BenchError, running

FULL = Scale(9, 1, (1_000, 100_000, 1_000_000), 100_000, 50_000, 200_000, 10 << 30)
QUICK = Scale(3, 1, (1_000, 100_000), 20_000, 10_000, 20_000, 5 << 30)
QUIET = 0.5
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    """Run the scenarios, print the page, and write it if asked to."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Compare the SQL functions with other queues."
    )
    parser.add_argument("--quick", action="store_true", help="smaller backlogs, fewer and shorter rounds")
    parser.add_argument("--scenario", nargs="+", choices=SCENARIOS, default=list(SCENARIOS), metavar="NAME",
                        help=f"only these: {', '.join(SCENARIOS)}")  # fmt: skip
    parser.add_argument("--rounds", type=_positive, help="how often each case is measured")
    parser.add_argument("--seconds", type=_positive, help="how long each time, in whole seconds")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the page to this file")
    options = parser.parse_args()

    scale = QUICK if options.quick else FULL
    scale = replace(scale, rounds=options.rounds or scale.rounds, seconds=options.seconds or scale.seconds)
    for number in SIGNALS:
        signal.signal(number, _end)
    start = time.monotonic()
    try:
        with running(scale.space) as server:
            lab = Lab(server, scale)
            if lab.load > QUIET:
                say(f"The machine is busy (load {lab.load:.1f}): other programs will be in the figures.")
            sections = [SCENARIOS[name](lab) for name in options.scenario]
            text = page(lab, sections, sys.argv[1:], time.monotonic() - start)
    except (BenchError, psycopg.Error) as error:
        print(f"bench: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        print(f"bench: {error.name} is not installed. Run: pip install -e '.[bench]'", file=sys.stderr)
        return 1
    print(text)
    if options.report:
        options.report.write_text(text)
    return 0


def _end(number: int, _: FrameType | None) -> None:
    """End the program in a way that stops the server first. Another signal must not prevent that."""
    for other in SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    sys.exit(128 + number)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


if __name__ == "__main__":
    sys.exit(main())
