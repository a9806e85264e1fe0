"""`ehg-tasks demo`: agents that check documents for one another."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ehg_tasks.cli.output import print_notice, shortened
from ehg_tasks.errors import BadArgument

if TYPE_CHECKING:
    from ehg_tasks.demo.run import Summary


def demo(
    folder: Annotated[
        Path | None, typer.Argument(help="The folder of Markdown files to check.", show_default="samples")
    ] = None,
    agents: Annotated[int, typer.Option("--workers", min=1, max=16, help="Number of agent processes.")] = 2,
    directory: Annotated[
        Path, typer.Option("--dir", help="Folder of the embedded stack, if no project is set.")
    ] = Path(".ehg-tasks"),
    embedded: Annotated[
        bool, typer.Option("--embedded", help="Use the embedded stack even if a project is set.")
    ] = False,
) -> None:
    """Let agents check Markdown documents: the packaged samples, or those in FOLDER.

    Uses the project of SUPABASE_URL and SUPABASE_PUBLISHABLE_KEY (environment or .env) or, if neither
    is set, an embedded Supabase that this command starts and stops. The contracts, the reports and the
    dashboard user remain in the project. Exits with 1 if a document could not be checked.
    """
    from ehg_tasks.demo.documents import SAMPLES, find_documents
    from ehg_tasks.demo.run import run
    from ehg_tasks.local import LocalStack
    from ehg_tasks.settings import Settings

    checked = (folder or SAMPLES).resolve()
    if not checked.is_dir():
        raise BadArgument(f"{folder} is not a folder", hint="Give the path of a folder with Markdown files.")
    documents = find_documents(checked)
    if not documents:
        raise BadArgument(
            f"there are no .md files in {folder}",
            hint="Name another folder, or omit it to check the samples.",
        )

    print_notice(f"Documents: {len(documents)} in {checked}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up, as on Ctrl-C
    if not embedded and Settings.configured():
        settings = Settings.from_env()
        print_notice(f"Project: {settings.url}, from SUPABASE_URL")
        summary = run(settings, checked, documents, agents, print_notice)
    else:
        with LocalStack(directory, progress=print_notice) as stack:
            print_notice(f"Project: the embedded Supabase at {stack.url}, with its data in {directory}")
            summary = run(stack.settings(), checked, documents, agents, print_notice)
    print_summary(summary)
    if folder is None:
        typer.echo("These findings are planted in the samples. Check yours: ehg-tasks demo FOLDER")
    if summary.problems:
        raise typer.Exit(1)


def print_summary(summary: Summary) -> None:
    """Print the findings, the problems and the totals."""
    findings = [(name, finding) for name, report in summary.reports.items() for finding in report.findings]
    if findings:
        typer.secho("\nFindings", bold=True)
    for name, finding in findings:
        typer.echo(f"  {shortened(name)}:{finding.line}  {finding.rule}  {shortened(finding.message)}")
    if summary.problems:
        typer.secho("\nProblems", bold=True)
    for problem in summary.problems:
        typer.secho(f"  {shortened(problem, 300)}", fg="red")

    clean = sum(not report.findings for report in summary.reports.values())
    words = sum(report.words for report in summary.reports.values())
    typer.echo(f"\nDocuments: {len(summary.reports)} checked, {clean} clean; {words} words.")
    typer.echo(f"Findings: {len(findings)}. Problems: {len(summary.problems)}.")
    for line in summary.readers:
        typer.echo(shortened(line, 300))
    typer.echo(f"Time: {summary.seconds:.1f} s.")
