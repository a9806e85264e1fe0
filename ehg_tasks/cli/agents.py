"""The commands of agents, with the publishable key: create, claim and finish contracts."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ehg_tasks import limits
from ehg_tasks.cli import clients
from ehg_tasks.cli.arguments import (
    AsJson,
    ContractId,
    Token,
    claim_handle,
    future_time,
    json_option,
    option,
    parse_json,
    read_text,
    text_value,
    with_options,
)
from ehg_tasks.cli.output import as_text, print_result, status_line
from ehg_tasks.errors import BadArgument

if TYPE_CHECKING:
    from ehg_tasks import CreatedContract, NewContract

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
        "The contract cannot be claimed before this time: 2026-11-23T09:30, or 2h for in two hours.",
        metavar="TIME",
        callback=future_time,
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
    elif given.keys() >= {"parent_agent", "target_agent", "objective"}:
        contracts = [NewContract(**given)]
    else:
        raise BadArgument("a contract needs --parent, --target and --objective, or --file")
    with clients.agent() as agent:
        created = agent.create_many(contracts)
    print_result(created, as_json, lambda created: "\n".join(map(_created_line, created)))


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
    with clients.agent() as agent:
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
    with clients.agent() as agent:
        lease = agent.renew(claim_handle(contract_id, token), **report)
    print_result(
        lease, as_json, lambda lease: f"{lease.contract_id}  claimed until {as_text(lease.lease_expires_at)}"
    )


@command()
@with_options(RESULT_OPTIONS)
def complete(contract_id: ContractId, token: Token, as_json: AsJson = False, **result: Any) -> None:
    """Record the result of a claimed contract."""
    with clients.agent() as agent:
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
    with clients.agent() as agent:
        print_result(
            agent.fail(claim_handle(contract_id, token), message, retry=not final), as_json, status_line
        )


@command()
def release(contract_id: ContractId, token: Token, as_json: AsJson = False) -> None:
    """Release a claim: the contract is pending again, and no retry is used up."""
    with clients.agent() as agent:
        print_result(agent.release(claim_handle(contract_id, token)), as_json, status_line)


@command()
def inputs(contract_id: ContractId, token: Token, as_json: AsJson = False) -> None:
    """Show the input artifacts of a claimed contract."""
    with clients.agent() as agent:
        print_result(
            agent.inputs(claim_handle(contract_id, token)), as_json, empty="The contract has no inputs."
        )
