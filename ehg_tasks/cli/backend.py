"""The commands of backend jobs, with the secret key: clean up, prune, describe, verify."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ehg_tasks.cli.arguments import AsJson
from ehg_tasks.cli.output import print_notice, print_result
from ehg_tasks.cli.repeat import repeat, until_stopped

if TYPE_CHECKING:
    from ehg_tasks import BackendTasks, CleanupReport

app = typer.Typer()
command = partial(app.command, rich_help_panel="Backend jobs (secret key)")


def _backend() -> BackendTasks:
    from ehg_tasks import BackendTasks

    return BackendTasks.from_env()


@command()
def cleanup(
    max_wait_minutes: Annotated[
        int, typer.Option(min=0, help="Cancel contracts that have waited longer; 0 cancels none.")
    ] = 1440,
    every: Annotated[
        float | None,
        typer.Option(min=0.1, metavar="SECONDS", help="Repeat at this interval until Ctrl-C or SIGTERM."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """End attempts whose claim has expired, and cancel contracts that have waited too long.

    With --every and --json, each run prints one line of JSON.
    """
    with nullcontext() if every is None else until_stopped(), _backend() as backend:

        def clean_up() -> None:
            report = _clean_up_all(backend, max_wait_minutes or None)
            print_result(report, as_json, _report_line, indent=2 if every is None else None)

        if every is None:
            clean_up()
        else:
            repeat(clean_up, every)


def _clean_up_all(backend: BackendTasks, max_wait_minutes: int | None) -> CleanupReport:
    """Clean up in batches until nothing is left; return the totals."""
    total = batch = backend.cleanup(max_wait_minutes=max_wait_minutes)
    while any(batch.model_dump().values()):
        batch = backend.cleanup(max_wait_minutes=max_wait_minutes)
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
        int, typer.Option(min=0, help="Delete contracts that ended more than this many days ago.")
    ] = 30,
    as_json: AsJson = False,
) -> None:
    """Delete contracts that ended long ago; their artifacts are kept."""
    total = 0
    with _backend() as backend:
        while deleted := backend.prune(older_than_days=older_than_days):
            total += deleted
    print_result({"deleted_count": total}, as_json, lambda _: f"{total} deleted")


@command()
def describe(
    form: Annotated[Literal["md", "json"], typer.Option("--format", help="Markdown or JSON.")] = "md",
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Describe the live table: columns, constraints, indexes, policies and triggers."""
    from ehg_tasks.cli.markdown import page

    with _backend() as backend:
        description = backend.describe()
    print_result(description, as_json or form == "json", page)


@command()
def verify(as_json: AsJson = False) -> None:
    """Compare the project with what this version expects.

    The profile is `specified` if agents may write to the table itself, and `hardened` if they can only
    call the functions (supabase/optional/hardened.sql).

    Exits with 0 if the project matches. Otherwise prints each difference on a line and exits with 1.
    """
    from ehg_tasks.verify import compare

    with _backend() as backend:
        verdict = compare(backend.describe())
    result = {
        "matches": verdict.matches,
        "profile": verdict.profile,
        "differences": list(verdict.differences),
    }
    matches = f"The project matches this version ({verdict.profile} profile)."
    print_result(result, as_json, lambda _: "\n".join(verdict.differences) or matches)
    if verdict.matches:
        return
    if not as_json:
        count = len(verdict.differences)
        print_notice(
            f"{count} difference{'s' if count > 1 else ''} from this version ({verdict.profile} profile)."
            " Apply its migrations (supabase db push), and remove what is extra."
        )
    raise typer.Exit(1)
