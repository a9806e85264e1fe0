"""The commands of readers: backend jobs with the secret key, dashboards with a signed-in user."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ehg_tasks.cli import clients
from ehg_tasks.cli.arguments import FILTERS, AsJson, IdOrStart, with_options
from ehg_tasks.cli.metrics import metrics
from ehg_tasks.cli.output import (
    NARROW_WIDTH,
    Column,
    console,
    print_json,
    print_notice,
    print_result,
    table,
)
from ehg_tasks.cli.repeat import repeat, until_stopped
from ehg_tasks.cli.tables import contract_table, duration

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from ehg_tasks import ContractStats, RegisteredAgent, TaskContract

app = typer.Typer()
command = partial(app.command, rich_help_panel="Readers (secret key, or a signed-in user)")


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
    """List contracts in order of creation.

    In a terminal, DETAIL is the error, or else the objective.
    """
    with clients.reader() as client:
        # One more than is printed shows whether there are more.
        contracts = list(client.list(limit=limit + 1, newest_first=newest, **filters))
    print_result(contracts[:limit], as_json, contract_table, empty="No contracts.")
    if len(contracts) > limit and not as_json:
        print_notice(f"There are more than these {limit}. Raise --limit, or filter.")


@command()
def show(contract_id: IdOrStart, as_json: AsJson = False) -> None:
    """Show every column of a contract."""
    with clients.reader() as client:
        print_result(client.get(clients.contract_id(client, contract_id)), as_json)


@command()
@with_options(FILTERS)
def count(as_json: AsJson = False, **filters: Any) -> None:
    """Count contracts."""
    with clients.reader() as client:
        print_result(client.count(**filters), as_json, str)


@command()
def stats(as_json: AsJson = False) -> None:
    """Show statistics for each target agent and status.

    HELD: pending contracts that must wait for a time or for other contracts. IN 1 H: contracts that ended
    within the last hour. OLDEST: how long the oldest has been waiting. MEDIAN and P95: the time from the
    claim to the end. TOKENS and BUDGET: sums over the contracts that reported tokens. OVER: contracts that
    used more than their budget.
    """
    with clients.reader() as client:
        print_result(client.stats(), as_json, _stats_table, empty="No contracts.")


def _stats_table(statistics: list[ContractStats]) -> Table:
    columns = (
        Column("AGENT", lambda row: row.target_agent, max_width=20),
        Column("STATUS", lambda row: row.status, whole=True),
        Column("COUNT", lambda row: row.contracts, right=True),
        Column("HELD", lambda row: row.held, right=True, min_console=NARROW_WIDTH),
        Column("IN 1 H", lambda row: row.finished_last_hour, right=True),
        Column("OLDEST", lambda row: duration(row.oldest_wait_seconds), right=True),
        Column("MEDIAN", lambda row: duration(row.median_duration_seconds), right=True),
        Column("P95", lambda row: duration(row.p95_duration_seconds), right=True),
        Column("TOKENS", lambda row: row.execution_tokens, right=True, min_console=NARROW_WIDTH),
        Column("BUDGET", lambda row: row.max_tokens, right=True, min_console=NARROW_WIDTH),
        Column("OVER", lambda row: row.over_budget, right=True, min_console=NARROW_WIDTH),
    )
    return table(statistics, columns)


@command()
def agents(as_json: AsJson = False) -> None:
    """List the registered agents.

    RUNNING: contracts in progress; MAX: how many there may be. READY and HELD: pending contracts that can
    be claimed, and that must wait.
    """
    with clients.reader() as client:
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
    with until_stopped(), clients.reader() as client:

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

    return Group(_stats_table(stats), "", contract_table(newest))


command()(metrics)
