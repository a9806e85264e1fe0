"""What the migrations do in a database that is not empty: complete it, refuse it, or keep its choices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from ehg_tasks import migrations
from ehg_tasks.verify import compare
from tests.access import specification as spec
from tests.databases import Databases
from tests.migrations.existing import existing

ANON_POLICIES = {"Anon can create task contracts", "Anon can update task contracts"}


@pytest.fixture
def owner(databases: Databases) -> Iterator[Connection[Any]]:
    """An empty project, as the role that runs its migrations."""
    name = databases.create()
    with databases.connect(name, owner=True) as connection:
        yield connection
    databases.drop(name)


@pytest.fixture
def superuser(databases: Databases, owner: Connection[Any]) -> Iterator[Connection[Any]]:
    with databases.connect(owner.info.dbname) as connection:
        yield connection


def apply(connection: Connection[Any], settings: str = "") -> list[str]:
    """Apply every migration, each in a transaction, and return the notices that the migrations raise."""
    notices: list[str] = []
    connection.add_notice_handler(lambda each: notices.append(f"{each.message_primary}"))
    connection.execute(settings.encode())
    for file in migrations.migrations():
        connection.execute(file.read_text().encode())
    return [notice for notice in notices if "skipping" not in notice]


def objects(connection: Connection[Any]) -> list[Any]:
    """Every relation, function and policy outside the system's schemas."""
    return connection.execute(
        "select relname, relowner, relrowsecurity, relacl::text from pg_class"
        " where relnamespace not in ('pg_catalog'::regnamespace, 'pg_toast'::regnamespace)"
        " union all select oid::regprocedure::text, proowner, prosecdef, proacl::text from pg_proc"
        " where pronamespace <> 'pg_catalog'::regnamespace"
        " union all select polname, polrelid, polpermissive, polroles::text from pg_policy"
        " union all select nspname, nspowner, true, nspacl::text from pg_namespace order by 1, 2"
    ).fetchall()


def differences(connection: Connection[Any]) -> Any:
    row = connection.execute("select public.describe_task_contracts()").fetchone()
    assert row is not None
    return compare(row[0]).differences


def anon_policies(connection: Connection[Any]) -> set[str]:
    rows = connection.execute("select policyname from pg_policies where 'anon' = any (roles)")
    return {name for (name,) in rows}


def anon_grants(connection: Connection[Any]) -> set[str]:
    rows = connection.execute(
        "select privilege_type from information_schema.role_table_grants"
        " where grantee = 'anon' and table_name = 'agent_task_contracts'"
    )
    return {privilege for (privilege,) in rows}


