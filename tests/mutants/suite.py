"""Runs chosen tests against a database, in a process of its own.

A fork server imports this module, and with it what takes long to import, once for all runs.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from pathlib import Path
from typing import NamedTuple

import httpx
import hypothesis.stateful
import psycopg
import pytest
import supabase

import ehg_tasks

ROOT = Path(__file__).parents[2]
PRELOADED = (hypothesis.stateful, httpx, psycopg, supabase, ehg_tasks)
SETTINGS = ("URL", "PUBLISHABLE_KEY", "SECRET_KEY", "JWT_SECRET", "ANON_KEY", "SERVICE_ROLE_KEY")
QUIET = (
    "-q",
    "--assert=plain",
    "--no-header",
    "--tb=no",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:ehg_tasks",
    "-p",
    "no:xdist",
    # A test that a mutant breaks may leave its connections open.
    "-W",
    "ignore::ResourceWarning",
    "-W",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)
SECONDS = 60  # for one test, which a mutant may make wait for ever


class Run(NamedTuple):
    """The exit code of pytest, the first test that failed, and what was printed."""

    code: int
    failed: str
    text: str


def run(database_url: str, tests: list[str], *options: str, **env: str) -> Run:
    """Run tests, which use SQL alone: the settings of the API are placeholders.

    Args:
        database_url: connection URL of a superuser.
        tests: pytest's ids, from `tests/` on; they run in this order.
        options: more options of pytest.
        env: more environment variables.
    """
    os.chdir(ROOT)
    os.environ.update(dict.fromkeys((f"SUPABASE_{name}" for name in SETTINGS), "none"))
    os.environ.update(env, EHG_TASKS_TEST_PROJECT="1", SUPABASE_DB_URL=database_url)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        code = int(pytest.main([*QUIET, f"--timeout={SECONDS}", *options, *tests]))
    text = printed.getvalue()
    failed = re.search(r"^(?:FAILED|ERROR) tests/(\S+(?: \S+?)*?)(?: - .*)?$", text, re.M)
    return Run(code, failed[1] if failed else "", text)
