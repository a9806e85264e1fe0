"""Runs of tests on copies of a database: on an unchanged one, and on one with a mutant."""

from __future__ import annotations

import itertools
import json
import tempfile
from pathlib import Path

from ehg_tasks.testing.mutants import Mutant
from tests.databases import Databases
from tests.mutants import suite
from tests.mutants.choice import SPECIFICATION
from tests.mutants.report import Result


def recorded(databases: Databases, template: str, part: list[str]) -> dict[str, tuple[float, list[str]]]:
    """Run a part of the suite on an unchanged copy, and return what each test reaches."""
    name = databases.create(template)
    with databases.connect(name) as connection:
        connection.execute(f"alter database {name} set track_functions = 'all'".encode())
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "reach.json"
        answer = suite.run(
            databases.url(name), part, "-p", "tests.mutants.reach", EHG_TASKS_TEST_REACH=str(file)
        )
        if answer.code != 0:
            raise SystemExit(f"{answer.text}\nThe tests fail on the unchanged database.")
        reach: dict[str, tuple[float, list[str]]] = json.loads(file.read_text())
    databases.drop(name)
    return reach


def try_one(urls: tuple[str, str], template: str, number: int, mutant: Mutant, tests: list[str]) -> Result:
    """Apply a mutant to a copy, and run tests until one fails."""
    databases = Databases(*urls, itertools.count(number))
    name = databases.create(template)
    url = databases.url(name)
    with databases.connect(name) as connection:
        connection.execute(mutant.sql.encode())
    try:
        for outcome, chosen in (("behavior", tests), ("specification", SPECIFICATION)):
            answer = suite.run(url, chosen, "-x")
            if answer.code not in (0, 1):
                raise AssertionError(f"{mutant.name}: {answer.text}")
            if answer.code == 1:
                return Result(mutant, outcome, answer.failed)
    finally:
        if mutant.shared:
            with databases.connect(name) as connection:
                connection.execute(mutant.undo.encode())
        databases.drop(name)
    return Result(mutant, "survived")
