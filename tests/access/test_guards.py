"""The guards on direct writes by anon: what they refuse, and that they do not affect other roles."""

from __future__ import annotations

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
