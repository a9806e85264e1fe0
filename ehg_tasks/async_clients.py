"""The clients of `ehg_tasks.clients` for asyncio: the same methods, to be awaited.

What arguments mean and what is raised is told there.
"""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any, ClassVar, Generic, Self, TypeVar, Unpack
from uuid import UUID

import httpx
from postgrest import APIResponse, CountMethod
from supabase import AsyncClient, AsyncClientOptions
from supabase_auth.types import SignInWithEmailAndPasswordCredentials, SignUpWithEmailAndPasswordCredentials

from ehg_tasks import calls, queries
from ehg_tasks.calls import Call
from ehg_tasks.errors import AuthenticationFailed, TaskContractError, from_response
from ehg_tasks.models import (
    Claim,
    ClaimHandle,
    CleanupReport,
    Completion,
    ContractStats,
    ContractView,
    CreatedContract,
    FailedAttempt,
    InputArtifact,
    Lease,
    NewContract,
    Outcome,
    StatusChange,
    TaskContract,
)
from ehg_tasks.queries import STATS, TABLE, ContractFilters, Page
from ehg_tasks.settings import KeyKind, Settings, check_key

T = TypeVar("T")
Held = TypeVar("Held", bound=ClaimHandle | UUID | str)  # what a result is recorded with


async def _raise_for_status(response: httpx.Response) -> None:
    # Here status and body are still together; supabase-py would keep a part of them.
    if not response.is_success:
        await response.aread()
        raise from_response(response)


class _Client:
    """A connection to a project; a context manager that closes it."""

    _key_kind: ClassVar[KeyKind] = "publishable"

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        url: str | None = None,
        key: str | None = None,
        timeout: float = 10.0,
        retries: int = 3,
    ) -> None:
        url, key = calls.project(settings, url, key, self._key_kind, type(self).__name__)
        self._retries = retries
        # No redirects: the keys go to this project and nowhere else.
        self._http = httpx.AsyncClient(
            timeout=timeout, follow_redirects=False, event_hooks={"response": [_raise_for_status]}
        )
        self._api = AsyncClient(url, key, self._options())

    def _options(self) -> AsyncClientOptions:
        return AsyncClientOptions(
            auto_refresh_token=False,
            persist_session=False,
            postgrest_client_retry=False,
            httpx_client=self._http,
        )

    @classmethod
    def from_env(cls, *, timeout: float = 10.0, retries: int = 3) -> Self:
        """A client of the project that the environment or `.env` names (see `Settings.from_env`)."""
        return cls(Settings.from_env(), timeout=timeout, retries=retries)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _send(self, act: Callable[[], Awaitable[T]], *, repeat: bool = True) -> T:
        """Do it, again where that may help; `repeat=False` is for what must not be done twice."""
        attempt = 0
        while True:
            if self._http.is_closed:
                raise TaskContractError(f"this {type(self).__name__} is closed", hint="Make a new one.")
            try:
                return await act()
            except Exception as error:  # noqa: BLE001 - sorted out and raised there
                seconds = calls.retry_wait(error, attempt, self._retries if repeat else 0)
            await asyncio.sleep(seconds)
            attempt += 1

    async def _call(self, call: Call[T]) -> T:
        answer = await self._send(lambda: self._api.rpc(call.function, call.parameters).execute())
        return call.read(answer.data)


