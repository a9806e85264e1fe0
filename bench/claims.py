"""Measure claims, as ratios within one run: `make bench`.

    python bench/claims.py [--waiting N ...] [--rounds N]

For each size of an agent's backlog, print how much longer a claim and its completion take without the
claim-order index, and how much higher the throughput is with several contracts per claim than with one.
Everything runs in SQL as anon, on an embedded Postgres.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import psycopg
from rich.console import Console
from rich.table import Table

from ehg_tasks.local import LocalStack

INDEX = """
    create index idx_task_contracts_claim_order
      on public.agent_task_contracts (target_agent, priority desc, created_at, id) where status = 'pending'
"""
COMPLETE = "select public.complete_task_contract(p_contract_id => %s, p_claim_token => %s)"


def fill(owner: psycopg.Connection[tuple[object, ...]], waiting: int) -> None:
    """Replace all contracts with a backlog of this size for one agent, all of the same priority."""
    owner.execute("truncate public.agent_task_contracts cascade")
    owner.execute(
        "insert into public.agent_task_contracts (parent_agent, target_agent, objective, created_at)"
        " select 'P', 'T', 'o', now() + n * interval '1 microsecond' from generate_series(1, %s) as n",
        [waiting],
    )
    owner.execute("vacuum analyze public.agent_task_contracts")


def seconds_each(anon: psycopg.Connection[tuple[object, ...]], rounds: int, batch: int) -> float:
    """Return the median time per contract, in seconds, of a claim and the completions."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        claimed = anon.execute(
            "select contract_id, claim_token from public.claim_task_contract('T', %s)", [batch]
        ).fetchall()
        with anon.transaction():
            for row in claimed:
                anon.execute(COMPLETE, row)
        times.append((time.perf_counter() - start) / len(claimed))
    return statistics.median(times)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="Measure what a claim costs.")
    parser.add_argument("--waiting", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=100)
    options = parser.parse_args()

    batches = (10, 50)
    table = Table("waiting", "without the index", *(f"{batch} per claim" for batch in batches))
    with tempfile.TemporaryDirectory() as folder, LocalStack(Path(folder) / "stack") as stack:
        owner = psycopg.connect(stack.superuser_url, autocommit=True)
        anon = psycopg.connect(stack.superuser_url, autocommit=True)
        anon.execute("set role anon")
        for waiting in options.waiting:
            fill(owner, waiting)
            one = seconds_each(anon, options.rounds, 1)
            larger = []
            for batch in batches:
                fill(owner, waiting)
                rounds = max(1, min(options.rounds, waiting // batch // 2))
                larger.append(one / seconds_each(anon, rounds, batch))
            fill(owner, waiting)
            owner.execute("drop index public.idx_task_contracts_claim_order")
            without = seconds_each(anon, min(options.rounds, 20), 1) / one
            owner.execute(INDEX)
            cells = (f"{ratio:.1f} x the throughput" for ratio in larger)
            table.add_row(f"{waiting:,}", f"{without:.1f} x the time", *cells)
        owner.close()
        anon.close()
    Console().print(table)


if __name__ == "__main__":
    main()
