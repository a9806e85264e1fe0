"""Tests with the extensions of Debian's PostgreSQL 15: plpgsql_check, pgTAP and pg_cron."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import Connection

from ehg_tasks import AgentTasks, migrations
from ehg_tasks.local import LocalStack
from tests.access import specification as spec
from tests.conftest import local_stack
from tests.databases import Databases
from tests.supabase_cli import SupabaseCLI

SCHEMAS = "array['public', 'ehg_tasks']::regnamespace[]"
FUNCTIONS = f"""
    select p.oid, p.oid::regprocedure::text as name, coalesce(t.tgrelid, 0) as relation, t.tgnewtable,
           t.tgoldtable
    from pg_proc p
    join pg_language l on l.oid = p.prolang and l.lanname = 'plpgsql'
    left join pg_trigger t on t.tgfoid = p.oid
    where p.pronamespace = any ({SCHEMAS})
"""
SCHEDULE = (migrations.folder() / "optional" / "schedule_cleanup.sql").read_bytes()
# A job that runs every minute starts within a minute; the rest is for the clean-up itself.
JOB_SECONDS = 150


@pytest.fixture
def migrated(databases: Databases) -> Iterator[str]:
    """The name of a database with every migration."""
    name = databases.migrated()
    yield name
    databases.drop(name)


@pytest.fixture
def checked(databases: Databases, migrated: str) -> Iterator[Connection[Any]]:
    """A superuser's connection to a migrated database with plpgsql_check."""
    with databases.connect(migrated) as connection:
        connection.execute("create extension plpgsql_check with schema extensions")
        yield connection


class TestPlpgsqlCheck:
    def test_no_function_has_a_warning(self, checked: Connection[Any]) -> None:
        """Postgres itself checks functions in SQL when they are created."""
        names = checked.execute(f"select name from ({FUNCTIONS}) as f").fetchall()
        assert ("ehg_tasks.guard_anon_rows()",) in names
        findings = checked.execute(
            f"""
            select f.name, c.level, c.lineno, c.message, c.detail
            from ({FUNCTIONS}) as f, extensions.plpgsql_check_function_tb(
              f.oid, f.relation, all_warnings => true, newtable => f.tgnewtable,
              oldtable => f.tgoldtable) as c
            -- It does not see that a subquery locks rows, and takes the function for a stable one.
            where not (c.level = 'performance' and c.message like '%VOLATILE, should be STABLE'
                       and (select p.prosrc ~ 'for update' from pg_proc p where p.oid = f.oid))
            """
        ).fetchall()
        assert findings == []

    @pytest.mark.usefixtures("checked")
    def test_the_supabase_cli_finds_no_schema_errors(
        self, databases: Databases, migrated: str, supabase_cli: SupabaseCLI
    ) -> None:
        result = supabase_cli.run(
            "db",
            "lint",
            f"--remote={databases.url(migrated, owner=True)}",
            "--schema=public,ehg_tasks",
            "--level=warning",
            "--fail-on=warning",
        )
        assert "No schema errors found" in result.stdout + result.stderr


def test_pgtap_confirms_the_access_rules(databases: Databases, migrated: str) -> None:
    """Users may test their access rules with pgTAP."""
    policies = ", ".join(f"'{name}'" for name, *_ in sorted(spec.POLICIES))
    checks = [
        "has_table('public', 'agent_task_contracts', 'the table')",
        f"policies_are('public', 'agent_task_contracts', array[{policies}])",
        *(
            f"policy_roles_are('public', 'agent_task_contracts', '{name}', array['{role}'])"
            for name, _, (role,), *_ in sorted(spec.POLICIES)
        ),
        *(
            f"table_privs_are('public', 'agent_task_contracts', '{role}', array{sorted(held)})"
            for role, held in spec.GRANTS.items()
        ),
        "table_privs_are('ehg_tasks', 'attempts', 'anon', array[]::text[])",
    ]
    with databases.connect(migrated) as connection:
        connection.execute("create extension pgtap with schema extensions")
        connection.execute("set search_path = public, extensions")
        connection.execute(f"select plan({len(checks)})")
        results = [text for check in checks for (text,) in connection.execute(f"select {check}").fetchall()]
        results += [text for (text,) in connection.execute("select * from finish()").fetchall()]
    assert [text.split(" - ")[0] for text in results] == [f"ok {n}" for n in range(1, len(checks) + 1)]


@pytest.fixture(scope="module")
def with_cron() -> Iterator[LocalStack]:
    """A project with pg_cron, like a hosted one."""
    with local_stack() as stack:
        stack.stop()
        with (stack.folder / "postgres" / "postgresql.auto.conf").open("a") as settings:
            settings.write("shared_preload_libraries = 'pg_cron'\n")
            settings.write("cron.database_name = 'postgres'\n")
            settings.write("cron.use_background_workers = on\n")  # so that jobs need no password
        stack.start()
        with psycopg.connect(stack.superuser_url, autocommit=True) as superuser:
            superuser.execute("create extension pg_cron")
            superuser.execute("grant usage on schema cron to postgres with grant option")
            superuser.execute("grant all on all tables in schema cron to postgres")
        yield stack


@pytest.fixture
def owner(with_cron: LocalStack) -> Iterator[Connection[Any]]:
    with psycopg.connect(with_cron.db_url, autocommit=True) as connection:
        connection.execute(SCHEDULE)
        yield connection


class TestScheduledCleanup:
    JOBS = "select jobname, schedule, command, username, active from cron.job"

    def test_running_the_file_again_keeps_one_job(self, owner: Connection[Any]) -> None:
        job = owner.execute(self.JOBS).fetchall()
        owner.execute(SCHEDULE)
        assert owner.execute(self.JOBS).fetchall() == job
        [(name, schedule, command, user, active)] = job
        assert (name, schedule, user, active) == ("ehg-tasks-cleanup", "* * * * *", "postgres", True)
        assert "ehg_tasks.cleanup_stale_contracts(1440, 1000, false)" in command

    def test_the_job_returns_an_expired_claim_to_pending(
        self, with_cron: LocalStack, owner: Connection[Any]
    ) -> None:
        with AgentTasks(with_cron.settings()) as agent:
            contract = agent.create(parent_agent="P", target_agent="T", objective="left behind").contract_id
            [claim] = agent.claim("T")
        assert claim.contract_id == contract
        with psycopg.connect(with_cron.superuser_url, autocommit=True) as superuser:
            superuser.execute("update ehg_tasks.attempts set expires_at = now()")
        deadline = time.monotonic() + JOB_SECONDS
        while (current := state(owner, contract)) == ("in_progress", 0):
            assert time.monotonic() < deadline, owner.execute(
                "select status, return_message from cron.job_run_details"
            ).fetchall()
            time.sleep(0.5)
        assert current == ("pending", 1)


def state(connection: Connection[Any], contract: UUID) -> tuple[str, int]:
    row = connection.execute(
        "select status, retry_count from public.agent_task_contracts where id = %s", [contract]
    ).fetchone()
    assert row is not None
    return row[0], row[1]
