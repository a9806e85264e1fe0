"""The migrations applied to a database that already has the table, its rows and the earlier functions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from psycopg import Connection
from psycopg.rows import dict_row

from tests.access import specification as spec
from tests.databases import Databases
from tests.sql import Caller, Row, jsonb, refused

EXISTING = (Path(__file__).parent / "existing.sql").read_text()
TABLE_MARK = "-- {table}: created here, from the specification.\n"


def table() -> str:
    """Return the SQL for the specified table with its indexes, policies and trigger."""
    columns = []
    for name, kind, size, nullable, default in spec.COLUMNS:
        kind = "uuid[]" if kind == "ARRAY" else kind
        kind += f"({size})" if kind == spec.VARCHAR else ""
        columns.append(
            f"{name} {kind}" + ("" if nullable else " not null") + (f" default {default}" if default else "")
        )
    # Not as the catalog prints it: PostgreSQL prints a check that it parsed from its own output differently.
    status = "check (status in ('pending', 'in_progress', 'completed', 'failed', 'cancelled'))"
    texts = spec.CONSTRAINTS | {"agent_task_contracts_status_check": status}
    constraints = [f"constraint {name} {text}" for name, text in texts.items()]
    statements = [f"create table public.agent_task_contracts ({', '.join(columns + constraints)})"]
    statements += [text for name, text in spec.INDEXES.items() if not name.endswith("_pkey")]
    statements += ["alter table public.agent_task_contracts enable row level security"]
    for name, command, roles, using, check in sorted(spec.POLICIES):
        statements.append(
            f'create policy "{name}" on public.agent_task_contracts for {command} to {", ".join(roles)}'
            + (f" using ({using})" if using else "")
            + (f" with check ({check})" if check else "")
        )
    statements += spec.TRIGGERS.values()
    # Such databases granted everything to every API role.
    statements += ["grant all on public.agent_task_contracts to anon, authenticated, service_role"]
    return ";\n".join(statements) + ";\n"


def rows(connection: Connection[Any]) -> list[Row]:
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute("select * from public.agent_task_contracts order by id")
        return cursor.fetchall()


def description(connection: Connection[Any]) -> dict[str, Any]:
    row = connection.execute("select public.describe_task_contracts()").fetchone()
    assert row is not None
    return {name: value for name, value in row[0].items() if name != "row_count"}


@pytest.fixture(scope="module", params=[False, True], ids=["no default grants", "default grants"])
def name(databases: Databases, request: pytest.FixtureRequest) -> str:
    """An existing database after the migrations, in a project with and without default grants."""
    name = databases.create(grants_by_default=request.param)
    with databases.connect(name, owner=True) as connection:
        connection.execute(EXISTING.replace(TABLE_MARK, table()).encode())
        before = rows(connection)
        assert len(before) == 6
        databases.migrate(name)
        assert rows(connection) == before
    return name


@pytest.fixture
def connection(databases: Databases, name: str) -> Iterator[Connection[Any]]:
    copy = databases.create(name)
    with databases.connect(copy) as connection:
        yield connection
    databases.drop(copy)


@pytest.fixture
def call_as(connection: Connection[Any], databases: Databases) -> Iterator[Any]:
    opened = []

    def make(role: str) -> Caller:
        opened.append(databases.connect(connection.info.dbname))
        return Caller(opened[-1], role)

    yield make
    for each in opened:
        each.close()


@pytest.fixture
def anon(call_as: Any) -> Caller:
    caller = call_as("anon")
    assert isinstance(caller, Caller)
    return caller


@pytest.fixture
def service(call_as: Any) -> Caller:
    caller = call_as("service_role")
    assert isinstance(caller, Caller)
    return caller


def test_the_result_is_the_same_as_in_an_empty_project(
    databases: Databases, connection: Connection[Any]
) -> None:
    empty = databases.migrated()
    with databases.connect(empty) as other:
        assert description(connection) == description(other)
    databases.drop(empty)


def test_every_function_name_in_public_is_unique(connection: Connection[Any]) -> None:
    """Two functions of the same name would make a call with named arguments ambiguous."""
    functions = connection.execute(
        "select proname, count(*) from pg_proc where pronamespace = 'public'::regnamespace group by 1"
    ).fetchall()
    assert {count for _, count in functions} == {1}


def test_applying_the_migrations_again_changes_nothing(
    databases: Databases, connection: Connection[Any]
) -> None:
    before = rows(connection), description(connection)
    databases.migrate(connection.info.dbname)
    assert (rows(connection), description(connection)) == before


def test_the_referenced_tables_are_left_unchanged(connection: Connection[Any]) -> None:
    columns = connection.execute(
        "select table_name, count(*) from information_schema.columns"
        " where table_name in ('agent_artifacts', 'strategic_directives_v2') group by 1 order by 1"
    ).fetchall()
    assert columns == [("agent_artifacts", 20), ("strategic_directives_v2", 3)]
    policies = connection.execute(
        "select policyname from pg_policies where tablename <> 'agent_task_contracts' order by 1"
    ).fetchall()
    assert policies == [("read",), ("service",)]


class TestEarlierCalls:
    """Calls of earlier JavaScript clients still work: parameters by name, result columns by name."""

    def test_create_and_claim(self, anon: Caller, service: Caller) -> None:
        for caller in (anon, service):
            [created] = caller(
                "create_task_contract",
                parent_agent="P",
                target_agent="NEW",
                objective="o",
                session_id=UUID(int=1),
                sd_id="SD-1",
                input_artifacts=[],
                input_summary="s",
                constraints=jsonb({}),
                expected_output_type="artifact",
                priority=60,
                max_tokens=100,
            )
            assert created["contract_summary"]
            [claimed] = caller("claim_task_contract", target_agent="NEW")
            assert claimed["contract_id"] == created["contract_id"]
            assert list(claimed)[:7] == [
                "contract_id",
                "objective",
                "input_summary",
                "input_artifacts",
                "constraints",
                "max_tokens",
                "timeout_minutes",
            ]

    def test_complete_by_the_service_role(self, service: Caller) -> None:
        """The earlier functions put this contract in progress, so there is no claim token for it."""
        [answer] = service(
            "complete_task_contract",
            contract_id=UUID("00000000-0000-4000-8000-000000000002"),
            output_artifact_id=UUID("00000000-0000-4000-8000-0000000000a1"),
            result_summary="r",
            execution_tokens=5,
            success=True,
            error_message=None,
        )
        assert answer["success"] is True
        assert answer["message"]

    def test_complete_idempotently(self, service: Caller, connection: Connection[Any]) -> None:
        call = {
            "contract_id": UUID("00000000-0000-4000-8000-000000000002"),
            "idempotency_key": UUID(int=7),
            "output_artifact_id": None,
            "result_summary": "r",
            "tokens_used": 9,
            "agent_id": UUID(int=8),
        }
        [first] = service("fn_complete_task_contract_idempotent", **call)
        [repeat] = service("fn_complete_task_contract_idempotent", **call)
        assert list(first) == ["success", "was_duplicate", "message", "contract_id"]
        assert (first["success"], first["was_duplicate"]) == (True, False)
        assert (repeat["success"], repeat["was_duplicate"]) == (True, True)
        assert first["contract_id"] == repeat["contract_id"] == call["contract_id"]
        row = connection.execute(
            "select execution_tokens, completed_by_agent_id from public.agent_task_contracts where id = %s",
            [call["contract_id"]],
        ).fetchone()
        assert row == (9, UUID(int=8))

    def test_an_output_satisfies_the_checks_of_the_existing_artifacts_table(
        self, anon: Caller, connection: Connection[Any]
    ) -> None:
        anon("create_task_contract", parent_agent="P", target_agent="NEW", objective="o")
        [claimed] = anon("claim_task_contract", target_agent="NEW")
        anon(
            "complete_task_contract",
            contract_id=claimed["contract_id"],
            claim_token=claimed["claim_token"],
            output=jsonb({"a": 1}),
        )
        row = connection.execute(
            "select type, source_tool, content_text from public.agent_artifacts where summary like 'Output%'"
        ).fetchone()
        assert row == ("contract_output", "contract-system", '{"a": 1}')

    def test_read(self, service: Caller) -> None:
        [row] = service("read_task_contract", contract_id=UUID("00000000-0000-4000-8000-000000000001"))
        assert list(row) == [
            "contract_id",
            "parent_agent",
            "target_agent",
            "objective",
            "input_summary",
            "input_artifact_contents",
            "constraints",
            "expected_output_type",
            "output_schema",
            "max_tokens",
            "timeout_minutes",
            "status",
        ]

    def test_cleanup(self, service: Caller, connection: Connection[Any]) -> None:
        """A contract that has been in progress for too long, without a lease, ends by its started_at."""
        [report] = service("cleanup_stale_contracts")
        assert report == {"failed_count": 0, "cancelled_count": 0, "requeued_count": 1}
        row = connection.execute(
            "select status, retry_count from public.agent_task_contracts where objective = 'was forgotten'"
        ).fetchone()
        assert row == ("pending", 1)


class TestDefectsOfTheEarlierFunctions:
    def test_an_agent_can_claim_existing_work(self, anon: Caller) -> None:
        [claimed] = anon("claim_task_contract", target_agent="T")
        assert claimed["objective"] == "waits"

    def test_only_the_service_role_may_clean_up(self, anon: Caller, call_as: Any) -> None:
        for caller in (anon, call_as("authenticated")):
            with refused("42501"):
                caller("cleanup_stale_contracts")

    def test_a_contract_that_was_never_claimed_cannot_be_completed(
        self, anon: Caller, service: Caller, connection: Connection[Any]
    ) -> None:
        before = rows(connection)
        pending = UUID("00000000-0000-4000-8000-000000000001")
        with refused("TC003"):
            service("fn_complete_task_contract_idempotent", contract_id=pending, idempotency_key=UUID(int=1))
        with refused("TC002"):
            anon("complete_task_contract", contract_id=pending)
        assert rows(connection) == before

    def test_an_existing_output_that_is_not_json_is_returned_as_text(self, anon: Caller) -> None:
        [outcome] = anon(
            "task_contract_outcomes", contract_ids=[UUID("00000000-0000-4000-8000-000000000004")]
        )
        assert outcome["output"] == "plain text, not JSON"
