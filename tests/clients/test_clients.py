"""The three roles over HTTP, as a program uses them."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest
from psycopg import Connection

from ehg_tasks import (
    AccessDenied,
    AgentTasks,
    AsyncAgentTasks,
    AsyncBackendTasks,
    AsyncDashboardTasks,
    AuthenticationFailed,
    BackendTasks,
    BadArgument,
    ClaimLost,
    ConnectionFailed,
    ContractNotFound,
    ContractStatus,
    DashboardTasks,
    IdempotencyConflict,
    InvalidData,
    Lease,
    MigrationsMissing,
    NewContract,
    Settings,
    SettingsError,
    StatusConflict,
    TaskContractError,
    TooLarge,
)
from tests.conftest import Project

ROW: dict[str, Any] = {"parent_agent": "PLANNER", "target_agent": "DESIGN", "objective": "draw"}
Contracts = Callable[[], list[dict[str, Any]]]


class TestAgents:
    def test_work_goes_from_agent_to_agent(self, agent: AgentTasks, project: Project) -> None:
        made = agent.create(
            **ROW, priority=70, constraints={"colours": ["red"]}, output_schema={"type": "object"}
        )
        assert (made.created, made.contract_summary) == (True, "PLANNER -> DESIGN: draw")
        with AgentTasks(url=project.url, key=project.publishable_key) as other:
            [claim] = other.claim("DESIGN")
            assert claim.contract_id == made.contract_id
            assert (claim.objective, claim.priority, claim.attempt) == ("draw", 70, 1)
            assert (claim.constraints, claim.output_schema) == ({"colours": ["red"]}, {"type": "object"})
            lease = other.renew(claim)
            assert lease.lease_expires_at >= claim.lease_expires_at
            done = other.complete(claim, output={"page": 1}, result_summary="a page", execution_tokens=120)
            assert (done.status, done.was_duplicate) == (ContractStatus.COMPLETED, False)
        outcome = agent.outcome(made.contract_id)
        assert (outcome.output, outcome.result_summary, outcome.execution_tokens) == (
            {"page": 1},
            "a page",
            120,
        )
        assert outcome.output_artifact_id == done.output_artifact_id

    @pytest.mark.parametrize("output", [{"a": [1, None, 2.5]}, [], [[1]], "text", "5", "", 5, True, False])
    def test_any_json_comes_back_as_it_was(self, agent: AgentTasks, output: Any) -> None:
        agent.create(**ROW)
        [claim] = agent.claim("DESIGN")
        agent.complete(claim, output=output)
        assert agent.outcome(claim.contract_id).output == output

    def test_texts_come_back_as_they_were(self, agent: AgentTasks) -> None:
        text = "ünïcödé 🤖 'quotes' \"double\" \\back\\slash\n\ttab {curly} %s $1 $$ -- /* */"
        agent.create(NewContract(**ROW | {"objective": text}, constraints={text: text}, created_by="t"))
        [claim] = agent.claim("DESIGN")
        assert (claim.objective, claim.constraints) == (text, {text: text})

    def test_a_repeat_creates_nothing_new(self, agent: AgentTasks, contracts: Contracts) -> None:
        contract = NewContract(**ROW, contract_id=uuid4())
        assert agent.create(contract).created
        before = contracts()
        assert not agent.create(contract).created
        with pytest.raises(IdempotencyConflict):
            agent.create(**ROW | {"objective": "other"}, contract_id=contract.contract_id)
        assert contracts() == before

    def test_a_misspelt_field_is_refused(self, agent: AgentTasks, contracts: Contracts) -> None:
        """By the type checker too: without an error there, mypy would call the `ignore` unused."""
        with pytest.raises(BadArgument, match="targt_agent"):
            agent.create(parent_agent="P", targt_agent="T", objective="o")  # type: ignore[call-overload]
        assert contracts() == []

    def test_many_at_once_are_claimed_in_their_order(self, agent: AgentTasks) -> None:
        new = [NewContract(**ROW | {"objective": str(number)}) for number in range(1000)]
        assert len(agent.create_many(new)) == 1000
        assert [claim.objective for claim in agent.claim("DESIGN", limit=100)] == [
            str(number) for number in range(100)
        ]

    def test_more_than_the_limit_is_refused_whole(self, agent: AgentTasks, contracts: Contracts) -> None:
        with pytest.raises(TooLarge, match="1001"):
            agent.create_many([NewContract(**ROW)] * 1001)
        with pytest.raises(TooLarge, match="101"):
            agent.claim("DESIGN", limit=101)
        assert contracts() == []

    def test_outcomes_of_more_than_one_call(self, agent: AgentTasks) -> None:
        ids = [
            made.contract_id
            for _ in range(2)
            for made in agent.create_many([NewContract(**ROW) for _ in range(600)])
        ]
        assert [outcome.contract_id for outcome in agent.outcomes([*ids, uuid4()])] == ids

    def test_a_failure_with_and_without_another_attempt(self, agent: AgentTasks) -> None:
        agent.create(**ROW)
        [claim] = agent.claim("DESIGN")
        failed = agent.fail(claim, "no colours")
        assert (failed.status, failed.retry_count) == (ContractStatus.PENDING, 1)
        assert failed.next_attempt_at is not None
        assert agent.claim("DESIGN") == []
        agent.create(**ROW)
        [claim] = agent.claim("DESIGN")
        assert agent.fail(claim, "no", retry=False).status == ContractStatus.FAILED

    def test_a_release_and_a_cancellation(self, agent: AgentTasks) -> None:
        made = agent.create(**ROW)
        [claim] = agent.claim("DESIGN")
        assert agent.release(claim).status == ContractStatus.PENDING
        [claim] = agent.claim("DESIGN")
        assert agent.cancel(made.contract_id, "not needed").status == ContractStatus.CANCELLED
        with pytest.raises(StatusConflict, match="already cancelled"):
            agent.complete(claim)

    def test_a_lost_claim(self, agent: AgentTasks, contracts: Contracts) -> None:
        agent.create(**ROW)
        [lost] = agent.claim("DESIGN")
        agent.release(lost)
        [claim] = agent.claim("DESIGN")
        before = contracts()
        for act in (agent.renew, agent.complete, agent.inputs):
            with pytest.raises(ClaimLost) as raised:
                act(lost)
            assert raised.value.code == "TC002"
        assert contracts() == before
        assert agent.complete(claim).success

    def test_an_unknown_contract(self, agent: AgentTasks) -> None:
        with pytest.raises(ContractNotFound):
            agent.outcome(uuid4())
        with pytest.raises(ContractNotFound):
            agent.cancel(uuid4())

    def test_what_is_not_json_is_refused_before_any_request(self, agent: AgentTasks) -> None:
        agent.create(**ROW)
        [claim] = agent.claim("DESIGN")
        for output in (float("nan"), b"bytes", {1, 2}, {"a": "\x00"}, "\ud800"):
            with pytest.raises(BadArgument):
                agent.complete(claim, output=output)
        assert agent.outcome(claim.contract_id).status == ContractStatus.IN_PROGRESS


class TestKeys:
    def test_a_secret_key_in_an_agent_is_refused_in_words(self, project: Project) -> None:
        for key in (project.secret_key, project.service_role_jwt):
            for role in (AgentTasks, DashboardTasks, AsyncAgentTasks, AsyncDashboardTasks):
                with pytest.raises(SettingsError, match="needs a publishable key") as raised:
                    role(url=project.url, key=key)
                assert key not in str(raised.value)

    def test_a_publishable_key_in_a_backend_job_is_refused_in_words(self, project: Project) -> None:
        for key in (project.publishable_key, project.anon_jwt):
            for role in (BackendTasks, AsyncBackendTasks):
                with pytest.raises(SettingsError, match="needs a secret key"):
                    role(url=project.url, key=key)

    def test_legacy_keys_work(self, project: Project, contracts: Contracts) -> None:
        with AgentTasks(url=project.url, key=project.anon_jwt) as agent:
            agent.create(**ROW)
        with BackendTasks(url=project.url, key=project.service_role_jwt) as backend:
            assert backend.count() == len(contracts()) == 1

    def test_a_made_up_key(self, project: Project) -> None:
        with AgentTasks(url=project.url, key="sb_publishable_made_up") as agent:
            with pytest.raises(AuthenticationFailed) as raised:
                agent.create(**ROW)
            assert "made_up" not in str(raised.value)

    def test_a_wrong_url(self) -> None:
        with (
            AgentTasks(url="http://127.0.0.1:9", key="sb_publishable_x", retries=1) as agent,
            pytest.raises(ConnectionFailed, match="cannot reach"),
        ):
            agent.claim("DESIGN")

    def test_from_env(self, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SUPABASE_URL", project.url)
        monkeypatch.setenv("SUPABASE_PUBLISHABLE_KEY", project.publishable_key)
        monkeypatch.delenv("SUPABASE_SECRET_KEY", raising=False)
        monkeypatch.delenv("SUPABASE_SERVICE_ROLE_KEY", raising=False)
        with AgentTasks.from_env() as agent:
            assert agent.claim("NOBODY") == []
        with pytest.raises(SettingsError, match=r"there is no secret key.*SUPABASE_SECRET_KEY"):
            BackendTasks(Settings.from_env(dotenv=False))

    def test_a_project_without_the_migrations(self, project: Project) -> None:
        """A function that does not exist stands for a project without any."""
        with (
            AgentTasks(url=project.url, key=project.publishable_key) as agent,
            pytest.raises(MigrationsMissing, match="supabase db push"),
        ):
            agent._rpc("no_such_function", Lease)


class TestDashboards:
    @pytest.fixture
    def many(self, database: Connection[Any]) -> int:
        """2,300 contracts, a hundred of each moment, so that pages end between equal times."""
        database.execute(
            "insert into public.agent_task_contracts"
            " (parent_agent, target_agent, objective, status, created_at)"
            " select 'P', 'T' || n % 2, n::text, case when n % 3 = 0 then 'completed' else 'pending' end,"
            "        timestamptz '2026-01-01 00:00:00.123456+00' + n / 100 * interval '1 second'"
            " from generate_series(0, 2299) as n"
        )
        return 2300

    def test_paging_goes_past_the_api_limit_of_a_thousand(
        self, dashboard: DashboardTasks, many: int, contracts: Contracts
    ) -> None:
        expected = [row["id"] for row in contracts()]
        assert [row.id for row in dashboard.list()] == expected
        assert [row.id for row in dashboard.list(newest_first=True)] == expected[::-1]
        assert [row.id for row in dashboard.list(page_size=99, limit=1234)] == expected[:1234]
        assert [row.id for row in dashboard.list(page_size=5000)] == expected
        assert dashboard.count() == many

    def test_filters(self, dashboard: DashboardTasks, many: int) -> None:
        rows = list(dashboard.list(status=ContractStatus.COMPLETED, target_agent="T1"))
        assert len(rows) == dashboard.count(status="completed", target_agent="T1") == 383
        assert {(row.status, row.target_agent) for row in rows} == {("completed", "T1")}
        since = datetime(2026, 1, 1, 0, 0, 10, 123456, tzinfo=UTC)
        assert dashboard.count(created_after=since) == 1300
        assert dashboard.count(created_before=since) == 1000
        assert dashboard.count(created_after=since, created_before=since + timedelta(microseconds=1)) == 100
        assert dashboard.count(parent_agent="P', or 1=1") == dashboard.count(session_id=uuid4()) == 0

    def test_bad_filters_are_refused(self, dashboard: DashboardTasks) -> None:
        for filters in ({"status": "done"}, {"session_id": "x"}, {"colour": "red"}, {"created_after": "now"}):
            with pytest.raises(BadArgument):
                dashboard.count(**filters)  # type: ignore[arg-type]

    def test_an_insert_while_paging_neither_repeats_nor_hides_a_row(
        self, dashboard: DashboardTasks, backend: BackendTasks, database: Connection[Any], many: int
    ) -> None:
        seen = []
        for number, row in enumerate(dashboard.list(page_size=100)):
            seen.append(row.id)
            if number % 500 == 0:
                database.execute(
                    "insert into public.agent_task_contracts"
                    " (parent_agent, target_agent, objective, created_at)"
                    " values ('P', 'early', 'o', '2025-01-01')"
                )
        assert len(seen) == len(set(seen)) == many

    def test_get_read_and_stats(self, dashboard: DashboardTasks, agent: AgentTasks) -> None:
        made = agent.create(**ROW)
        row = dashboard.get(made.contract_id)
        assert (row.objective, row.status, row.created_at.tzinfo) == ("draw", "pending", UTC)
        assert dashboard.read(made.contract_id).objective == "draw"
        [figures] = dashboard.stats()
        assert (figures.target_agent, figures.status, figures.contracts) == ("DESIGN", "pending", 1)
        for act in (dashboard.get, dashboard.read):
            with pytest.raises(ContractNotFound):
                act(uuid4())

    def test_sign_up_sign_in_and_out(self, project: Project, agent: AgentTasks) -> None:
        agent.create(**ROW)
        email, password = f"{secrets.token_hex(6)}@example.com", secrets.token_urlsafe(12)
        with DashboardTasks(url=project.url, key=project.publishable_key) as dashboard:
            with pytest.raises(AuthenticationFailed):
                dashboard.sign_in(email, password)
            dashboard.sign_up(email, password)
            dashboard.sign_in(email, password)
            assert len(list(dashboard.list())) == 1
            dashboard.sign_out()
            with pytest.raises(AccessDenied):
                list(dashboard.list())
            with pytest.raises(AuthenticationFailed) as raised:
                dashboard.sign_in(email, password + "x")
            assert password not in str(raised.value)

    def test_somebody_who_is_not_signed_in_sees_nothing(self, project: Project, agent: AgentTasks) -> None:
        agent.create(**ROW)
        with DashboardTasks(url=project.url, key=project.publishable_key) as nobody:
            with pytest.raises(AccessDenied):
                list(nobody.list())
            with pytest.raises(AccessDenied):
                nobody.stats()

    def test_an_expired_access_token(self, project: Project) -> None:
        old = datetime.now(UTC) - timedelta(hours=2)
        claims = {"role": "authenticated", "aud": "authenticated", "sub": str(uuid4()), "exp": old}
        token = jwt.encode(claims, project.jwt_secret, algorithm="HS256")
        with (
            DashboardTasks(url=project.url, key=project.publishable_key, access_token=token) as dashboard,
            pytest.raises(AuthenticationFailed),
        ):
            list(dashboard.list())


class TestBackendJobs:
    def test_it_does_all_that_agents_and_dashboards_do(self, backend: BackendTasks) -> None:
        made = backend.create(**ROW)
        [claim] = backend.claim("DESIGN")
        assert backend.get(made.contract_id).status == "in_progress"
        backend.complete(claim, output=[1])
        assert backend.outcome(made.contract_id).output == [1]
        assert [row.id for row in backend.list(status="completed")] == [made.contract_id]

    def test_it_completes_by_id_what_somebody_works_on(
        self, backend: BackendTasks, agent: AgentTasks
    ) -> None:
        made = backend.create(**ROW)
        with pytest.raises(StatusConflict, match="is pending"):
            backend.complete(made.contract_id)
        [claim] = agent.claim("DESIGN")
        done = backend.complete(made.contract_id, result_summary="by hand")
        assert done.status == ContractStatus.COMPLETED
        with pytest.raises((ClaimLost, StatusConflict, IdempotencyConflict)):
            agent.complete(claim, result_summary="too late")

    def test_update_and_delete(self, backend: BackendTasks, contracts: Contracts) -> None:
        made = backend.create(**ROW)
        other = backend.create(**ROW)
        changed = backend.update(made.contract_id, priority=99, constraints={"a": 1}, sd_id=None)
        assert (changed.priority, changed.constraints) == (99, {"a": 1})
        assert backend.get(other.contract_id).priority == 50
        backend.delete(made.contract_id)
        assert [row["id"] for row in contracts()] == [other.contract_id]
        for act in (backend.delete, lambda contract_id: backend.update(contract_id, priority=1)):
            with pytest.raises(ContractNotFound):
                act(made.contract_id)

    def test_a_bad_update_changes_nothing(self, backend: BackendTasks, contracts: Contracts) -> None:
        made = backend.create(**ROW)
        before = contracts()
        with pytest.raises(InvalidData) as raised:
            backend.update(made.contract_id, status="done")
        assert raised.value.code == "23514"
        for columns in ({"colour": "red"}, {}, {"objective": float("inf")}):
            with pytest.raises(BadArgument):
                backend.update(made.contract_id, **columns)
        assert contracts() == before

    def test_clean_up_and_pruning(
        self, backend: BackendTasks, database: Connection[Any], contracts: Contracts
    ) -> None:
        backend.create(**ROW)
        backend.claim("DESIGN")
        database.execute("update ehg_tasks.leases set expires_at = now() - interval '1 second'")
        report = backend.cleanup()
        assert (report.requeued_count, report.failed_count, report.cancelled_count) == (1, 0, 0)
        backend.update(contracts()[0]["id"], status="failed", completed_at=datetime(2026, 1, 1, tzinfo=UTC))
        assert backend.prune() == 1
        assert contracts() == []

    def test_describe(self, backend: BackendTasks) -> None:
        assert len(backend.describe()["columns"]) == 28


def test_nulls_among_the_input_artifacts_hide_no_row(
    backend: BackendTasks, agent: AgentTasks, database: Connection[Any]
) -> None:
    database.execute(
        "insert into public.agent_task_contracts (parent_agent, target_agent, objective, input_artifacts)"
        " values ('P', 'T', 'o', array[null, '00000000-0000-4000-8000-000000000001']::uuid[])"
    )
    [row] = backend.list()
    [claim] = agent.claim("T")
    assert row.input_artifacts == claim.input_artifacts == [UUID("00000000-0000-4000-8000-000000000001")]


def test_a_closed_client_says_so(project: Project) -> None:
    agent = AgentTasks(url=project.url, key=project.publishable_key)
    agent.close()
    with pytest.raises(TaskContractError, match="closed"):
        agent.claim("DESIGN")


async def test_the_async_twins(project: Project, database: Connection[Any], user_token: str) -> None:
    async with (
        AsyncAgentTasks(url=project.url, key=project.publishable_key) as agent,
        AsyncDashboardTasks(
            url=project.url, key=project.publishable_key, access_token=user_token
        ) as dashboard,
        AsyncBackendTasks(url=project.url, key=project.secret_key) as backend,
    ):
        made = await agent.create(**ROW)
        [claim] = await agent.claim("DESIGN")
        assert [row.id async for row in dashboard.list(status="in_progress")] == [made.contract_id]
        await agent.complete(claim, output={"a": 1})
        assert (await agent.outcome(made.contract_id)).output == {"a": 1}
        with pytest.raises(ClaimLost):
            await agent.renew(
                claim.model_copy(update={"contract_id": (await agent.create(**ROW)).contract_id})
            )
        assert await backend.count() == await dashboard.count() == 2
        await backend.delete(made.contract_id)
        with pytest.raises(ContractNotFound):
            await dashboard.get(made.contract_id)
        assert isinstance(claim.contract_id, UUID)


async def test_an_async_dashboard_signs_in(project: Project, database: Connection[Any]) -> None:
    email, password = f"{secrets.token_hex(6)}@example.com", secrets.token_urlsafe(12)
    async with AsyncDashboardTasks(url=project.url, key=project.publishable_key) as dashboard:
        await dashboard.sign_up(email, password)
        await dashboard.sign_in(email, password)
        assert [row async for row in dashboard.list()] == []
        await dashboard.sign_out()
        with pytest.raises(AccessDenied):
            await dashboard.stats()
