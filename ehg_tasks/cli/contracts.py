"""The commands for contracts, by their ids or by filters: outcome, history, cancel and requeue."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from ehg_tasks.cli import clients
from ehg_tasks.cli.arguments import FILTERS, WHOSE, AsJson, IdOrStart, option, past_time, with_options
from ehg_tasks.cli.bulk import IDS, DryRun, Yes, by_ids, change_each, change_matching
from ehg_tasks.cli.output import NARROW_WIDTH, Column, as_text, counted, fields, print_result, table
from ehg_tasks.errors import BadArgument, WaitTimedOut

if TYPE_CHECKING:
    from rich.table import Table

    from ehg_tasks import Attempt, Outcome, StatusChange

app = typer.Typer()
command = partial(app.command, rich_help_panel="Contracts (publishable or secret key)")

CANCEL_FILTERS = {name: FILTERS[name] for name in (*WHOSE, "created_after", "created_before")}
REQUEUE_FILTERS = {name: FILTERS[name] for name in WHOSE} | {
    "ended_after": option(
        "--since",
        "Only those that ended at this time or later: 2026-11-23T09:30, or 2h for two hours ago.",
        metavar="TIME",
        callback=past_time,
    )
}


@command()
def outcome(
    contract_ids: Annotated[list[str], IDS],
    wait: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="How long to wait for the contracts to end.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Show the outcomes of contracts whose ids you know, or what they wait for and how far they are.

    Exits with 5 if a contract does not exist, and with 8 if one has not ended after --wait.
    """
    with clients.agent_or_backend() as client:
        ids = [clients.contract_id(client, text) for text in contract_ids]
        too_late: WaitTimedOut | None = None
        try:
            outcomes = client.wait(ids, timeout=wait)
        except WaitTimedOut as error:  # all of them exist
            too_late, outcomes = error, client.outcomes(ids)
    print_result(outcomes, as_json, fields if len(outcomes) == 1 else _outcome_table)
    if wait and too_late is not None:
        raise too_late


def _outcome_table(outcomes: list[Outcome]) -> Table:
    columns = (
        Column("ID", lambda outcome: outcome.contract_id, whole=True),
        Column("STATUS", lambda outcome: outcome.status, whole=True),
        Column("ATTEMPT", lambda outcome: outcome.attempt, right=True),
        Column("SUMMARY", _summary, flexible=True),
    )
    return table(outcomes, columns)


def _summary(outcome: Outcome) -> Any:
    """How the contract has ended, how far it is, or what it waits for."""
    if outcome.status.is_final:
        return outcome.result_summary or outcome.error_message
    due = as_text(outcome.next_attempt_at)
    waits = {
        "paused": "its agent is paused",
        "retry": f"retry from {due}: {outcome.error_message}",
        "delayed": f"not before {due}",
        "dependencies": f"waits for {counted(outcome.waits_for or 0)}",
    }
    return waits.get(outcome.waiting or "", outcome.progress)


@command()
def history(contract_id: IdOrStart, as_json: AsJson = False) -> None:
    """Show the attempts of a contract, oldest first: at most the newest 100."""
    with clients.reader_or_agent() as client:
        attempts = client.history(clients.contract_id(client, contract_id))
    print_result(attempts, as_json, _history_table, empty="No attempt has begun.")


def _history_table(attempts: list[Attempt]) -> Table:
    columns = (
        Column("ATTEMPT", lambda attempt: attempt.attempt, right=True),
        Column("OUTCOME", lambda attempt: attempt.outcome or "running", whole=True),
        Column("CLAIMED", lambda attempt: attempt.claimed_at),
        Column("ENDED", lambda attempt: attempt.ended_at, min_console=NARROW_WIDTH),
        Column("TOKENS", lambda attempt: attempt.execution_tokens, right=True, min_console=NARROW_WIDTH),
        Column("ERROR OR PROGRESS", lambda attempt: attempt.error_message or attempt.progress, flexible=True),
    )
    return table(attempts, columns)


@command()
@with_options(CANCEL_FILTERS)
def cancel(
    contract_ids: Annotated[list[str] | None, IDS] = None,
    pending: Annotated[
        bool, typer.Option("--pending", help="Only those that are pending, not those in progress.")
    ] = False,
    reason: Annotated[str | None, typer.Option(help="Why the contracts are cancelled.")] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    **filters: Any,
) -> None:
    """Cancel contracts that are pending or in progress: those with the ids, or all that match the options.

    If one cannot be cancelled, the others still are. Without ids, it takes the secret key, and asks first.
    """
    if by_ids(contract_ids, filters, {"--dry-run": dry_run, "--pending": pending}, "--target DESIGN"):
        with clients.agent_or_backend() as client:
            change_each(client, contract_ids or [], lambda key: client.cancel(key, reason), as_json)
        return
    with clients.backend() as backend:
        change_matching(
            backend,
            "cancel",
            ["pending"] if pending else ["pending", "in_progress"],
            filters,
            lambda key: backend.cancel(key, reason),
            yes=yes,
            dry_run=dry_run,
            as_json=as_json,
        )


@command()
@with_options(REQUEUE_FILTERS)
def requeue(
    contract_ids: Annotated[list[str] | None, IDS] = None,
    failed: Annotated[bool, typer.Option("--failed", help="All that failed and match the options.")] = False,
    cancelled: Annotated[
        bool, typer.Option("--cancelled", help="All that were cancelled and match the options.")
    ] = False,
    max_retries: Annotated[
        int | None,
        typer.Option(min=0, help="How many attempts may follow the next (default: as before)."),
    ] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    **filters: Any,
) -> None:
    """Make contracts that have ended pending again, without their results. Their history stays.
    It takes the secret key.

    Give ids, or --failed or --cancelled for all contracts that match; then it asks first. If one cannot be
    requeued, the others still are.
    """
    statuses = {"failed": failed, "cancelled": cancelled}
    with_ids = by_ids(contract_ids, filters | statuses, {"--dry-run": dry_run}, "--failed --since 1h")
    if not with_ids and not (failed or cancelled):
        raise BadArgument("add --failed or --cancelled", hint="Completed contracts are requeued by id.")
    with clients.backend() as backend:

        def change(contract_id: UUID) -> StatusChange:
            return backend.requeue(contract_id, max_retries=max_retries)

        if with_ids:
            change_each(backend, contract_ids or [], change, as_json)
        else:
            chosen = [status for status, given in statuses.items() if given]
            change_matching(
                backend, "requeue", chosen, filters, change, yes=yes, dry_run=dry_run, as_json=as_json
            )
