"""What agents do, with the publishable key: create, claim and finish contracts."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ehg_tasks.cli.arguments import Agent, ContractId, Token, content, held, json_value, parsed
from ehg_tasks.cli.output import AsJson, brief, print_fields, print_json, print_table, say, value
from ehg_tasks.errors import BadArgument, ContractNotFound, ServerBusy

if TYPE_CHECKING:
    from ehg_tasks import AgentTasks, Outcome

JSON_FORM = "JSON, @FILE, or - for standard input"
POLL_SECONDS = 0.5


def _agent() -> AgentTasks:
    from ehg_tasks import AgentTasks

    return AgentTasks.from_env()


def create(
    parent: Annotated[str | None, typer.Option(help="The agent that hands the work over.")] = None,
    target: Annotated[str | None, typer.Option(help="The agent that is to do it.")] = None,
    objective: Annotated[
        str | None, typer.Option(help="What is to be done; - reads it from standard input.")
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Contracts as a JSON array or as JSON lines, 1000 at most, all or none of them; - is"
            " standard input. Other options fill in what a contract there leaves out.",
        ),
    ] = None,
    contract_id: Annotated[
        str | None, typer.Option("--id", metavar="UUID", help="An id of yours: a repeat creates nothing.")
    ] = None,
    session: Annotated[str | None, typer.Option(metavar="UUID", help="The session it belongs to.")] = None,
    sd: Annotated[str | None, typer.Option(help="The strategic directive that it serves.")] = None,
    constraints: Annotated[
        str | None, typer.Option(metavar="JSON", help=f"Rules for the work: {JSON_FORM}.")
    ] = None,
    artifact: Annotated[
        list[str] | None, typer.Option(metavar="UUID", help="An input artifact; may be repeated.")
    ] = None,
    input_summary: Annotated[str | None, typer.Option(help="What the inputs are.")] = None,
    output_type: Annotated[str | None, typer.Option(help="The kind of result.")] = None,
    output_schema: Annotated[
        str | None, typer.Option(metavar="JSON", help=f"JSON Schema of the output: {JSON_FORM}.")
    ] = None,
    priority: Annotated[int | None, typer.Option(help="Higher is claimed first.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Budget of an attempt, in tokens.")] = None,
    timeout_minutes: Annotated[int | None, typer.Option(help="How long a claim lasts.")] = None,
    max_retries: Annotated[int | None, typer.Option(help="Attempts that may follow the first.")] = None,
    created_by: Annotated[str | None, typer.Option(help="Who makes the contract.")] = None,
    as_json: AsJson = False,
) -> None:
    """Hand work to an agent: one contract, or those of a file."""
    from ehg_tasks import NewContract

    if [objective, constraints, output_schema, file].count("-") > 1:
        raise BadArgument("only one option can read standard input")
    fields = {
        "parent_agent": parent,
        "target_agent": target,
        "objective": content("--objective", "-").strip() if objective == "-" else objective,
        "contract_id": contract_id,
        "session_id": session,
        "sd_id": sd,
        "constraints": json_value("--constraints", constraints),
        "input_artifacts": artifact or None,
        "input_summary": input_summary,
        "expected_output_type": output_type,
        "output_schema": json_value("--output-schema", output_schema),
        "priority": priority,
        "max_tokens": max_tokens,
        "timeout_minutes": timeout_minutes,
        "max_retries": max_retries,
        "created_by": created_by,
    }
    if file is None and None in (parent, target, objective):
        raise BadArgument("a contract needs --parent, --target and --objective, or comes with --file")
    given = {name: found for name, found in fields.items() if found is not None}
    new = [NewContract(**given)] if file is None else _from_file(file, given)
    with _agent() as agent:
        created = [agent.create(new[0])] if file is None else agent.create_many(new)
    if as_json:
        print_json(created if file is not None else created[0])
        return
    for contract in created:
        typer.echo(f"{contract.contract_id}  {'created' if contract.created else 'existed already'}")


def _from_file(file: str, given: dict[str, Any]) -> list[Any]:
    from ehg_tasks import NewContract

    if "contract_id" in given:
        raise BadArgument("--id is for one contract; in a file each has its own contract_id")
    text = content("--file", file).strip()
    if text.startswith("["):
        items = parsed("--file", text)
    else:
        lines = [line for line in text.split("\n") if line.strip()]
        items = [parsed(f"--file, contract {n},", line) for n, line in enumerate(lines, 1)]
    if not items:
        raise BadArgument(f"--file: there is no contract in {'standard input' if file == '-' else file}")
    contracts = []
    for n, item in enumerate(items, 1):
        if not isinstance(item, dict):
            raise BadArgument(f"--file, contract {n}, is no JSON object")
        try:
            contracts.append(NewContract(**given | item))
        except BadArgument as error:
            raise BadArgument(f"--file, contract {n}: {error}") from None
    return contracts


def claim(
    target: Agent,
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many at most.")] = 1,
    agent_id: Annotated[str | None, typer.Option(metavar="UUID", help="Who claims, for the records.")] = None,
    request_key: Annotated[
        str | None, typer.Option(metavar="UUID", help="A repeat with the same key gets the same claims.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Claim contracts that wait for an agent, and print them with their claim tokens."""
    with _agent() as agent:
        claims = agent.claim(target, limit=limit, agent_id=agent_id, request_key=request_key)
    if as_json:
        print_json(claims)
        return
    if not claims:
        say(f"No contract waits for {target}.")
    for n, contract in enumerate(claims):
        if n:
            typer.echo()
        print_fields(contract)


