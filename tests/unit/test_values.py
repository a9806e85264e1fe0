"""Values become JSON that Postgres can store; other values are refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from ehg_tasks.errors import BadArgument
from ehg_tasks.values import item_fields, parameters, storable, timestamp, uuid_text

ID = UUID(int=1)


def test_an_optional_parameter_that_is_none_is_left_out_and_a_required_one_is_sent_as_null() -> None:
    assert parameters({"limit": 5, "max_wait_minutes": None}, {"agent_id": None, "retry": False}) == {
        "p_limit": 5,
        "p_max_wait_minutes": None,
        "p_retry": False,
    }


def test_an_item_of_a_bulk_call_has_the_same_fields_without_the_prefix() -> None:
    assert item_fields({"contract_id": ID}, {"output": None, "progress": {"percent": 5}}) == {
        "contract_id": str(ID),
        "progress": {"percent": 5},
    }
    with pytest.raises(BadArgument, match=r"^claim_token is not a UUID"):
        item_fields({"claim_token": "x"}, {})


def test_ids_are_checked_and_sent_as_text() -> None:
    assert parameters({"contract_id": ID}, {"request_key": str(ID)}) == {
        "p_contract_id": str(ID),
        "p_request_key": str(ID),
    }
    for name in ("contract_id", "claim_token", "request_key", "agent_id", "idempotency_key"):
        for value in ("x", "", None):
            with pytest.raises(BadArgument, match=f"^{name} is not a UUID"):
                parameters({name: value}, {})


@pytest.mark.parametrize("value", ["", "x", 5, None, b"x", "{" + "0" * 40])
def test_a_value_that_is_not_a_uuid_is_refused(value: Any) -> None:
    with pytest.raises(BadArgument, match=r"^contract_id is not a UUID(: '.*')?$"):
        uuid_text("contract_id", value)


def test_a_malformed_claim_token_is_not_quoted() -> None:
    with pytest.raises(BadArgument) as raised:
        uuid_text("claim_token", "almost-a-token")
    assert "almost" not in str(raised.value)


@pytest.mark.parametrize(
    "value", ["", "text", 0, 1.5, False, True, [], {}, [None], {"a": {"b": [1, "é", "\\u0000"]}}]
)
def test_json_is_sent_unchanged(value: Any) -> None:
    assert storable("output", value) == value


def circular_list() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def deep_list() -> list[Any]:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), [float("-inf")], b"x", {1}, {"a": object()}, {(1,): 2}, 10**5000,
     datetime.now(UTC), "\0", ["a\0b"], {"\0": 1}, "\\\0", circular_list(), deep_list()],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_a_value_that_postgres_cannot_store_is_refused(value: Any) -> None:
    with pytest.raises(BadArgument, match=r"^output (is not JSON|contains a NUL)") as raised:
        storable("output", value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("value", ["\udcff", ["file \udcff"], {"\udcff": 1}], ids=ascii)
def test_text_that_is_not_valid_unicode_is_refused(value: Any) -> None:
    """Python reads a file name that is not UTF-8 as such text."""
    with pytest.raises(BadArgument) as raised:
        storable("output", value)
    assert str(raised.value) == r"output is not valid Unicode: it contains the lone surrogate '\udcff'"


def test_a_time_needs_a_time_zone() -> None:
    assert (
        timestamp("t", datetime(2026, 11, 23, 9, 0, 0, 5, tzinfo=UTC)) == "2026-11-23T09:00:00.000005+00:00"
    )
    for bad in (datetime(2026, 1, 1), "2026-01-01"):  # noqa: DTZ001
        with pytest.raises(BadArgument, match="time zone"):
            timestamp("t", bad)  # type: ignore[arg-type]
