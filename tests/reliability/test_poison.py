"""Extreme rows and objects of one agent do not stop the work of others."""

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
# Only a direct write to the table can leave such rows.
ROWS: dict[str, dict[str, Any]] = {
    "largest retry count": {"retry_count": INT_MAX, "priority": INT_MAX, "created_at": "infinity"},
    "negative numbers": {"retry_count": -5, "max_retries": -1, "timeout_minutes": -9, "max_tokens": 0},
    "longest timeout": {"timeout_minutes": INT_MAX, "max_retries": INT_MAX},
    "claimed at the last time": {
        "status": "in_progress",
        "started_at": "294276-12-31",
        "timeout_minutes": INT_MAX,
    },
    "claimed at infinity": {"status": "in_progress", "started_at": "infinity"},
    "claimed at minus infinity": {"status": "in_progress", "started_at": "-infinity", "retry_count": INT_MAX},
    "completed at infinity": {"status": "completed", "started_at": "infinity", "completed_at": "infinity"},
    "completed after the longest time": {
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
    "created at minus infinity": {"created_at": "-infinity", "updated_at": "infinity"},
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
def test_an_extreme_row_does_not_break_any_function(
    anon: Caller, authenticated: Caller, service: Caller, database: Database, row: dict[str, Any]
) -> None:
    ordinary = create(anon)
    values = {"parent_agent": "P", "target_agent": "T", "objective": "extreme", **row}
    service.run(
        f"insert into public.agent_task_contracts ({', '.join(values)})"
        f" values ({', '.join(['%s'] * len(values))})",
        list(values.values()),
    )
    # Only the ids, because psycopg cannot read all of these times.
    claims = anon.run("select contract_id, claim_token from public.claim_task_contract('T', 10)")
    assert ordinary in [claim["contract_id"] for claim in claims]
    for claim in claims:
        proof = {"contract_id": claim["contract_id"], "claim_token": claim["claim_token"]}
        anon("renew_task_contract", **proof)
        anon("fail_task_contract", **proof, error_message="e")
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


DIGITS = "1" * 401


class TestJson:
    @pytest.mark.parametrize("column", ["constraints", "output_schema"])
    def test_deeply_nested_json_and_long_numbers_are_refused_by_functions_and_direct_writes(
        self, anon: Caller, database: Database, column: str
    ) -> None:
        deep, long_number = nested(200), f'{{"a": {DIGITS}}}'
        contract = {"parent_agent": "P", "target_agent": "T", "objective": "o"}
        with refused("TC006", "64 levels"):
            anon("create_task_contract", **contract, **{column: jsonb(deep)})
        with refused("TC006", "400 digits"):
            anon.run(
                f"select * from public.create_task_contract('P', 'T', 'o', p_{column} => %s::jsonb)",
                [long_number],
            )
        insert = (
            f"insert into public.agent_task_contracts (parent_agent, target_agent, objective, {column})"
            " values ('P', 'T', 'o', %s::jsonb)"
        )
        with refused("TC006", f"{column} is nested"):
            anon.run(insert, [jsonb(deep)])
        with refused("TC006", f"{column} holds a number"):
            anon.run(insert, [long_number])
        assert database.execute("select count(*) from public.agent_task_contracts").fetchone() == (0,)

    def test_a_contract_of_a_bulk_call_is_checked_before_it_is_read(
        self, anon: Caller, database: Database
    ) -> None:
        """Read as the text of an objective, such a number would be written out in full."""
        with refused("TC006", "a contract holds a number"):
            anon.run(
                "select * from public.create_task_contracts("
                """'[{"parent_agent": "P", "target_agent": "T", "objective": [1e131071, 1e131071]}]')"""
            )
        assert database.execute("select count(*) from public.agent_task_contracts").fetchone() == (0,)

    def test_an_output_nested_too_deeply_is_refused_and_nothing_is_stored(
        self, anon: Caller, database: Database
    ) -> None:
        row = claimed(anon)
        proof = {"contract_id": row["contract_id"], "claim_token": row["claim_token"]}
        with refused("TC006", "p_output is nested"):
            anon("complete_task_contract", **proof, output=jsonb(nested(70)))
        assert database.execute("select count(*) from public.agent_artifacts").fetchone() == (0,)
        anon("complete_task_contract", **proof, output=jsonb(nested(60)))

    def test_json_within_the_limits_is_accepted(self, anon: Caller) -> None:
        create(anon, constraints=nested(50), output_schema={"maximum": 1e308, "minimum": -(10**300)})


def test_a_repeated_input_artifact_is_returned_once(anon: Caller, database: Database) -> None:
    row = database.execute(
        "insert into public.agent_artifacts (type, summary, content_text)"
        " values ('context', 's', repeat('x', 100000)) returning id"
    ).fetchone()
    assert row is not None
    claim = claimed(anon, input_artifacts=[row[0]] * 1000)
    inputs = anon("task_contract_inputs", contract_id=claim["contract_id"], claim_token=claim["claim_token"])
    assert [item["artifact_id"] for item in inputs] == [row[0]]


def test_the_engine_does_not_use_a_callers_temporary_objects(
    call_as: Callable[[str], Caller], database: Database
) -> None:
    """The CHECK of a domain with the name of a built-in type would run with the engine's rights."""
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
