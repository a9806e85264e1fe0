"""docs/testing.md: its example runs, and it tells what there is."""

from __future__ import annotations

import re
from pathlib import Path

from _pytest.fixtures import FixtureFunctionDefinition

from ehg_tasks import testing
from tests.testing.conftest import UserProject

PAGE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text("utf-8")
BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"(?:--|#) (?P<name>[\w./]+\.\w+)\n")


def write_example(project: UserProject) -> list[str]:
    """Write the blocks whose first line names a file; returns the names."""
    written = []
    for block in BLOCK.finditer(PAGE):
        if named := NAMED.match(block["text"]):
            project.write(named["name"], block["text"])
            written.append(named["name"])
    return written


def test_the_example_runs_and_finds_what_is_added(user_project: UserProject) -> None:
    """The page shows how a policy and a grant that nobody has tested are told."""
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
    [shown] = [block["text"] for block in BLOCK.finditer(PAGE) if block["language"] == "text"]
    assert [line for line in shown.splitlines() if line not in opened.text] == []


def test_the_page_tells_of_every_fixture() -> None:
    table = re.findall(r"^\| `(\w+)` \| (session|test) \|", PAGE, re.MULTILINE)
    fixtures = {
        name: "session" if value._fixture_function_marker.scope == "session" else "test"
        for name, value in vars(testing).items()
        if isinstance(value, FixtureFunctionDefinition) and not name.startswith("_")
    }
    assert dict(table) == fixtures
