"""The commands of backend jobs, with the secret key: clean up, prune, describe, verify."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer

from ehg_tasks import limits
from ehg_tasks.cli import clients
from ehg_tasks.cli.arguments import AsJson
from ehg_tasks.cli.bulk import NOTHING_CHANGED, DryRun, Yes, confirm
from ehg_tasks.cli.output import as_text, counted, print_notice, print_result
from ehg_tasks.cli.repeat import repeat, until_stopped

if TYPE_CHECKING:
    from ehg_tasks import CleanupReport, PruneReport

    Report = TypeVar("Report", CleanupReport, PruneReport)

FINAL = ("completed", "failed", "cancelled")
MAX_DAYS = 36_500  # a hundred years: Python's times end in the year 1

app = typer.Typer()
command = partial(app.command, rich_help_panel="Backend jobs (secret key)")


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
        number = f"{counted(count)} that ended before {as_text(ended_before)}"
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
        lambda total: (
            f"{counted(total.deleted_count)} and {counted(total.deleted_artifact_count, 'artifact')} deleted"
        ),
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
