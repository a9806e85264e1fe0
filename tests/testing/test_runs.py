"""Runs of pytest in a user's project: kept stacks, migrations, other projects, and error messages."""

from __future__ import annotations

from textwrap import dedent

import psycopg
import pytest

from ehg_tasks import migrations
from ehg_tasks.local import LocalStack
from tests import conftest
from tests.testing.conftest import Run, UserProject

TABLE = "create table public.notes (body text); insert into public.notes values ('from the migration')"
TEST = """
    def test_notes(superuser):
        notes = [body for (body,) in superuser.execute("select body from public.notes order by body")]
        superuser.execute("insert into public.notes values ('from a test')")
        assert notes == {expected}
"""


def notes_test(expected: list[str]) -> str:
    """A test that expects these notes, and adds one."""
    return dedent(TEST.format(expected=expected))


def error_message(run: Run) -> str:
    """The one-line error message of a run."""
    assert (run.code, run.outcomes) == (1, {"error": 1}), run.text
    [line] = {line for line in run.text.splitlines() if line.startswith("ehg-tasks: ")}
    assert "Traceback" not in run.text
    return line


def test_a_kept_stack_keeps_its_rows_until_an_applied_migration_changes(user_project: UserProject) -> None:
    kept = "--ehg-tasks-stack=kept"
    notes = user_project.write("supabase/migrations/20270101000000_notes.sql", TABLE)
    user_project.write("supabase/migrations/README.sql", "this is not a migration")
    test = user_project.write("test_it.py", notes_test(["from the migration"]))
    first = user_project.pytest(kept)
    assert first.outcomes == {"passed": 1}, first.text

    more = user_project.write("supabase/migrations/20270102000000_more.sql", "insert ino public.notes")
    assert 'syntax error at or near "ino"' in error_message(user_project.pytest(kept))

    notes.write_text(TABLE.replace("from the migration", "changed"))
    more.write_text("insert into public.notes values ('more')")
    test.write_text(notes_test(["changed", "more"]))
    changed = user_project.pytest(kept)
    assert changed.outcomes == {"passed": 1}, changed.text

    user_project.write("supabase/migrations/20270103000000_last.sql", "insert into public.notes values ('x')")
    test.write_text(notes_test(["changed", "from a test", "more", "x"]))
    added = user_project.pytest(kept)
    assert added.outcomes == {"passed": 1}, added.text

    with LocalStack(user_project.folder / "kept" / "main"):
        assert "is already running" in error_message(user_project.pytest(kept))


def test_each_xdist_worker_has_its_own_stack(user_project: UserProject) -> None:
    user_project.write("supabase/migrations/20270101000000_notes.sql", TABLE)
    for name in ("one", "two"):
        user_project.write(f"test_{name}.py", notes_test(["from the migration"]))
    run = user_project.pytest("-n", "2", "--dist", "loadfile", "--ehg-tasks-stack", "kept")
    assert run.outcomes == {"passed": 2}, run.text
    assert sorted(path.name for path in (user_project.folder / "kept").iterdir()) == ["gw0", "gw1"]


def test_the_setting_replaces_the_default_folders_and_a_copy_replaces_a_packaged_migration(
    user_project: UserProject,
) -> None:
    first = migrations.migrations()[0]
    user_project.write(
        "pytest.ini",
        "[pytest]\naddopts = -p no:asyncio -p no:anyio\nehg_tasks_migrations = packaged db/sql\n",
    )
    user_project.write("supabase/migrations/20270101000000_notes.sql", "this is not read")
    user_project.write(f"db/sql/{first.name}", first.read_text() + f"\n;{TABLE};")
    user_project.write("test_it.py", notes_test(["from the migration"]))
    run = user_project.pytest()
    assert run.outcomes == {"passed": 1}, run.text


def test_nothing_is_imported_or_started_until_a_fixture_is_requested(user_project: UserProject) -> None:
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
def stack_project(user_project: UserProject) -> UserProject:
    """A project with one test, which requests the stack."""
    user_project.write("test_it.py", "def test_it(supabase_stack):\n    assert supabase_stack.url\n")
    return user_project


def test_two_migrations_with_the_same_version_are_refused(stack_project: UserProject) -> None:
    first = migrations.migrations()[0].name
    version = first.partition("_")[0]
    stack_project.write(f"supabase/migrations/{version}_mine.sql", "select 1")
    message = f"two migrations have the same version: {first} and {version}_mine.sql. Rename one of them."
    assert error_message(stack_project.pytest()) == f"ehg-tasks: {message}"


def test_a_missing_folder_of_migrations_is_refused(stack_project: UserProject) -> None:
    run = stack_project.pytest("-o", "ehg_tasks_migrations=packaged db/sql")
    assert error_message(run).startswith(
        f"ehg-tasks: ehg_tasks_migrations names {stack_project.folder / 'db/sql'}, which"
    )


def test_a_folder_that_the_plugin_did_not_create_is_refused_and_kept(stack_project: UserProject) -> None:
    file = stack_project.write("kept/main/precious.txt", "mine")
    assert "was not created by --ehg-tasks-stack" in error_message(
        stack_project.pytest("--ehg-tasks-stack=kept")
    )
    assert file.read_text() == "mine"


def environment(project: conftest.Project) -> dict[str, str]:
    """The variables that name an existing project."""
    return {"EHG_TASKS_TEST_PROJECT": "1", **project.env()}


def test_an_existing_project_is_used_without_applying_migrations(
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
def test_an_existing_project_needs_every_variable_in_the_environment(
    stack_project: UserProject, project: conftest.Project, name: str
) -> None:
    """A .env file is not read, because it may name the project that people work with."""
    env = environment(project)
    stack_project.write(".env", f"{name}={env.pop(name)}\n")
    line = error_message(stack_project.pytest(**env))
    assert line.startswith("ehg-tasks: EHG_TASKS_TEST_PROJECT=1 is set, but ")
    assert name in line


def test_an_existing_project_refuses_parallel_workers(
    stack_project: UserProject, project: conftest.Project
) -> None:
    run = stack_project.pytest("-n", "2", **environment(project))
    assert "Run without -n" in run.text
    assert run.code == 1


def test_a_missing_psycopg_is_reported_with_the_command_that_installs_it(
    user_project: UserProject, project: conftest.Project
) -> None:
    user_project.write("conftest.py", "import sys\nsys.modules['psycopg'] = None\n")
    user_project.write("test_it.py", "def test_it(clean_contracts):\n    pass\n")
    line = error_message(user_project.pytest(**environment(project)))
    assert line.endswith("Run: pip install 'ehg-tasks[testing]'")
