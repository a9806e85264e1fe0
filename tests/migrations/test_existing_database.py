"""The migrations applied to a database that already has the table, its rows and the earlier functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from psycopg import Connection

from ehg_tasks import migrations
from ehg_tasks.verify import compare
from tests.access.operations import engine_tables
from tests.databases import Databases
from tests.migrations.existing import CLOSED, IN_USE, INVOKER_VIEWS, existing, rows
from tests.sql import Caller, jsonb, refused


def engine(connection: Connection[Any]) -> dict[str, list[str]]:
    """Every row of the engine's tables."""
    return {table: rows(connection, table) for table in engine_tables(connection)}


def description(connection: Connection[Any]) -> dict[str, Any]:
    row = connection.execute("select public.describe_task_contracts()").fetchone()
    assert row is not None
    return {name: value for name, value in row[0].items() if name != "row_count"}


@pytest.fixture(scope="module", params=[False, True], ids=["no default grants", "default grants"])
def name(databases: Databases, request: pytest.FixtureRequest) -> str:
    """An existing database after the migrations, in a project with and without default grants."""
    name = databases.create(grants_by_default=request.param)
    with databases.connect(name, owner=True) as connection:
        connection.execute(existing().encode())
        before = rows(connection)
        assert len(before) == 11
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


@pytest.mark.parametrize("state", ["four policies", "two policies", "half migrated"])
def test_6308_rows_are_kept_in_each_state(databases: Databases, state: str) -> None:
    """Of every status and age; policies that were dropped are not created."""
    name = databases.create()
    with databases.connect(name, owner=True) as owner, databases.connect(name) as superuser:
        owner.execute((existing() + IN_USE).encode())
        if state != "four policies":
            owner.execute(CLOSED.encode())
            superuser.execute(INVOKER_VIEWS)
        if state == "half migrated":
            databases.migrate(name, migrations.migrations()[:8])
        before = rows(owner)
        assert len(before) == 6308
        databases.migrate(name)
        assert rows(owner) == before
        verdict = compare(description(owner))
        profile = "specified" if state == "four policies" else "hardened"
        assert (verdict.profile, verdict.differences) == (profile, ())
        counts = owner.execute(
            "select (select count(*) from public.agent_task_contracts where status = 'pending'),"
            " (select count(*) from ehg_tasks.ready), (select count(*) from ehg_tasks.held)"
        ).fetchone()
        assert counts is not None
        assert counts[0] == counts[1] + counts[2] > 5000
    databases.drop(name)


def test_every_function_name_in_public_is_unique(connection: Connection[Any]) -> None:
    """Two functions of the same name would make a call with named arguments ambiguous."""
    functions = connection.execute(
        "select proname, count(*) from pg_proc where pronamespace = 'public'::regnamespace group by 1"
    ).fetchall()
    assert {count for _, count in functions} == {1}


def test_applying_the_migrations_again_changes_nothing(
    databases: Databases, connection: Connection[Any]
) -> None:
    before = rows(connection), engine(connection), description(connection)
    databases.migrate(connection.info.dbname)
    assert (rows(connection), engine(connection), description(connection)) == before


def test_applying_the_migrations_again_keeps_the_state_of_the_engine(
    databases: Databases, connection: Connection[Any], anon: Caller, service: Caller
) -> None:
    """With a lease, a history, a retry, a delay, a dependency, a registered agent and marks."""
    work_on_every_kind(anon, service)
    connection.execute("select ehg_tasks.raise_low_water_marks('W')")  # as some claims do
    before = rows(connection), engine(connection)
    assert all(before[1].values())
    databases.migrate(connection.info.dbname)
    assert (rows(connection), engine(connection)) == before


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


