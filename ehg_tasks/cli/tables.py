"""The table of contracts, and how times and durations are shortened for tables."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ehg_tasks.cli.output import FILE_WIDTH, NARROW_WIDTH, Column, as_text, console, table

if TYPE_CHECKING:
    from rich.table import Table

    from ehg_tasks import TaskContract


def contract_table(contracts: Iterable[TaskContract]) -> Table:
    """Return a table of contracts. In a terminal, an error takes the place of the objective."""
    width = console().width
    texts = (
        Column("OBJECTIVE", lambda contract: contract.objective),
        Column("ERROR", lambda contract: contract.error_message),
    )
    text = Column("DETAIL", lambda contract: contract.error_message or contract.objective, flexible=True)
    columns = (
        Column("ID", lambda contract: contract.id, whole=True),
        Column("STATUS", lambda contract: contract.status, whole=True),
        Column("TARGET", lambda contract: contract.target_agent, max_width=9 if width < NARROW_WIDTH else 16),
        Column("PARENT", lambda contract: contract.parent_agent, min_console=FILE_WIDTH),
        Column("CREATED", lambda contract: _short_time(contract.created_at), min_console=NARROW_WIDTH),
        Column("ENDED", lambda contract: _short_time(contract.completed_at), min_console=NARROW_WIDTH),
        Column("ENDED", lambda contract: age(contract.completed_at), max_console=NARROW_WIDTH - 1),
        *(texts if width >= FILE_WIDTH else [text]),
    )
    return table(contracts, columns)


def _short_time(time: datetime | None) -> str:
    """A time to the minute, without the year if it is this year."""
    text = as_text(time)
    this_year = str(datetime.now(UTC).astimezone().year)
    return text[5:16] if text.startswith(f"{this_year}-") else text[:16]


def age(time: datetime | None) -> str:
    """How long ago a time was, such as 5m; or `-`."""
    if time is None:
        return "-"
    seconds = int((datetime.now(UTC) - time).total_seconds())
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return f"{max(seconds, 0)}s"


def duration(seconds: float | None) -> str:
    """A duration in one unit, such as 5.0 s; or `-`."""
    if seconds is None:
        return "-"
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.1f} s"
