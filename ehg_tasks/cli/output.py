"""How the command line speaks: errors on standard error, one exit code a kind."""

from __future__ import annotations

import sys
from typing import NoReturn

from ehg_tasks import errors

EXIT_CODES: list[tuple[type[errors.TaskContractError], int]] = [
    (errors.SettingsError, 3),
    (errors.AuthenticationFailed, 4),
    (errors.AccessDenied, 4),
    (errors.ContractNotFound, 5),
    (errors.ClaimLost, 6),
    (errors.StatusConflict, 6),
    (errors.IdempotencyConflict, 6),
    (errors.BadArgument, 7),
    (errors.TooLarge, 7),
    (errors.InvalidData, 7),
    (errors.TemporaryError, 8),
    (errors.LocalStackError, 9),
]
"""1 is any other failure, 2 a wrong command line."""


def exit_code(error: errors.TaskContractError) -> int:
    """The exit code of the command line for an error."""
    return next((code for kind, code in EXIT_CODES if isinstance(error, kind)), 1)


def fail(error: errors.TaskContractError) -> NoReturn:
    """Say what happened and what to do in one line, and end."""
    print(f"ehg-tasks: {error}", file=sys.stderr)  # noqa: T201
    sys.exit(exit_code(error))
