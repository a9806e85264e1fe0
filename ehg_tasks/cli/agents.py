"""The commands of agents, with the publishable key: create, claim and finish contracts."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ehg_tasks import limits
from ehg_tasks.cli.arguments import (
    AsJson,
    ContractId,
    Token,
    claim_handle,
    json_option,
    option,
    parse_json,
    read_text,
    text_value,
    time_value,
    with_options,
)
from ehg_tasks.cli.output import Column, as_text, fields, print_result, status_line, table
from ehg_tasks.errors import BadArgument, ContractNotFound, ServerBusy
from ehg_tasks.waiting import Backoff

if TYPE_CHECKING:
    from rich.table import Table

    from ehg_tasks import AgentTasks, Attempt, CreatedContract, NewContract, Outcome

PANEL = "Agents (publishable key)"

app = typer.Typer()
command = partial(app.command, rich_help_panel=PANEL)

CONTRACT_OPTIONS = {
    "parent_agent": option("--parent", "The agent that hands over the work."),
    "target_agent": option("--target", "The agent that does the work."),
    "objective": option(
        "--objective", "The work to do; - reads it from standard input.", callback=text_value
    ),
    "contract_id": option("--id", "Your own id, so that the command can be repeated safely.", metavar="UUID"),
    "session_id": option("--session", "The session that the work belongs to.", metavar="UUID"),
    "sd_id": option("--sd", "The strategic directive that the work serves."),
    "constraints": json_option("--constraints", "Rules for the work"),
    "input_artifacts": option("--artifact", "An input artifact; may be repeated.", list[str], metavar="UUID"),
    "input_summary": option("--input-summary", "A summary of the inputs."),
    "expected_output_type": option("--output-type", "The kind of result expected."),
    "output_schema": json_option("--output-schema", "The JSON Schema of the output"),
    "priority": option("--priority", "Contracts of higher priority are claimed first.", int),
    "max_tokens": option("--max-tokens", "The token budget of an attempt.", int),
    "timeout_minutes": option("--timeout-minutes", "The time limit of an attempt.", int),
    "max_retries": option("--max-retries", "How many attempts may follow the first.", int),
    "created_by": option("--created-by", "Who creates the contract."),
    "not_before": option(
        "--not-before",
        "The contract cannot be claimed before this time (ISO 8601).",
        metavar="TIME",
        callback=time_value,
    ),
    "depends_on": option(
        "--depends-on", "A contract that must end first; may be repeated.", list[str], metavar="UUID"
    ),
    "on_dependency_failure": option(
        "--on-dependency-failure",
        "If one of those fails or is cancelled: cancel this contract too (the default), or run it.",
        Literal["cancel", "run"],
    ),
}
RESULT_OPTIONS = {
    "output": json_option("--output", "The result"),
    "result_summary": option("--summary", "A summary of the result."),
    "execution_tokens": option("--tokens", "How many tokens the work took.", int, min=0),
    "output_artifact_id": option("--artifact", "An existing artifact that holds the output.", metavar="UUID"),
    "idempotency_key": option("--key", "The idempotency key (default: the claim token).", metavar="UUID"),
}


def _agent() -> AgentTasks:
    from ehg_tasks import AgentTasks

    return AgentTasks.from_env()


@command()
@with_options(CONTRACT_OPTIONS)
def create(
    file: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="A JSON array or JSON lines of at most 1000 contracts; - reads standard input. All of them"
            " are created or none. Other options set the fields that a contract omits.",
        ),
    ] = None,
    as_json: AsJson = False,
    **options: Any,
) -> None:
    """Hand over work to an agent: create one contract, or those in a file."""
    from ehg_tasks import NewContract

    given = {name: value for name, value in options.items() if value is not None}
    if file is not None:
        contracts = _read_contracts(file, given)
        with _agent() as agent:
            created = agent.create_many(contracts)
        print_result(created, as_json, lambda created: "\n".join(map(_created_line, created)))
    elif given.keys() >= {"parent_agent", "target_agent", "objective"}:
        contract = NewContract(**given)
        with _agent() as agent:
            print_result(agent.create(contract), as_json, _created_line)
    else:
        raise BadArgument("a contract needs --parent, --target and --objective, or --file")


def _created_line(contract: CreatedContract) -> str:
    return f"{contract.contract_id}  {'created' if contract.created else 'already exists'}"


def _read_contracts(file: str, defaults: dict[str, Any]) -> list[NewContract]:
    from ehg_tasks import NewContract

    if "contract_id" in defaults:
        raise BadArgument("--id is for a single contract; in a file, give each contract a contract_id")
    text = read_text("--file", file).strip()
    if text.startswith("["):
        items = parse_json("--file", text)
    else:
        lines = [line for line in text.split("\n") if line.strip()]
        items = [parse_json(f"--file, contract {n},", line) for n, line in enumerate(lines, 1)]
    if not items:
        raise BadArgument(f"--file: there are no contracts in {'standard input' if file == '-' else file}")
    contracts = []
    for n, item in enumerate(items, 1):
        if not isinstance(item, dict):
            raise BadArgument(f"--file, contract {n}, is not a JSON object")
        try:
            contracts.append(NewContract(**defaults | item))
        except BadArgument as error:
            raise BadArgument(f"--file, contract {n}: {error}") from None
    return contracts


@command()
def claim(
    target: Annotated[str, typer.Argument(metavar="AGENT", help="The target agent.", show_default=False)],
    limit: Annotated[int, typer.Option(min=1, max=limits.CLAIMS, help="Claim at most this many.")] = 1,
    agent_id: Annotated[
        str | None, typer.Option(metavar="UUID", help="The id of the claiming agent, to record.")
    ] = None,
    request_key: Annotated[
        str | None, typer.Option(metavar="UUID", help="Repeating a key returns the same claims.")
    ] = None,
    lease: Annotated[
        int | None,
        typer.Option(
            min=limits.LEASE_SECONDS,
            metavar="SECONDS",
            help="How long the lease lasts unless it is renewed (default: as long as the time limit).",
        ),
    ] = None,
    contract: Annotated[
        str | None, typer.Option(metavar="UUID", help="Claim this contract or nothing.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Claim pending contracts for an agent and print them with their claim tokens."""
    with _agent() as agent:
        claims = agent.claim(
            target,
            limit=limit,
            agent_id=agent_id,
            request_key=request_key,
            lease_seconds=lease,
            contract_id=contract,
        )
    print_result(claims, as_json, empty=f"No contract can be claimed for {target} now.")


