"""The commands of backend jobs, with the secret key: agents, clean up, prune, describe, verify."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer

from ehg_tasks import limits
from ehg_tasks.cli import clients
from ehg_tasks.cli.arguments import AgentName, AsJson
from ehg_tasks.cli.bulk import NOTHING_CHANGED, DryRun, Yes, confirm
from ehg_tasks.cli.output import as_text, print_notice, print_result
from ehg_tasks.cli.repeat import repeat, until_stopped

if TYPE_CHECKING:
    from ehg_tasks import AgentChange, AgentToken, CleanupReport, PruneReport

    Report = TypeVar("Report", CleanupReport, PruneReport)

FINAL = ("completed", "failed", "cancelled")
MAX_DAYS = 36_500  # a hundred years: Python's times end in the year 1

app = typer.Typer()
command = partial(app.command, rich_help_panel="Backend jobs (secret key)")


# --- agents ------------------------------------------------------------------------------------


@command()
def register_agent(
    name: AgentName,
    description: Annotated[str | None, typer.Option(help="What the agent does.")] = None,
    max_running: Annotated[
        int | None,
        typer.Option(min=0, help="How many of its contracts may be in progress (default: no limit)."),
    ] = None,
    with_token: Annotated[
        bool, typer.Option("--token/--no-token", help="Whether its work can be claimed only with a token.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Register an agent and print its token, this once; or set description and limit of a registered one.

    The token is printed as a line of a .env file: EHG_AGENT_TOKEN=…
    """
    with clients.backend() as backend:
        agent = backend.register_agent(
            name, description=description, max_running=max_running, with_token=with_token
        )
    notice = f"{agent.name} is registered." if agent.created else f"{agent.name} was registered before."
    if with_token and agent.token is None:
        notice += " It has a token: rotate-agent issues a new one."
    _print_token(agent, as_json, notice)


@command()
def rotate_agent(
    name: AgentName,
    grace: Annotated[
        int, typer.Option(min=0, metavar="MINUTES", help="How long the previous token still works.")
    ] = 60,
    as_json: AsJson = False,
) -> None:
    """Print a new token for a registered agent, this once."""
    with clients.backend() as backend:
        agent = backend.rotate_agent(name, grace_minutes=grace)
    until = agent.previous_token_expires_at
    previous = f" The previous one works until {as_text(until)}." if until else ""
    _print_token(agent, as_json, f"{agent.name} has a new token.{previous}")


def _print_token(agent: AgentToken, as_json: bool, notice: str) -> None:
    from ehg_tasks.settings import AGENT_TOKEN_NAME

    if as_json:
        print_result(agent, as_json)
    elif agent.token is None:
        print_notice(notice)
    else:
        typer.echo(f"{AGENT_TOKEN_NAME}={agent.token}")
        print_notice(f"{notice} Keep the token: it is not shown again.")


@command()
def pause(name: AgentName, as_json: AsJson = False) -> None:
    """Pause an agent: none of its contracts are handed out. Running attempts go on."""
    with clients.backend() as backend:
        print_result(backend.pause_agent(name), as_json, _agent_line)


@command()
def resume(name: AgentName, as_json: AsJson = False) -> None:
    """Resume a paused agent: its contracts are handed out again."""
    with clients.backend() as backend:
        print_result(backend.resume_agent(name), as_json, _agent_line)


@command()
def remove_agent(name: AgentName, as_json: AsJson = False) -> None:
    """Remove an agent from the registry. Its contracts stay, and its work needs no token any more."""
    with clients.backend() as backend:
        print_result(backend.remove_agent(name), as_json, _agent_line)


def _agent_line(change: AgentChange) -> str:
    return f"{change.name}  {change.message}"


# --- maintenance -------------------------------------------------------------------------------


