"""The example in docs/testing.md runs as printed."""

from __future__ import annotations

import re
from pathlib import Path

from tests.testing.conftest import UserProject

PAGE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text("utf-8")
BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
FILE_NAME = re.compile(r"(?:--|#) (?P<name>[\w./]+\.\w+)\n")


def write_example(project: UserProject) -> list[str]:
    """Write the code blocks whose first line names a file, and return the names."""
    written = []
    for block in BLOCK.finditer(PAGE):
        if match := FILE_NAME.match(block["text"]):
            project.write(match["name"], block["text"])
            written.append(match["name"])
    return written


def test_the_example_passes_and_reports_an_untested_policy_and_grant(user_project: UserProject) -> None:
    assert write_example(user_project) == [
        "supabase/migrations/20261201090000_contract_notes.sql",
        "tests/test_contract_notes.py",
        "pytest.ini",
    ]
    options = ("-W", "error", "-p", "no:asyncio", "-p", "no:anyio", "--ehg-tasks-stack=kept")
    run = user_project.pytest(*options)
    assert run.outcomes == {"passed": 8}, run.text

    user_project.write(
        "supabase/migrations/20261202090000_open.sql",
        'create policy "Everybody reads" on public.contract_notes for select using (true);'
        "grant select on public.contract_notes to anon;",
    )
    opened = user_project.pytest(*options)
    assert opened.outcomes == {"failed": 4, "passed": 4}, opened.text
    [report] = [block["text"] for block in BLOCK.finditer(PAGE) if block["language"] == "text"]
    assert [line for line in report.splitlines() if line not in opened.text] == []