@command()
@with_options({"progress": json_option("--progress", "How far the work is, as an object")})
def renew(contract_id: ContractId, token: Token, as_json: AsJson = False, **report: Any) -> None:
    """Extend a claim's lease by its length from now, but not past the time limit."""
    with _agent() as agent:
        lease = agent.renew(claim_handle(contract_id, token), **report)
    print_result(
        lease, as_json, lambda lease: f"{lease.contract_id}  claimed until {as_text(lease.lease_expires_at)}"
    )


@command()
@with_options(RESULT_OPTIONS)
def complete(contract_id: ContractId, token: Token, as_json: AsJson = False, **result: Any) -> None:
    """Record the result of a claimed contract."""
    with _agent() as agent:
        print_result(agent.complete(claim_handle(contract_id, token), **result), as_json, status_line)


@command()
def fail(
    contract_id: ContractId,
    message: Annotated[str, typer.Argument(metavar="MESSAGE", help="What went wrong.", show_default=False)],
    token: Token,
    final: Annotated[bool, typer.Option("--final", help="Do not retry.")] = False,
    as_json: AsJson = False,
) -> None:
    """Fail an attempt; the contract is retried while retries are left."""
    with _agent() as agent:
        print_result(
            agent.fail(claim_handle(contract_id, token), message, retry=not final), as_json, status_line
        )


