"""Creating work, one at a time and in bulk."""

from __future__ import annotations

from bench.lab import Lab
from bench.results import Goal, Samples, Section, Table, number

BULK = 1000
CASES = {
    "one a call, 1 client": (1, 1),
    "one a call, 8 clients": (1, 8),
    f"{BULK:,} a call, 1 client": (BULK, 1),
}
GOALS = dict(zip(CASES, (0.8, 0.8, 1.0), strict=True))


def measure(lab: Lab) -> Section:
    """Compare with every peer how fast work is created."""
    samples = Samples()
    databases = {c.name: lab.databases.copy(c, lab.databases.get(c, 0), "created") for c in lab.contestants}
    for _ in lab.rounds("creates"):
        for case, (rows, clients) in CASES.items():
            for contestant in lab.contestants:
                database = databases[contestant.name]
                if rows == 1:
                    rate = lab.create(contestant, database, clients)
                else:
                    rate = lab.create_many(contestant, database, rows, clients)
                samples.add((contestant.name, case), rate)
    lab.databases.drop(*databases.values())

    return Section(
        "Creating",
        "Insert work. In bulk, the client builds the argument once and sends it, as text, with each call.",
        [
            Goal(
                f"{case}: ours / procrastinate", bound, samples.ratio(("ours", case), ("procrastinate", case))
            )
            for case, bound in GOALS.items()
        ],
        [
            Table(
                "Ours / the peer",
                ["", *(peer.name for peer in lab.peers)],
                [
                    [case, *(str(samples.ratio(("ours", case), (peer.name, case))) for peer in lab.peers)]
                    for case in CASES
                ],
            ),
            Table(
                "Created a second",
                ["", *databases],
                [[case, *(number(samples.median((name, case))) for name in databases)] for case in CASES],
            ),
        ],
    )
