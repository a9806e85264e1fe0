"""Break the rules one by one, and check that the tests notice: `make mutants`.

    python -m tests.mutants [--quick] [--jobs N] [--only TEXT] [--report FILE]

Each mutant gets a copy of a migrated database. The tests that it names run against the copy, through the
environment variables that run the suite against any project. A mutant is killed if one of them fails.
First, all named tests must pass on an unchanged copy.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from rich.console import Console

from ehg_tasks.local import LocalStack
from tests.databases import Databases
from tests.mutants.function_bodies import function_bodies
from tests.mutants.mutants import Mutant, functions, indexes, policies, schemas, tables, triggers

ROOT = Path(__file__).parents[2]
QUICK = 12  # CI runs every 12th mutant


@dataclass(frozen=True)
class Result:
    """Whether a mutant was killed, and by which test."""

    mutant: Mutant
    killed: bool
    by: str


def mutants() -> list[Mutant]:
    """Every mutant; names are unique."""
    catalog = [*policies(), *tables(), *functions(), *schemas(), *triggers(), *indexes()]
    every = [*catalog, *function_bodies()]
    duplicates = [name for name, count in Counter(mutant.name for mutant in every).items() if count > 1]
    assert not duplicates, duplicates
    return every


@contextmanager
def server() -> Iterator[Databases]:
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "none"
        empty.mkdir()
        with LocalStack(folder, migrations=empty) as stack:
            yield Databases(stack.superuser_url, stack.db_url)


def apply(databases: Databases, name: str, mutant: Mutant) -> None:
    """Apply a mutant to a database; fail if the text to replace is not there."""
    with databases.connect(name) as connection:
        if mutant.sql:
            connection.execute(mutant.sql.encode())
        if mutant.replace:
            function, old, new = mutant.replace
            rows = connection.execute(
                "select pg_get_functiondef(oid) from pg_proc where oid::regproc::text = %s or"
                " pronamespace::regnamespace || '.' || proname = %s",
                [function, function],
            ).fetchall()
            assert len(rows) == 1, f"there are {len(rows)} functions {function}"
            [(definition,)] = rows
            assert old in definition, f"{function} does not contain {old!r}"
            connection.execute(definition.replace(old, new).encode())


def run(databases: Databases, name: str, tests: list[str]) -> subprocess.CompletedProcess[str]:
    """Run tests against a database. These tests use only SQL, so the API settings are placeholders."""
    url = urlsplit(databases.superuser_url)._replace(path=f"/{name}").geturl()
    project = {
        "EHG_TASKS_TEST_PROJECT": "1",
        "SUPABASE_DB_URL": url,
        **dict.fromkeys(
            ["SUPABASE_URL", "SUPABASE_PUBLISHABLE_KEY", "SUPABASE_SECRET_KEY", "SUPABASE_JWT_SECRET",
             "SUPABASE_ANON_KEY", "SUPABASE_SERVICE_ROLE_KEY"], "none"),
    }  # fmt: skip
    quiet = ["-q", "-x", "--no-header", "--tb=no", "-p", "no:cacheprovider", "-p", "no:ehg_tasks"]
    command = [sys.executable, "-m", "pytest", *quiet]
    ids = [f"tests/{test}" for test in tests]
    return subprocess.run(
        [*command, *ids], cwd=ROOT, env=os.environ | project, capture_output=True, text=True, check=False
    )


def try_one(databases: Databases, template: str, mutant: Mutant) -> Result:
    name = databases.create(template)
    try:
        apply(databases, name, mutant)
        answer = run(databases, name, mutant.test.split())
    finally:
        databases.drop(name)
    failed = re.findall(r"^(?:FAILED|ERROR) tests/(\S+(?: \S+?)*?)(?: - .*)?$", answer.stdout, re.M)
    assert answer.returncode in (0, 1), f"{mutant.name}: {answer.stdout}{answer.stderr}"
    return Result(mutant, answer.returncode == 1, failed[0] if failed else "")


def report(results: list[Result]) -> str:
    """The page docs/mutation-report.md."""
    counted = [result for result in results if not result.mutant.equivalent]
    killed = [result for result in counted if result.killed]
    lines = [
        "# Mutation report",
        "",
        "Each line shows one change to the database that breaks a rule, and the test that fails because of"
        " it. `make mutants` writes this page.",
        "",
        f"**The tests kill {len(killed)} of {len(counted)} mutants:"
        f" {100 * len(killed) / len(counted):.1f} %.** {len(results) - len(counted)} more are equivalent.",
        "",
        "One rule has no mutant: `expire_leases` reads each lease again after locking the contract, in case a"
        " renewal commits between the two. That window is within one statement, so no test can hold it open.",
        "",
        "| mutant | killed by |",
        "|---|---|",
    ]
    for result in results:
        by = result.mutant.equivalent or (f"`{result.by}`" if result.killed else "**no test**")
        cells = (cell.replace("|", r"\|") for cell in (result.mutant.name, by))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"every {QUICK}th mutant")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", default="", help="mutants whose name contains this text")
    parser.add_argument("--report", type=Path, help="write the report to this file")
    options = parser.parse_args()
    chosen = [mutant for mutant in mutants() if options.only in mutant.name]
    chosen = chosen[::QUICK] if options.quick else chosen

    console = Console(highlight=False)
    with server() as databases, ThreadPoolExecutor(options.jobs) as pool:
        template = databases.migrated()
        unchanged = databases.create(template)
        answer = run(
            databases, unchanged, sorted({test for mutant in chosen for test in mutant.test.split()})
        )
        if answer.returncode != 0:
            console.print(answer.stdout + answer.stderr, markup=False)
            console.print("[red]The tests fail on the unchanged database.[/red]")
            return 2
        results = []
        for result in pool.map(lambda mutant: try_one(databases, template, mutant), chosen):
            results.append(result)
            if not result.killed and not result.mutant.equivalent:
                console.print(f"[red]survived[/red]  {result.mutant.name}", soft_wrap=True)
    survivors = [result for result in results if not result.killed and not result.mutant.equivalent]
    console.print(f"{len(results) - len(survivors)} of {len(results)} mutants are killed.")
    if options.report:
        options.report.write_text(report(results))
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
