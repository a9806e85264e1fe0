"""Everything that can go wrong, as one tree.

    TaskContractError
    ├── SettingsError          the URL or a key is missing, wrong, or of the wrong kind
    ├── LocalStackError        the embedded Supabase cannot do what was asked
    ├── ContractNotFound       TC001  there is no such contract
    ├── ClaimLost              TC002  the claim ran out, was handed back, or no token was shown
    ├── StatusConflict         TC003  the contract's status does not allow this
    ├── IdempotencyConflict    TC004  the key was used for something else
    ├── BadArgument            TC005  an argument is out of its range, or not of its type
    ├── TooLarge               TC006  a text, a JSON value or a batch is over its limit
    ├── InvalidData            22…, 23…  the table refuses the values (unknown sd_id, bad number, …)
    ├── AccessDenied           42501, 21000  this role may not do this
    ├── AuthenticationFailed   HTTP 401, PGRST30x  the key, token or password is not accepted
    ├── MigrationsMissing      PGRST20x  the project lacks a function, table or column
    ├── UnexpectedAnswer       what came back is not an answer of this API
    └── TemporaryError         try again: `retryable` is true
        ├── ServerBusy         57014, 55P03, 40…, 53…, HTTP 429, 502-504
        └── ConnectionFailed   no connection, or it broke before the answer

No message holds a key, a token or a password.
"""

# ruff: noqa: N818  (named for what happened, as httpx names its own)

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import httpx


class TaskContractError(Exception):
    """A call that did not do what was asked.

    Attributes:
        message: what happened, in the server's words where it said something.
        code: SQLSTATE, PGRST code or the auth server's code; None where no server was involved.
        details: more about the failing value, where the server gave it.
        hint: what to do about it.
        status: HTTP status of the answer; None where there was none.
        retryable: whether the same call may succeed later (a property of the class).
    """

    retryable: ClassVar[bool] = False
    advice: ClassVar[str | None] = None  # the hint where the server gives none

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
        text = f"{self.message} ({self.code})" if self.code else self.message
        more = [part for part in (self.details, self.hint) if part]
        return " ".join(". ".join([text.rstrip("."), *more]).split())


class SettingsError(TaskContractError):
    """The URL or a key is missing, wrong, or of the wrong kind."""


class LocalStackError(TaskContractError):
    """The embedded Supabase cannot do what was asked."""


class ContractNotFound(TaskContractError):
    """There is no such contract."""


class ClaimLost(TaskContractError):
    """The claim ran out, was handed back, or no token was shown; drop the work."""


class StatusConflict(TaskContractError):
    """The contract's status does not allow this."""


class IdempotencyConflict(TaskContractError):
    """The key was used for something else."""


class BadArgument(TaskContractError):
    """An argument is out of its range, or not of its type."""


class TooLarge(TaskContractError):
    """A text, a JSON value or a batch is over its limit."""


class InvalidData(TaskContractError):
    """The table refuses the values."""


class AccessDenied(TaskContractError):
    """This role may not do this."""


class AuthenticationFailed(TaskContractError):
    """The key, token or password is not accepted."""


class MigrationsMissing(TaskContractError):
    """The project lacks a function, table or column of this version."""

    advice = "Apply the migrations of this version to the project (supabase db push)."


class UnexpectedAnswer(TaskContractError):
    """What came back is not an answer of this API."""

    advice = "Check that SUPABASE_URL is the project's URL and that its migrations fit this version."


class TemporaryError(TaskContractError):
    """Something that passes: the same call may succeed later."""

    retryable = True


class ServerBusy(TemporaryError):
    """The server is overloaded, restarting, or gave up after its time limit."""


class ConnectionFailed(TemporaryError):
    """No connection, or it broke before the answer; the server may have acted."""

    advice = "Check SUPABASE_URL; the embedded Supabase is started by `ehg-tasks local start`."