class TestRefusals:
    """The first migration refuses what later ones could not work with, and nothing has changed."""

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                "alter table agent_task_contracts drop column retry_count, alter column priority type bigint",
                "priority is bigint instead of integer, retry_count is missing (integer)",
            ),
            (
                "alter table agent_task_contracts drop constraint agent_task_contracts_pkey",
                "the primary key of public.agent_task_contracts is not (id)",
            ),
            (
                "alter table agent_task_contracts rename to old;"
                " create view agent_task_contracts as select * from old",
                "public.agent_task_contracts is not an ordinary table",
            ),
            (
                "drop index idx_task_contracts_sd; create table t (a int);"
                " create index idx_task_contracts_sd on t (a)",
                "an index with a name that something else has: idx_task_contracts_sd",
            ),
            (
                "create view my_board as select r.* from agent_task_contracts c, read_task_contract(c.id) r",
                "view my_board uses the function public.read_task_contract(uuid)",
            ),
            (
                "create function mine() returns bigint begin atomic"
                " select count(*) from public.claim_task_contract('T'::varchar); end",
                "function mine() uses the function public.claim_task_contract(varchar)",
            ),
            (
                "alter table agent_artifacts drop column source_tool",
                'cannot store outputs in public.agent_artifacts: column "source_tool"',
            ),
            (
                "alter table agent_artifacts add constraint mine check (type <> 'contract_output') not valid",
                'new row for relation "agent_artifacts" violates check constraint "mine"',
            ),
            (
                "truncate agent_artifacts cascade;"
                " alter table agent_artifacts add column tenant uuid not null",
                'cannot store outputs in public.agent_artifacts: null value in column "tenant"',
            ),
            (
                "alter table strategic_directives_v2 drop constraint strategic_directives_v2_pkey cascade",
                "public.strategic_directives_v2 has no primary key id",
            ),
        ],
        ids=[
            "columns", "primary key", "view", "index", "a view on a function", "a function on a function",
            "artifacts without a column", "artifacts of other types", "artifacts with a column", "directives",
        ],
    )  # fmt: skip
    def test_what_does_not_fit_is_named(self, owner: Connection[Any], change: str, message: str) -> None:
        owner.execute(existing().encode())
        owner.execute(change.encode())
        before = objects(owner)
        with pytest.raises(psycopg.DatabaseError) as raised:
            apply(owner)
        assert message in str(raised.value)
        assert raised.value.diag.message_hint
        assert objects(owner) == before

    @pytest.mark.parametrize(
        ("objects_of_another", "name"),
        [
            ("create table public.agent_task_contracts (id uuid primary key)", "table agent_task_contracts"),
            ("create function public.claim_task_contract(varchar) returns int return 1",
             "function claim_task_contract(character varying)"),
            ("create schema ehg_tasks", "schema ehg_tasks"),
        ],
        ids=["table", "function", "schema"],
    )  # fmt: skip
    def test_an_object_of_another_role_is_named_with_its_owner(
        self, owner: Connection[Any], superuser: Connection[Any], objects_of_another: str, name: str
    ) -> None:
        superuser.execute(objects_of_another.encode())
        before = objects(owner)
        with pytest.raises(psycopg.errors.InsufficientPrivilege) as raised:
            apply(owner)
        message = f"{name} belongs to the role supabase_admin, and these migrations run as postgres"
        assert message in str(raised.value)
        assert "owner to postgres" in str(raised.value.diag.message_hint)
        assert objects(owner) == before

    def test_the_remedy_works(self, owner: Connection[Any], superuser: Connection[Any]) -> None:
        superuser.execute("create schema ehg_tasks")
        superuser.execute("alter schema ehg_tasks owner to postgres")
        apply(owner)
        assert differences(owner) == ()

    def test_a_function_of_the_projects_own_is_no_obstacle(
        self, owner: Connection[Any], superuser: Connection[Any]
    ) -> None:
        superuser.execute("create function public.my_task_contracts() returns int return 1")
        apply(owner)

    def test_each_column_and_index_of_the_specification_is_checked(self, owner: Connection[Any]) -> None:
        owner.execute(existing().encode())
        preflight = migrations.migrations()[0].read_text()
        added_if_missing = {"completion_idempotency_key", "completed_by_agent_id"}
        changes = {
            f"alter table agent_task_contracts rename column {name} to gone;": f"{name} is missing"
            for name in {name for name, *_ in spec.COLUMNS} - added_if_missing
        } | {
            f"drop index {name}; create view {name} as select 1 as a;": f"something else has: {name}"
            for name in spec.INDEXES.keys() - {"agent_task_contracts_pkey"}
        }
        for change, message in changes.items():
            with pytest.raises(psycopg.DatabaseError, match=message):
                owner.execute((change + preflight).encode())
        owner.execute(preflight.encode())

    def test_a_trial_leaves_no_artifact(self, owner: Connection[Any]) -> None:
        owner.execute(existing().encode())
        before = owner.execute("select * from agent_artifacts").fetchall()
        apply(owner)
        assert owner.execute("select * from agent_artifacts").fetchall() == before


