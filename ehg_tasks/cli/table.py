"""What readers see: the secret key reads as the backend, else a signed-in user reads as a dashboard."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ehg_tasks.cli.arguments import ContractId
from ehg_tasks.cli.output import (
    NARROW,
    WIDEST,
    AsJson,
    brief,
    console,
    print_fields,
    print_json,
    print_table,
    say,
    table,
    value,
)
from ehg_tasks.errors import BadArgument, SettingsError, TemporaryError

if TYPE_CHECKING:
    from rich.table import Table

    from ehg_tasks import BackendTasks, ContractStats, DashboardTasks, TaskContract
    from ehg_tasks.pages import ContractFilters

Status = Annotated[
    str | None,
    typer.Option(
        metavar="STATUS", help="Those that are pending, in_progress, completed, failed or cancelled."
    ),
]
Target = Annotated[str | None, typer.Option(metavar="AGENT", help="Those for this target agent.")]
Parent = Annotated[str | None, typer.Option(metavar="AGENT", help="Those of this parent agent.")]
Session = Annotated[str | None, typer.Option(metavar="UUID", help="Those of this session.")]
Directive = Annotated[str | None, typer.Option(metavar="ID", help="Those of this strategic directive.")]
After = Annotated[str | None, typer.Option(metavar="TIME", help="Created at this time (ISO 8601) or later.")]
Before = Annotated[str | None, typer.Option(metavar="TIME", help="Created before this time.")]


def reader() -> BackendTasks | DashboardTasks:
    """The client that the environment has the means for.

    Raises:
        SettingsError: it has neither a secret key nor a user.
    """
    from ehg_tasks import BackendTasks, DashboardTasks, Settings
    from ehg_tasks.settings import variable

    settings = Settings.from_env()
    if settings.secret_key is not None:
        return BackendTasks(settings)
    token = variable("SUPABASE_ACCESS_TOKEN")
    if token is not None:
        return DashboardTasks(settings, access_token=token)
    email, password = variable("SUPABASE_EMAIL"), variable("SUPABASE_PASSWORD")
    if email is None or password is None:
        raise SettingsError(
            "reading the table takes a secret key or a signed-in user",
            hint="Set SUPABASE_SECRET_KEY, or SUPABASE_PUBLISHABLE_KEY with SUPABASE_ACCESS_TOKEN or with"
            " SUPABASE_EMAIL and SUPABASE_PASSWORD.",
        )
    client = DashboardTasks(settings)
    try:
        client.sign_in(email, password)
    except BaseException:
        client.close()
        raise
    return client


def _filters(
    status: str | None,
    target: str | None,
    parent: str | None,
    session: str | None,
    sd: str | None,
    after: str | None,
    before: str | None,
) -> ContractFilters:
    return {
        "status": status,
        "target_agent": target,
        "parent_agent": parent,
        "session_id": session,
        "sd_id": sd,
        "created_after": _time("--created-after", after),
        "created_before": _time("--created-before", before),
    }


def _time(name: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
        return time if time.tzinfo else time.astimezone()  # a time without a zone is this machine's
    except (ValueError, OverflowError):
        raise BadArgument(
            f"{name} is no time in ISO 8601", hint="Write 2026-11-23 or 2026-11-23T09:30:00Z."
        ) from None


def list_(
    status: Status = None,
    target: Target = None,
    parent: Parent = None,
    session: Session = None,
    sd: Directive = None,
    created_after: After = None,
    created_before: Before = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
    newest: Annotated[bool, typer.Option("--newest", help="The newest first (default: the oldest).")] = False,
    as_json: AsJson = False,
) -> None:
    """List contracts in the order of their creation."""
    filters = _filters(status, target, parent, session, sd, created_after, created_before)
    with reader() as client:
        # One more than is shown, to know whether there is one.
        found = list(client.list(limit=limit + 1, newest_first=newest, **filters))
    if as_json:
        print_json(found[:limit])
        return
    if not found:
        say("No contracts.")
        return
    print_table(*_contracts(found[:limit]))
    if len(found) > limit:
        say(f"There are more than these {limit}: see --limit and the filters.")


CONTRACT_COLUMNS = ("ID", "STATUS", "PRIO", "PARENT", "TARGET", "CREATED", "OBJECTIVE")


def _contracts(contracts: list[TaskContract]) -> tuple[tuple[str, ...], list[tuple[str, ...]], set[str]]:
    width = console().width
    narrow = width < NARROW
    longest = 10 if narrow else 16 if width < WIDEST else 50  # of a name
    rows = [
        {
            "ID": str(c.id),
            "STATUS": c.status,
            "PRIO": str(c.priority),
            "PARENT": brief(c.parent_agent, longest),
            "TARGET": brief(c.target_agent, longest),
            "CREATED": value(c.created_at)[5:16],
            "OBJECTIVE": brief(c.objective),
        }
        for c in contracts
    ]
    left_out = {"PRIO", "PARENT"} if narrow else set()
    columns = tuple(name for name in CONTRACT_COLUMNS if name not in left_out)
    return columns, [tuple(row[name] for name in columns) for row in rows], {"PRIO"}


def count(
    status: Status = None,
    target: Target = None,
    parent: Parent = None,
    session: Session = None,
    sd: Directive = None,
    created_after: After = None,
    created_before: Before = None,
    as_json: AsJson = False,
) -> None:
    """Count contracts."""
    filters = _filters(status, target, parent, session, sd, created_after, created_before)
    with reader() as client:
        counted = client.count(**filters)
    print_json(counted) if as_json else typer.echo(counted)


def show(contract_id: ContractId, as_json: AsJson = False) -> None:
    """Show the whole row of a contract."""
    with reader() as client:
        contract = client.get(contract_id)
    print_json(contract) if as_json else print_fields(contract)


def stats(as_json: AsJson = False) -> None:
    """Show figures of every target agent and status.

    IN 1 H: how many ended within the last hour. OLDEST: how long the oldest has been waiting. MEDIAN
    and P95: from the claim to the end. BUDGET: of those that reported tokens.
    """
    with reader() as client:
        figures = client.stats()
    if as_json:
        print_json(figures)
    elif figures:
        print_table(*_figures(figures))
    else:
        say("No contracts.")


FIGURE_COLUMNS = ("AGENT", "STATUS", "COUNT", "IN 1 H", "OLDEST", "MEDIAN", "P95", "TOKENS", "BUDGET")


def _figures(figures: list[ContractStats]) -> tuple[tuple[str, ...], list[tuple[str, ...]], set[str]]:
    width = console().width
    columns = FIGURE_COLUMNS[:-2] if width < NARROW else FIGURE_COLUMNS
    rows: list[tuple[str, ...]] = [
        (
            brief(f.target_agent, 20 if width < WIDEST else 50),
            f.status,
            str(f.contracts),
            str(f.finished_last_hour),
            _duration(f.oldest_wait_seconds),
            _duration(f.median_duration_seconds),
            _duration(f.p95_duration_seconds),
            value(f.execution_tokens),
            value(f.max_tokens),
        )[: len(columns)]
        for f in figures
    ]
    return columns, rows, set(columns[2:])


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.1f} s"


def watch(
    every: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="Time between looks.")] = 2.0,
    times: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="End after so many looks (default: at Ctrl-C).")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many of the newest contracts.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Watch the figures and the newest contracts, until Ctrl-C.

    Where standard output is no terminal each look is printed below the last; with --json as one line.
    """
    with suppress(KeyboardInterrupt), reader() as client:

        def look() -> tuple[list[ContractStats], list[TaskContract]]:
            return client.stats(), list(islice(client.list(limit=limit, newest_first=True), limit))

        if as_json:

            def show_json(found: Any) -> None:
                plain = [[model.model_dump(mode="json") for model in models] for models in found]
                print_json({"stats": plain[0], "newest": plain[1]}, indent=None)

            _repeat(look, show_json, every, times)
        else:
            _watch(look, every, times)


def _watch(look: Callable[[], Any], every: float, times: int | None) -> None:
    from rich.console import Group
    from rich.live import Live

    def drawn(found: Any) -> Group:
        tables: list[Table | str] = [table(*_figures(found[0])), "", table(*_contracts(found[1]))]
        return Group(*tables)

    screen = console()
    if not screen.is_terminal:
        _repeat(look, lambda found: screen.print(drawn(found), no_wrap=True), every, times)
        return
    with Live(console=screen, auto_refresh=False, vertical_overflow="crop") as live:
        _repeat(look, lambda found: live.update(drawn(found), refresh=True), every, times)


def _repeat(look: Callable[[], Any], show: Callable[[Any], None], every: float, times: int | None) -> None:
    """Look and show; what fails for a while is told, and looked at again."""
    looks = 0
    while True:
        try:
            show(look())
        except TemporaryError as error:
            if times is not None and looks + 1 >= times:
                raise
            say(f"ehg-tasks: {error}")
        looks += 1
        if times is not None and looks >= times:
            return
        time.sleep(every)