def work_on_every_kind(anon: Caller, service: Caller) -> dict[str, UUID]:
    """Create contracts for agent W that leave rows in each of the engine's tables; return their ids."""

    def create(**fields: Any) -> UUID:
        [answer] = anon("create_task_contract", parent_agent="P", target_agent="W", objective="o", **fields)
        assert isinstance(answer["contract_id"], UUID)
        return answer["contract_id"]

    ids = {"failed once": create(), "leased": create()}
    claims = anon("claim_task_contract", target_agent="W", limit=100)
    assert [row["contract_id"] for row in claims] == list(ids.values())
    anon(
        "fail_task_contract",
        contract_id=ids["failed once"],
        claim_token=claims[0]["claim_token"],
        error_message="e",
    )
    ids |= {"ready": create(priority=70), "delayed": create(not_before=datetime.now(UTC) + timedelta(days=1))}
    ids |= {"dependent": create(depends_on=[ids["leased"]])}
    ids |= {"runs anyway": create(depends_on=[ids["leased"]], on_dependency_failure="run")}
    service("register_task_agent", name="W", with_token=False)
    return ids


class TestQueue:
    """Contracts that were there before the engine are in its queue, and their rows are unchanged."""

    def test_ready_holds_the_pending_contracts(self, connection: Connection[Any]) -> None:
        ready = connection.execute(
            "select c.objective, r.target_agent, r.priority = c.priority and r.created_at = c.created_at,"
            " case r.claimable_since when c.created_at then 'created' when c.updated_at then 'updated'"
            " else 'migrated' end"
            " from ehg_tasks.ready r join public.agent_task_contracts c on c.id = r.contract_id"
            " order by r.contract_id"
        ).fetchall()
        assert ready == [
            ("waits", "T", True, "created"),
            ("is urgent", "U", True, "created"),
            ("has no beginning", "U", True, "updated"),
            ("has waited for long", "U", True, "created"),
            ("comes from the future", "U", True, "migrated"),
            ("never was", "U", True, "updated"),
        ]
        now = connection.execute("select count(*) from ehg_tasks.ready where claimable_since > now()")
        assert now.fetchone() == (0,)

    def test_nothing_else_is_made_up(self, connection: Connection[Any]) -> None:
        tables = engine(connection)
        assert {table for table, content in tables.items() if content} == {
            "ehg_tasks.ready",
            "ehg_tasks.low_water_marks",
        }

    def test_every_pending_contract_can_be_claimed_once_and_in_order(self, anon: Caller) -> None:
        claimed = []
        while answer := anon.run("select objective from public.claim_task_contract('U')"):
            claimed += [row["objective"] for row in answer]
        assert claimed == [
            "is urgent",
            "has no beginning",
            "has waited for long",
            "comes from the future",
            "never was",
        ]
        assert [row["objective"] for row in anon("claim_task_contract", target_agent="T", limit=9)] == [
            "waits"
        ]

    def test_the_wait_counts_from_before_the_migration(
        self, service: Caller, connection: Connection[Any]
    ) -> None:
        service("cleanup_stale_contracts")
        cancelled = connection.execute(
            "select objective from public.agent_task_contracts where error_message like 'not claimed%'"
        ).fetchall()
        assert cancelled == [("has waited for long",)]


WITHOUT_TRIGGERS = "set session_replication_role = replica; {}; reset session_replication_role"


