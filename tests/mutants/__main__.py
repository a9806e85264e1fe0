"""Break the rules one by one, and check that the tests notice: `make mutants`.

    python -m tests.mutants [--quick] [--jobs N] [--only TEXT] [--kind KIND] [--report FILE]

Each mutant gets a copy of a migrated database, and the tests that reach what it changes run against the
copy until one fails. First, all tests must pass on an unchanged copy; that run records what they reach.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from zlib import crc32

from rich.console import Console

from ehg_tasks.local import LocalStack
from ehg_tasks.testing.mutants import Mutant, mutants
from tests.databases import Databases
from tests.mutants import suite
from tests.mutants.choice import LONG, SUITE, Reach, behavior
from tests.mutants.equivalent import EQUIVALENT
from tests.mutants.report import Result, page
from tests.mutants.trial import recorded, try_one

QUICK = 40  # CI runs one in 40 mutants
SCHEMAS = ("public", "ehg_tasks")
# The first three read the catalog for `ehg-tasks verify`, whose tests run over HTTP. Migrations rebuild
# the queue, and the tests of that make databases of their own. The tables belong to others, and are created
# only where they are missing.
OTHERS = re.compile(
    r"describe_task_contracts|access_findings|package_objects|rebuild_queue"
    r"|public\.(agent_artifacts|strategic_directives_v2)"
)


def left_out(mutant: Mutant) -> bool:
    """Whether a mutant is of something that the suite does not test, or that functions keep true as well."""
    if mutant.kind == "constraint" and mutant.target.startswith("ehg_tasks."):
        return True
    return bool(OTHERS.search(mutant.target)) and mutant.kind not in ("privilege", "rls")


@contextmanager
def server() -> Iterator[Databases]:
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "none"
        empty.mkdir()
        with LocalStack(folder, migrations=empty) as stack:
            databases = Databases(stack.superuser_url, stack.db_url)
            with databases.connect("postgres") as connection:  # nothing here must survive a crash
                connection.execute("alter system set fsync = off")
                connection.execute("select pg_reload_conf()")
            yield databases


def pool(jobs: int) -> ProcessPoolExecutor:
    """Processes that are forked, one for each task, from one that has imported what the tests need."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.mutants.trial"])
    return ProcessPoolExecutor(jobs, context, max_tasks_per_child=1)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"one in {QUICK} mutants")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", default="", help="mutants whose name contains this text")
    parser.add_argument("--kind", default="", help="mutants of one kind")
    parser.add_argument("--names", type=Path, help="a file with the mutants to run, a line each, as printed")
    parser.add_argument("--every", type=int, default=1, help="one in N mutants")
    parser.add_argument("--reach", type=Path, help="keep what tests reach in this file, for later runs")
    parser.add_argument("--report", type=Path, help="write the report to this file")
    options = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True, markup=False)

    with server() as databases:
        template = databases.migrated()
        with databases.connect(template) as connection:
            every = [mutant for mutant in mutants(connection, SCHEMAS) if not left_out(mutant)]
        if stale := sorted(EQUIVALENT.keys() - {mutant.name for mutant in every}):
            raise SystemExit(
                "\n".join(["tests/mutants/equivalent.py names mutants that do not exist:", *stale])
            )
        chosen = [m for m in every if options.only in m.name and options.kind in ("", m.kind)]
        if options.names:
            printed = options.names.read_text()
            chosen = [m for m in chosen if f"] {m.title}\n" in printed]
        share = QUICK if options.quick else options.every
        # By their names, so that a change of one function leaves the sample of the others as it is.
        chosen = [mutant for mutant in chosen if crc32(mutant.name.encode()) % share == 0]
        started = time.monotonic()
        reach = reached(databases, template, options.jobs, options.reach)
        console.print(
            f"{len(chosen)} of {len(every)} mutants; {len(reach)} tests, {time.monotonic() - started:.0f} s"
        )
        results = []
        for result in outcomes(databases, template, options.jobs, chosen, reach):
            results.append(result)
            if result.outcome == "survived":
                console.print(f"survived  [{result.mutant.kind}] {result.mutant.title}")
    survivors = sum(result.outcome == "survived" for result in results)
    console.print(f"{survivors} of {len(results)} mutants survived. {time.monotonic() - started:.0f} s")
    if options.report:
        options.report.write_text(page(results, len(every)))
    return 1 if survivors else 0


def reached(databases: Databases, template: str, jobs: int, file: Path | None) -> Reach:
    """What each test reaches: from a file if it is there, or from runs of the suite."""
    if file and file.exists():
        known: Reach = json.loads(file.read_text())
        return known
    files = sorted(Path(suite.ROOT, SUITE[0]).glob("test_*.py"))
    parts = [str(file.relative_to(suite.ROOT)) for file in files] + SUITE[1:]
    parts.remove(LONG)
    reach: dict[str, tuple[float, list[str]]] = {}
    with pool(jobs) as processes:
        urls = (databases.superuser_url, databases.owner_url)
        numbers = itertools.count(10_000)
        tasks = [
            processes.submit(recorded, Databases(*urls, itertools.count(next(numbers))), template, [part])
            for part in parts
        ]
        for task in tasks:
            reach |= task.result()
    if file:
        file.write_text(json.dumps(reach))
    return reach


def outcomes(
    databases: Databases, template: str, jobs: int, chosen: list[Mutant], reach: Reach
) -> Iterator[Result]:
    """Try the mutants; those that change a role, which all copies share, alone and at the end."""
    one = partial(try_one, (databases.superuser_url, databases.owner_url), template)
    alone = [mutant for mutant in chosen if mutant.shared]
    together = [mutant for mutant in chosen if not mutant.shared]
    for some, count in ((together, jobs), (alone, 1)):
        with pool(count) as processes:
            tasks = [
                (mutant, None if mutant.name in EQUIVALENT else processes.submit(
                    one, 20_000 + number, mutant, behavior(mutant, reach)))
                for number, mutant in enumerate(some)
            ]  # fmt: skip
            for mutant, task in tasks:
                yield task.result() if task else Result(mutant, "equivalent", EQUIVALENT[mutant.name])


if __name__ == "__main__":
    sys.exit(main())
