"""Filters, pages and column values become the query that PostgREST expects."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import httpx
import pytest
from postgrest import SyncPostgrestClient, SyncSelectRequestBuilder

from ehg_tasks.errors import BadArgument, UnexpectedAnswer
from ehg_tasks.models import ContractStatus
from ehg_tasks.pages import ContractFilters, Page, columns, conditions, first_page

ID, OTHER = UUID(int=1), UUID(int=2)


def select() -> SyncSelectRequestBuilder:
    """A query that is never sent."""
    client = SyncPostgrestClient("http://127.0.0.1:9", http_client=httpx.Client())
    return client.from_("agent_task_contracts").select("*")


def parameters(page: Page) -> list[tuple[str, str]]:
    return [item for item in page.query(select()).request.params.multi_items() if item[0] != "select"]


def test_filters_become_conditions() -> None:
    zone = timezone(timedelta(hours=-3))
    filters: ContractFilters = {
        "status": ContractStatus.PENDING,
        "target_agent": 'a,"b"',
        "parent_agent": "P",
        "session_id": ID,
        "sd_id": None,
        "created_after": datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
        "created_before": datetime(2026, 1, 2, tzinfo=zone),
        "ended_after": datetime(2026, 1, 3, tzinfo=UTC),
        "ended_before": datetime(2026, 1, 4, tzinfo=UTC),
    }
    assert parameters(first_page(filters, None, False, 1000)) == [
        ("status", "eq.pending"),
        ("target_agent", 'eq.a,"b"'),
        ("parent_agent", "eq.P"),
        ("session_id", f"eq.{ID}"),
        ("created_at", "gte.2026-01-01T00:00:00.000001+00:00"),
        ("created_at", "lt.2026-01-02T00:00:00-03:00"),
        ("completed_at", "gte.2026-01-03T00:00:00+00:00"),
        ("completed_at", "lt.2026-01-04T00:00:00+00:00"),
        ("order", "created_at.asc,id.asc"),
        ("limit", "1000"),
    ]


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"status": "paused"}, "status must be one of pending, "),
        ({"status": 5}, "status must be a string"),
        ({"target_agent": 5}, "target_agent must be a string"),
        ({"target_agent": "\0"}, "target_agent contains a NUL"),
        ({"session_id": "x"}, "session_id is not a UUID"),
        ({"created_after": "2026-01-01"}, "created_after must be a datetime with a time zone"),
        ({"created_before": datetime(2026, 1, 1)}, "created_before must be a datetime with a time zone"),  # noqa: DTZ001
        ({"color": "red"}, "unknown filter: color"),
    ],
)
def test_a_bad_filter_is_refused(filters: Any, message: str) -> None:
    with pytest.raises(BadArgument, match=f"^{message}"):
        conditions(filters)


@pytest.mark.parametrize(("limit", "size"), [(0, 10), (-1, 10), (None, 0)])
def test_a_limit_or_page_size_below_one_is_refused(limit: int | None, size: int) -> None:
    with pytest.raises(BadArgument, match="at least 1"):
        first_page({}, limit, False, size)


@pytest.mark.parametrize(
    "time", ["2026-11-23T09:51:21.283456+00:00", "infinity", "0044-03-15T00:00:00+00:00 BC"]
)
@pytest.mark.parametrize(("newest_first", "operator", "order"), [(False, "gt", "asc"), (True, "lt", "desc")])
def test_the_next_page_starts_after_the_last_row(
    time: str, newest_first: bool, operator: str, order: str
) -> None:
    data = [
        {"created_at": "2026-01-01T00:00:00+00:00", "id": str(OTHER)},
        {"created_at": time, "id": str(ID)},
    ]
    page = first_page({}, None, newest_first, 1000).next(data)
    assert page is not None
    assert parameters(page) == [
        ("created_at", f"{operator}e.{time}"),
        ("or", f'(created_at.{operator}."{time}",id.{operator}.{ID})'),
        ("order", f"created_at.{order},id.{order}"),
        ("limit", "1000"),
    ]


def test_a_list_ends_at_its_limit_or_with_an_empty_page() -> None:
    data = [{"created_at": "infinity", "id": str(UUID(int=number))} for number in range(3)]
    page = first_page({}, 5, False, 1000)
    assert page.next([]) is None
    following = page.next(data)
    assert following is not None
    assert ("limit", "2") in parameters(following)
    assert following.next(data[:2]) is None


def test_a_repeated_page_raises_an_error() -> None:
    data = [{"created_at": "infinity", "id": str(ID)}]
    page = first_page({}, None, False, 1).next(data)
    assert page is not None
    with pytest.raises(UnexpectedAnswer, match="same page twice"):
        page.next(data)


def test_column_values_are_sent_as_json() -> None:
    time = datetime(2026, 11, 23, 9, 51, 21, 5, tzinfo=UTC)
    given = {"priority": 1, "sd_id": None, "session_id": ID, "input_artifacts": [ID], "completed_at": time}
    assert columns({**given, "status": ContractStatus.FAILED}) == {
        "priority": 1,
        "sd_id": None,
        "session_id": str(ID),
        "input_artifacts": [str(ID)],
        "completed_at": "2026-11-23T09:51:21.000005+00:00",
        "status": "failed",
    }


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"color": "red"},
        {"constraints": {1}},
        {"objective": "\0"},
        {"completed_at": datetime(2026, 1, 1)},  # noqa: DTZ001
    ],
    ids=str,
)
def test_a_column_that_is_unknown_or_not_json_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(BadArgument):
        columns(values)
