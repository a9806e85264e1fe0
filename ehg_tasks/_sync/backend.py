# Generated from ehg_tasks/_async by `make generated`. Do not edit.
"""Backend jobs: everything that agents and dashboards do, and maintenance, with the secret key."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from ehg_tasks import answers, pages
from ehg_tasks._sync.agents import SyncAgentMethods
from ehg_tasks._sync.readers import SyncReaderMethods
from ehg_tasks.answers import Model
from ehg_tasks.errors import ContractNotFound, UnexpectedAnswer
from ehg_tasks.models import (
    AgentChange,
    AgentToken,
    ClaimHandle,
    CleanupReport,
    PruneReport,
    StatusChange,
    TaskContract,
)
from ehg_tasks.pages import TABLE
from ehg_tasks.values import parameters, uuid_text


class BackendTasks(SyncAgentMethods[ClaimHandle | UUID | str], SyncReaderMethods):
    """A backend job, with the secret key: does what agents and dashboards do, and maintenance.

    Without the claim, by its id alone, it may `complete` a contract that nobody has claimed or that is in its
    first attempt. It needs no agent tokens.
    """

    _key_kind = "secret"

    def update(self, contract_id: UUID | str, /, **columns: Any) -> TaskContract:
        """Write columns of a row, bypassing the rules of the lifecycle.

        Raises:
            ContractNotFound: there is no such contract.
            BadArgument: a name is not a column, or a value is not JSON.
            InvalidData: the table refuses a value.
        """
        contract_id, values = uuid_text("contract_id", contract_id), pages.columns(columns)
        answer = self._send(lambda: self._api.table(TABLE).update(values).eq("id", contract_id).execute())
        return answers.contract(TaskContract, contract_id, answer.data)

    def delete(self, contract_id: UUID | str) -> None:
        """Delete a contract. Raises ContractNotFound.

        Not retried, because a lost answer may mean that it was deleted.
        """
        contract_id = uuid_text("contract_id", contract_id)
        answer = self._send(
            lambda: self._api.table(TABLE).delete().eq("id", contract_id).select("id").execute(),
            retry=False,
        )
        if not answer.data:
            raise ContractNotFound(f"there is no task contract {contract_id}")

    def requeue(self, contract_id: UUID | str, *, max_retries: int | None = None) -> StatusChange:
        """Make a contract that has ended pending again, without its result and with all its retries.

        Its history stays. Contracts that were cancelled because of it stay cancelled.

        Args:
            contract_id: the contract.
            max_retries: how many attempts may follow the next. Default: as before.

        Raises:
            ContractNotFound: there is no such contract.
            StatusConflict: it has not ended.
        """
        return self._rpc(
            "requeue_task_contract", StatusChange, {"contract_id": contract_id}, max_retries=max_retries
        )

    def register_agent(
        self,
        name: str,
        *,
        description: str | None = None,
        max_running: int | None = None,
        with_token: bool = True,
    ) -> AgentToken:
        """Register an agent, or set the description and the limit of a registered one.

        Args:
            name: the name that contracts give as their target or parent agent.
            description: what the agent does; at most 4 KiB.
            max_running: how many of its contracts may be in progress at once. Default: no limit.
            with_token: issue a token if the agent has none. Claims of its work, and contracts in its name,
                then need that token.

        Returns:
            The token, this once; None if none is issued. Not retried, because a lost answer may have held
            the token: then call `rotate_agent`.
        """
        required = {"name": name, "description": description, "max_running": max_running}
        return self._rpc_once("register_task_agent", AgentToken, required | {"with_token": with_token})

    def rotate_agent(self, name: str, *, grace_minutes: int = 60) -> AgentToken:
        """Issue a new token for a registered agent. Raises ContractNotFound if it is not registered.

        The previous one works for another `grace_minutes`, at most a week; tokens before it no longer do.
        Not retried, because a lost answer may have held the token.
        """
        return self._rpc_once("rotate_task_agent", AgentToken, {"name": name, "grace_minutes": grace_minutes})

    def _rpc_once(self, function: str, model: type[Model], required: dict[str, Any], /) -> Model:
        """Call a database function without retrying it."""
        given = parameters(required, {})
        answer = self._send(lambda: self._api.rpc(function, given).execute(), retry=False)
        return answers.row(model, answer.data)

    def pause_agent(self, name: str) -> AgentChange:
        """Hand out none of an agent's contracts. Running attempts go on.

        A name that is not registered is registered, without a token.
        """
        return self._rpc("pause_task_agent", AgentChange, {"name": name})

    def resume_agent(self, name: str) -> AgentChange:
        """Hand out a paused agent's contracts again. Raises ContractNotFound if it is not registered."""
        return self._rpc("resume_task_agent", AgentChange, {"name": name})

    def remove_agent(self, name: str) -> AgentChange:
        """Remove an agent from the registry; its contracts stay. Raises ContractNotFound if it is not in it.

        From then on, anyone with the publishable key may claim its work again.
        """
        return self._rpc("remove_task_agent", AgentChange, {"name": name})

    def cleanup(
        self, *, max_wait_minutes: int | None = 1440, limit: int = 1000, dry_run: bool = False
    ) -> CleanupReport:
        """End attempts whose lease has expired, and cancel contracts never claimed within `max_wait_minutes`.

        None for `max_wait_minutes` cancels nothing. Each call ends or cancels at most `limit`
        contracts of each kind: repeat it until the counts are zero. With `dry_run`, it changes nothing and
        returns what it would have changed.
        """
        required = {"max_wait_minutes": max_wait_minutes, "limit": limit}
        return self._rpc("cleanup_stale_contracts", CleanupReport, required, dry_run=dry_run or None)

    def prune(
        self, *, older_than_days: int = 30, limit: int = 1000, delete_artifacts: bool = False
    ) -> PruneReport:
        """Delete up to `limit` contracts that ended more than `older_than_days` days ago, with their history.

        `delete_artifacts` also deletes the outputs that `complete` stored for them, except those that other
        contracts refer to.
        """
        required = {"older_than_days": older_than_days, "limit": limit}
        return self._rpc(
            "prune_task_contracts", PruneReport, required | {"delete_artifacts": delete_artifacts}
        )

    def describe(self) -> dict[str, Any]:
        """Describe the live table: columns, constraints, indexes, policies, triggers, grants, row count."""
        described = self._data("describe_task_contracts", {})
        if not isinstance(described, dict):
            raise UnexpectedAnswer("the answer is not a description")
        return described