class TestWhatIsThere:
    def test_columns_of_the_idempotent_completion_are_added(self, owner: Connection[Any]) -> None:
        owner.execute(existing().encode())
        owner.execute(
            "alter table agent_task_contracts"
            " drop column completion_idempotency_key, drop column completed_by_agent_id"
        )
        before = owner.execute(
            "select id, status, objective from agent_task_contracts order by id"
        ).fetchall()
        assert len(before) > 0
        apply(owner)
        assert differences(owner) == ()
        after = owner.execute("select id, status, objective from agent_task_contracts order by id").fetchall()
        assert after == before

    def test_a_view_on_a_function_of_these_migrations_is_no_obstacle(self, owner: Connection[Any]) -> None:
        apply(owner)
        owner.execute("create view my_board as select r.* from read_task_contract(gen_random_uuid()) r")
        apply(owner)

    def test_a_migration_that_waits_for_a_lock_gives_up(
        self, owner: Connection[Any], superuser: Connection[Any]
    ) -> None:
        apply(owner)
        for file in migrations.migrations():
            assert "\nset local lock_timeout = '10s';\n" in file.read_text()
        table_file = next(file for file in migrations.migrations() if "contracts" in file.stem)
        with superuser.transaction():
            superuser.execute("lock table agent_task_contracts in access share mode")  # as a report does
            with pytest.raises(psycopg.errors.LockNotAvailable):
                owner.execute(table_file.read_text().replace("'10s'", "'50ms'").encode())
        owner.execute(table_file.read_text().encode())


class TestProfile:
    def test_an_empty_project_has_the_specified_policies(self, owner: Connection[Any]) -> None:
        assert apply(owner) == []
        assert (anon_policies(owner), anon_grants(owner)) == (ANON_POLICIES, {"INSERT", "UPDATE"})

    @pytest.mark.parametrize(
        "dropped", [ANON_POLICIES, {"Anon can update task contracts"}], ids=["both", "one"]
    )
    def test_policies_that_were_dropped_are_not_created(
        self, owner: Connection[Any], superuser: Connection[Any], dropped: set[str]
    ) -> None:
        """Of a database before the first application, and of one after it; and nothing opens in between."""
        owner.execute(existing().encode())
        for name in dropped:
            owner.execute(f'drop policy "{name}" on agent_task_contracts'.encode())
        for _ in range(2):
            notices = apply(owner)
            assert anon_policies(owner) == ANON_POLICIES - dropped
            assert anon_grants(owner) == ({"INSERT"} if len(dropped) == 1 else set())
            assert sorted(notices) == sorted(
                f'The policy "{name}" was dropped here and is not created: agents use the functions.'
                for name in dropped
            )
            assert bool(differences(owner)) == (dropped != ANON_POLICIES)

    def test_either_profile_can_be_chosen(self, owner: Connection[Any]) -> None:
        apply(owner, "set ehg_tasks.profile = 'hardened'")
        assert (anon_policies(owner), anon_grants(owner)) == (set(), set())
        apply(owner, "set ehg_tasks.profile = 'specified'")
        assert (anon_policies(owner), anon_grants(owner)) == (ANON_POLICIES, {"INSERT", "UPDATE"})

    def test_another_profile_is_refused(self, owner: Connection[Any]) -> None:
        with pytest.raises(psycopg.errors.RaiseException, match=r'ehg_tasks\.profile is "hard"'):
            apply(owner, "set ehg_tasks.profile = 'hard'")


class TestRealtime:
    def published(self, connection: Connection[Any]) -> bool:
        row = connection.execute(
            "select exists (select from pg_publication_tables"
            " where pubname = 'supabase_realtime' and tablename = 'agent_task_contracts')"
        ).fetchone()
        return row == (True,)

    def test_the_table_is_published_the_first_time_only(self, owner: Connection[Any]) -> None:
        owner.execute("create publication supabase_realtime")
        apply(owner)
        assert self.published(owner)
        owner.execute("alter publication supabase_realtime drop table agent_task_contracts")
        apply(owner)
        assert not self.published(owner)

    def test_a_publication_of_another_role_is_left_alone(
        self, owner: Connection[Any], superuser: Connection[Any]
    ) -> None:
        superuser.execute("create publication supabase_realtime")
        assert apply(owner) == [
            "Realtime does not publish the contracts:"
            " the publication supabase_realtime belongs to supabase_admin."
        ]
        assert not self.published(owner)
        assert differences(owner) == ()
