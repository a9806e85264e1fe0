"""The examples in the docs work as printed."""

from __future__ import annotations

import re
import time
from doctest import ELLIPSIS, DocTestParser, DocTestRunner
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from supabase import Client

from ehg_tasks import AgentTasks, BackendTasks, DashboardTasks, NewContract, NewResult, Settings
from tests.conftest import Project

ROOT = Path(__file__).parents[2]
SESSION = re.compile(r"^```pycon\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = [
    page
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    if SESSION.search(page.read_text("utf-8"))
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_sessions_on_a_page_print_what_it_shows(
    page: Path,
    project: Project,
    agent: AgentTasks,
    backend: BackendTasks,
    dashboard: DashboardTasks,
    anon_api: Client,
    user_api: Client,
) -> None:
    names: dict[str, Any] = {
        "agent": agent,
        "backend": backend,
        "dashboard": dashboard,
        "anon": anon_api,
        "user": user_api,
        "project": project,
        "settings": Settings.of(project.url, project.publishable_key),
        "AgentTasks": AgentTasks,
        "NewContract": NewContract,
        "NewResult": NewResult,
        "time": time,
        "uuid4": uuid4,
    }
    text = page.read_text("utf-8")
    report: list[str] = []
    runner = DocTestRunner(optionflags=ELLIPSIS, verbose=False)
    for session in SESSION.finditer(text):
        line = text.count("\n", 0, session.start(1))
        test = DocTestParser().get_doctest(session[1], names, page.name, str(page), line)
        runner.run(test, out=report.append, clear_globs=False)
        names = test.globs
    assert runner.failures == 0, "".join(report)
    assert runner.tries > 0
