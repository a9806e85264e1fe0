# Generated from ehg_tasks/_async by `make generated`. Do not edit.
"""Dashboards: read the table as a signed-in user, with the publishable key."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, TypeVar, Unpack
from uuid import UUID

from postgrest import CountMethod, SyncSelectRequestBuilder
from supabase import ClientOptions
from supabase_auth.types import (
    Session,
    SignInWithEmailAndPasswordCredentials,
    SignUpWithEmailAndPasswordCredentials,
)

from ehg_tasks import answers, pages
from ehg_tasks._sync.base import SyncBase
from ehg_tasks._sync.runtime import Action, Lock
from ehg_tasks.answers import Model
from ehg_tasks.errors import AccessDenied, AuthenticationFailed, BadArgument, UnexpectedAnswer
from ehg_tasks.models import ContractStats, ContractView, RegisteredAgent, TaskContract
from ehg_tasks.pages import AGENTS, STATS, TABLE, ContractFilters, Page
from ehg_tasks.settings import Settings, check_key, expired
from ehg_tasks.values import uuid_text

T = TypeVar("T")


class SyncReaderMethods(SyncBase):
    """What dashboards and backend jobs have in common."""

    def list(
        self,
        *,
        limit: int | None = None,
        newest_first: bool = False,
        page_size: int = 1000,
        **filters: Unpack[ContractFilters],
    ) -> Iterator[TaskContract]:
        """Iterate over all contracts that match, oldest first, page by page.

        Args:
            limit: the maximum number of contracts. Default: no limit.
            newest_first: reverse the order.
            page_size: rows per request; the server may return fewer.
            filters: which contracts; see `ContractFilters`.
        """
        return self._rows(pages.first_page(filters, limit, newest_first, page_size))

    def _rows(self, page: Page | None) -> Iterator[TaskContract]:
        while page is not None:
            data = self._select(TABLE, page.query)
            for row in answers.rows(TaskContract, data):
                yield row
            page = page.next(data)

    def _select(
        self, relation: str, refine: Callable[[SyncSelectRequestBuilder], SyncSelectRequestBuilder]
    ) -> Any:
        # Built for each attempt, because a query holds the current access token.
        return (self._send(lambda: refine(self._api.table(relation).select("*")).execute())).data

    def count(self, **filters: Unpack[ContractFilters]) -> int:
        """Count the contracts that match; the filters are those of `list`."""
        where = pages.conditions(filters)

        def execute() -> Any:
            # Not a HEAD request, because an error answer to HEAD has no body.
            select = self._api.table(TABLE).select("id", count=CountMethod.exact)
            return pages.narrow(select, where).limit(1).execute()

        count = (self._send(execute)).count
        if not isinstance(count, int):
            raise UnexpectedAnswer("the answer has no count")
        return count

    def get(self, contract_id: UUID | str) -> TaskContract:
        """Return the row of a contract. Raises ContractNotFound."""
        contract_id = uuid_text("contract_id", contract_id)
        data = self._select(TABLE, lambda select: select.eq("id", contract_id))
        return answers.contract(TaskContract, contract_id, data)

    def find(self, start: str) -> TaskContract:
        """Return the only contract whose id begins with these characters, at least 4 hexadecimal digits.

        Raises:
            BadArgument: they cannot begin an id, or several ids begin with them.
            ContractNotFound: no id does.
        """
        where = pages.id_conditions(start)
        data = self._select(TABLE, lambda select: pages.narrow(select, where).order("id").limit(2))
        found = answers.rows(TaskContract, data)
        if len(found) > 1:
            ids = " and ".join(str(contract.id) for contract in found)
            raise BadArgument(
                f"several contract ids begin with {start}, such as {ids}", hint="Give more of it."
            )
        return answers.contract(TaskContract, f"whose id begins with {start}", data)

    def read(self, contract_id: UUID | str) -> ContractView:
        """Return a contract with previews of its inputs. Raises ContractNotFound."""
        return self._rpc_contract(
            "read_task_contract", ContractView, contract_id, {"contract_id": contract_id}
        )

    def stats(self) -> builtins.list[ContractStats]:
        """Return figures for each target agent and status, in that order. Sends one request per 1000 rows."""
        return self._view(STATS, ContractStats, "target_agent", "status")

    def agents(self) -> builtins.list[RegisteredAgent]:
        """Return the registered agents by name, with what runs and waits. Sends one request per 1000 rows."""
        return self._view(AGENTS, RegisteredAgent, "name")

    def _view(self, view: str, model: type[Model], *order: str) -> builtins.list[Model]:
        """Return every row of a view in the order of these columns."""
        rows: builtins.list[Model] = []

        def remaining(select: SyncSelectRequestBuilder) -> SyncSelectRequestBuilder:
            for column in order:
                select = select.order(column)
            return select.offset(len(rows))

        while data := self._select(view, remaining):
            rows += answers.rows(model, data)
        return rows


class DashboardTasks(SyncReaderMethods):
    """A signed-in person who reads contracts, with the publishable key. Call `sign_in` first, or give an
    access token.

    Args:
        access_token: the access token (JWT) of a signed-in user; it is not renewed.
        settings, url, key, timeout, retries: see `AgentTasks`.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        url: str | None = None,
        key: str | None = None,
        access_token: str | None = None,
        timeout: float = 10.0,
        retries: int = 3,
    ) -> None:
        if access_token is not None:
            check_key(access_token, "user token", type(self).__name__)
        self._access_token = access_token
        self._refreshing = Lock()
        super().__init__(settings, url=url, key=key, timeout=timeout, retries=retries)

    def _options(self) -> ClientOptions:
        options = super()._options()
        if self._access_token is not None:
            options.headers["Authorization"] = f"Bearer {self._access_token}"
        return options

    def sign_up(self, email: str, password: str) -> bool:
        """Register a user. Returns whether they are signed in; if not, they must confirm the address first.

        Raises:
            AuthenticationFailed: the project refuses the address or the password, or has this user already.
        """
        user: SignUpWithEmailAndPasswordCredentials = {"email": email, "password": password}
        answer = super()._send(lambda: self._api.auth.sign_up(user), retry=False)
        return answer.session is not None

    def sign_in(self, email: str, password: str) -> None:
        """Sign in. The session is renewed for as long as this client is used. Raises AuthenticationFailed."""
        user: SignInWithEmailAndPasswordCredentials = {"email": email, "password": password}
        super()._send(lambda: self._api.auth.sign_in_with_password(user))

    def sign_out(self) -> None:
        """End this session; the user's other sessions continue."""
        with suppress(AuthenticationFailed):  # the session has already ended
            super()._send(lambda: self._api.auth.sign_out({"scope": "local"}), retry=False)

    def _send(self, action: Action[T], *, retry: bool = True) -> T:
        self._check_owner()  # before the lock, which has the same owner
        session = self._session()
        try:
            return super()._send(action, retry=retry)
        except AuthenticationFailed as error:
            if session is None:
                raise expired(error, self._access_token) from None
            self._session(refused=session.access_token)
            return super()._send(action, retry=retry)
        except AccessDenied as error:
            if session is None and self._access_token is None:
                error.hint = "Call sign_in first, or give an access token."
            raise

    def _session(self, *, refused: str | None = None) -> Session | None:
        """The session, renewed if it is about to end or the server has refused its access token.

        The server's clock decides, and this machine's may be wrong. supabase-py's own timer would outlive
        this client.
        """
        with self._refreshing:
            session = super()._send(self._api.auth.get_session)
            if session is not None and session.access_token == refused:
                session = (super()._send(self._api.auth.refresh_session)).session
            return session
