"""Registered agents: tokens, rotation, pauses and limits. tests/access covers direct writes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.lifecycle.helpers import (
    Database,
    claim,
    claimed,
    contract,
    create,
    end_lease,
    end_wait,
    held,
    leases,
    waited,
)
from tests.lifecycle.invariants import check_invariants
from tests.sql import Caller, Row, jsonb, refused

Contracts = Callable[[], list[dict[str, Any]]]
REFUSED = 'agent "T" is registered: its token is missing or wrong'


def register(service: Caller, name: str = "T", **fields: Any) -> str:
    """Register an agent and return its token."""
    [answer] = service("register_task_agent", name=name, **fields)
    token = answer["token"]
    assert isinstance(token, str)
    return token


def rotate(service: Caller, **fields: Any) -> Row:
    [answer] = service("rotate_task_agent", name="T", **fields)
    return answer


def use(caller: Caller, token: str | None) -> Caller:
    """Send this agent token with every call."""
    caller.headers = {} if token is None else {"x-agent-token": token}
    return caller


def end_grace(database: Database) -> None:
    database.execute("update ehg_tasks.agents set previous_token_expires_at = clock_timestamp()")


class TestRegister:
    def test_the_token_is_shown_once_and_kept_as_a_hash(self, service: Caller, database: Database) -> None:
        [answer] = service("register_task_agent", name="T", description="draws", max_running=3)
        token = answer.pop("token")
        assert answer == {"name": "T", "created": True, "previous_token_expires_at": None}
        assert token.startswith("agent_")
        assert len(token) == len("agent_") + 64
        [again] = service("register_task_agent", name="T", description="draws", max_running=3)
        assert again == {"name": "T", "token": None, "created": False, "previous_token_expires_at": None}
        rows = database.execute("select a.*, a::text from ehg_tasks.agents a").fetchall()
        assert token not in str(rows)
        is_hash = "select token_hash = sha256(convert_to(%s, 'UTF8')) from ehg_tasks.agents"
        assert database.execute(is_hash, [token]).fetchall() == [(True,)]

    def test_no_two_tokens_are_equal(self, service: Caller) -> None:
        assert len({register(service, f"T {n}") for n in range(20)}) == 20

    def test_registering_again_changes_the_description_and_the_limit(
        self, anon: Caller, service: Caller, authenticated: Caller
    ) -> None:
        token = register(service, description="draws", max_running=3)
        service("register_task_agent", name="U", description="prints", max_running=1)
        service("register_task_agent", name="T", description="paints")
        assert authenticated.run(
            "select description, max_running, has_token, running, held from public.task_agents order by name"
        ) == [
            {"description": "paints", "max_running": None, "has_token": True, "running": 0, "held": 0},
            {"description": "prints", "max_running": 1, "has_token": True, "running": 0, "held": 0},
        ]
        create(anon)
        assert claim(use(anon, token))["attempt"] == 1

    def test_an_agent_without_a_token_gets_one_when_it_is_asked_for(
        self, anon: Caller, service: Caller
    ) -> None:
        [answer] = service("register_task_agent", name="T", with_token=False)
        assert (answer["token"], answer["created"]) == (None, True)
        create(anon)
        create(anon)
        claim(anon)
        token = register(service)
        with refused("42501", REFUSED):
            claim(anon)
        claim(use(anon, token))
        [answer] = service("register_task_agent", name="T", with_token=False)
        assert answer["token"] is None
        with refused("42501", REFUSED):
            claim(use(anon, None))

    @pytest.mark.parametrize(
        ("fields", "code", "message"),
        [
            ({"name": " "}, "TC005", "p_name must not be empty"),
            ({"name": None}, "TC005", "p_name must not be empty"),
            ({"name": "T\u200b"}, "TC005", "p_name holds an invisible character"),
            ({"name": "x" * 51}, "TC005", "p_name is longer than 50 characters"),
            ({"max_running": -1}, "TC005", "p_max_running at least 0"),
            ({"with_token": None}, "TC005", "p_with_token must be true or false"),
            ({"description": "x" * 4097}, "TC006", "p_description is too large"),
        ],
    )
    def test_invalid_arguments_are_refused(
        self, service: Caller, database: Database, fields: dict[str, Any], code: str, message: str
    ) -> None:
        with refused(code, message):
            service("register_task_agent", **({"name": "T"} | fields))
        assert database.execute("select count(*) from ehg_tasks.agents").fetchone() == (0,)

    def test_the_name_is_that_of_the_queue(self, anon: Caller, service: Caller) -> None:
        [answer] = service("register_task_agent", name=" Cafe\u0301\n")
        assert answer["name"] == "Café"
        with refused("42501"):
            claim(anon, "Cafe\u0301 ")


class TestToken:
    def test_claims_need_it(self, anon: Caller, service: Caller, database: Database) -> None:
        token, other = register(service), register(service, "OTHER")
        contract_id = create(anon)
        for wrong in (None, "", "wrong", other, token.upper(), f"{token} "):
            for wanted in (None, contract_id):
                with refused("42501", REFUSED):
                    claim(use(anon, wrong), contract_id=wanted)
        assert leases(database) == []
        assert claim(use(anon, token))["contract_id"] == contract_id

    def test_a_repeated_claim_needs_it_too(self, anon: Caller, service: Caller) -> None:
        """Its answer holds the claim token."""
        token, key = register(service), "00000000-0000-0000-0000-000000000001"
        create(anon)
        row = claim(use(anon, token), request_key=key)
        with refused("42501", REFUSED):
            claim(use(anon, None), request_key=key)
        assert claim(use(anon, token), request_key=key) == row

    def test_contracts_in_its_name_need_it(self, anon: Caller, service: Caller, contracts: Contracts) -> None:
        token = register(service)
        fields = {"parent_agent": "T", "target_agent": "OTHER", "objective": "o"}
        items = jsonb([fields | {"parent_agent": "P"}, fields])
        for wrong in (None, "wrong"):
            use(anon, wrong)
            with refused("42501", REFUSED):
                anon("create_task_contract", **fields)
            with refused("42501", REFUSED):
                anon("create_task_contract", **fields | {"parent_agent": "T "})
            with refused("42501", REFUSED):
                anon("create_task_contracts", contracts=items)
        assert contracts() == []
        use(anon, token)
        anon("create_task_contract", **fields)
        anon("create_task_contracts", contracts=items)
        assert len(contracts()) == 3

    def test_work_for_it_and_its_claims_need_none(self, anon: Caller, service: Caller) -> None:
        """Anyone may hand work to it, and the claim token proves the rest."""
        token = register(service)
        create(anon)
        row = claim(use(anon, token))
        use(anon, None)
        anon("renew_task_contract", **held(row))
        anon("complete_task_contract", **held(row))

    def test_the_service_role_needs_none(self, service: Caller) -> None:
        register(service)
        create(service, parent_agent="T")
        assert claim(service)["attempt"] == 1

    def test_other_agents_need_none(self, anon: Caller, service: Caller) -> None:
        register(service)
        create(anon, "OTHER")
        assert claim(anon, "OTHER")["attempt"] == 1


class TestRotate:
    def test_the_previous_token_stays_valid_for_the_grace_period(
        self, anon: Caller, service: Caller, database: Database
    ) -> None:
        first = register(service)
        for _ in range(4):
            create(anon)
        [now] = database.execute("select clock_timestamp()").fetchone() or []
        answer = rotate(service, grace_minutes=5)
        second = answer["token"]
        assert (answer["name"], answer["created"], second != first) == ("T", False, True)
        assert timedelta(0) <= answer["previous_token_expires_at"] - now - timedelta(minutes=5)
        claim(use(anon, first))
        claim(use(anon, second))
        end_grace(database)
        with refused("42501", REFUSED):
            claim(use(anon, first))
        claim(use(anon, second))

    def test_without_grace_it_ends_at_once(self, anon: Caller, service: Caller) -> None:
        first = register(service)
        create(anon)
        second = rotate(service, grace_minutes=0)["token"]
        with refused("42501", REFUSED):
            claim(use(anon, first))
        claim(use(anon, second))

    def test_only_the_last_two_tokens_are_valid(self, anon: Caller, service: Caller) -> None:
        first = register(service)
        create(anon)
        second, third = rotate(service)["token"], rotate(service)["token"]
        with refused("42501", REFUSED):
            claim(use(anon, first))
        create(anon)
        for token in (second, third):
            claim(use(anon, token))

    def test_an_agent_without_a_token_gets_its_first(self, anon: Caller, service: Caller) -> None:
        service("register_task_agent", name="T", with_token=False)
        answer = rotate(service)
        assert answer["previous_token_expires_at"] is None
        create(anon)
        with refused("42501", REFUSED):
            claim(anon)
        claim(use(anon, answer["token"]))

    def test_a_week_is_the_longest_grace_period(self, service: Caller) -> None:
        register(service)
        left = rotate(service, grace_minutes=10_080)["previous_token_expires_at"] - datetime.now(UTC)
        assert timedelta(days=6) < left < timedelta(days=7, hours=1)  # two clocks

    @pytest.mark.parametrize("grace", [-1, 10_081, None])
    def test_an_invalid_grace_period_is_refused(
        self, anon: Caller, service: Caller, database: Database, grace: int | None
    ) -> None:
        token = register(service)
        before = database.execute("select * from ehg_tasks.agents").fetchall()
        with refused("TC005", "p_grace_minutes must be between 0 and 10080"):
            rotate(service, grace_minutes=grace)
        assert database.execute("select * from ehg_tasks.agents").fetchall() == before
        create(anon)
        claim(use(anon, token))


class TestPause:
    def test_nothing_is_handed_out_until_it_resumes(
        self, anon: Caller, service: Caller, database: Database
    ) -> None:
        running, waiting = claimed(anon, priority=90), create(anon)
        [answer] = service("pause_task_agent", name="T")
        message = "agent registered and paused"
        assert answer == {"name": "T", "message": message, "was_duplicate": False}
        for fields in ({}, {"contract_id": waiting}, {"limit": 100}):
            assert anon("claim_task_contract", target_agent="T", **fields) == []
        anon("renew_task_contract", **held(running))
        anon("complete_task_contract", **held(running))
        [answer] = service("resume_task_agent", name="T")
        assert answer == {"name": "T", "message": "agent resumed", "was_duplicate": False}
        assert claim(anon)["contract_id"] == waiting

    def test_repeats_change_nothing(self, service: Caller, database: Database) -> None:
        service("pause_task_agent", name="T")
        before = database.execute("select * from ehg_tasks.agents").fetchall()
        [answer] = service("pause_task_agent", name="T")
        assert (answer["message"], answer["was_duplicate"]) == ("already paused", True)
        assert database.execute("select * from ehg_tasks.agents").fetchall() == before
        service("resume_task_agent", name="T")
        [answer] = service("resume_task_agent", name="T")
        assert (answer["message"], answer["was_duplicate"]) == ("not paused", True)

    def test_an_unregistered_name_is_registered_without_a_token(
        self, anon: Caller, service: Caller, authenticated: Caller
    ) -> None:
        [answer] = service("pause_task_agent", name=" T ")
        assert answer["message"] == "agent registered and paused; it has no contracts: check its name"
        assert not answer["was_duplicate"]
        service("resume_task_agent", name="T")
        [answer] = service("pause_task_agent", name="T")
        assert answer == {"name": "T", "message": "agent paused", "was_duplicate": False}
        [agent] = authenticated.run("select name, has_token, paused_at is not null p from public.task_agents")
        assert agent == {"name": "T", "has_token": False, "p": True}
        create(anon)
        service("resume_task_agent", name="T")
        claim(anon)

    def test_a_repeated_claim_is_still_answered(self, anon: Caller, service: Caller) -> None:
        create(anon)
        key = "00000000-0000-0000-0000-000000000001"
        row = claim(anon, request_key=key)
        service("pause_task_agent", name="T")
        assert claim(anon, request_key=key) == row

    def test_leases_still_expire(self, anon: Caller, service: Caller, database: Database) -> None:
        row = claimed(anon)
        service("pause_task_agent", name="T")
        end_lease(database, row["contract_id"])
        assert anon("claim_task_contract", target_agent="T") == []
        assert contract(database, row["contract_id"])["status"] == "pending"

    def test_registering_again_keeps_the_pause(self, anon: Caller, service: Caller) -> None:
        create(anon)
        service("pause_task_agent", name="T")
        token = register(service)
        assert use(anon, token)("claim_task_contract", target_agent="T") == []


class TestMaxRunning:
    def test_no_more_contracts_are_in_progress_than_allowed(
        self, anon: Caller, service: Caller, database: Database
    ) -> None:
        service("register_task_agent", name="T", max_running=3, with_token=False)
        for _ in range(9):
            create(anon)
        first = anon("claim_task_contract", target_agent="T", limit=2)
        second = anon("claim_task_contract", target_agent="T", limit=100)
        assert (len(first), len(second)) == (2, 1)
        assert anon("claim_task_contract", target_agent="T", limit=100) == []
        anon("complete_task_contract", **held(first[0]))
        anon("release_task_contract", **held(first[1]))
        assert len(anon("claim_task_contract", target_agent="T", limit=100)) == 2
        assert len(leases(database)) == 3

    def test_a_certain_contract_is_not_handed_out_either(self, anon: Caller, service: Caller) -> None:
        service("register_task_agent", name="T", max_running=0, with_token=False)
        assert anon("claim_task_contract", target_agent="T", contract_id=create(anon)) == []

    def test_an_expired_lease_makes_room(self, anon: Caller, service: Caller, database: Database) -> None:
        service("register_task_agent", name="T", max_running=1, with_token=False)
        row = claimed(anon)
        other = create(anon, priority=90)
        end_lease(database, row["contract_id"])
        assert claim(anon)["contract_id"] == other

    def test_the_work_of_others_does_not_count(self, anon: Caller, service: Caller) -> None:
        service("register_task_agent", name="T", max_running=1, with_token=False)
        create(anon, "OTHER")
        claim(anon, "OTHER")
        assert claimed(anon)["attempt"] == 1

    def test_without_a_limit_any_number_is(self, anon: Caller, service: Caller) -> None:
        service("register_task_agent", name="T", max_running=0, with_token=False)
        service("register_task_agent", name="T", with_token=False)
        anon("create_task_contracts", contracts=jsonb(
            [{"parent_agent": "P", "target_agent": "T", "objective": "o"}] * 30
        ))  # fmt: skip
        assert len(anon("claim_task_contract", target_agent="T", limit=100)) == 30

    @pytest.mark.parametrize("level", ["repeatable read", "serializable"])
    def test_a_claim_that_could_miss_others_is_refused(
        self, anon: Caller, service: Caller, database: Database, level: str
    ) -> None:
        service("register_task_agent", name="T", max_running=1, with_token=False)
        create(anon)
        anon.connection.execute(f"set default_transaction_isolation = '{level}'".encode())
        with refused("TC003", "need the isolation level READ COMMITTED"):
            claim(anon)
        assert leases(database) == []


class TestRemove:
    def test_the_name_is_as_if_it_had_never_been_registered(
        self, anon: Caller, service: Caller, database: Database
    ) -> None:
        register(service, max_running=0)
        service("pause_task_agent", name="T")
        contract_id = create(anon)
        [answer] = service("remove_task_agent", name="T")
        assert answer == {"name": "T", "message": "agent removed", "was_duplicate": False}
        assert claim(anon)["contract_id"] == contract_id
        create(anon, parent_agent="T")

    @pytest.mark.parametrize("resumed", [False, True])
    def test_clean_up_goes_on_sparing_what_waited_during_a_pause(
        self, anon: Caller, service: Caller, database: Database, resumed: bool
    ) -> None:
        contract_id, other = create(anon), create(anon, "U")
        service("pause_task_agent", name="T")
        if resumed:
            service("resume_task_agent", name="T")
        for waiting in (contract_id, other):
            waited(database, waiting, 25)
        service("remove_task_agent", name="T")
        assert service("cleanup_stale_contracts")[0]["cancelled_count"] == 1
        assert [contract(database, waiting)["status"] for waiting in (contract_id, other)] == [
            "pending",
            "cancelled",
        ]
        check_invariants(database)

    def test_a_name_that_is_registered_anew_gets_another_token(self, anon: Caller, service: Caller) -> None:
        first = register(service)
        service("remove_task_agent", name="T")
        second = register(service)
        create(anon)
        with refused("42501", REFUSED):
            claim(use(anon, first))
        claim(use(anon, second))


@pytest.mark.parametrize("function", ["rotate_task_agent", "resume_task_agent", "remove_task_agent"])
def test_a_name_that_is_not_registered_is_refused(service: Caller, function: str) -> None:
    with refused("TC001", 'there is no registered agent "T"'):
        service(function, name="T")


def test_the_registry_shows_what_runs_and_waits(
    anon: Caller, service: Caller, authenticated: Caller, database: Database
) -> None:
    service("register_task_agent", name="T", with_token=False)
    for row in [claimed(anon), claimed(anon)]:
        anon("fail_task_contract", **held(row), error_message="e")
    claimed(anon)
    for _ in range(3):
        create(anon)
    [agent] = authenticated.run("select running, ready, held from public.task_agents")
    assert agent == {"running": 1, "ready": 3, "held": 2}
    check_invariants(database)


def test_a_paused_agent_keeps_its_work(anon: Caller, service: Caller, database: Database) -> None:
    """Clean-up cancels what nobody has claimed, not what nobody may claim."""
    contract_id = create(anon)
    service("pause_task_agent", name="T")
    old = "update ehg_tasks.ready set claimable_since = clock_timestamp() - interval '2 days'"
    database.execute(old)
    [report] = service("cleanup_stale_contracts")
    assert report["cancelled_count"] == 0
    service("resume_task_agent", name="T")
    [report] = service("cleanup_stale_contracts")
    assert report["cancelled_count"] == 0
    database.execute("update ehg_tasks.agents set resumed_at = clock_timestamp() - interval '2 days'")
    [report] = service("cleanup_stale_contracts")
    assert report["cancelled_count"] == 1
    assert contract(database, contract_id)["status"] == "cancelled"


def test_held_work_of_a_paused_agent_is_ready_after_it_resumes(
    anon: Caller, service: Caller, database: Database
) -> None:
    row = claimed(anon)
    anon("fail_task_contract", **held(row), error_message="e")
    service("pause_task_agent", name="T")
    end_wait(database, row["contract_id"])
    assert anon("claim_task_contract", target_agent="T") == []
    service("resume_task_agent", name="T")
    assert claim(anon)["attempt"] == 2
    check_invariants(database)