@command()
def release(contract_id: ContractId, token: Token, as_json: AsJson = False) -> None:
    """Release a claim: the contract is pending again, and no retry is used up."""
    with _agent() as agent:
        print_result(agent.release(claim_handle(contract_id, token)), as_json, status_line)


@command()
def cancel(
    contract_id: ContractId,
    reason: Annotated[str | None, typer.Option(help="Why the contract is cancelled.")] = None,
    as_json: AsJson = False,
) -> None:
    """Cancel a contract that is pending or in progress."""
    with _agent() as agent:
        print_result(agent.cancel(contract_id, reason), as_json, status_line)


@command()
def outcome(
    contract_ids: Annotated[
        list[str], typer.Argument(metavar="ID...", help="The ids of the contracts.", show_default=False)
    ],
    wait: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="How long to wait for the contracts to end.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Show the outcomes of contracts whose ids you know, or what they wait for and how far they are.

    Exits with 5 if a contract does not exist, and with 8 if one has not ended after --wait.
    """
    with _agent() as agent:
        outcomes = _wait_for_outcomes(agent, contract_ids, wait)
    print_result(outcomes, as_json, fields if len(outcomes) == 1 else _outcome_table)
    if wait and (not_ended := sum(not outcome.status.is_final for outcome in outcomes)):
        raise ServerBusy(f"{not_ended} of {len(outcomes)} contracts had not ended after {wait:g} s")


def _wait_for_outcomes(agent: AgentTasks, contract_ids: list[str], seconds: float) -> list[Outcome]:
    """Return the outcomes once all contracts have ended or the time is up."""
    from uuid import UUID

    deadline = time.monotonic() + seconds
    backoff = Backoff(0.2, 2.0)
    while True:
        outcomes = agent.outcomes(contract_ids)
        missing = {UUID(contract_id) for contract_id in contract_ids} - {o.contract_id for o in outcomes}
        if missing:
            raise ContractNotFound(f"there is no task contract {', '.join(sorted(map(str, missing)))}")
        remaining = deadline - time.monotonic()
        if remaining <= 0 or all(outcome.status.is_final for outcome in outcomes):
            return outcomes
        time.sleep(min(backoff.next(), remaining))


def _outcome_table(outcomes: list[Outcome]) -> Table:
    columns = (
        Column("ID", lambda outcome: outcome.contract_id),
        Column("STATUS", lambda outcome: outcome.status),
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
        "dependencies": f"waits for {outcome.waits_for} contracts",
    }
    return waits.get(outcome.waiting or "", outcome.progress)


@command()
def history(contract_id: ContractId, as_json: AsJson = False) -> None:
    """Show the attempts of a contract whose id you know, oldest first: at most the newest 100."""
    with _agent() as agent:
        print_result(agent.history(contract_id), as_json, _history_table, empty="No attempt has begun.")


def _history_table(attempts: list[Attempt]) -> Table:
    columns = (
        Column("ATTEMPT", lambda attempt: attempt.attempt, right=True),
        Column("OUTCOME", lambda attempt: attempt.outcome or "running"),
        Column("CLAIMED", lambda attempt: attempt.claimed_at),
        Column("ENDED", lambda attempt: attempt.ended_at, wide_only=True),
        Column("TOKENS", lambda attempt: attempt.execution_tokens, right=True, wide_only=True),
        Column("ERROR OR PROGRESS", lambda attempt: attempt.error_message or attempt.progress, flexible=True),
    )
    return table(attempts, columns)


@command()
def inputs(contract_id: ContractId, token: Token, as_json: AsJson = False) -> None:
    """Show the input artifacts of a claimed contract."""
    with _agent() as agent:
        print_result(
            agent.inputs(claim_handle(contract_id, token)), as_json, empty="The contract has no inputs."
        )
