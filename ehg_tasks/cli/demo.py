"""``ehg-tasks demo``: real work handed from agent to agent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ehg_tasks.errors import TaskContractError

if TYPE_CHECKING:
    from rich.console import Console

    from ehg_tasks.demo.run import Summary
    from ehg_tasks.settings import Settings

SHOWN = 25  # findings that are printed; the rest is counted


def demo(
    folder: Annotated[Path, typer.Argument(help="The folder whose Markdown files are checked.")] = Path(),
    workers: Annotated[int, typer.Option(min=1, max=16, help="Worker processes.")] = 2,
    directory: Annotated[
        Path, typer.Option("--dir", help="Folder of the embedded stack, where no project is set.")
    ] = Path(".ehg-tasks"),
    embedded: Annotated[
        bool, typer.Option("--embedded", help="On the embedded stack, whatever the environment names.")
    ] = False,
) -> None:
    """Hand every Markdown file of a folder to checking agents and show what they find.

    Works on the project of SUPABASE_URL and SUPABASE_PUBLISHABLE_KEY (environment or .env); where
    neither is set, on an embedded Supabase that this command starts and stops. The contracts, the
    results and the dashboard's user stay in the project.
    """
    from rich.console import Console

    from ehg_tasks.demo.documents import find_documents, samples_folder
    from ehg_tasks.settings import Settings

    console = Console(highlight=False)
    try:
        documents = find_documents(folder)
    except (OSError, ValueError) as error:
        raise TaskContractError(str(error)) from None
    if not documents:
        console.print(f"No Markdown files in {folder}: the packaged samples take their place.")
        folder = samples_folder()
        documents = find_documents(folder)

    if not embedded and Settings.configured():
        settings = Settings.from_env()
        console.print(f"Project: {settings.url} (of SUPABASE_URL; its contracts and its user stay there)")
        _run(settings, folder, documents, workers, console)
        return
    from ehg_tasks.local import LocalStack

    with LocalStack(directory, progress=lambda text: console.print(f"[dim]{text}[/dim]")) as stack:
        console.print(f"Project: the embedded Supabase at {stack.url} (data in {directory})")
        _run(stack.settings(), folder, documents, workers, console)


def _run(settings: Settings, folder: Path, documents: list[Path], workers: int, console: Console) -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    from ehg_tasks.demo.run import Progress, run

    class Screen(Progress):
        def __init__(self, bar: Bar) -> None:
            self.bar = bar
            self.task = bar.add_task("contracts ended", total=len(documents))

        def step(self, text: str) -> None:
            self.bar.console.print(f"[bold]>[/bold] {text}")

        def finished(self, done: int, total: int) -> None:
            self.bar.update(self.task, completed=done, total=total)

    with Bar(TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), console=console) as bar:
        summary = run(
            settings, folder.resolve(), [path.resolve() for path in documents], workers, Screen(bar)
        )
    _print(summary, console)
    if summary.problems:
        raise typer.Exit(1)


def _print(summary: Summary, console: Console) -> None:
    from rich.markup import escape

    findings = [(report.path, finding) for report in summary.reports for finding in report.findings]
    if findings:
        console.print("\n[bold]Findings[/bold]")
        for path, finding in findings[:SHOWN]:
            where = f"{escape(path)}:{finding.line}"
            console.print(
                f"  {where}  [cyan]{finding.rule}[/cyan]  {escape(finding.message)}", soft_wrap=True
            )
        if len(findings) > SHOWN:
            console.print(f"  … and {len(findings) - SHOWN} more")
    for problem in summary.problems:
        console.print(f"[red]{escape(problem)}[/red]")

    words = sum(report.words for report in summary.reports)
    minutes = sum(report.reading_minutes for report in summary.reports)
    clean = sum(not report.findings for report in summary.reports)
    console.print()
    console.print(
        f"{len(summary.reports)} documents checked, {clean} clean, {len(findings)} findings; "
        f"{words} words, {minutes:.0f} minutes to read."
    )
    if summary.totals:
        totals = ", ".join(f"{count} {status}" for status, count in sorted(summary.totals.items()))
        part = f"{summary.agents_seen} of {summary.workers} worker processes took part"
        console.print(f"Backend job: {totals}; {part}.")
    console.print(f"Dashboard: {escape(summary.dashboard)}.")
    console.print(f"Took {summary.seconds:.1f} s.")