@command()
def cleanup(
    max_wait_minutes: Annotated[
        int, typer.Option(min=0, help="Cancel contracts that waited longer for a claim; 0 cancels none.")
    ] = 1440,
    every: Annotated[
        float | None,
        typer.Option(min=0.1, metavar="SECONDS", help="Repeat at this interval until Ctrl-C or SIGTERM."),
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """End attempts whose lease has expired, and cancel contracts that nobody claimed in time.

    With --every and --json, each run prints one line of JSON.
    """
    with nullcontext() if every is None else until_stopped(), clients.backend() as backend:
        wait = max_wait_minutes or None

        def clean_up() -> None:
            report = (
                backend.cleanup(max_wait_minutes=wait, limit=limits.INT_MAX, dry_run=True)
                if dry_run
                else _total(lambda: backend.cleanup(max_wait_minutes=wait))
            )
            print_result(report, as_json, _report_line, indent=2 if every is None else None)
            if dry_run and not as_json:
                print_notice(NOTHING_CHANGED)

        if every is None:
            clean_up()
        else:
            repeat(clean_up, every)


def _total(run: Callable[[], Report]) -> Report:
    """Run batches until nothing is left; return the sums of their counts."""
    total = batch = run()
    while any(batch.model_dump().values()):
        batch = run()
        total = type(total)(**{name: count + getattr(batch, name) for name, count in total})
    return total


def _report_line(report: CleanupReport) -> str:
    return (
        f"{report.requeued_count} back to pending, {report.failed_count} failed,"
        f" {report.cancelled_count} cancelled"
    )


@command()
def prune(
    older_than_days: Annotated[
        int,
        typer.Option(min=0, max=MAX_DAYS, help="Delete contracts that ended more than this many days ago."),
    ] = 30,
    artifacts: Annotated[
        bool, typer.Option("--artifacts", help="Delete the artifacts that hold their outputs too.")
    ] = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Delete contracts that ended long ago; their artifacts are kept by default. Asks first.

    A dry run counts the contracts; how many artifacts would be deleted is not known.
    """
    with clients.backend() as backend:
        ended_before = datetime.now(UTC) - timedelta(days=older_than_days)
        count = sum(backend.count(status=status, ended_before=ended_before) for status in FINAL)
        number = f"{count} contracts that ended before {as_text(ended_before)}"
        if dry_run:
            found = {"deleted_count": count, "deleted_artifact_count": None}
            print_result(found, as_json, lambda _: f"would delete {number}")
            if not as_json:
                print_notice(NOTHING_CHANGED)
            return
        if count:
            confirm(f"delete {number}{', and the artifacts of their outputs' if artifacts else ''}", yes)
        total = _total(lambda: backend.prune(older_than_days=older_than_days, delete_artifacts=artifacts))
    print_result(
        total,
        as_json,
        lambda total: f"{total.deleted_count} contracts and {total.deleted_artifact_count} artifacts deleted",
    )


@command()
def describe(
    form: Annotated[Literal["md", "json"], typer.Option("--format", help="Markdown or JSON.")] = "md",
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Describe the live table: columns, constraints, indexes, policies and triggers."""
    from ehg_tasks.cli.markdown import page

    with clients.backend() as backend:
        description = backend.describe()
    print_result(description, as_json or form == "json", page)


@command()
def verify(as_json: AsJson = False) -> None:
    """Compare the project with what this version expects.

    The profile is `specified` if agents may write to the table itself, and `hardened` if they can only
    call the functions (supabase/optional/hardened.sql).

    Exits with 0 if the project matches. Otherwise prints each difference on a line and exits with 1. What a
    project may have of its own, such as another index, is a note. Not compared: rows, comments, the columns
    of the referenced tables, and roles other than those of the API.
    """
    from ehg_tasks.verify import compare

    with clients.backend() as backend:
        verdict = compare(backend.describe())
    result = {
        "matches": verdict.matches,
        "profile": verdict.profile,
        "differences": list(verdict.differences),
        "notes": list(verdict.notes),
    }
    matches = f"The project matches this version ({verdict.profile} profile)."
    print_result(result, as_json, lambda _: "\n".join(verdict.differences) or matches)
    if not as_json:
        for note in verdict.notes:
            print_notice(f"note: {note}")
    if verdict.matches:
        return
    if not as_json:
        count = len(verdict.differences)
        print_notice(
            f"{count} difference{'s' if count > 1 else ''} from this version ({verdict.profile} profile)."
            " Apply its migrations with psql (docs/adoption.md): supabase db push skips what it has applied."
            " Then remove what is extra."
        )
    raise typer.Exit(1)