class TestRebuild:
    """`ehg_tasks.rebuild_queue` after writes with the triggers switched off, as in a restore of the data."""

    @pytest.fixture
    def ids(self, anon: Caller, service: Caller) -> dict[str, UUID]:
        return work_on_every_kind(anon, service)

    @pytest.fixture
    def write(self, connection: Connection[Any]) -> Callable[[str], None]:
        """Write without triggers, then rebuild; the result is what a second rebuild leaves as it is."""

        def write(sql: str) -> None:
            connection.execute(WITHOUT_TRIGGERS.format(sql).encode())
            connection.execute("select ehg_tasks.rebuild_queue()")
            self.assert_in_step(connection)
            before = rows(connection), engine(connection)
            connection.execute("select ehg_tasks.rebuild_queue()")
            assert (rows(connection), engine(connection)) == before

        return write

    def assert_in_step(self, connection: Connection[Any]) -> None:
        """`ready` and `held` are the pending contracts as they are; a lease belongs to one in progress."""
        pending = (
            "select id, btrim(target_agent), priority, created_at from public.agent_task_contracts"
            " where status = 'pending'"
        )
        columns = "select contract_id, target_agent, priority, created_at from ehg_tasks"
        queued = f"{columns}.ready union all {columns}.held"
        for one, other in ((pending, queued), (queued, pending)):
            query = f"select id from (({one}) except all ({other})) as t (id)"
            assert connection.execute(query.encode()).fetchall() == []
        leased = connection.execute(
            "select c.status from ehg_tasks.attempts a"
            " left join public.agent_task_contracts c on c.id = a.contract_id where a.ended_at is null"
        ).fetchall()
        assert {status for (status,) in leased} <= {"in_progress"}
        below_mark = connection.execute(
            "select from ehg_tasks.ready r where not exists (select from ehg_tasks.low_water_marks m"
            " where (m.target_agent, m.priority) = (r.target_agent, r.priority)"
            " and (m.created_at, m.contract_id) <= (r.created_at, r.contract_id))"
        ).fetchall()
        assert below_mark == []
        unsettled = connection.execute(
            "select h.contract_id from ehg_tasks.held h where h.waits_for <> (select count(*)"
            " from ehg_tasks.dependencies d join public.agent_task_contracts c on c.id = d.depends_on"
            " where d.contract_id = h.contract_id and not d.settled"
            " and c.status in ('pending', 'in_progress'))"
        ).fetchall()
        assert unsettled == []

    def test_it_changes_nothing_that_is_right(
        self, ids: dict[str, UUID], write: Callable[[str], None], connection: Connection[Any]
    ) -> None:
        before = rows(connection), engine(connection)
        write("select 1")
        after = rows(connection), engine(connection)
        for _, tables in (before, after):
            del tables["ehg_tasks.lease_marks"], tables["ehg_tasks.low_water_marks"]  # may have moved
        assert after == before

    def test_new_contracts_become_ready(self, write: Callable[[str], None], anon: Caller) -> None:
        write(
            "insert into public.agent_task_contracts (parent_agent, target_agent, objective, priority)"
            " values ('P', ' N ', 'low', 1), ('P', 'N', 'high', 9)"
        )
        claims = anon("claim_task_contract", target_agent="N", limit=9)
        assert [row["objective"] for row in claims] == ["high", "low"]

    @pytest.mark.parametrize("case", ["ready", "delayed", "failed once", "dependent"])
    @pytest.mark.parametrize("status", ["completed", "in_progress", "deleted"])
    def test_contracts_that_are_no_longer_pending_leave_the_queue(
        self, ids: dict[str, UUID], write: Callable[[str], None], anon: Caller, case: str, status: str
    ) -> None:
        if status == "deleted":
            write(f"delete from public.agent_task_contracts where id = '{ids[case]}'")
        else:
            write(f"update public.agent_task_contracts set status = '{status}' where id = '{ids[case]}'")
        assert all(
            row["contract_id"] != ids[case]
            for row in anon("claim_task_contract", target_agent="W", limit=100)
        )

    @pytest.mark.parametrize("case", ["ready", "delayed", "dependent"])
    def test_a_change_of_agent_priority_or_age_moves_a_contract(
        self, ids: dict[str, UUID], write: Callable[[str], None], connection: Connection[Any], case: str
    ) -> None:
        for change in ("target_agent = ' V '", "priority = -5", "created_at = '2020-01-01'"):
            write(f"update public.agent_task_contracts set {change} where id = '{ids[case]}'")

    @pytest.mark.parametrize("status", ["pending", "completed", "failed", "cancelled"])
    def test_the_lease_of_a_contract_that_is_no_longer_in_progress_ends(
        self, ids: dict[str, UUID], write: Callable[[str], None], connection: Connection[Any], status: str
    ) -> None:
        write(f"update public.agent_task_contracts set status = '{status}' where id = '{ids['leased']}'")
        assert connection.execute(
            "select outcome from ehg_tasks.attempts where contract_id = %s", [ids["leased"]]
        ).fetchall() == [("interrupted",)]

    @pytest.mark.parametrize(
        ("what", "dependent", "message"),
        [
            ("update {} set status = 'completed' where id = '{}'", "pending", None),
            ("update {} set status = 'failed' where id = '{}'", "cancelled", "failed"),
            ("update {} set status = 'cancelled' where id = '{}'", "cancelled", "was cancelled"),
            ("delete from {} where id = '{}'", "cancelled", "was deleted"),
        ],
        ids=["completed", "failed", "cancelled", "deleted"],
    )
    def test_what_became_final_settles_what_waits_for_it(
        self,
        ids: dict[str, UUID],
        write: Callable[[str], None],
        connection: Connection[Any],
        anon: Caller,
        what: str,
        dependent: str,
        message: str | None,
    ) -> None:
        write(what.format("public.agent_task_contracts", ids["leased"]))
        row = connection.execute(
            "select status, error_message from public.agent_task_contracts where id = %s", [ids["dependent"]]
        ).fetchone()
        assert row is not None
        assert row[0] == dependent
        assert message is None or row[1].endswith(f"which this one depends on, {message}")
        claimed = {row["contract_id"] for row in anon("claim_task_contract", target_agent="W", limit=100)}
        assert ids["runs anyway"] in claimed
        assert (ids["dependent"] in claimed) == (dependent == "pending")

    def test_a_contract_that_is_pending_again_waits_for_what_it_depends_on(
        self, ids: dict[str, UUID], write: Callable[[str], None], connection: Connection[Any]
    ) -> None:
        cancel = "update public.agent_task_contracts set status = 'cancelled' where id = %s"
        connection.execute(cancel, [ids["dependent"]])
        write(f"update public.agent_task_contracts set status = 'pending' where id = '{ids['dependent']}'")
        assert connection.execute(
            "select waits_for from ehg_tasks.held where contract_id = %s", [ids["dependent"]]
        ).fetchall() == [(1,)]

    def test_no_api_role_may_call_it(self, anon: Caller, service: Caller) -> None:
        for caller in (anon, service):
            with refused("42501"):
                caller.run("select ehg_tasks.rebuild_queue()")


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

    def test_the_service_role_completes_what_it_created_without_a_claim(
        self, service: Caller, connection: Connection[Any]
    ) -> None:
        """The callers of existing databases work so. A failure is recorded too: success is true."""
        for success, status in ((True, "completed"), (False, "failed")):
            [created] = service("create_task_contract", parent_agent="P", target_agent="NEW", objective="o")
            [answer] = service("complete_task_contract", contract_id=created["contract_id"], success=success)
            assert (answer["success"], answer["status"]) == (True, status)
        assert service("claim_task_contract", target_agent="NEW") == []

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
        assert report == {"failed_count": 0, "cancelled_count": 1, "requeued_count": 1}
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

    def test_an_agent_cannot_complete_a_contract_that_it_has_not_claimed(
        self, anon: Caller, connection: Connection[Any]
    ) -> None:
        before = rows(connection)
        pending = UUID("00000000-0000-4000-8000-000000000001")
        with refused("TC002"):
            anon("fn_complete_task_contract_idempotent", contract_id=pending, idempotency_key=UUID(int=1))
        with refused("TC002"):
            anon("complete_task_contract", contract_id=pending)
        assert rows(connection) == before

    def test_an_existing_output_that_is_not_json_is_returned_as_text(self, anon: Caller) -> None:
        [outcome] = anon(
            "task_contract_outcomes", contract_ids=[UUID("00000000-0000-4000-8000-000000000004")]
        )
        assert outcome["output"] == "plain text, not JSON"
