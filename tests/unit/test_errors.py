"""Every failure becomes a `TaskContractError` with a message of one line and no secrets."""

from __future__ import annotations

from typing import Any

import httpx
import pydantic
import pytest
from postgrest import APIError
from supabase_auth.errors import AuthApiError, AuthRetryableError

from ehg_tasks import errors
from ehg_tasks.errors import TaskContractError, from_code, from_response, one_line, translate

REST = "https://abcdefgh.supabase.co/rest/v1/rpc/claim_task_contract"
AUTH = "https://abcdefgh.supabase.co/auth/v1/token"


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "TC001", errors.ContractNotFound),
        (400, "TC002", errors.ClaimLost),
        (400, "TC003", errors.StatusConflict),
        (400, "TC004", errors.IdempotencyConflict),
        (400, "TC005", errors.BadArgument),
        (400, "TC006", errors.TooLarge),
        (409, "23503", errors.InvalidData),
        (409, "23505", errors.InvalidData),
        (400, "22P02", errors.InvalidData),
        (401, "42501", errors.AccessDenied),
        (403, "42501", errors.AccessDenied),
        (400, "21000", errors.AccessDenied),
        (401, "PGRST301", errors.AuthenticationFailed),
        (401, "PGRST303", errors.AuthenticationFailed),
        (404, "PGRST202", errors.MigrationsMissing),
        (404, "PGRST205", errors.MigrationsMissing),
        (404, "42P01", errors.MigrationsMissing),
        (404, "42883", errors.MigrationsMissing),
        (400, "42703", errors.MigrationsMissing),
        (500, "57014", errors.ServerBusy),
        (503, "57P01", errors.ServerBusy),
        (500, "55P03", errors.ServerBusy),
        (500, "40001", errors.ServerBusy),
        (500, "40P01", errors.ServerBusy),
        (503, "53300", errors.ServerBusy),
        (503, "08006", errors.ServerBusy),
        (503, "PGRST002", errors.ServerBusy),
        (500, "XX000", errors.ServerBusy),
        (500, "58030", errors.ServerBusy),
        (405, "25006", errors.ServerBusy),
        (500, None, errors.ServerBusy),
        (500, "54001", errors.TooLarge),
        (400, "P0001", errors.InvalidData),
        (404, "ZZ000", errors.TaskContractError),
        (401, None, errors.AuthenticationFailed),
        (403, None, errors.AccessDenied),
        (413, None, errors.TooLarge),
        (429, None, errors.ServerBusy),
        (429, "over_request_rate_limit", errors.ServerBusy),
        (504, None, errors.ServerBusy),
        (522, None, errors.ServerBusy),
        (418, None, errors.UnexpectedAnswer),
    ],
)
def test_the_code_of_an_error_takes_precedence_over_its_status(
    status: int, code: str | None, kind: type[TaskContractError]
) -> None:
    error = answer(status, json={"message": "message", "code": code, "details": "more"})
    assert type(error) is kind
    assert (error.message, error.code, error.details, error.status) == ("message", code, "more", status)
    assert error.retryable is issubclass(kind, errors.TemporaryError)


def test_the_docstring_lists_every_exception() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    for kind in kinds:
        assert issubclass(kind, TaskContractError)
        assert kind.__name__ in (errors.__doc__ or "")


def test_an_error_prints_as_one_line_with_code_details_and_hint() -> None:
    error = errors.BadArgument("no\n such  thing.", code="TC005", details="a\tb", hint="Do this.")
    assert str(error) == "no such thing (TC005). a b. Do this."
    assert str(errors.ClaimLost("gone")) == "gone"
    assert str(errors.MigrationsMissing("no table", code="42P01")).endswith(
        f"(42P01). {errors.MigrationsMissing.advice}"
    )


def answer(status: int, url: str = REST, **content: Any) -> TaskContractError:
    return from_response(httpx.Response(status, request=httpx.Request("POST", url), **content))


@pytest.mark.parametrize(
    ("code", "kind"),
    [("TC002", errors.ClaimLost), ("22P02", errors.InvalidData), ("ZZ000", TaskContractError)],
)
def test_a_refusal_in_an_answer_is_the_exception_that_a_single_call_raises(
    code: str, kind: type[TaskContractError]
) -> None:
    error = from_code(code, "the claim is lost")
    assert type(error) is kind
    assert str(error) == f"the claim is lost ({code})"


