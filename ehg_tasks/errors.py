"""The exceptions of this package, as one tree.

    TaskContractError
    ├── SettingsError          the URL, a key or a token is missing, malformed, or of the wrong kind
    ├── LocalStackError        an operation on the embedded Supabase failed
    ├── ContractNotFound       TC001  there is no such contract, input artifact or registered agent
    ├── ClaimLost              TC002  the lease expired, the claim was released, or there was no token
    ├── StatusConflict         TC003  the contract's status does not allow this
    ├── IdempotencyConflict    TC004  the key was used for something else
    ├── BadArgument            TC005  an argument is out of range, or not of its type
    ├── TooLarge               TC006, 54…, HTTP 413  a text, a JSON value or a batch is over its limit
    ├── InvalidData            22…, 23…, P0001  a table or a trigger refuses the values (unknown sd_id, …)
    ├── AccessDenied           42501, 21000, HTTP 403  this role may not do this, or the agent token is wrong
    ├── AuthenticationFailed   PGRST30…, HTTP 401  the key, token or password is not accepted
    ├── MigrationsMissing      PGRST20…, 42P01, 42703, 42883  the project lacks a function, table or column
    ├── UnexpectedAnswer       the answer is not in this API's format
    ├── WaitTimedOut           the contracts did not end in time; also a TimeoutError
    └── TemporaryError         try again: `retryable` is true
        ├── ServerBusy         08…, 25006, 40…, 53…, 55P03, 57014, 57P…, 58…, XX…, PGRST00…, 408, 429, 5xx
        └── ConnectionFailed   there was no connection, or it broke before the answer

No message contains a key, a token or a password.
"""

# ruff: noqa: N818  (exceptions are named for what happened, as in httpx)

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import httpx


class TaskContractError(Exception):
    """A call failed.

    Attributes:
        message: what happened, in the server's words if it gave any.
        code: SQLSTATE, PGRST code or the auth server's code; None if no server was involved.
        details: more about the failing value, if the server gave it.
        hint: what to do about it.
        status: HTTP status of the answer; None if there was no answer.
        retryable: whether the same call may succeed later (a property of the class).
    """

    retryable: ClassVar[bool] = False
    advice: ClassVar[str | None] = None  # the hint if the server gives none
    codes: ClassVar[tuple[str, ...]] = ()  # the codes that mean this error, or how they begin
    statuses: ClassVar[Collection[int]] = ()  # the HTTP statuses that mean this error if no code does

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        details: str | None = None,
        hint: str | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.details = details
        self.hint = hint or self.advice
        self.status = status

    def __str__(self) -> str:
        """One line: message, code, details, hint."""
        message = f"{self.message.rstrip('.')} ({self.code})" if self.code else self.message
        *parts, last = (part for part in (message, self.details, self.hint) if part)
        return " ".join(". ".join([*(part.rstrip(".") for part in parts), last]).split())


class SettingsError(TaskContractError):
    """The URL, a key or a token is missing, malformed, or of the wrong kind."""


class LocalStackError(TaskContractError):
    """An operation on the embedded Supabase failed."""


class ContractNotFound(TaskContractError):
    """There is no such contract, input artifact or registered agent."""

    codes = ("TC001",)


class ClaimLost(TaskContractError):
    """The lease expired, the claim was released, or there was no token. Drop the work."""

    codes = ("TC002",)


class StatusConflict(TaskContractError):
    """The contract's status does not allow this."""

    codes = ("TC003",)


class IdempotencyConflict(TaskContractError):
    """The key was used for something else."""

    codes = ("TC004",)


class BadArgument(TaskContractError):
    """An argument is out of range, or not of its type."""

    codes = ("TC005",)


class TooLarge(TaskContractError):
    """A text, a JSON value or a batch is over its limit."""

    codes = ("TC006", "54")
    statuses = (413,)


class InvalidData(TaskContractError):
    """A table or a trigger refuses the values."""

    codes = ("22", "23", "P0001")


class AccessDenied(TaskContractError):
    """This role may not do this, or the token of a registered agent is missing or wrong."""

    codes = ("42501", "21000")
    statuses = (403,)


class AuthenticationFailed(TaskContractError):
    """The key, token or password is not accepted."""

    codes = ("PGRST30",)
    statuses = (401,)


class MigrationsMissing(TaskContractError):
    """The project lacks a function, table or column of this version."""

    advice = "Apply the migrations of this version to the project (supabase db push)."
    codes = ("PGRST20", "42P01", "42703", "42883")


class UnexpectedAnswer(TaskContractError):
    """The answer is not in this API's format."""

    advice = "Check that SUPABASE_URL is the project's URL and that its migrations match this version."


