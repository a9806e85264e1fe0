"""The commands of readers: backend jobs with the secret key, dashboards with a signed-in user."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ehg_tasks.cli.arguments import AsJson, ContractId, option, time_value, with_options
from ehg_tasks.cli.output import (
    NARROW_WIDTH,
    Column,
    as_text,
    console,
    print_json,
    print_notice,
    print_result,
    table,
)
from ehg_tasks.cli.repeat import repeat, until_stopped
from ehg_tasks.errors import SettingsError

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from ehg_tasks import BackendTasks, ContractStats, DashboardTasks, RegisteredAgent, TaskContract

app = typer.Typer()
command = partial(app.command, rich_help_panel="Readers (secret key, or a signed-in user)")


FILTERS = {
    "status": option(
        "--status",
        "Only those that are pending, in_progress, completed, failed or cancelled.",
        metavar="STATUS",
    ),
    "target_agent": option("--target", "Only those for this target agent.", metavar="AGENT"),
    "parent_agent": option("--parent", "Only those from this parent agent.", metavar="AGENT"),
    "session_id": option("--session", "Only those of this session.", metavar="UUID"),
    "sd_id": option("--sd", "Only those of this strategic directive.", metavar="ID"),
    "created_after": option(
        "--created-after",
        "Only those created at this time (ISO 8601) or later.",
        metavar="TIME",
        callback=time_value,
    ),
    "created_before": option(
        "--created-before", "Only those created before this time.", metavar="TIME", callback=time_value
    ),
}
"""The option for each filter of `ehg_tasks.pages.ContractFilters`."""


def _reader() -> BackendTasks | DashboardTasks:
    """Return the client that the environment has credentials for.

    Raises:
        SettingsError: there is neither a secret key nor a user.
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
            "reading contracts takes a secret key or a signed-in user",
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


@command("list")
@with_options(FILTERS)
def list_(
    limit: Annotated[int, typer.Option(min=1, help="How many contracts to list at most.")] = 50,
    newest: Annotated[
        bool, typer.Option("--newest", help="List the newest first (default: the oldest).")
    ] = False,
    as_json: AsJson = False,
    **filters: Any,
) -> None:
    """List contracts in order of creation."""
    with _reader() as client:
        # One more than is printed shows whether there are more.
        contracts = list(client.list(limit=limit + 1, newest_first=newest, **filters))
    print_result(contracts[:limit], as_json, _contract_table, empty="No contracts.")
    if len(contracts) > limit and not as_json:
        print_notice(f"There are more than these {limit}. Raise --limit, or filter.")


def _contract_table(contracts: list[TaskContract]) -> Table:
    name_width = 10 if console().width < NARROW_WIDTH else 16
    columns = (
        Column("ID", lambda contract: contract.id),
        Column("STATUS", lambda contract: contract.status),
        Column("PRIO", lambda contract: contract.priority, right=True, wide_only=True),
        Column("PARENT", lambda contract: contract.parent_agent, max_width=name_width, wide_only=True),
        Column("TARGET", lambda contract: contract.target_agent, max_width=name_width),
        Column("CREATED", lambda contract: as_text(contract.created_at)[5:16], wide_only=True),
        Column("OBJECTIVE", lambda contract: contract.objective, flexible=True),
    )
    return table(contracts, columns)


@command()
def show(contract_id: ContractId, as_json: AsJson = False) -> None:
    """Show every column of a contract."""
    with _reader() as client:
        print_result(client.get(contract_id), as_json)


@command()
@with_options(FILTERS)
def count(as_json: AsJson = False, **filters: Any) -> None:
    """Count contracts."""
    with _reader() as client:
        print_result(client.count(**filters), as_json, str)


@command()
def stats(as_json: AsJson = False) -> None:
    """Show statistics for each target agent and status.

    HELD: pending contracts that must wait for a time or for other contracts. IN 1 H: contracts that ended
    within the last hour. OLDEST: how long the oldest has been waiting. MEDIAN and P95: the time from the
    claim to the end. TOKENS and BUDGET: sums over the contracts that reported tokens. OVER: contracts that
    used more than their budget.
    """
    with _reader() as client:
        print_result(client.stats(), as_json, _stats_table, empty="No contracts.")


def _stats_table(statistics: list[ContractStats]) -> Table:
    columns = (
        Column("AGENT", lambda row: row.target_agent, max_width=20),
        Column("STATUS", lambda row: row.status),
        Column("COUNT", lambda row: row.contracts, right=True),
        Column("HELD", lambda row: row.held, right=True, wide_only=True),
        Column("IN 1 H", lambda row: row.finished_last_hour, right=True),
        Column("OLDEST", lambda row: _duration(row.oldest_wait_seconds), right=True),
        Column("MEDIAN", lambda row: _duration(row.median_duration_seconds), right=True),
        Column("P95", lambda row: _duration(row.p95_duration_seconds), right=True),
        Column("TOKENS", lambda row: row.execution_tokens, right=True, wide_only=True),
        Column("BUDGET", lambda row: row.max_tokens, right=True, wide_only=True),
        Column("OVER", lambda row: row.over_budget, right=True, wide_only=True),
    )
    return table(statistics, columns)


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.1f} s"


@command()
def agents(as_json: AsJson = False) -> None:
    """List the registered agents.

    RUNNING: contracts in progress; MAX: how many there may be. READY and HELD: pending contracts that can
    be claimed, and that must wait.
    """
    with _reader() as client:
        print_result(client.agents(), as_json, _agents_table, empty="No agent is registered.")


def _agents_table(agents: list[RegisteredAgent]) -> Table:
    columns = (
        Column("NAME", lambda agent: agent.name, max_width=20),
        Column("TOKEN", lambda agent: agent.has_token),
        Column("PAUSED", lambda agent: agent.paused_at is not None),
        Column("RUNNING", lambda agent: agent.running, right=True),
        Column("MAX", lambda agent: agent.max_running, right=True),
        Column("READY", lambda agent: agent.ready, right=True),
        Column("HELD", lambda agent: agent.held, right=True),
        Column("DESCRIPTION", lambda agent: agent.description, flexible=True),
    )
    return table(agents, columns)


@command()
def watch(
    every: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="Time between updates.")] = 2.0,
    times: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Stop after this many updates (default: at Ctrl-C)."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many of the newest contracts to show.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Watch the statistics and the newest contracts until Ctrl-C or SIGTERM.

    If standard output is not a terminal, each update follows the last; with --json it is one line.
    """
    with until_stopped(), _reader() as client:

        def read() -> dict[str, list[Any]]:
            return {"stats": client.stats(), "newest": list(client.list(limit=limit, newest_first=True))}

        screen = console()
        if as_json:
            repeat(lambda: print_json(read(), indent=None), every, times)
        elif not screen.is_terminal:
            repeat(lambda: screen.print(_overview(**read()), no_wrap=True), every, times)
        else:
            from rich.live import Live

            with Live(console=screen, auto_refresh=False, vertical_overflow="crop") as live:
                repeat(lambda: live.update(_overview(**read()), refresh=True), every, times)


def _overview(stats: list[ContractStats], newest: list[TaskContract]) -> Group:
    from rich.console import Group

    return Group(_stats_table(stats), "", _contract_table(newest))
