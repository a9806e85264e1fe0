"""The guards on direct writes by anon: what they refuse, and that they do not affect other roles."""

from __future__ import annotations

import json

import pytest

from tests.lifecycle.helpers import Database, claimed, contract, create
from tests.sql import Caller, refused

INSERT = (
    "insert into public.agent_task_contracts (parent_agent, target_agent, objective, {})"
    " values ('P', 'T', 'o', {})"
)
OVERSIZE = {
    "input_summary": "repeat('x', 65537)",
    "result_summary": "repeat('x', 65537)",
    "error_message": "repeat('ß', 32769)",
    "constraints": "jsonb_build_object('a', repeat('x', 65537))",
    "output_schema": "jsonb_build_object('a', repeat('x', 65537))",
    "input_artifacts": "array_fill(gen_random_uuid(), array[1001])",
}


@pytest.mark.parametrize("column", OVERSIZE)
def test_an_oversize_write_by_an_agent_is_refused(
    anon: Caller, service: Caller, database: Database, column: str
) -> None:
    insert = INSERT.format(column, OVERSIZE[column])
    update = f"update public.agent_task_contracts set {column} = {OVERSIZE[column]}"
    with refused("TC006", column):
        anon.run(insert)
    contract_id = create(anon)
    before = contract(database, contract_id)
    with refused("TC006", column):
        anon.run(update)
    assert contract(database, contract_id) == before
    service.run(update)
    service.run(insert)
    assert database.execute("select count(*) from public.agent_task_contracts").fetchone() == (2,)


def test_an_oversize_objective_is_refused(anon: Caller, database: Database) -> None:
    with refused("TC006", "objective"):
        anon.run(
            "insert into public.agent_task_contracts (parent_agent, target_agent, objective)"
            " values ('P', 'T', repeat('x', 65537))"
        )
    assert database.execute("select count(*) from public.agent_task_contracts").fetchone() == (0,)


def test_an_update_by_an_agent_changes_at_most_one_contract(
    anon: Caller, service: Caller, database: Database
) -> None:
    update = "update public.agent_task_contracts set priority = 1"
    anon.run(update)
    contract_id = create(anon)
    anon.run(update)
    assert contract(database, contract_id)["priority"] == 1
    create(anon)
    with refused("21000", "more than one"):
        anon.run("update public.agent_task_contracts set priority = 2")
    assert contract(database, contract_id)["priority"] == 1
    service.run("update public.agent_task_contracts set priority = 3")
    assert contract(database, contract_id)["priority"] == 3


def test_the_functions_change_many_contracts_for_an_agent(anon: Caller, database: Database) -> None:
    for _ in range(3):
        create(anon)
    assert len(anon("claim_task_contract", target_agent="T", limit=3)) == 3
    row = claimed(anon)
    anon("complete_task_contract", contract_id=row["contract_id"], claim_token=row["claim_token"])


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("status", "'completed'"),
        ("retry_count", "1"),
        ("started_at", "now()"),
        ("completed_at", "now()"),
        ("result_summary", "'planted'"),
        ("execution_tokens", "1"),
        ("error_message", "'planted'"),
        ("completion_idempotency_key", "gen_random_uuid()"),
        ("completed_by_agent_id", "gen_random_uuid()"),
        ("created_at", "'infinity'"),
        ("created_at", "'-infinity'"),
        ("created_at", "now() + interval '1 hour'"),
        ("updated_at", "'infinity'"),
        ("updated_at", "'-infinity'"),
        ("updated_at", "now() + interval '1 hour'"),
    ],
)
def test_an_insert_by_an_agent_must_start_at_the_beginning(
    anon: Caller, service: Caller, database: Database, column: str, value: str
) -> None:
    """Otherwise an agent that guesses an id could plant the result of a contract before it is created."""
    insert = INSERT.format(column, value)
    with refused("TC005", "must be pending, without a result"):
        anon.run(insert)
    assert database.execute("select count(*) from public.agent_task_contracts").fetchone() == (0,)
    service.run(insert)
    assert database.execute("select count(*) from public.agent_task_contracts").fetchone() == (1,)