def test_a_postgrest_error_keeps_its_code_and_hint() -> None:
    body = {"message": "the claim is lost", "code": "TC002", "details": None, "hint": "Claim again."}
    error = answer(400, json=body)
    assert isinstance(error, errors.ClaimLost)
    assert str(error) == "the claim is lost (TC002). Claim again."
    assert error.status == 400


@pytest.mark.parametrize(
    ("status", "kind"),
    [(502, errors.ServerBusy), (401, errors.AuthenticationFailed), (404, errors.UnexpectedAnswer),
     (302, errors.UnexpectedAnswer), (500, errors.ServerBusy)],
)  # fmt: skip
@pytest.mark.parametrize(
    "content", [b"<html>Bad gateway</html>", b"", b"\xff", b"[1]", b'{"message": 5}', b"[" * 9999]
)
def test_the_status_decides_when_the_body_has_no_message(
    status: int, kind: type[TaskContractError], content: bytes
) -> None:
    error = answer(status, content=content)
    assert type(error) is kind
    assert str(status) in error.message
    assert "html" not in str(error)


def test_an_error_of_the_auth_server_is_authentication_failed_unless_its_status_says_otherwise() -> None:
    body = {"code": 400, "error_code": "invalid_credentials", "msg": "Invalid login credentials"}
    error = answer(400, AUTH, json=body)
    assert isinstance(error, errors.AuthenticationFailed)
    assert str(error) == "Invalid login credentials (invalid_credentials)"
    busy = answer(429, AUTH, json={"error_code": "over_request_rate_limit", "msg": "slow down"})
    assert isinstance(busy, errors.ServerBusy)


class Row(pydantic.BaseModel):
    a: int
    b: int
    c: int
    d: int


def validation_error() -> pydantic.ValidationError:
    with pytest.raises(pydantic.ValidationError) as raised:
        Row.model_validate({"a": "sb_secret_HIDDEN456", "b": "x", "c": "x"})
    return raised.value


def test_a_validation_error_becomes_one_line_without_the_values() -> None:
    text = one_line(validation_error())
    assert text.startswith("a: Input should be a valid integer")
    assert text.endswith("and 1 more")
    assert "HIDDEN456" not in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.ClaimLost("gone"), errors.ClaimLost),
        (httpx.ConnectError("refused"), errors.ConnectionFailed),
        (httpx.ReadTimeout("slow"), errors.ConnectionFailed),
        (httpx.RemoteProtocolError("cut"), errors.ConnectionFailed),
        (httpx.UnsupportedProtocol("ftp"), errors.ConnectionFailed),
        (AuthRetryableError("refused", 0), errors.ConnectionFailed),
        (AuthApiError("no such user", 400, "invalid_credentials"), errors.AuthenticationFailed),
        (APIError({"message": "odd", "code": "1"}), errors.UnexpectedAnswer),
        (validation_error(), errors.UnexpectedAnswer),
        (httpx.DecodingError("gzip"), errors.UnexpectedAnswer),
        (ValueError("no JSON"), errors.UnexpectedAnswer),
        (RecursionError("deep"), errors.UnexpectedAnswer),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_an_exception_of_a_library_is_translated(error: Exception, kind: type[TaskContractError]) -> None:
    assert type(translate(error)) is kind


def test_the_message_about_an_invalid_header_does_not_quote_the_key() -> None:
    error = translate(httpx.LocalProtocolError("Illegal header value b'Bearer sb_secret_HIDDEN456 '"))
    assert "HIDDEN456" not in str(error)


def test_exceptions_that_are_programming_errors_are_not_translated() -> None:
    for error in (TypeError("a bug"), KeyError("a"), AssertionError()):
        assert translate(error) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "p_limit and p_max_wait_minutes must be at least 1",
            "limit and max_wait_minutes must be at least 1",
        ),
        ("p_limit is 101, the limit is 100", "limit is 101, the limit is 100"),
        ('agent "p_limit" is registered', 'agent "p_limit" is registered'),
        ("stop_p_x and 12p_y stay", "stop_p_x and 12p_y stay"),
    ],
)
def test_a_refusal_of_our_functions_names_the_parameters_as_python_does(text: str, expected: str) -> None:
    body = {"message": text, "code": "TC005", "hint": text}
    error = answer(400, json=body)
    assert (error.message, error.hint, from_code("TC005", text).message) == (expected,) * 3
    missing = answer(404, json={"message": "no function f(p_limit)", "code": "PGRST202"})
    assert "p_limit" in missing.message
