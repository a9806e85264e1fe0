"""docs/functions.md lists the errors that the functions raise."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.lifecycle.helpers import claimed, create, held, reach_time_limit
from tests.sql import Caller, jsonb

PAGE = (Path(__file__).parents[2] / "docs" / "functions.md").read_text("utf-8")
SECTIONS = {
    section.partition("`\n")[0]: section for section in re.split(r"^### `", PAGE, flags=re.MULTILINE)[1:]
}


def listed(function: str) -> list[tuple[str, re.Pattern[str]]]:
    """The errors in a function's section: SQLSTATE, and a pattern for the message."""
    section = SECTIONS[function]
    if same := re.search(r"^Errors: those of \[`(\w+)`\]", section, re.MULTILINE):
        return listed(same[1])
    found = re.search(r"^```text\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    lines = found[1].splitlines() if found else []
    return [
        (code, re.compile(".*".join(map(re.escape, message.split("…")))))
        for code, message in (line.split("  ", 1) for line in lines)
    ]


def check_listed(function: str, error: psycopg.Error) -> None:
    message = str(error.diag.message_primary)
    message = re.sub(r"^contract \d+ of \d+: ", "", message)
    assert [
        code for code, pattern in listed(function) if code == error.sqlstate and pattern.fullmatch(message)
    ]


PARENT = {"parent_agent": "P", "target_agent": "T"}
ONE = PARENT | {"objective": "o"}
# Function -> arguments that it refuses, whatever the database holds.
REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("create_task_contract", PARENT | {"objective": " "}),
    ("create_task_contract", ONE | {"target_agent": "T\u200bT"}),
    ("create_task_contract", ONE | {"target_agent": "T" * 51}),
    ("create_task_contract", ONE | {"objective": "o" * 65537}),
    ("create_task_contract", ONE | {"constraints": {"n": {"n": {}}}, "sd_id": "s" * 51}),
    ("create_task_contract", ONE | {"timeout_minutes": 0}),
    ("create_task_contract", ONE | {"depends_on": [uuid4()]}),
    ("create_task_contract", ONE | {"input_artifacts": [uuid4()]}),
    ("create_task_contracts", {"contracts": jsonb([])}),
    ("create_task_contracts", {"contracts": jsonb([ONE] * 1001)}),
    ("create_task_contracts", {"contracts": jsonb([ONE, ONE | {"color": "red"}])}),
    ("create_task_contracts", {"contracts": jsonb([ONE | {"not_before": "infinity"}])}),
    ("claim_task_contract", {"target_agent": "T", "limit": 101}),
    ("claim_task_contract", {"target_agent": "T", "lease_seconds": 4}),
    ("renew_task_contract", {"contract_id": uuid4(), "claim_token": uuid4()}),
    ("renew_task_contracts", {"claims": jsonb([{"color": "red"}])}),
    ("complete_task_contracts", {"results": jsonb([{}] * 101)}),
    ("fail_task_contract", {"contract_id": None, "claim_token": None, "error_message": "e"}),
    ("cancel_task_contract", {"contract_id": uuid4(), "reason": None}),
    ("requeue_task_contract", {"contract_id": uuid4(), "max_retries": 101}),
    ("task_contract_outcomes", {"contract_ids": [uuid4()] * 1001}),
    ("task_contract_history", {"contract_id": uuid4()}),
    ("register_task_agent", {"name": "A", "description": "d" * 4097}),
    ("rotate_task_agent", {"name": "A", "grace_minutes": -1}),
    ("resume_task_agent", {"name": "nobody"}),
    ("cleanup_stale_contracts", {"limit": 0}),
    ("prune_task_contracts", {"older_than_days": -1}),
]


@pytest.mark.parametrize(("function", "arguments"), REFUSED)
def test_the_error_of_a_refused_call_is_listed(
    service: Caller, function: str, arguments: dict[str, Any]
) -> None:
    with pytest.raises(psycopg.Error) as refused:
        service(function, **arguments)
    check_listed(function, refused.value)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("renew_task_contract", {}),
        ("renew_task_contract", {"claim_token": uuid4()}),
        ("renew_task_contract", {"progress": {"text": "x" * 4097}}),
        ("complete_task_contract", {"output": {"text": "x" * 2**20}}),
        ("complete_task_contract", {"claim_token": None}),
        ("release_task_contract", {"claim_token": uuid4()}),
        ("requeue_task_contract", {}),
    ],
)
def test_the_error_of_a_refused_call_for_a_claimed_contract_is_listed(
    database: psycopg.Connection[Any],
    anon: Caller,
    service: Caller,
    function: str,
    arguments: dict[str, Any],
) -> None:
    row = claimed(anon)
    caller, claim = anon, held(row)
    if function == "requeue_task_contract":
        caller, claim = service, {"contract_id": row["contract_id"]}
    if not arguments:
        reach_time_limit(database, row["contract_id"])
    with pytest.raises(psycopg.Error) as refused:
        caller(function, **claim | arguments)
    check_listed(function, refused.value)


def test_the_error_of_a_differing_repeat_is_listed(anon: Caller) -> None:
    contract_id = create(anon)
    with pytest.raises(psycopg.Error) as refused:
        create(anon, contract_id=contract_id, objective="other")
    check_listed("create_task_contract", refused.value)


def test_the_error_for_a_wrong_agent_token_is_listed(anon: Caller, service: Caller) -> None:
    service("register_task_agent", name="T")
    with pytest.raises(psycopg.Error) as refused:
        anon("claim_task_contract", target_agent="T")
    check_listed("claim_task_contract", refused.value)