def test_an_insert_by_an_agent_may_name_the_defaults(anon: Caller, database: Database) -> None:
    anon.run(INSERT.format("status, retry_count, created_at", "'pending', 0, now() - interval '1 hour'"))
    assert database.execute("select count(*) from public.agent_task_contracts").fetchone() == (1,)


# A name, and what the refusal says about it. All of them look like "Té", or like nothing.
NAMES = {
    "a trailing space": ("Té ", "begin or end with white space"),
    "a leading tab": ("\tTé", "begin or end with white space"),
    "a trailing no-break space": ("Té\u00a0", "begin or end with white space"),
    "a leading ideographic space": ("\u3000Té", "begin or end with white space"),
    "a decomposed accent": ("Te\u0301", "decomposed characters"),
    "a zero-width space": ("T\u200bé", "holds an invisible character"),
    "a zero-width joiner at its end": ("Té\u200d", "holds an invisible character"),
    "a soft hyphen": ("T\u00adé", "holds an invisible character"),
    "a right-to-left mark": ("\u200fTé", "holds an invisible character"),
    "a variation selector": ("T\ufe0fé", "holds an invisible character"),
    "a tag": ("Té\U000e0041", "holds an invisible character"),
    "a variation selector beyond U+FFFF": ("Té\U000e0100", "holds an invisible character"),
    "a blank Braille pattern": ("T\u2800é", "holds an invisible character"),
    "a no-break space within": ("T\u00a0é", "holds an invisible character"),
    "a control character": ("T\u0001é", "holds an invisible character"),
    "no character": ("", "must not be empty"),
    "white space alone": (" \u2003 ", "must not be empty"),
}


@pytest.mark.parametrize("column", ["parent_agent", "target_agent"])
@pytest.mark.parametrize("case", NAMES)
def test_a_name_that_looks_like_another_is_refused(
    anon: Caller, service: Caller, database: Database, column: str, case: str
) -> None:
    name, message = NAMES[case]
    row = {"parent_agent": "P", "target_agent": "Té"} | {column: name}
    insert = (
        "insert into public.agent_task_contracts (parent_agent, target_agent, objective) values (%s, %s, 'o')"
    )
    with refused("TC005", message):
        anon.run(insert, list(row.values()))
    contract_id = create(anon)
    before = contract(database, contract_id)
    with refused("TC005", message):
        anon.run(f"update public.agent_task_contracts set {column} = %s", [name])
    assert contract(database, contract_id) == before
    service.run(insert, list(row.values()))


def test_a_name_is_required(anon: Caller, database: Database) -> None:
    for name in ("parent_agent", "target_agent"):
        with refused("TC005", f"{name} must not be empty"):
            anon.run(INSERT.replace("'P'" if name == "parent_agent" else "'T'", "null").format("priority", 1))
    assert database.execute("select count(*) from public.agent_task_contracts").fetchone() == (0,)


@pytest.mark.parametrize("name", ["Té", "Ana Müller", "設計", "a", "x" * 50, "🛠"])
def test_a_visible_name_is_accepted(anon: Caller, database: Database, name: str) -> None:
    anon.run(
        "insert into public.agent_task_contracts (parent_agent, target_agent, objective)"
        " values (%s, %s, 'o')",
        [name, name],
    )
    assert database.execute("select target_agent from ehg_tasks.ready").fetchall() == [(name,)]


def send_token(caller: Caller, token: str | None) -> None:
    """Set the header as the API does, for all calls of this caller from now on."""
    headers = {"accept": "*/*"} | ({} if token is None else {"x-agent-token": token})
    caller.run("select set_config('request.headers', %s, false)", [json.dumps(headers)])


def register(service: Caller, name: str) -> str:
    [answer] = service("register_task_agent", name=name)
    assert isinstance(answer["token"], str)
    return answer["token"]


