"""Rules that several functions share, at their limits."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lifecycle.helpers import Database, artifacts, claimed, create, held
from tests.sql import Caller, refused


def nested(levels: int) -> Any:
    """A JSON value with this many levels of arrays."""
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


class TestJson:
    """The contract and its field `constraints` are two of the 64 levels."""

    @pytest.mark.parametrize("value", [nested(62), 10**399], ids=["64 levels", "400 digits"])
    def test_json_at_the_limits_is_accepted(self, anon: Caller, value: Any) -> None:
        create(anon, constraints={"a": value})

    @pytest.mark.parametrize("value", [nested(63), 10**400], ids=["65 levels", "401 digits"])
    def test_json_beyond_the_limits_is_refused(self, anon: Caller, database: Database, value: Any) -> None:
        with refused("TC006"):
            create(anon, constraints={"a": value})


@pytest.mark.parametrize(("function", "parameter"), [("renew", "claims"), ("complete", "results")])
def test_a_bulk_call_needs_an_array(anon: Caller, function: str, parameter: str) -> None:
    with refused("TC005", "must be an array"):
        anon(f"{function}_task_contracts", **{parameter: None})


@pytest.mark.parametrize("summary", [None, "", " \t\n"])
def test_an_output_without_a_summary_gets_one(anon: Caller, database: Database, summary: str | None) -> None:
    row = claimed(anon)
    anon("complete_task_contract", **held(row), result_summary=summary, output={})
    assert artifacts(database)[0]["summary"] == f"Output of task contract {row['contract_id']}"
