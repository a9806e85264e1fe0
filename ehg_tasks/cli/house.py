"""What backend jobs do, with the secret key: clean up, prune, describe, verify."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

from ehg_tasks.cli.output import AsJson, plain, print_json, say
from ehg_tasks.errors import TemporaryError

if TYPE_CHECKING:
    from ehg_tasks import BackendTasks, CleanupReport


def _backend() -> BackendTasks:
    from ehg_tasks import BackendTasks

    return BackendTasks.from_env()


def cleanup(
    max_wait_minutes: Annotated[
        int, typer.Option(min=0, help="Cancel what waited longer; 0 cancels nothing.")
    ] = 1440,
    every: Annotated[
        float | None,
        typer.Option(min=0.1, metavar="SECONDS", help="Again and again, until Ctrl-C or SIGTERM."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """End attempts whose claim ran out, and cancel what waited too long.

    With --every and --json, a line of JSON each time.
    """
    with _until_stopped(every is not None), _backend() as backend:
        while True:
            try:
                report = _cleaned(backend, max_wait_minutes or None)
            except TemporaryError as error:
                if every is None:
                    raise
                say(f"ehg-tasks: {error}")
            else:
                if as_json:
                    print_json(report, indent=2 if every is None else None)
                else:
                    typer.echo(
                        f"{report.requeued_count} back to pending, {report.failed_count} failed,"
                        f" {report.cancelled_count} cancelled"
                    )
            if every is None:
                return
            time.sleep(every)


@contextmanager
def _until_stopped(stoppable: bool) -> Iterator[None]:
    """End quietly at Ctrl-C or SIGTERM, where that is how the command is meant to end."""

    def stop(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    if stoppable:
        signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        if not stoppable:
            raise


def _cleaned(backend: BackendTasks, max_wait_minutes: int | None) -> CleanupReport:
    """Clean up, batch after batch; the sum of what changed."""
    total = backend.cleanup(max_wait_minutes=max_wait_minutes)
    more = total
    while any(more.model_dump().values()):
        more = backend.cleanup(max_wait_minutes=max_wait_minutes)
        total = type(total)(**{name: count + getattr(more, name) for name, count in total})
    return total


def prune(
    older_than_days: Annotated[int, typer.Option(min=0, help="Days since the contract ended.")] = 30,
    as_json: AsJson = False,
) -> None:
    """Delete contracts that ended long ago; their artifacts stay."""
    deleted = 0
    with _backend() as backend:
        while more := backend.prune(older_than_days=older_than_days):
            deleted += more
    if as_json:
        print_json({"deleted_count": deleted})
    else:
        typer.echo(f"{deleted} deleted")


def describe(
    form: Annotated[Literal["md", "json"], typer.Option("--format", help="Markdown or JSON.")] = "md",
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Describe the live table: columns, constraints, indexes, policies, triggers."""
    from ehg_tasks.cli.markdown import page

    with _backend() as backend:
        described = backend.describe()
    if as_json or form == "json":
        print_json(described)
    else:
        typer.echo(plain(page(described)), nl=False)


def verify(as_json: AsJson = False) -> None:
    """Compare the project with what this version expects.

    The profile is `specified` where agents may write to the table itself, and `hardened` where they
    work through the functions alone (supabase/optional/hardened.sql).

    Exit code 0: it matches; 1: it does not, and each difference is a line.
    """
    from ehg_tasks.verify import compare

    with _backend() as backend:
        verdict = compare(backend.describe())
    if as_json:
        print_json(
            {
                "matches": verdict.matches,
                "profile": verdict.profile,
                "differences": list(verdict.differences),
            }
        )
    elif verdict.matches:
        typer.echo(f"The project matches this version ({verdict.profile} profile).")
    else:
        for difference in verdict.differences:
            typer.echo(plain(difference))
        count = len(verdict.differences)
        say(
            f"{count} difference{'s' if count > 1 else ''} from this version ({verdict.profile} profile)."
            " Apply its migrations (supabase db push), and take away what is extra."
        )
    if not verdict.matches:
        raise typer.Exit(1)
