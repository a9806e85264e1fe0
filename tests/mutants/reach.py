"""A pytest plugin that records how long each test takes, and which functions of the database it reaches.

The database counts calls if `track_functions` is on; a test that ends closes its connections, which
publishes their counts. It does not count a call that raises, but the error says which functions ran.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

STACK = re.compile(r'^(?:PL/pgSQL function (\S+\(.*?\)) |SQL function "(\w+)")', re.MULTILINE)
FUNCTIONS = (
    "select oid::regprocedure::text from pg_proc"
    " where pronamespace in ('public'::regnamespace, 'ehg_tasks'::regnamespace)"
)
CALLS = "select funcid::regprocedure::text, calls from pg_stat_user_functions"


class Reach:
    """Compares the counts of calls before and after each test."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.connection = psycopg.connect(os.environ["SUPABASE_DB_URL"], autocommit=True)
        self.connection.execute("set search_path = ''")
        self.calls: dict[str, int] = {}
        self.functions = [name for (name,) in self.connection.execute(FUNCTIONS)]
        self.raised: set[str] = set()
        self.tests: dict[str, tuple[float, list[str]]] = {}
        execute = psycopg.Cursor.execute

        def recorded(*arguments: Any, **options: Any) -> Any:
            try:
                return execute(*arguments, **options)
            except psycopg.Error as error:
                for signature, name in STACK.findall(error.diag.context or ""):
                    named = [f for f in self.functions if f == signature or f".{name}(" in f]
                    self.raised.update(named)
                raise

        psycopg.Cursor.execute = recorded  # type: ignore[method-assign]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[Any]:
        """Run a test, and record what it reached."""
        self.raised.clear()
        started = time.monotonic()
        result = yield
        seconds = time.monotonic() - started
        time.sleep(0.02)  # backends that end
        before, self.calls = self.calls, dict(self.connection.execute(CALLS).fetchall())
        reached = sorted(self.raised | {f for f, calls in self.calls.items() if calls > before.get(f, 0)})
        self.tests[item.nodeid] = (round(seconds, 3), reached)
        return result

    def pytest_sessionfinish(self) -> None:
        """Write the file."""
        self.file.write_text(json.dumps(self.tests))


def pytest_configure(config: pytest.Config) -> None:
    """Record in this run."""
    config.pluginmanager.register(Reach(Path(os.environ["EHG_TASKS_TEST_REACH"])))
