# Generated from ehg_tasks/_async by `make generated`. Do not edit.
"""What every role has: a connection, retries, and calls of database functions."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, ClassVar, Self, TypeVar
from uuid import UUID

import httpx
from supabase import Client, ClientOptions

from ehg_tasks import answers, limits
from ehg_tasks._sync.runtime import Action, current_owner, sleep
from ehg_tasks.answers import Model
from ehg_tasks.connection import Connection, calling, http_options, proxies_in_words
from ehg_tasks.errors import TaskContractError, from_response, translate
from ehg_tasks.models import Attempt
from ehg_tasks.settings import KeyKind, Settings, url_and_key
from ehg_tasks.values import parameters
from ehg_tasks.waiting import Backoff

T = TypeVar("T")


def _raise_for_status(response: httpx.Response) -> None:
    # supabase-py drops parts of an error response, so it is read here.
    if not response.is_success:
        response.read()
        raise from_response(response)


class SyncBase:
    """A connection to a project, and a context manager that closes it.

    Failures are raised as `TaskContractError` (see `ehg_tasks.errors`); the docstrings name the errors
    that are specific to a method. Errors that are `retryable` are retried first.

    Threads may share a sync client. A client that has made a call belongs to the process, and an async
    client to the event loop, that made it: another one gets an error, because answers could cross.

    Args:
        settings: where the project is, with this role's key. Or give `url` and `key`.
        url: the project's URL, such as https://abcdefgh.supabase.co.
        key: this role's key.
        timeout: how long one attempt of a call waits for an answer, in seconds.
        retries: how many attempts may follow the first.

    Attributes:
        connection: the URL, key, timeout and retries in use, to connect another client in the same way.

    Raises:
        SettingsError: the URL or the key is missing, malformed, or belongs to another role; or a proxy or
            certificates that the environment names cannot be used.
    """

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
        url, key = url_and_key(settings, url, key, self._key_kind, type(self).__name__)
        self.connection = Connection(url, key, timeout, retries)
        self._most_rows = 2  # in one answer so far
        self._owner: object = None
        with proxies_in_words():
            self._http = httpx.Client(
                timeout=timeout, event_hooks={"response": [_raise_for_status]}, **http_options(url)
            )
        self._api = Client(url, key, self._options())

    def _options(self) -> ClientOptions:
        return ClientOptions(
            auto_refresh_token=False,
            persist_session=False,
            postgrest_client_retry=False,
            httpx_client=self._http,
        )

    @classmethod
    def from_env(cls, *, timeout: float = 10.0, retries: int = 3) -> Self:
        """Connect to the project that the environment or `.env` names (see `Settings.from_env`)."""
        return cls(Settings.from_env(), timeout=timeout, retries=retries)

    def close(self) -> None:
        """Close the connections. In another process or event loop than theirs, do nothing."""
        if self._owner in (None, current_owner()):
            self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def history(self, contract_id: UUID | str) -> list[Attempt]:
        """Return the newest 100 attempts of a contract, oldest first. Raises ContractNotFound."""
        return self._rpc_rows("task_contract_history", Attempt, limits.ATTEMPTS, {"contract_id": contract_id})

    def _check_owner(self) -> None:
        """Refuse a call from another process or event loop than that of the first call.

        Raises:
            TaskContractError: after a fork, or in a second event loop.
        """
        owner = current_owner()
        if self._owner is None:
            self._owner = owner
        if self._owner != owner:
            name = type(self).__name__
            raise TaskContractError(
                f"this {name} is in use in another process or event loop",
                hint=f"Create another {name} after a fork, and in each event loop.",
            )

    def _send(self, action: Action[T], *, retry: bool = True) -> T:
        """Run `action`, retrying transient errors. `retry=False` is for what must not run twice."""
        self._check_owner()
        retries = self.connection.retries if retry else 0
        backoff = Backoff(0.2, 5.0)
        while True:
            if self._http.is_closed:
                raise TaskContractError(f"this {type(self).__name__} is closed", hint="Create a new one.")
            try:
                with calling():
                    return action()
            except Exception as error:
                failure = translate(error)
                if failure is None:
                    raise
                if not failure.retryable or retries <= 0:
                    raise failure from None
            retries -= 1
            sleep(backoff.next())

    def _data(self, function: str, required: Mapping[str, Any], /, **optional: Any) -> Any:
        """Call a database function. Required parameters are always sent, optional ones unless None."""
        return self._page(function, parameters(required, optional), 0)

    def _page(self, function: str, given: Mapping[str, Any], offset: int) -> Any:
        call = self._api.rpc(function, dict(given))
        if offset:
            call = call.offset(offset)
        return (self._send(call.execute)).data

    def _rpc(
        self, function: str, model: type[Model], required: Mapping[str, Any], /, **optional: Any
    ) -> Model:
        """Call a database function that returns one row."""
        return answers.row(model, self._data(function, required, **optional))

    def _rpc_rows(
        self, function: str, model: type[Model], most: int, required: Mapping[str, Any], /, **optional: Any
    ) -> list[Model]:
        """Call a database function that returns up to `most` rows.

        A project may limit the rows of an answer (db-max-rows) without telling that it has cut one. So where
        an answer may be cut, the call is repeated for the rows that are missing. An answer that has fewer
        rows than an earlier one is complete.
        """
        given = parameters(required, optional)
        rows: list[Model] = []
        while True:
            page = answers.rows(model, self._page(function, given, len(rows)))
            rows += page
            if len(page) < self._most_rows or len(rows) >= most:
                return rows
            self._most_rows = max(self._most_rows, len(page))

    def _rpc_contract(
        self, function: str, model: type[Model], contract_id: UUID | str, required: Mapping[str, Any], /
    ) -> Model:
        """Call a database function that returns one contract's row, or none if there is no such contract."""
        return answers.contract(model, contract_id, self._data(function, required))