class TestRegisteredParent:
    """A write in the name of a registered agent needs the agent's token."""

    def test_an_insert_needs_the_token(self, anon: Caller, service: Caller, database: Database) -> None:
        insert = INSERT.format("priority", 1)
        token, other = register(service, "P"), register(service, "T")
        with refused("42501", 'agent "P" is registered: its token is missing or wrong'):
            anon.run(insert)
        for wrong in (None, "", other, token.upper(), f" {token}", f"{token}x", token[:-1]):
            send_token(anon, wrong)
            with refused("42501", 'agent "P" is registered'):
                anon.run(insert)
        assert database.execute("select count(*) from public.agent_task_contracts").fetchone() == (0,)
        send_token(anon, token)
        anon.run(insert)
        service.run(insert)
        assert database.execute("select count(*) from public.agent_task_contracts").fetchone() == (2,)

    def test_every_row_of_a_statement_is_looked_at(
        self, anon: Caller, service: Caller, database: Database
    ) -> None:
        register(service, "P")
        with refused("42501", 'agent "P" is registered'):
            anon.run(INSERT.format("priority", 1).replace("'P'", "'Q'") + ", ('P', 'T', 'o', 1)")
        assert database.execute("select count(*) from public.agent_task_contracts").fetchone() == (0,)

    def test_an_update_needs_the_token(self, anon: Caller, service: Caller, database: Database) -> None:
        token = register(service, "R")
        contract_id = create(anon)
        before = contract(database, contract_id)
        update = "update public.agent_task_contracts set parent_agent = 'R'"
        with refused("42501", 'agent "R" is registered'):
            anon.run(update)
        assert contract(database, contract_id) == before
        send_token(anon, token)
        anon.run(update)
        assert contract(database, contract_id)["parent_agent"] == "R"

    @pytest.mark.parametrize("agent", ["P", "T"])
    def test_an_update_of_its_contract_or_its_work_needs_the_token(
        self, anon: Caller, service: Caller, database: Database, agent: str
    ) -> None:
        """Otherwise a table of one contract would let anyone take the work of a registered agent."""
        contract_id = create(anon)
        token = register(service, agent)
        before = contract(database, contract_id)
        for change in ("priority = 1", "target_agent = 'X'", "parent_agent = 'X'", "status = 'cancelled'"):
            with refused("42501", f'agent "{agent}" is registered'):
                anon.run(f"update public.agent_task_contracts set {change}")
        assert contract(database, contract_id) == before
        send_token(anon, token)
        anon.run("update public.agent_task_contracts set target_agent = 'X'")
        assert contract(database, contract_id)["target_agent"] == "X"

    def test_the_functions_ask_only_the_agent_that_acts(self, anon: Caller, service: Caller) -> None:
        """The guard is for direct writes."""
        contract_id = create(anon)
        register(service, "P")
        [claim] = anon("claim_task_contract", target_agent="T")
        anon("complete_task_contract", contract_id=contract_id, claim_token=claim["claim_token"])

    def test_white_space_around_a_name_hides_no_registered_agent(self, anon: Caller, service: Caller) -> None:
        register(service, "T")
        service.run(INSERT.format("priority", 1).replace("'T'", "'T '"))
        with refused("42501", 'agent "T" is registered'):
            anon.run("update public.agent_task_contracts set priority = 1")

    def test_a_registered_target_agent_needs_none(self, anon: Caller, service: Caller) -> None:
        register(service, "T")
        anon.run(INSERT.format("priority", 1))

    def test_an_agent_without_a_token_needs_none(self, anon: Caller, service: Caller) -> None:
        service("register_task_agent", name="P", with_token=False)
        anon.run(INSERT.format("priority", 1))

    def test_headers_that_are_not_there_are_no_token(self, anon: Caller, service: Caller) -> None:
        register(service, "P")
        anon.run("select set_config('request.headers', '', false)")
        with refused("42501", 'agent "P" is registered'):
            anon.run(INSERT.format("priority", 1))
