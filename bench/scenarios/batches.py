"""Batches of claims and completions."""

from __future__ import annotations

from bench.contestants import BATCH
from bench.lab import Lab
from bench.results import Goal, Samples, Section, Table, number

WAITING = 100_000
CLIENTS = (1, 8)


def measure(lab: Lab) -> Section:
    """Compare batches with our single pairs."""
    samples = Samples()
    batches = {c.name: c.batch for c in lab.contestants if c.batch}
    for contestant in lab.contestants:
        lab.databases.get(contestant, WAITING)
    for _ in lab.rounds("batches"):
        for clients in CLIENTS:
            database = lab.databases.get(lab.ours, WAITING)
            pace = lab.pace(lab.ours, database, lab.ours.single, clients)
            samples.add(("single", clients), pace.rate)
            for contestant in lab.contestants:
                if batch := batches.get(contestant.name):
                    pace = lab.pace(contestant, lab.databases.get(contestant, WAITING), batch, clients)
                    samples.add((contestant.name, clients), pace.rate)

    goals, ratios, figures = [], [], []
    for clients in CLIENTS:
        single = ("single", clients)
        what = f"{clients} client{'s' if clients > 1 else ''}: ours in batches / ours one at a time"
        goals.append(Goal(what, 5, samples.ratio(("ours", clients), single)))
        rows = [(name, samples.ratio((name, clients), single)) for name in batches]
        ratios.append([str(clients), *(f"{ratio} ({ratio.range})" for _, ratio in rows)])
        figures.append(
            [
                str(clients),
                *(number(samples.median(case)) for case in [single, *((n, clients) for n in batches)]),
            ]
        )
    return Section(
        f"Batches of {BATCH}",
        f"Take {BATCH} pieces of work in one call and finish them in another, with {WAITING:,} waiting. After"
        " every 20 batches, a client puts 1,000 pieces back in one call; that transaction does not count."
        " procrastinate has no batches.",
        goals,
        [
            Table("Pieces of work a second / ours one at a time", ["clients", *batches], ratios),
            Table("Pieces of work a second", ["clients", "ours, one at a time", *batches], figures),
        ],
    )
