"""Change several contracts: those with given ids, or all that match filters."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from ehg_tasks.cli.clients import contract_id
from ehg_tasks.cli.output import counted, exit_code, print_json, print_notice, print_result, status_line
from ehg_tasks.cli.tables import contract_table
from ehg_tasks.errors import BadArgument, ContractNotFound, StatusConflict, TaskContractError
from ehg_tasks.text import escaped

if TYPE_CHECKING:
    from ehg_tasks import BackendTasks, StatusChange, TaskContract
    from ehg_tasks.cli.clients import AnyClient

IDS = typer.Argument(
    metavar="ID",
    help="The ids of the contracts, or with a secret key their first characters.",
    show_default=False,
)
NOTHING_CHANGED = "Nothing was changed."
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")]


def confirm(action: str, yes: bool) -> None:
    """Ask the person at the terminal whether to do this, unless `yes`.

    Raises:
        BadArgument: there is no terminal.
        TaskContractError: the answer is no.
    """
    if yes:
        return
    if sys.stdin is None or sys.stdin.closed or not sys.stdin.isatty():
        raise BadArgument(
            f"will not {action} without asking, and standard input is not a terminal",
            hint="Add --yes, or --dry-run to see what would be done.",
        )
    if not typer.confirm(escaped(f"{action[0].upper()}{action[1:]}?"), err=True):
        raise TaskContractError("nothing was changed")


def by_ids(
    ids: list[str] | None, filters: Mapping[str, Any], flags: Mapping[str, bool], example: str
) -> bool:
    """Return whether contracts are named by their ids (true) or by options (false).

    Args:
        ids: those given, if any.
        filters: the options that select contracts; one that is not given is None or false.
        flags: other options that have a meaning only without ids, and whether they are given.
        example: options that select contracts, for the error.

    Raises:
        BadArgument: both are given, or neither is.
    """
    selects = any(value not in (None, False) for value in filters.values())
    if ids and selects:
        raise BadArgument("give ids, or options that select contracts, but not both")
    if ids and any(flags.values()):
        given = next(name for name, value in flags.items() if value)
        raise BadArgument(f"{given} is for contracts that options select", hint="Leave it out with ids.")
    if not ids and not selects:
        raise BadArgument("no contracts are selected", hint=f"Give ids, or options such as {example}.")
    return bool(ids)


def change_each(
    client: AnyClient, texts: Iterable[str], change: Callable[[UUID], StatusChange], as_json: bool
) -> None:
    """Change the contracts with these ids, and print each change.

    If one contract cannot be changed, the others still are. Exits with the code of the first
    refusal.
    """
    _change_each([contract_id(client, text) for text in texts], change, as_json)


def change_matching(
    client: BackendTasks,
    verb: str,
    statuses: Iterable[str],
    filters: Mapping[str, Any],
    change: Callable[[UUID], StatusChange],
    *,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Change all contracts with one of these statuses that match the filters, after asking.

    Args:
        client: lists the contracts.
        verb: what is done with them, such as requeue.
        statuses: those that the change can be made from.
        filters: see `ContractFilters`.
        change: changes one contract.
        yes: do not ask.
        dry_run: print what would be changed instead.
        as_json: print JSON.
    """

    def matching() -> dict[UUID, TaskContract]:
        lists = (client.list(status=status, **filters) for status in statuses)
        return {contract.id: contract for contracts in lists for contract in contracts}

    contracts = matching()
    if dry_run:
        _show(verb, list(contracts.values()), as_json)
        return
    if contracts and not yes:
        confirm(f"{verb} {_described(contracts.values())}", yes)
        now = matching()  # the answer may have taken a while
        contracts = {key: contract for key, contract in contracts.items() if key in now}
    if not contracts:
        print_result([], as_json, empty="No contract matches.")
        return
    _change_each(list(contracts), change, as_json)


def _change_each(ids: list[UUID], change: Callable[[UUID], StatusChange], as_json: bool) -> None:
    changes: list[StatusChange] = []
    refusals: list[TaskContractError] = []
    try:
        for key in ids:
            try:
                changes.append(change(key))
            except (ContractNotFound, StatusConflict) as error:
                refusals.append(error)
                print_notice(f"ehg-tasks: {error}")
                continue
            if not as_json:
                print_result(changes[-1], as_json, status_line)
    finally:  # another error ends the command: what was done is told first
        if as_json and changes:
            print_json(changes)
    if refusals:
        raise typer.Exit(exit_code(refusals[0]))


def _show(verb: str, contracts: list[TaskContract], as_json: bool) -> None:
    from ehg_tasks import StatusChange

    if as_json:
        message = f"would {verb}"
        print_json(
            [
                StatusChange(contract_id=found.id, status=found.status, message=message, was_duplicate=False)
                for found in contracts
            ]
        )
        return
    print_result(contracts, as_json, contract_table, empty="No contract matches.")
    if contracts:
        print_notice(f"Would {verb} {_described(contracts)}. {NOTHING_CHANGED}")


def _described(contracts: Iterable[TaskContract]) -> str:
    """How many contracts these are, by their agent and status."""
    counts = Counter((contract.target_agent, contract.status) for contract in contracts)
    parts = [f"{count} {status} for {agent}" for (agent, status), count in counts.most_common(4)]
    more = ["…"] if len(counts) > 4 else []
    return f"{counted(counts.total())} ({', '.join([*parts, *more])})"
