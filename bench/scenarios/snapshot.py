"""Claims and completions while another transaction keeps an old snapshot open."""

from __future__ import annotations

import time
from contextlib import ExitStack

from bench.contestants import Contestant
from bench.contestants.ours import SHORT_LEASES
from bench.databases import say
from bench.lab import Lab
from bench.results import Goal, Samples, Section, Table, number

WAITING = 100_000
LEASE = 6  # seconds after which the short leases have expired


def measure(lab: Lab) -> Section:
    """Compare pairs under an old snapshot with pairs without it, for each contestant."""
    samples = Samples()
    contestants = [*lab.contestants, SHORT_LEASES]
    databases: list[str] = []
    with ExitStack() as stack:
        pairs: dict[str, tuple[str, str]] = {}
        for contestant in contestants:
            pairs[contestant.name] = _prepare(lab, contestant, stack)
            databases += pairs[contestant.name]
        time.sleep(LEASE)
        for _ in lab.rounds("snapshot"):
            for contestant in contestants:
                for number_, database in enumerate(pairs[contestant.name]):
                    pace = lab.pace(contestant, database, contestant.single, 1)
                    samples.add((contestant.name, number_), pace.rate)
    lab.databases.drop(*databases)

    slower = {c.name: samples.ratio((c.name, 0), (c.name, 1)) for c in contestants}
    return Section(
        "Under an old snapshot",
        f"One at a time, 1 client, {WAITING:,} waiting, after {lab.scale.finished:,} were taken and finished"
        " (and as many put back). In one of two copies of the database, another connection has held a"
        " snapshot since before the first of them, as a long report or a forgotten transaction does, so that"
        " VACUUM can remove nothing that came after.",
        [
            Goal(f"{name}: time with the snapshot / without", 1.2, slower[name], at_most=True)
            for name in (lab.ours.name, SHORT_LEASES.name)
        ],
        [
            Table(
                "Time with the snapshot / without",
                list(slower),
                [[f"{ratio} ({ratio.range})" for ratio in slower.values()]],
            ),
            Table(
                "Pairs a second",
                ["", *slower],
                [
                    [label, *(number(samples.median((name, kind))) for name in slower)]
                    for kind, label in enumerate(("without", "with the snapshot"))
                ],
            ),
        ],
    )


def _prepare(lab: Lab, contestant: Contestant, stack: ExitStack) -> tuple[str, str]:
    """Return two databases in which as much was finished: without a snapshot, and with one that is open."""
    source = lab.databases.get(lab.ours if contestant is SHORT_LEASES else contestant, WAITING)
    without, with_ = (lab.databases.copy(contestant, source, suffix) for suffix in ("without", "with"))
    reader = stack.enter_context(lab.databases.connect(with_))
    reader.execute("begin isolation level repeatable read")
    reader.execute("select 1")
    for database in (without, with_):
        say(f"{database}: {lab.scale.finished:,} are finished")
        lab.finish(contestant, database, lab.scale.finished)
    return without, with_
