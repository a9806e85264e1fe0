"""The queues that are compared. Each module here defines one `CONTESTANT`; to add a queue, add a module."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version

from bench.server import Connection

BATCH = 50
MAX_CLIENTS = 8


@dataclass(frozen=True)
class Work:
    """How work is taken and finished: two statements, each a transaction of its own.

    Attributes:
        fetch: takes work. The columns of its one row become variables of pgbench.
        finish: finishes that work.
        size: how much is taken at once.
    """

    fetch: str
    finish: str
    size: int = 1


@dataclass(frozen=True)
class Contestant:
    """A queue, in SQL as its own client sends it. `:name` is a variable of pgbench.

    Attributes:
        name: as the page prints it.
        distribution: the distribution on PyPI that carries the SQL.
        pair: what it does to take and finish one piece of work, in words.
        install: creates its objects in an empty database.
        fill: inserts pieces of work number %(first)s to %(last)s.
        create: inserts one.
        payload: builds the argument of `create_many` for `:bench_rows` pieces of work. The columns of its
            one row become variables of pgbench too; they start with bench_, so that `fetch` keeps them.
        create_many: inserts them in one call.
        single: takes and finishes one.
        batch: takes and finishes BATCH at once, if the queue can.
        most: takes and finishes as much at once as is sensible, to leave many dead rows behind. Not measured.
        finished: counts what is finished.
        user: the role that logs in.
        options: its PGOPTIONS.
        variables: more variables of pgbench.
    """

    name: str
    distribution: str
    pair: str
    install: Callable[[Connection], None]
    fill: str
    create: str
    payload: str
    create_many: str
    single: Work
    most: Work
    finished: str
    batch: Work | None = None
    user: str = "postgres"
    options: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """Version of the distribution."""
        return version(self.distribution)


def contestants() -> list[Contestant]:
    """Return every contestant, ours first."""
    modules = (importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__))
    found: list[Contestant] = [module.CONTESTANT for module in modules]
    return sorted(found, key=lambda one: (one.name != "ours", one.name))
