"""Rows of the table: filters, values and pages, for the sync and async clients alike; pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar
from uuid import UUID

from ehg_tasks.calls import storable, uuid_text
from ehg_tasks.errors import BadArgument, UnexpectedAnswer
from ehg_tasks.models import ContractStatus, TaskContract

if TYPE_CHECKING:
    from postgrest.base_request_builder import BaseSelectRequestBuilder

Select = TypeVar("Select", bound="BaseSelectRequestBuilder[Any]")

TABLE = "agent_task_contracts"
STATS = "task_contract_stats"


def columns(values: dict[str, Any]) -> dict[str, Any]:
    """New values for columns of the table, as JSON.

    Raises:
        BadArgument: there are none, one is no column, or its value is not JSON.
    """
    unknown = sorted(values.keys() - TaskContract.model_fields.keys())
    if unknown or not values:
        raise BadArgument(f"not a column: {', '.join(unknown)}" if unknown else "no column is given")
    return {name: storable(name, _plain(name, value)) for name, value in values.items()}


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, datetime):
        return timestamp(name, value)
    if isinstance(value, list | tuple):  # input_artifacts
        return [str(item) if isinstance(item, UUID) else item for item in value]
    return value


def timestamp(name: str, value: datetime) -> str:
    """A time as text, to the microsecond.

    Raises:
        BadArgument: it has no time zone.
    """
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise BadArgument(f"{name} must be a datetime with a time zone")
    return value.isoformat()


class ContractFilters(TypedDict, total=False):
    """Which contracts; what is left out or None does not matter."""

    status: ContractStatus | str | None
    target_agent: str | None
    parent_agent: str | None
    session_id: UUID | str | None
    sd_id: str | None
    created_after: datetime | None  # at this time or after it
    created_before: datetime | None


def where(filters: ContractFilters) -> tuple[tuple[str, str, str], ...]:
    """The filters as (column, operator, text).

    Raises:
        BadArgument: one is unknown, or its value is not of its type.
    """
    found: list[tuple[str, str, str]] = []
    for name, value in filters.items():
        match name, value:
            case _, None:
                continue
            case "status", str():
                if value not in list(ContractStatus):
                    raise BadArgument(f"status must be one of {', '.join(ContractStatus)}")
                found.append((name, "eq", str(value)))
            case "target_agent" | "parent_agent" | "sd_id", str():
                found.append((name, "eq", storable(name, value)))
            case "session_id", UUID() | str():
                found.append((name, "eq", uuid_text(name, value)))
            case "created_after" | "created_before", datetime():
                found.append(
                    ("created_at", "gte" if name == "created_after" else "lt", timestamp(name, value))
                )
            case _:
                known = name in ContractFilters.__annotations__
                raise BadArgument(f"{name} is of the wrong type" if known else f"unknown filter: {name}")
    return tuple(found)


def narrow(select: Select, filters: Iterable[tuple[str, str, str]]) -> Select:
    """The query with these filters."""
    for column, operator, value in filters:
        select = select.filter(column, operator, value)
    return select


@dataclass(frozen=True)
class Page:
    """One request of a list that goes on after the last row seen (keyset paging).

    The API cuts long answers silently, and where it does is the server's choice: only an empty page
    is the end of the list.
    """

    filters: tuple[tuple[str, str, str], ...]
    newest_first: bool
    size: int
    left: int | None
    after: tuple[str, str] | None = None

    def query(self, select: Select) -> Select:
        """The query of this page."""
        query = narrow(select, self.filters)
        if self.after is not None:
            than = "lt" if self.newest_first else "gt"
            created_at, contract_id = self.after
            # The first filter is for the index, the second one for rows of the same time.
            query = query.filter("created_at", f"{than}e", created_at)
            query = query.or_(f'created_at.{than}."{created_at}",id.{than}.{contract_id}')
        query = query.order("created_at", desc=self.newest_first).order("id", desc=self.newest_first)
        return query.limit(self.size if self.left is None else min(self.size, self.left))

    def next(self, data: Sequence[Any]) -> Page | None:
        """The page after these rows; None where the list ends.

        Raises:
            UnexpectedAnswer: the rows are those of the page before.
        """
        left = None if self.left is None else self.left - len(data)
        if not data or (left is not None and left <= 0):
            return None
        # The server's own text: it is exact, and there are times that Python has no date for.
        after = str(data[-1]["created_at"]), str(data[-1]["id"])
        if after == self.after:
            raise UnexpectedAnswer("the server gave the same page twice")
        return replace(self, left=left, after=after)


def contracts(filters: ContractFilters, limit: int | None, newest_first: bool, page_size: int) -> Page:
    """The first page of contracts in the order in which they were created."""
    if page_size < 1 or (limit is not None and limit < 1):
        raise BadArgument("limit and page_size must be at least 1")
    return Page(where(filters), newest_first, page_size, limit)


def stats(select: Select, offset: int) -> Select:
    """Figures of every target agent and status, from the row `offset` on."""
    return select.order("target_agent").order("status").offset(offset)