def renew(contract_id: ContractId, token: Token, as_json: AsJson = False) -> None:
    """Hold a claim for another timeout_minutes from now."""
    with _agent() as agent:
        lease = agent.renew(held(contract_id, token))
    if as_json:
        print_json(lease)
    else:
        typer.echo(f"{lease.contract_id}  held until {value(lease.lease_expires_at)}")


def complete(
    contract_id: ContractId,
    token: Token,
    output: Annotated[str | None, typer.Option(metavar="JSON", help=f"The result: {JSON_FORM}.")] = None,
    summary: Annotated[str | None, typer.Option(help="The result in words.")] = None,
    tokens: Annotated[int | None, typer.Option(min=0, help="How many tokens the work took.")] = None,
    artifact: Annotated[
        str | None, typer.Option(metavar="UUID", help="An artifact that holds the output already.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(metavar="UUID", help="Idempotency key (default: the claim token).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Record the result of a claimed contract."""
    held_claim, result = held(contract_id, token), json_value("--output", output)
    with _agent() as agent:
        completion = agent.complete(
            held_claim,
            output=result,
            result_summary=summary,
            output_artifact_id=artifact,
            execution_tokens=tokens,
            idempotency_key=key,
        )
    _print_change(completion, as_json)


def fail(
    contract_id: ContractId,
    message: Annotated[str, typer.Argument(help="What went wrong.", show_default=False)],
    token: Token,
    final: Annotated[bool, typer.Option("--final", help="Another attempt would not help.")] = False,
    as_json: AsJson = False,
) -> None:
    """End an attempt with an error; it is tried again while retries are left."""
    with _agent() as agent:
        attempt = agent.fail(held(contract_id, token), message, retry=not final)
    _print_change(attempt, as_json)


def release(contract_id: ContractId, token: Token, as_json: AsJson = False) -> None:
    """Give a claim back unworked; no retry is spent."""
    with _agent() as agent:
        change = agent.release(held(contract_id, token))
    _print_change(change, as_json)


def cancel(
    contract_id: ContractId,
    reason: Annotated[str | None, typer.Option(help="Why.")] = None,
    as_json: AsJson = False,
) -> None:
    """Cancel a contract that has not ended."""
    with _agent() as agent:
        change = agent.cancel(contract_id, reason)
    _print_change(change, as_json)


def _print_change(change: Any, as_json: bool) -> None:
    if as_json:
        print_json(change)
        return
    more = getattr(change, "next_attempt_at", None)
    again = f"; next attempt from {value(more)}" if more else ""
    typer.echo(f"{change.contract_id}  {change.status}: {change.message}{again}")


def outcome(
    contract_ids: Annotated[
        list[str], typer.Argument(metavar="ID...", help="The contracts' ids.", show_default=False)
    ],
    wait: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="Wait so long for them to end.")] = 0,
    as_json: AsJson = False,
) -> None:
    """What became of contracts whose ids you know.

    Exit code 5: there is no such contract; 8: some had not ended after --wait.
    """
    with _agent() as agent:
        found, open_ = _outcomes(agent, contract_ids, wait)
    if as_json:
        print_json(found)
    elif len(found) == 1:
        print_fields(found[0])
    else:
        rows = [
            (str(o.contract_id), o.status, brief(o.result_summary or o.error_message or "")) for o in found
        ]
        print_table(("ID", "STATUS", "SUMMARY"), rows)
    if open_ and wait:
        raise ServerBusy(f"{open_} of {len(found)} contracts had not ended after {wait:g} s")


def _outcomes(agent: AgentTasks, contract_ids: list[str], wait: float) -> tuple[list[Outcome], int]:
    """The outcomes, and how many of the contracts have not ended."""
    from uuid import UUID

    deadline = time.monotonic() + wait
    while True:
        found = agent.outcomes(contract_ids)
        missing = {UUID(contract_id) for contract_id in contract_ids} - {o.contract_id for o in found}
        if missing:
            raise ContractNotFound(f"there is no task contract {', '.join(sorted(map(str, missing)))}")
        running = sum(not o.status.is_final for o in found)
        left = deadline - time.monotonic()
        if not running or left <= 0:
            return found, running
        time.sleep(min(POLL_SECONDS, left))


def inputs(contract_id: ContractId, token: Token, as_json: AsJson = False) -> None:
    """The input artifacts of a claimed contract."""
    with _agent() as agent:
        artifacts = agent.inputs(held(contract_id, token))
    if as_json:
        print_json(artifacts)
        return
    if not artifacts:
        say("The contract has no inputs.")
    for n, artifact in enumerate(artifacts):
        if n:
            typer.echo()
        print_fields(artifact)
