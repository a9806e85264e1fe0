"""What can be measured in a contestant's database."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.contestants import Contestant, Work, contestants
from bench.databases import Databases, say
from bench.pgbench import Limit, Run, run
from bench.server import BenchError, Server

REFILL = 50  # single pieces of work after which a client puts as many back
BATCHES = 20  # batches after which it does
TRIAL = 10


@dataclass(frozen=True)
class Scale:
    """How much is measured.

    Attributes:
        rounds: how often each case is measured.
        seconds: how long each time.
        waiting: sizes of the backlog.
        held: contracts that wait for their time.
        leases: active leases.
        finished: pieces of work that are finished while an old snapshot is open.
        space: bytes that the data needs.
    """

    rounds: int
    seconds: int
    waiting: tuple[int, ...]
    held: int
    leases: int
    finished: int
    space: int


@dataclass(frozen=True)
class Pace:
    """How fast work is taken and finished.

    Attributes:
        rate: pieces of work a second, all clients together.
        fetch: mean time of the statement that takes work, in seconds.
    """

    rate: float
    fetch: float


class Lab:
    """Measures contestants.

    Args:
        server: where.
        scale: how much.

    Attributes:
        contestants: every contestant, ours first.
        databases: their databases.
        load: the machine's load before anything was measured.
    """

    def __init__(self, server: Server, scale: Scale) -> None:
        self.server = server
        self.scale = scale
        self.load = os.getloadavg()[0]
        self.databases = Databases(server)
        self.contestants = contestants()
        self._checked: set[Work] = set()
        self.ours, self.peers = self.contestants[0], self.contestants[1:]

    def rounds(self, scenario: str) -> Iterator[int]:
        """Count the rounds."""
        for number in range(1, self.scale.rounds + 1):
            say(f"{scenario}: round {number} of {self.scale.rounds}")
            yield number

    def pace(self, contestant: Contestant, database: str, work: Work, clients: int) -> Pace:
        """Take and finish work for a while, and put as much back, so that the backlog keeps its size.

        A transaction that puts work back does not count.
        """
        every = REFILL if work.size == 1 else BATCHES
        script = _with_refill(contestant, work, every)
        self._check(contestant, database, work, script)
        result = self._run(contestant, database, script, work.size * every, clients, skip=every)
        # At the end, each client has taken up to `every` pieces that it has not put back.
        missing = sum(count % every for count in result.transactions) * work.size
        self.databases.add(contestant, database, missing)
        return Pace(clients * work.size / result.seconds, fetch=result.commands[-5])

    def _check(self, contestant: Contestant, database: str, work: Work, script: Sequence[str]) -> None:
        """Before work is first measured, check that it finishes what it takes."""
        if work in self._checked:
            return
        with self.databases.connect(database) as connection:
            [(before,)] = connection.execute(contestant.finished.encode()).fetchall()
            self._run(contestant, database, script, work.size, 1, Limit(transactions=TRIAL))
            [(after,)] = connection.execute(contestant.finished.encode()).fetchall()
        self.databases.add(contestant, database, TRIAL * work.size)
        if after - before != TRIAL * work.size:
            raise BenchError(f"{contestant.name} took {TRIAL * work.size} and finished {after - before}")
        self._checked.add(work)

    def finish(self, contestant: Contestant, database: str, count: int) -> None:
        """Finish this much work, as fast as can be, and put as much back."""
        work = contestant.most
        every = max(1, 1000 // work.size)
        script = _with_refill(contestant, work, every)
        limit = Limit(transactions=count // work.size)
        self._run(contestant, database, script, work.size * every, 1, limit)

    def create(self, contestant: Contestant, database: str, clients: int) -> float:
        """Create one piece of work a call. Return how many a second."""
        return clients / self._run(contestant, database, [contestant.create], 1, clients).seconds

    def create_many(self, contestant: Contestant, database: str, rows: int, clients: int) -> float:
        """Create this many pieces of work a call. Return how many a second."""
        script = [*_load(contestant), contestant.create_many]
        return clients * rows / self._run(contestant, database, script, rows, clients).seconds

    def _run(
        self,
        contestant: Contestant,
        database: str,
        script: Sequence[str],
        rows: int,
        clients: int,
        limit: Limit | None = None,
        skip: int = 0,
    ) -> Run:
        return run(
            self.server,
            script,
            database=database,
            user=contestant.user,
            options=contestant.options,
            variables={**contestant.variables, "bench_number": "0", "bench_rows": str(rows)},
            clients=clients,
            limit=limit or Limit(seconds=self.scale.seconds),
            skip=skip,
        )


def _load(contestant: Contestant) -> list[str]:
    """Build the argument of `create_many` in a client's first transaction; count its transactions."""
    load = ["\\if :bench_number = 0", f"{contestant.payload} \\gset", "\\endif"]
    return [*load, "\\set bench_number :bench_number + 1"]


def _with_refill(contestant: Contestant, work: Work, every: int) -> list[str]:
    refill = [f"\\if :bench_number % {every} = 0", contestant.create_many, "\\endif"]
    return [*_load(contestant), f"{work.fetch} \\gset", work.finish, *refill]
