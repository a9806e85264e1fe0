"""What is sent for each act, and how answers are read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from postgrest import SyncPostgrestClient, SyncSelectRequestBuilder

from ehg_tasks import calls, queries
from ehg_tasks.errors import (
    BadArgument,
    ClaimLost,
    ConnectionFailed,
    ContractNotFound,
    ServerBusy,
    UnexpectedAnswer,
)
from ehg_tasks.models import ClaimHandle, ContractStatus, NewContract, Outcome, StatusChange

ONE: dict[str, Any] = {"parent_agent": "P", "target_agent": "T", "objective": "o"}
ID, OTHER = UUID(int=1), UUID(int=2)
HANDLE = ClaimHandle(contract_id=ID, claim_token=OTHER)
HELD = {"p_contract_id": str(ID), "p_claim_token": str(OTHER)}
NOTHING: dict[str, Any] = dict.fromkeys(
    ["output", "result_summary", "output_artifact_id", "execution_tokens", "idempotency_key", "agent_id"]
)


# --- what is sent ------------------------------------------------------------------------------


def test_only_what_was_said_is_sent() -> None:
    call = calls.create(None, ONE | {"contract_id": ID, "priority": 50, "sd_id": None})
    assert call.function == "create_task_contract"
    sent = {f"p_{name}": value for name, value in ONE.items()}
    assert call.parameters == sent | {"p_contract_id": str(ID), "p_priority": 50}


def test_a_contract_without_an_id_gets_one() -> None:
    one, two = (calls.create(NewContract(**ONE), {}).parameters["p_contract_id"] for _ in range(2))
    assert UUID(one) != UUID(two)
    many = calls.create_many([NewContract(**ONE), NewContract(**ONE, contract_id=ID)])
    assert many.function == "create_task_contracts"
    first, second = many.parameters["p_contracts"]
    assert UUID(first.pop("contract_id"))
    assert first == ONE
    assert second == ONE | {"contract_id": str(ID)}


def test_a_contract_or_its_fields() -> None:
    with pytest.raises(BadArgument, match="not both"):
        calls.create(NewContract(**ONE), {"priority": 1})
    with pytest.raises(BadArgument, match="Field required"):
        calls.create(None, {})


def test_claim() -> None:
    call = calls.claim("T", 5, ID, OTHER)
    assert call.function == "claim_task_contract"
    assert call.parameters == {
        "p_target_agent": "T",
        "p_limit": 5,
        "p_request_key": str(ID),
        "p_agent_id": str(OTHER),
    }
    one, two = (calls.claim("T", 1, None, None).parameters for _ in range(2))
    assert one.keys() == {"p_target_agent", "p_limit", "p_request_key"}
    assert UUID(one["p_request_key"]) != UUID(two["p_request_key"])


@pytest.mark.parametrize(
    ("call", "function", "parameters"),
    [
        (calls.renew(HANDLE), "renew_task_contract", HELD),
        (calls.release(HANDLE), "release_task_contract", HELD),
        (calls.inputs(HANDLE), "task_contract_inputs", HELD),
        (calls.fail(HANDLE, "bad", True), "fail_task_contract", HELD | {"p_error_message": "bad"}),
        (
            calls.fail(HANDLE, "bad", False),
            "fail_task_contract",
            HELD | {"p_error_message": "bad", "p_retry": False},
        ),
        (calls.cancel(ID, None), "cancel_task_contract", {"p_contract_id": str(ID)}),
        (calls.cancel(str(ID), "w"), "cancel_task_contract", {"p_contract_id": str(ID), "p_reason": "w"}),
        (calls.outcome(ID), "task_contract_outcomes", {"p_contract_ids": [str(ID)]}),
        (calls.read(ID), "read_task_contract", {"p_contract_id": str(ID)}),
        (calls.cleanup(None, 7), "cleanup_stale_contracts", {"p_max_wait_minutes": None, "p_limit": 7}),
        (calls.prune(30, 7), "prune_task_contracts", {"p_older_than_days": 30, "p_limit": 7}),
        (calls.describe(), "describe_task_contracts", {}),
        (calls.complete(HANDLE, **NOTHING), "complete_task_contract", HELD),
    ],
)
def test_acts(call: calls.Call[Any], function: str, parameters: dict[str, Any]) -> None:
    assert (call.function, call.parameters) == (function, parameters)


def test_a_full_completion() -> None:
    given = {
        "output": [1],
        "result_summary": "s",
        "execution_tokens": 0,
        "idempotency_key": ID,
        "agent_id": str(OTHER),
    }
    call = calls.complete(HANDLE, **NOTHING | given)
    assert call.parameters == HELD | {
        "p_output": [1],
        "p_result_summary": "s",
        "p_execution_tokens": 0,
        "p_idempotency_key": str(ID),
        "p_agent_id": str(OTHER),
    }


def test_completing_by_id_alone_gets_a_key() -> None:
    call = calls.complete(ID, **NOTHING)
    assert UUID(call.parameters.pop("p_idempotency_key"))
    assert call.parameters == {"p_contract_id": str(ID)}


@pytest.mark.parametrize(
    "output", ["", "text", 0, 1.5, False, True, [], {}, [None], {"a": {"b": [1, "é", "\\u0000"]}}]
)
def test_outputs_that_are_json(output: Any) -> None:
    assert calls.complete(HANDLE, **NOTHING | {"output": output}).parameters["p_output"] == output


def endless() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), [float("-inf")], b"x", {1}, {"a": object()}, {(1,): 2}, "\ud800", 10**5000,
     datetime.now(UTC), "\0", ["a\0b"], {"\0": 1}, "\\\0", endless(), deep()],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_values_that_cannot_be_stored(value: Any) -> None:
    with pytest.raises(BadArgument, match=r"^output (is not JSON|holds a NUL)") as raised:
        calls.complete(HANDLE, **NOTHING | {"output": value})
    assert "\n" not in str(raised.value)


def test_no_act_sends_a_nul() -> None:
    for act in (
        lambda: calls.create(None, ONE | {"objective": "a\0"}),
        lambda: calls.create_many([NewContract(**ONE, constraints={"a": "\0"})]),
        lambda: calls.claim("T\0", 1, None, None),
        lambda: calls.fail(HANDLE, "\0", True),
        lambda: calls.cancel(ID, "\0"),
        lambda: queries.columns({"objective": "\0"}),
        lambda: queries.where({"target_agent": "\0"}),
    ):
        with pytest.raises(BadArgument, match="NUL"):
            act()


@pytest.mark.parametrize("value", ["", "x", 5, None, b"x", "{" + "0" * 40])
def test_what_is_no_uuid(value: Any) -> None:
    with pytest.raises(BadArgument, match=r"^contract_id is not a UUID(: '.*')?$"):
        calls.read(value)


def test_outcomes_are_asked_for_in_calls_of_a_thousand_and_once_each() -> None:
    ids = [uuid4() for _ in range(2001)]
    asked = [call.parameters["p_contract_ids"] for call in calls.outcomes([*ids, *map(str, ids)])]
    assert [len(part) for part in asked] == [1000, 1000, 1]
    assert [one for part in asked for one in part] == [str(contract_id) for contract_id in ids]
    assert calls.outcomes([]) == []


def test_columns() -> None:
    time = datetime(2026, 11, 23, 9, 51, 21, 5, tzinfo=UTC)
    given = {"priority": 1, "sd_id": None, "session_id": ID, "input_artifacts": [ID], "completed_at": time}
    assert queries.columns({**given, "status": ContractStatus.FAILED}) == {
        "priority": 1,
        "sd_id": None,
        "session_id": str(ID),
        "input_artifacts": [str(ID)],
        "completed_at": "2026-11-23T09:51:21.000005+00:00",
        "status": "failed",
    }
    for bad in ({}, {"colour": "red"}, {"constraints": {1}}, {"completed_at": datetime(2026, 1, 1)}):  # noqa: DTZ001
        with pytest.raises(BadArgument):
            queries.columns(bad)


# --- how answers are read ----------------------------------------------------------------------

CHANGE = {"contract_id": str(ID), "status": "pending", "message": "m", "was_duplicate": False}
OUTCOME = dict.fromkeys(Outcome.model_fields) | {"contract_id": str(ID), "status": "completed", "output": [1]}


def test_one_row() -> None:
    assert calls.release(HANDLE).read([CHANGE | {"new": 1}]) == StatusChange.model_validate(CHANGE)


@pytest.mark.parametrize(
    "data", [None, [], {}, "text", [CHANGE, CHANGE], [None], [{}], [CHANGE | {"status": "odd"}]]
)
def test_what_is_not_one_row(data: Any) -> None:
    with pytest.raises(UnexpectedAnswer):
        calls.release(HANDLE).read(data)


def test_no_row_is_no_contract_where_one_was_asked_for() -> None:
    for call in (calls.outcome(ID), calls.read(ID)):
        with pytest.raises(ContractNotFound, match=str(ID)):
            call.read([])
    assert calls.outcome(ID).read([OUTCOME]).output == [1]
    [several] = calls.outcomes([ID])
    assert several.read([]) == []


def test_counts_and_descriptions() -> None:
    assert calls.prune(30, 1).read([{"deleted_count": 3}]) == 3
    assert calls.describe().read({"table": "t"}) == {"table": "t"}
    assert calls.counted(0) == 0
    with pytest.raises(UnexpectedAnswer):
        calls.counted(None)


@pytest.mark.parametrize("data", [None, [], [{}], [{"deleted_count": None}], "text"])
def test_what_is_no_count_and_no_description(data: Any) -> None:
    for call in (calls.prune(30, 1), calls.describe()):
        with pytest.raises(UnexpectedAnswer):
            call.read(data)


# --- lists -------------------------------------------------------------------------------------


def select() -> SyncSelectRequestBuilder:
    """A query that is built and never sent."""
    client = SyncPostgrestClient("http://127.0.0.1:9", http_client=httpx.Client())
    return client.from_("agent_task_contracts").select("*")


def parameters(page: queries.Page) -> list[tuple[str, str]]:
    return [item for item in page.query(select()).request.params.multi_items() if item[0] != "select"]


def test_filters() -> None:
    zone = timezone(timedelta(hours=-3))
    filters: queries.ContractFilters = {
        "status": ContractStatus.PENDING,
        "target_agent": 'a,"b"',
        "parent_agent": "P",
        "session_id": ID,
        "sd_id": None,
        "created_after": datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
        "created_before": datetime(2026, 1, 2, tzinfo=zone),
    }
    page = queries.contracts(filters, None, False, 1000)
    assert parameters(page) == [
        ("status", "eq.pending"),
        ("target_agent", 'eq.a,"b"'),
        ("parent_agent", "eq.P"),
        ("session_id", f"eq.{ID}"),
        ("created_at", "gte.2026-01-01T00:00:00.000001+00:00"),
        ("created_at", "lt.2026-01-02T00:00:00-03:00"),
        ("order", "created_at.asc,id.asc"),
        ("limit", "1000"),
    ]


@pytest.mark.parametrize(
    "filters",
    [
        {"status": "paused"},
        {"status": 5},
        {"target_agent": 5},
        {"session_id": "x"},
        {"created_after": "2026-01-01"},
        {"created_before": datetime(2026, 1, 1)},  # noqa: DTZ001
        {"colour": "red"},
    ],
)
def test_bad_filters(filters: Any) -> None:
    with pytest.raises(BadArgument):
        queries.where(filters)


@pytest.mark.parametrize(("limit", "size"), [(0, 10), (-1, 10), (None, 0)])
def test_bad_sizes(limit: int | None, size: int) -> None:
    with pytest.raises(BadArgument, match="at least 1"):
        queries.contracts({}, limit, False, size)


@pytest.mark.parametrize(
    "time", ["2026-11-23T09:51:21.283456+00:00", "infinity", "0044-03-15T00:00:00+00:00 BC"]
)
@pytest.mark.parametrize(("newest_first", "than", "order"), [(False, "gt", "asc"), (True, "lt", "desc")])
def test_the_next_page_goes_on_after_the_last_row(
    time: str, newest_first: bool, than: str, order: str
) -> None:
    data = [
        {"created_at": "2026-01-01T00:00:00+00:00", "id": str(OTHER)},
        {"created_at": time, "id": str(ID)},
    ]
    page = queries.contracts({}, None, newest_first, 1000).next(data)
    assert page is not None
    assert parameters(page) == [
        ("created_at", f"{than}e.{time}"),
        ("or", f'(created_at.{than}."{time}",id.{than}.{ID})'),
        ("order", f"created_at.{order},id.{order}"),
        ("limit", "1000"),
    ]


def test_only_an_empty_page_or_the_limit_is_the_end() -> None:
    data = [{"created_at": "infinity", "id": str(UUID(int=number))} for number in range(3)]
    page = queries.contracts({}, 5, False, 1000)
    assert page.next([]) is None
    following = page.next(data)
    assert following is not None
    assert following.left == 2
    assert ("limit", "2") in parameters(following)
    assert following.next(data[:2]) is None


def test_a_server_that_does_not_go_on_is_told() -> None:
    data = [{"created_at": "infinity", "id": str(ID)}]
    page = queries.contracts({}, None, False, 1).next(data)
    assert page is not None
    with pytest.raises(UnexpectedAnswer, match="same page twice"):
        page.next(data)


# --- retries -----------------------------------------------------------------------------------


def test_waits_grow_up_to_five_seconds() -> None:
    for attempt, most in enumerate([0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]):
        for _ in range(50):
            assert most / 2 <= calls.retry_wait(ServerBusy("busy"), attempt, 10) <= most


def test_the_last_attempt_raises() -> None:
    assert calls.retry_wait(httpx.ConnectError("refused"), 0, 1) > 0
    for attempt, retries in ((1, 1), (0, 0), (0, -1)):
        with pytest.raises(ConnectionFailed) as raised:
            calls.retry_wait(httpx.ConnectError("refused"), attempt, retries)
        assert raised.value.__suppress_context__


def test_what_will_not_pass_is_not_tried_again() -> None:
    with pytest.raises(ClaimLost):
        calls.retry_wait(ClaimLost("gone"), 0, 3)
    with pytest.raises(TypeError):
        calls.retry_wait(TypeError("a fault of the program"), 0, 3)
