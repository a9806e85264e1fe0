# Generated from ehg_tasks/_async by `make generated`. Do not edit.
"""Backend jobs: everything that agents and dashboards do, and maintenance, with the secret key."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from ehg_tasks import answers, pages
from ehg_tasks._sync.agents import SyncAgentMethods
from ehg_tasks._sync.readers import SyncReaderMethods
from ehg_tasks.errors import ContractNotFound, UnexpectedAnswer
from ehg_tasks.models import ClaimHandle, CleanupReport, PruneReport, TaskContract
from ehg_tasks.pages import TABLE
from ehg_tasks.values import uuid_text


class BackendTasks(SyncAgentMethods[ClaimHandle | UUID | str], SyncReaderMethods):
    """A backend job, with the secret key: does what agents and dashboards do, and maintenance.

    It may `complete` a contract in progress by its id alone, without the claim.
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

    def cleanup(self, *, max_wait_minutes: int | None = 1440, limit: int = 1000) -> CleanupReport:
        """End attempts whose lease has expired, and cancel contracts not claimed within `max_wait_minutes`.

        None for `max_wait_minutes` cancels nothing. Each call ends or cancels at most `limit`
        contracts of each kind: repeat it until the counts are zero.
        """
        required = {"max_wait_minutes": max_wait_minutes, "limit": limit}
        return self._rpc("cleanup_stale_contracts", CleanupReport, required)

    def prune(self, *, older_than_days: int = 30, limit: int = 1000) -> int:
        """Delete up to `limit` contracts that ended more than `older_than_days` days ago; return how many.

        Their artifacts are kept.
        """
        required = {"older_than_days": older_than_days, "limit": limit}
        return (self._rpc("prune_task_contracts", PruneReport, required)).deleted_count

    def describe(self) -> dict[str, Any]:
        """Describe the live table: columns, constraints, indexes, policies, triggers, grants, row count."""
        described = self._data("describe_task_contracts", {})
        if not isinstance(described, dict):
            raise UnexpectedAnswer("the answer is not a description")
        return described
