"""One odd row of one agent breaks nobody's work: what the table takes, the engine can live with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from tests.lifecycle.helpers import Database, claimed, create
from tests.sql import Caller, jsonb, refused

INT_MAX = 2**31 - 1
STATS = (
    "select count(oldest_wait_seconds), count(median_duration_seconds), count(p95_duration_seconds)"
    " from public.task_contract_stats"
)
# What an agent may write to the table itself, and nothing else would.
ROWS: dict[str, dict[str, Any]] = {
    "the last retry count": {"retry_count": INT_MAX, "priority": INT_MAX, "created_at": "infinity"},
    "negative numbers": {"retry_count": -5, "max_retries": -1, "timeout_minutes": -9, "max_tokens": 0},
    "the longest timeout": {"timeout_minutes": INT_MAX, "max_retries": INT_MAX},
    "at work until the end of time": {
        "status": "in_progress",
        "started_at": "294276-12-31",
        "timeout_minutes": INT_MAX,
    },
    "at work for ever": {"status": "in_progress", "started_at": "infinity"},
    "at work since ever": {"status": "in_progress", "started_at": "-infinity", "retry_count": INT_MAX},
    "done at infinity": {"status": "completed", "started_at": "infinity", "completed_at": "infinity"},
    "done over all times": {
        "status": "completed",
        "started_at": "4713-01-01 BC",
        "completed_at": "294276-12-31",
    },
    "nulls": {
        "retry_count": None,
        "max_retries": None,
        "timeout_minutes": None,
        "max_tokens": None,
        "constraints": None,
        "input_artifacts": None,
        "created_by": None,
    },
    "the first and last time": {"created_at": "-infinity", "updated_at": "infinity"},
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
def test_a_row_breaks_nothing(
    anon: Caller, authenticated: Caller, service: Caller, database: Database, row: dict[str, Any]
) -> None:
    honest = create(anon)
    values = {"parent_agent": "P", "target_agent": "T", "objective": "odd", **row}
    anon.run(
        f"insert into public.agent_task_contracts ({', '.join(values)})"
        f" values ({', '.join(['%s'] * len(values))})",
        list(values.values()),
    )
    # psycopg has no dates for all of these times.
    taken = anon.run("select contract_id, claim_token from public.claim_task_contract('T', 10)")
    assert honest in [claim["contract_id"] for claim in taken]
    for claim in taken:
        held = {"contract_id": claim["contract_id"], "claim_token": claim["claim_token"]}
        anon("renew_task_contract", **held)
        anon("fail_task_contract", **held, error_message="e")
    authenticated.run(STATS)
    service("cleanup_stale_contracts")
    service("prune_task_contracts", older_than_days=INT_MAX)
    service("prune_task_contracts", older_than_days=0)
    authenticated.run(STATS)
    service("describe_task_contracts")


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return {"a": value}


LONG = "1" * 401


class TestJson:
    @pytest.mark.parametrize("column", ["constraints", "output_schema"])
    def test_deep_or_long_is_refused_everywhere(self, anon: Caller, database: Database, column: str) -> None:
        deep, long = nested(200), f'{{"a": {LONG}}}'
        contract = {"parent_agent": "P", "target_agent": "T", "objective": "o"}
        with refused("TC006", "64 levels"):
            anon("create_task_contract", **contract, **{column: jsonb(deep)})
        with refused("TC006", "400 digits"):
            anon.run(
                f"select * from public.create_task_contract('P', 'T', 'o', p_{column} => %s::jsonb)", [long]
            )
        insert = (
            f"insert into public.agent_task_contracts (parent_agent, target_agent, objective, {column})"
            " values ('P', 'T', 'o', %s::jsonb)"
        )
        with refused("TC006", f"{column} is nested"):
            anon.run(insert, [jsonb(deep)])
        with refused("TC006", f"{column} holds a number"):
            anon.run(insert, [long])
        assert database.execute("select count(*) from public.agent_task_contracts").fetchone() == (0,)

    def test_a_contract_in_bulk_is_checked_before_it_is_read(self, anon: Caller, database: Database) -> None:
        """As an objective, too, such a number would be written out in full."""
        with refused("TC006", "a contract holds a number"):
            anon.run(
                "select * from public.create_task_contracts("
                """'[{"parent_agent": "P", "target_agent": "T", "objective": [1e131071, 1e131071]}]')"""
            )
        assert database.execute("select count(*) from public.agent_task_contracts").fetchone() == (0,)

    def test_an_output_is_checked(self, anon: Caller, database: Database) -> None:
        row = claimed(anon)
        held = {"contract_id": row["contract_id"], "claim_token": row["claim_token"]}
        with refused("TC006", "p_output is nested"):
            anon("complete_task_contract", **held, output=jsonb(nested(70)))
        assert database.execute("select count(*) from public.agent_artifacts").fetchone() == (0,)
        anon("complete_task_contract", **held, output=jsonb(nested(60)))

    def test_what_people_write_is_taken(self, anon: Caller) -> None:
        create(anon, constraints=nested(50), output_schema={"maximum": 1e308, "minimum": -(10**300)})


def test_an_artifact_is_handed_over_once_however_often_it_is_named(anon: Caller, database: Database) -> None:
    row = database.execute(
        "insert into public.agent_artifacts (type, summary, content_text)"
        " values ('context', 's', repeat('x', 100000)) returning id"
    ).fetchone()
    assert row is not None
    claim = claimed(anon, input_artifacts=[row[0]] * 1000)
    inputs = anon("task_contract_inputs", contract_id=claim["contract_id"], claim_token=claim["claim_token"])
    assert [found["artifact_id"] for found in inputs] == [row[0]]


def test_a_caller_s_temporary_objects_are_not_those_of_the_engine(
    call_as: Callable[[str], Caller], database: Database
) -> None:
    """A domain named like a type of Postgres would run its check with the rights of a definer."""
    caller = call_as("anon")
    connection = caller.connection
    connection.execute("reset session authorization")
    connection.execute("create temporary table seen (who text)")
    connection.execute("grant insert on seen to public")
    connection.execute(
        "create function pg_temp.spy(anyelement) returns boolean language sql volatile as"
        " $$ insert into pg_temp.seen values (current_user) returning true $$"
    )
    for name in ("uuid", "text", "jsonb"):
        connection.execute(f"create domain pg_temp.{name} as pg_catalog.{name} check (pg_temp.spy(value))")
    connection.execute("set session authorization authenticator")
    contract_id = uuid4()
    caller.run("select * from public.create_task_contract('P', 'T', 'o', p_contract_id => %s)", [contract_id])
    caller.run("select * from public.claim_task_contract('T')")
    connection.execute("reset session authorization")
    owners = connection.execute("select who from pg_temp.seen where who <> 'anon'").fetchall()
    assert owners == []