class _Agent(_Client, Generic[Held]):
    """The acts of agents."""

    async def create(self, contract: NewContract | None = None, /, **fields: Any) -> CreatedContract:
        """Hand work over: a `NewContract`, or its fields as keywords."""
        return await self._call(calls.create(contract, fields))

    async def create_many(self, contracts: Iterable[NewContract], /) -> list[CreatedContract]:
        """Hand over up to 1000 pieces of work in one call, all or none."""
        return await self._call(calls.create_many(contracts))

    async def claim(
        self,
        target_agent: str,
        *,
        limit: int = 1,
        request_key: UUID | str | None = None,
        agent_id: UUID | str | None = None,
    ) -> list[Claim]:
        """Claim up to `limit` (100 at most) contracts for an agent; an empty list when there are none."""
        return await self._call(calls.claim(target_agent, limit, request_key, agent_id))

    async def renew(self, claim: ClaimHandle) -> Lease:
        """Hold a claim for `timeout_minutes` from now. Raises ClaimLost, StatusConflict."""
        return await self._call(calls.renew(claim))

    async def complete(
        self,
        claim: Held,
        *,
        output: Any = None,
        result_summary: str | None = None,
        output_artifact_id: UUID | str | None = None,
        execution_tokens: int | None = None,
        idempotency_key: UUID | str | None = None,
        agent_id: UUID | str | None = None,
    ) -> Completion:
        """Record the result, once."""
        return await self._call(
            calls.complete(
                claim,
                output=output,
                result_summary=result_summary,
                output_artifact_id=output_artifact_id,
                execution_tokens=execution_tokens,
                idempotency_key=idempotency_key,
                agent_id=agent_id,
            )
        )

    async def fail(self, claim: ClaimHandle, message: str, *, retry: bool = True) -> FailedAttempt:
        """End an attempt with an error: pending again after a wait while retries are left, else failed."""
        return await self._call(calls.fail(claim, message, retry))

    async def release(self, claim: ClaimHandle) -> StatusChange:
        """Give a claim back unworked; no retry is spent. Raises ClaimLost, StatusConflict."""
        return await self._call(calls.release(claim))

    async def cancel(self, contract_id: UUID | str, reason: str | None = None) -> StatusChange:
        """Cancel what has not ended. Raises ContractNotFound, StatusConflict."""
        return await self._call(calls.cancel(contract_id, reason))

    async def outcome(self, contract_id: UUID | str) -> Outcome:
        """What became of a contract so far. Raises ContractNotFound."""
        return await self._call(calls.outcome(contract_id))

    async def outcomes(self, contract_ids: Iterable[UUID | str]) -> list[Outcome]:
        """What became of contracts, in the order asked and each once; unknown ids are left out."""
        return [outcome for call in calls.outcomes(contract_ids) for outcome in await self._call(call)]

    async def inputs(self, claim: ClaimHandle) -> list[InputArtifact]:
        """The input artifacts of a claimed contract, whole. Raises ClaimLost, StatusConflict."""
        return await self._call(calls.inputs(claim))


class _Reader(_Client):
    """Reading the table."""

    def list(
        self,
        *,
        limit: int | None = None,
        newest_first: bool = False,
        page_size: int = 1000,
        **filters: Unpack[ContractFilters],
    ) -> AsyncIterator[TaskContract]:
        """Contracts in the order of their creation, however many; asked for page by page."""
        return self._rows(queries.contracts(filters, limit, newest_first, page_size))

    async def count(self, **filters: Unpack[ContractFilters]) -> int:
        """How many contracts there are, with the filters of `list`."""
        conditions = queries.where(filters)

        async def act() -> APIResponse:
            select = self._api.table(TABLE).select("id", count=CountMethod.exact, head=True)
            return await queries.narrow(select, conditions).execute()

        return calls.counted((await self._send(act)).count)

    async def get(self, contract_id: UUID | str) -> TaskContract:
        """The row of a contract. Raises ContractNotFound."""
        contract_id = calls.uuid_text("contract_id", contract_id)
        answer = await self._send(lambda: self._api.table(TABLE).select("*").eq("id", contract_id).execute())
        return calls.row_of(TaskContract, contract_id)(answer.data)

    async def read(self, contract_id: UUID | str) -> ContractView:
        """A contract with previews of its inputs. Raises ContractNotFound."""
        return await self._call(calls.read(contract_id))

    async def stats(self) -> builtins.list[ContractStats]:
        """Figures of every target agent and status, in that order; counted anew for every 1000 rows."""
        figures: builtins.list[ContractStats] = []
        while more := await self._figures(len(figures)):
            figures += more
        return figures

    async def _figures(self, offset: int) -> builtins.list[ContractStats]:
        answer = await self._send(lambda: queries.stats(self._api.table(STATS).select("*"), offset).execute())
        return calls.rows(ContractStats)(answer.data)

    async def _rows(self, page: Page | None) -> AsyncIterator[TaskContract]:
        while page is not None:
            data = await self._page(page)
            for row in calls.rows(TaskContract)(data):
                yield row
            page = page.next(data)

    async def _page(self, page: Page) -> Any:
        answer = await self._send(lambda: page.query(self._api.table(TABLE).select("*")).execute())
        return answer.data


