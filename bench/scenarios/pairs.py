"""Single claims and completions, by the size of the backlog."""

from __future__ import annotations

from bench.lab import Lab
from bench.results import Goal, Samples, Section, Table, number

CLIENTS = (1, 8)


def measure(lab: Lab) -> Section:
    """Compare pairs of a claim and a completion with every peer's, for each backlog."""
    samples = Samples()
    cases = [(waiting, clients) for waiting in lab.scale.waiting for clients in CLIENTS]
    for contestant in lab.contestants:
        for waiting in lab.scale.waiting:
            lab.databases.get(contestant, waiting)
    for _ in lab.rounds("pairs"):
        for waiting, clients in cases:
            for contestant in lab.contestants:
                database = lab.databases.get(contestant, waiting)
                pace = lab.pace(contestant, database, contestant.single, clients)
                samples.add((contestant.name, waiting, clients), pace.rate)

    goals = []
    for waiting, clients in cases:
        ours = ("ours", waiting, clients)
        best = samples.best([(peer.name, waiting, clients) for peer in lab.peers])
        where = f"{waiting:,} waiting, {_clients(clients)}"
        goals.append(Goal(f"{where}: ours / pgmq", 0.95, samples.ratio(ours, ("pgmq", waiting, clients))))
        goals.append(Goal(f"{where}: ours / the best peer", 0.75, samples.ratio(ours, best)))
    least, most = min(lab.scale.waiting), max(lab.scale.waiting)
    for clients in CLIENTS:
        ratio = samples.ratio(("ours", least, clients), ("ours", most, clients))
        what = f"{_clients(clients)}: time of a pair at {most:,} waiting / at {least:,}"
        goals.append(Goal(what, 1.2, ratio, at_most=True))

    names = [contestant.name for contestant in lab.contestants]
    ratios = [
        [f"{waiting:,}", str(clients)]
        + [
            str(samples.ratio(("ours", waiting, clients), (peer.name, waiting, clients)))
            for peer in lab.peers
        ]
        for waiting, clients in cases
    ]
    figures = [
        [f"{waiting:,}", str(clients), *(number(samples.median((name, waiting, clients))) for name in names)]
        for waiting, clients in cases
    ]
    return Section(
        "One at a time",
        "Take one piece of work and finish it: two statements, two transactions. The backlog is of one agent"
        " (one queue, one entrypoint) and one priority, and keeps its size: after every 50 pieces, a client"
        " puts 50 back in one call; that transaction does not count.",
        goals,
        [
            Table(
                "Our pairs a second / the peer's",
                ["waiting", "clients", *(p.name for p in lab.peers)],
                ratios,
            ),
            Table("Pairs a second", ["waiting", "clients", *names], figures),
        ],
    )


def _clients(count: int) -> str:
    return "1 client" if count == 1 else f"{count} clients"
