"""pytest in a project of a user: where the stack is kept, whose migrations it has, what is refused."""

from __future__ import annotations

import psycopg
import pytest

from ehg_tasks import migrations
from ehg_tasks.local import LocalStack
from tests import conftest
from tests.testing.conftest import Run, UserProject

TABLE = "create table public.notes (body text); insert into public.notes values ('from the migration')"
READS = """
    def test_notes(superuser):
        notes = [body for (body,) in superuser.execute("select body from public.notes order by body")]
        superuser.execute("insert into public.notes values ('from a test')")
        assert notes == {expected}
"""


def reads(expected: list[str]) -> str:
    return "\n".join(line[4:] for line in READS.format(expected=expected).splitlines())


def refused(run: Run) -> str:
    """The one line that a user is told."""
    assert (run.code, run.outcomes) == (1, {"error": 1}), run.text
    [line] = {line for line in run.text.splitlines() if line.startswith("ehg-tasks: ")}
    assert "Traceback" not in run.text
    return line


def test_a_stack_that_is_kept(user_project: UserProject) -> None:
    """The rows of the last run are there, until a migration that was applied is another one."""
    kept = "--ehg-tasks-stack=kept"
    notes = user_project.write("supabase/migrations/20270101000000_notes.sql", TABLE)
    user_project.write("supabase/migrations/README.sql", "this is no migration")
    test = user_project.write("test_it.py", reads(["from the migration"]))
    first = user_project.pytest(kept)
    assert first.outcomes == {"passed": 1}, first.text

    more = user_project.write("supabase/migrations/20270102000000_more.sql", "insert ino public.notes")
    assert 'syntax error at or near "ino"' in refused(user_project.pytest(kept))

    notes.write_text(TABLE.replace("from the migration", "changed"))
    more.write_text("insert into public.notes values ('more')")
    test.write_text(reads(["changed", "more"]))
    changed = user_project.pytest(kept)
    assert changed.outcomes == {"passed": 1}, changed.text

    user_project.write("supabase/migrations/20270103000000_last.sql", "insert into public.notes values ('x')")
    test.write_text(reads(["changed", "from a test", "more", "x"]))
    added = user_project.pytest(kept)
    assert added.outcomes == {"passed": 1}, added.text

    with LocalStack(user_project.folder / "kept" / "main"):
        assert "runs already" in refused(user_project.pytest(kept))


def test_workers_have_a_stack_each(user_project: UserProject) -> None:
    user_project.write("supabase/migrations/20270101000000_notes.sql", TABLE)
    for name in ("one", "two"):
        user_project.write(f"test_{name}.py", reads(["from the migration"]))
    run = user_project.pytest("-n", "2", "--dist", "loadfile", "--ehg-tasks-stack", "kept")
    assert run.outcomes == {"passed": 2}, run.text
    assert sorted(path.name for path in (user_project.folder / "kept").iterdir()) == ["gw0", "gw1"]


def test_other_folders_and_a_copy_of_a_packaged_migration(user_project: UserProject) -> None:
    """What the setting names replaces the default, and a copy in the project goes before the original."""
    first = migrations.migrations()[0]
    user_project.write(
        "pytest.ini",
        "[pytest]\naddopts = -p no:asyncio -p no:anyio\nehg_tasks_migrations = packaged db/sql\n",
    )
    user_project.write("supabase/migrations/20270101000000_notes.sql", "this is not read")
    user_project.write(f"db/sql/{first.name}", first.read_text() + f"\n;{TABLE};")
    user_project.write("test_it.py", reads(["from the migration"]))
    run = user_project.pytest()
    assert run.outcomes == {"passed": 1}, run.text


def test_nothing_starts_before_it_is_asked_for(user_project: UserProject) -> None:
    user_project.write(
        "test_it.py",
        "import sys\n"
        "def test_imports():\n"
        "    assert not {'supabase', 'psycopg', 'pydantic', 'ehg_tasks.local'} & sys.modules.keys()\n",
    )
    run = user_project.pytest("--ehg-tasks-stack=kept")
    assert run.outcomes == {"passed": 1}, run.text
    assert not (user_project.folder / "kept").exists()