_BY_CODE: dict[str, type[TaskContractError]] = {
    "TC001": ContractNotFound,
    "TC002": ClaimLost,
    "TC003": StatusConflict,
    "TC004": IdempotencyConflict,
    "TC005": BadArgument,
    "TC006": TooLarge,
    "42501": AccessDenied,
    "21000": AccessDenied,
    "42P01": MigrationsMissing,
    "42703": MigrationsMissing,
    "42883": MigrationsMissing,
    "PGRST301": AuthenticationFailed,
    "PGRST302": AuthenticationFailed,
    "PGRST303": AuthenticationFailed,
    "55P03": ServerBusy,
    "57014": ServerBusy,
}
_BY_CLASS: tuple[tuple[str, type[TaskContractError]], ...] = (
    ("22", InvalidData),
    ("23", InvalidData),
    ("08", ServerBusy),
    ("40", ServerBusy),
    ("53", ServerBusy),
    ("57P", ServerBusy),
    ("PGRST00", ServerBusy),  # PostgREST has no connection to the database
    ("PGRST20", MigrationsMissing),
)


def from_answer(
    status: int,
    message: str,
    *,
    code: str | None = None,
    details: str | None = None,
    hint: str | None = None,
) -> TaskContractError:
    """The exception for an error that the server put into words.

    The code decides before the status: PostgREST answers an agent's refused read with 401 and 42501.
    """
    kind = _by_code(code) if code else None
    kind = kind or _by_status(status) or (TaskContractError if code else UnexpectedAnswer)
    if kind is MigrationsMissing:
        hint = None  # Postgres would look for type casts; what is missing is the function
    return kind(message, code=code, details=details, hint=hint, status=status)


def _by_code(code: str) -> type[TaskContractError] | None:
    return _BY_CODE.get(code) or next((cls for prefix, cls in _BY_CLASS if code.startswith(prefix)), None)


def _by_status(status: int) -> type[TaskContractError] | None:
    if status in (408, 429, 502, 503, 504) or 520 <= status <= 530:
        return ServerBusy
    return {401: AuthenticationFailed, 403: AccessDenied, 413: TooLarge}.get(status)


def from_response(response: httpx.Response) -> TaskContractError:
    """The exception for an HTTP answer that is no success; its body must have been read."""
    status = response.status_code
    try:
        body = response.json()
    except (ValueError, RecursionError):
        body = None
    message = _text(body, "message", "msg", "error_description", "error")
    if message is None:
        kind = _by_status(status) or UnexpectedAnswer
        return kind(f"the server answered {status} {response.reason_phrase}".rstrip(), status=status)
    code = _text(body, "error_code", "code")
    if "/auth/v1/" in response.url.path and status < 500 and status != 429:
        return AuthenticationFailed(message, code=code, status=status)
    return from_answer(status, message, code=code, details=_text(body, "details"), hint=_text(body, "hint"))


def _text(body: Any, *names: str) -> str | None:
    """The first of these fields that holds a text."""
    if not isinstance(body, dict):
        return None
    return next((body[name] for name in names if isinstance(body.get(name), str) and body[name]), None)


def translate(error: Exception) -> TaskContractError | None:
    """The exception of this tree for one of a library below us; None for one that is not theirs."""
    # Imported here, because this module is imported where start-up time counts.
    import httpx
    import pydantic
    from postgrest import APIError
    from supabase_auth.errors import AuthError, AuthRetryableError

    match error:
        case TaskContractError():
            return error
        case httpx.LocalProtocolError():  # its text quotes the header, and so the key
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
            return UnexpectedAnswer(f"the answer has another shape than expected: {one_line(error)}")
        case httpx.HTTPError() | httpx.InvalidURL() | ValueError() | RecursionError():
            return UnexpectedAnswer("the answer cannot be read")
    return None


def _server(error: Exception) -> str:
    """Where a request went, as far as the error knows."""
    try:
        url = error.request.url  # type: ignore[attr-defined]
    except (AttributeError, RuntimeError):
        return "the server"
    return f"{url.scheme}://{url.netloc.decode('ascii')}"


def one_line(error: Any) -> str:
    """The first faults of a pydantic `ValidationError` in a line, without the values."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    lines = [f"{'.'.join(map(str, fault['loc'])) or 'value'}: {fault['msg']}" for fault in faults[:3]]
    return "; ".join(lines) + (f"; and {len(faults) - 3} more" if len(faults) > 3 else "")
