"""Lists of the table's rows: filters, keyset pages, and values for columns. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar
from uuid import UUID

from ehg_tasks.errors import BadArgument, UnexpectedAnswer
from ehg_tasks.models import ContractStatus, TaskContract
from ehg_tasks.values import storable, timestamp, uuid_text

if TYPE_CHECKING:
    from postgrest.base_request_builder import BaseSelectRequestBuilder

Select = TypeVar("Select", bound="BaseSelectRequestBuilder[Any]")
Condition = tuple[str, str, str]
"""A column, PostgREST's operator, and the text to compare with."""

TABLE = "agent_task_contracts"
STATS = "task_contract_stats"
AGENTS = "task_agents"


class ContractFilters(TypedDict, total=False):
    """Which contracts to list or count. A filter that is None or left out matches every contract."""

    status: ContractStatus | str | None
    target_agent: str | None
    parent_agent: str | None
    session_id: UUID | str | None
    sd_id: str | None
    created_after: datetime | None  # inclusive
    created_before: datetime | None  # exclusive
    ended_after: datetime | None  # by completed_at, inclusive
    ended_before: datetime | None  # exclusive


_COLUMNS = {
    "created_after": ("created_at", "gte"),
    "created_before": ("created_at", "lt"),
    "ended_after": ("completed_at", "gte"),
    "ended_before": ("completed_at", "lt"),
}
"""The column and operator of a filter that is not `column = value`."""


def conditions(filters: ContractFilters) -> list[Condition]:
    """The filters as conditions.

    Raises:
        BadArgument: a filter is unknown, or its value is not of its type.
    """
    unknown = sorted(filters.keys() - ContractFilters.__annotations__.keys())
    if unknown:
        raise BadArgument(f"unknown filter: {', '.join(unknown)}")
    return [
        (*_COLUMNS.get(name, (name, "eq")), _operand(name, value))
        for name, value in filters.items()
        if value is not None
    ]


def _operand(name: str, value: Any) -> str:
    if name in _COLUMNS:
        return timestamp(name, value)
    if name == "session_id":
        return uuid_text(name, value)
    if not isinstance(value, str):
        raise BadArgument(f"{name} must be a string")
    if name == "status" and value not in list(ContractStatus):
        raise BadArgument(f"status must be one of {', '.join(ContractStatus)}")
    return str(storable(name, value))


def id_conditions(start: str) -> list[Condition]:
    """The conditions for the ids that begin with these characters; hyphens do not matter.

    Raises:
        BadArgument: they are not 4 to 32 hexadecimal digits.
    """
    digits = start.replace("-", "").lower()
    if not 4 <= len(digits) <= 32 or set(digits) - set("0123456789abcdef"):
        raise BadArgument(
            f"contract_id is neither a UUID nor the start of one: {start[:60]!r}",
            hint="Give at least 4 hexadecimal digits.",
        )
    return [("id", "gte", str(UUID(digits.ljust(32, "0")))), ("id", "lte", str(UUID(digits.ljust(32, "f"))))]


def narrow(select: Select, where: Iterable[Condition]) -> Select:
    """The query with these conditions."""
    for condition in where:
        select = select.filter(*condition)
    return select


@dataclass(frozen=True)
class Page:
    """One request of a list, starting after the last row seen (keyset paging).

    The server may cut an answer short without notice, so only an empty page ends the list.
    """

    where: tuple[Condition, ...]
    newest_first: bool
    size: int
    remaining: int | None
    after: tuple[str, str] | None = None

    def query(self, select: Select) -> Select:
        """The query of this page."""
        query = narrow(select, self.where)
        if self.after is not None:
            operator = "lt" if self.newest_first else "gt"
            created_at, contract_id = self.after
            # The first condition lets Postgres use an index; the second decides among equal times.
            query = query.filter("created_at", f"{operator}e", created_at)
            query = query.or_(f'created_at.{operator}."{created_at}",id.{operator}.{contract_id}')
        query = query.order("created_at", desc=self.newest_first).order("id", desc=self.newest_first)
        return query.limit(self.size if self.remaining is None else min(self.size, self.remaining))

    def next(self, data: Sequence[Any]) -> Page | None:
        """The page after these rows, or None at the end of the list.

        Raises:
            UnexpectedAnswer: the rows are those of the page before.
        """
        remaining = None if self.remaining is None else self.remaining - len(data)
        if not data or (remaining is not None and remaining <= 0):
            return None
        # The server's own text: it is exact, and Python's datetime cannot hold every time.
        after = str(data[-1]["created_at"]), str(data[-1]["id"])
        if after == self.after:
            raise UnexpectedAnswer("the server returned the same page twice")
        return replace(self, remaining=remaining, after=after)


def first_page(filters: ContractFilters, limit: int | None, newest_first: bool, page_size: int) -> Page:
    """The first page of contracts in the order of their creation.

    Raises:
        BadArgument: a filter, `limit` or `page_size` is out of range.
    """
    if page_size < 1 or (limit is not None and limit < 1):
        raise BadArgument("limit and page_size must be at least 1")
    return Page(tuple(conditions(filters)), newest_first, page_size, limit)


def columns(values: dict[str, Any]) -> dict[str, Any]:
    """New values for columns of the table, as JSON.

    Raises:
        BadArgument: there are none, a name is not a column, or a value is not JSON.
    """
    unknown = sorted(values.keys() - TaskContract.model_fields.keys())
    if unknown or not values:
        raise BadArgument(f"not a column: {', '.join(unknown)}" if unknown else "no column is given")
    return {name: storable(name, _json(name, value)) for name, value in values.items()}


def _json(name: str, value: Any) -> Any:
    if isinstance(value, datetime):
        return timestamp(name, value)
    if isinstance(value, list | tuple):  # input_artifacts
        return [str(item) if isinstance(item, UUID) else item for item in value]
    return value