@pytest.fixture
def asks(user_project: UserProject) -> UserProject:
    user_project.write("test_it.py", "def test_it(supabase_stack):\n    assert supabase_stack.url\n")
    return user_project


def test_two_migrations_of_one_version(asks: UserProject) -> None:
    first = migrations.migrations()[0].name
    version = first.partition("_")[0]
    asks.write(f"supabase/migrations/{version}_mine.sql", "select 1")
    told = f"ehg-tasks: two migrations have one version: {first} and {version}_mine.sql. Rename one of them."
    assert refused(asks.pytest()) == told


def test_a_folder_of_migrations_that_is_not_there(asks: UserProject) -> None:
    run = asks.pytest("-o", "ehg_tasks_migrations=packaged db/sql")
    assert refused(run).startswith(f"ehg-tasks: ehg_tasks_migrations names {asks.folder / 'db/sql'}, which")


def test_a_folder_that_holds_something_else(asks: UserProject) -> None:
    file = asks.write("kept/main/precious.txt", "mine")
    assert "was not made by --ehg-tasks-stack" in refused(asks.pytest("--ehg-tasks-stack=kept"))
    assert file.read_text() == "mine"


def environment(project: conftest.Project) -> dict[str, str]:
    return {
        "EHG_TASKS_TEST_PROJECT": "1",
        "SUPABASE_URL": project.url,
        "SUPABASE_PUBLISHABLE_KEY": project.publishable_key,
        "SUPABASE_SECRET_KEY": project.secret_key,
        "SUPABASE_DB_URL": project.database_url,
    }


def test_a_project_of_ones_own(
    user_project: UserProject, project: conftest.Project, database: psycopg.Connection[object]
) -> None:
    user_project.write("supabase/migrations/20270101000000_bad.sql", "this is not applied")
    user_project.write(
        "test_it.py",
        "def test_it(as_agent, as_dashboard_user, supabase_stack):\n"
        "    as_agent.create(parent_agent='PLANNER', target_agent='DESIGN', objective='Draw')\n"
        "    assert as_dashboard_user('ana').count() == 1\n"
        "    assert supabase_stack.jwt_secret is None\n",
    )
    run = user_project.pytest("--ehg-tasks-stack=kept", **environment(project))
    assert run.outcomes == {"passed": 1}, run.text
    assert database.execute("select count(*) from public.agent_task_contracts").fetchone() == (1,)
    assert not (user_project.folder / "kept").exists()


@pytest.mark.parametrize(
    "name", ["SUPABASE_URL", "SUPABASE_PUBLISHABLE_KEY", "SUPABASE_SECRET_KEY", "SUPABASE_DB_URL"]
)
def test_a_project_named_in_part(asks: UserProject, project: conftest.Project, name: str) -> None:
    """A .env file, which may name the project that people work with, is not read."""
    env = environment(project)
    asks.write(".env", f"{name}={env.pop(name)}\n")
    line = refused(asks.pytest(**env))
    assert line.startswith("ehg-tasks: EHG_TASKS_TEST_PROJECT=1 and ")
    assert name in line


def test_a_project_of_ones_own_takes_no_workers(asks: UserProject, project: conftest.Project) -> None:
    run = asks.pytest("-n", "2", **environment(project))
    assert "Run without -n" in run.text
    assert run.code == 1


def test_what_is_missing_without_psycopg(user_project: UserProject, project: conftest.Project) -> None:
    user_project.write("conftest.py", "import sys\nsys.modules['psycopg'] = None\n")
    user_project.write("test_it.py", "def test_it(clean_contracts):\n    pass\n")
    line = refused(user_project.pytest(**environment(project)))
    assert line.endswith("Run: pip install 'ehg-tasks[testing]'")