class AsyncAgentTasks(_Agent[ClaimHandle]):
    """An agent, with the publishable key: creates, claims and finishes contracts, sees no others."""


class AsyncDashboardTasks(_Reader):
    """A person who looks at the contracts, with the publishable key: sign in, or bring an access token."""

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
        self._refreshing = asyncio.Lock()
        super().__init__(settings, url=url, key=key, timeout=timeout, retries=retries)

    def _options(self) -> AsyncClientOptions:
        options = super()._options()
        if self._access_token is not None:
            options.headers["Authorization"] = f"Bearer {self._access_token}"
        return options

    async def sign_up(self, email: str, password: str) -> bool:
        """Make a user; returns whether they are signed in, or have to confirm the address first."""
        user: SignUpWithEmailAndPasswordCredentials = {"email": email, "password": password}
        answer = await super()._send(lambda: self._api.auth.sign_up(user), repeat=False)
        return answer.session is not None

    async def sign_in(self, email: str, password: str) -> None:
        """Sign in; the session is renewed as long as this client is used. Raises AuthenticationFailed."""
        user: SignInWithEmailAndPasswordCredentials = {"email": email, "password": password}
        await super()._send(lambda: self._api.auth.sign_in_with_password(user))

    async def sign_out(self) -> None:
        """End this session; the user's others go on."""
        with suppress(AuthenticationFailed):  # it had ended already
            await super()._send(lambda: self._api.auth.sign_out({"scope": "local"}), repeat=False)

    async def _send(self, act: Callable[[], Awaitable[T]], *, repeat: bool = True) -> T:
        # Renews a session that is about to end. supabase-py's own timer would outlive this client.
        async with self._refreshing:
            await super()._send(self._api.auth.get_session)
        return await super()._send(act, repeat=repeat)


class AsyncBackendTasks(_Agent[ClaimHandle | UUID | str], _Reader):
    """A backend job, with the secret key: does all that agents and dashboards do, and keeps the house."""

    _key_kind = "secret"

    async def update(self, contract_id: UUID | str, /, **columns: Any) -> TaskContract:
        """Write columns of a row, past the rules of the lifecycle."""
        contract_id, values = calls.uuid_text("contract_id", contract_id), queries.columns(columns)
        answer = await self._send(
            lambda: self._api.table(TABLE).update(values).eq("id", contract_id).execute()
        )
        return calls.row_of(TaskContract, contract_id)(answer.data)

    async def delete(self, contract_id: UUID | str) -> None:
        """Delete a contract, once: after a lost connection it may be gone. Raises ContractNotFound."""
        contract_id = calls.uuid_text("contract_id", contract_id)
        answer = await self._send(
            lambda: self._api.table(TABLE).delete().eq("id", contract_id).select("id").execute(),
            repeat=False,
        )
        calls.found(contract_id, answer.data)

    async def cleanup(self, *, max_wait_minutes: int | None = 1440, limit: int = 1000) -> CleanupReport:
        """End attempts whose claim ran out, and cancel what waited longer than `max_wait_minutes`."""
        return await self._call(calls.cleanup(max_wait_minutes, limit))

    async def prune(self, *, older_than_days: int = 30, limit: int = 1000) -> int:
        """Delete up to `limit` contracts that ended so long ago; returns how many. Artifacts stay."""
        return await self._call(calls.prune(older_than_days, limit))

    async def describe(self) -> dict[str, Any]:
        """The live table: columns, constraints, indexes, policies, triggers, grants, row count."""
        return await self._call(calls.describe())