class WaitTimedOut(TaskContractError, TimeoutError):
    """The contracts did not end in time. They go on; wait again, or cancel them."""


class TemporaryError(TaskContractError):
    """A problem that passes: the same call may succeed later."""

    retryable = True


class ServerBusy(TemporaryError):
    """The server is overloaded, restarting, read-only, failed internally, or reached its time limit."""

    codes = ("08", "25006", "40", "53", "55P03", "57014", "57P", "58", "XX", "PGRST00")
    statuses = (408, 429, *range(500, 600))


class ConnectionFailed(TemporaryError):
    """There was no connection, or it broke before the answer; the server may have acted."""

    advice = "Check SUPABASE_URL. To start the embedded Supabase, run: ehg-tasks local start."


_KINDS = (*TaskContractError.__subclasses__(), *TemporaryError.__subclasses__())


def from_response(response: httpx.Response) -> TaskContractError:
    """The exception for an HTTP answer that is not a success; its body must have been read.

    The code takes precedence over the status: PostgREST answers an agent's refused read with 401 and 42501.
    """
    status = response.status_code
    try:
        body = response.json()
    except (ValueError, RecursionError):
        body = None
    message = _field(body, "message", "msg", "error_description", "error")
    if message is None:
        kind = _by_status(status) or UnexpectedAnswer
        return kind(f"the server answered {status} {response.reason_phrase}".rstrip(), status=status)
    code = _field(body, "error_code", "code")
    if "/auth/v1/" in response.url.path and status < 500 and status != 429:
        return AuthenticationFailed(message, code=code, status=status)
    kind = _by_code(code) or _by_status(status) or (TaskContractError if code else UnexpectedAnswer)
    # Where a function is missing, Postgres suggests type casts.
    hint = None if kind is MigrationsMissing else _field(body, "hint")
    if code and code.startswith("TC"):
        message, hint = _python_names(message), _python_names(hint or "")
    return kind(message, code=code, details=_field(body, "details"), hint=hint, status=status)


def from_code(code: str, message: str) -> TaskContractError:
    """The exception for a refusal that is reported in an answer instead of raised."""
    return (_by_code(code) or TaskContractError)(_python_names(message), code=code)


def _python_names(text: str) -> str:
    """A message of our SQL functions with the names that the parameters have in Python; not in quotations."""
    return re.sub(r'"[^"]*"|\bp_(\w+)', lambda found: found[1] or found[0], text)


def _by_code(code: str | None) -> type[TaskContractError] | None:
    return next((kind for kind in _KINDS if code and code.startswith(kind.codes)), None)


def _by_status(status: int) -> type[TaskContractError] | None:
    return next((kind for kind in _KINDS if status in kind.statuses), None)


def _field(body: Any, *names: str) -> str | None:
    """The first of these fields that is a string and not empty."""
    if not isinstance(body, dict):
        return None
    return next((body[name] for name in names if isinstance(body.get(name), str) and body[name]), None)


def translate(error: Exception) -> TaskContractError | None:
    """The exception of this tree for an exception of a library that we use; None for any other."""
    # Imported here, because the command line imports this module at its start.
    import httpx
    import pydantic
    from postgrest import APIError
    from supabase_auth.errors import AuthError, AuthRetryableError

    match error:
        case TaskContractError():
            return error
        case httpx.LocalProtocolError():  # its message quotes the header, and so the key
            return ConnectionFailed("the request could not be written")
        case httpx.TimeoutException():
            return ConnectionFailed("no answer within the client's timeout")
        case httpx.TransportError() | AuthRetryableError():
            return ConnectionFailed(f"cannot reach {_server(error)}: {error}".rstrip(": "))
        case AuthError():
            return AuthenticationFailed(str(error), code=error.code)
        case APIError():
            return UnexpectedAnswer(error.message or "the answer is empty", code=error.code)
        case pydantic.ValidationError():
            return UnexpectedAnswer(f"the answer does not have the expected shape: {one_line(error)}")
        case httpx.HTTPError() | httpx.InvalidURL() | ValueError() | RecursionError():
            return UnexpectedAnswer("the answer cannot be read")
    return None


def _server(error: Exception) -> str:
    """Where a request was sent, if the error says so."""
    try:
        url = error.request.url  # type: ignore[attr-defined]
    except (AttributeError, RuntimeError):
        return "the server"
    return f"{url.scheme}://{url.netloc.decode('ascii')}"


def one_line(error: Any) -> str:
    """The first three problems of a pydantic `ValidationError` in one line, without the values."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    lines = [f"{'.'.join(map(str, problem['loc'])) or 'value'}: {problem['msg']}" for problem in problems[:3]]
    return "; ".join(lines) + (f"; and {len(problems) - 3} more" if len(problems) > 3 else "")
