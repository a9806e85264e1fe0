"""Claims among contracts that wait for their time, and among active leases."""

from __future__ import annotations

from bench.contestants import ours
from bench.databases import say
from bench.lab import Lab
from bench.results import Goal, Samples, Section, Table

WAITING = 100_000


def measure(lab: Lab) -> Section:
    """Compare a claim that has others in front of it or beside it with one that has not."""
    empty = lab.databases.get(lab.ours, 0)
    held, leased = (lab.databases.copy(lab.ours, empty, suffix) for suffix in ("held", "leased"))
    say(f"ours: {lab.scale.held:,} held, {lab.scale.leases:,} leases")
    with lab.databases.connect(held) as connection:
        ours.hold(connection, lab.scale.held)
    lab.databases.fill(lab.ours, held, WAITING)
    lab.databases.fill(lab.ours, leased, WAITING + lab.scale.leases)
    with lab.databases.connect(leased) as connection:
        ours.lease(connection, lab.scale.leases)

    samples = Samples()
    databases = {"neither": lab.databases.get(lab.ours, WAITING), "held": held, "leased": leased}
    for _ in lab.rounds("claims"):
        for case, database in databases.items():
            samples.add(case, lab.pace(lab.ours, database, lab.ours.single, 1).fetch)
    lab.databases.drop(held, leased)

    labels = {
        "held": f"{lab.scale.held:,} held in front",
        "leased": f"{lab.scale.leases:,} active leases",
    }
    return Section(
        "Claims among others",
        f"The time of a claim of one contract, with {WAITING:,} waiting and 1 client. The others are of the"
        " same agent: contracts that may not be claimed before tomorrow and are older than those that wait,"
        " or contracts in progress.",
        [
            Goal(f"{label} / neither", 1.2, samples.ratio(case, "neither"), at_most=True)
            for case, label in labels.items()
        ],
        [
            Table(
                "Milliseconds for a claim",
                ["neither", *labels.values()],
                [[f"{samples.median(case) * 1000:.3f}" for case in ("neither", *labels)]],
            )
        ],
    )
