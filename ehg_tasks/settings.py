"""The URL, the keys and the agent token of a program, from the environment or a `.env` file."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, SecretStr

from ehg_tasks.connection import check_url
from ehg_tasks.errors import AuthenticationFailed, SettingsError

KeyKind = Literal["publishable", "secret", "user token", "unknown"]

URL_NAME = "SUPABASE_URL"
KEY_NAMES: dict[KeyKind, tuple[str, str]] = {
    "publishable": ("SUPABASE_PUBLISHABLE_KEY", "SUPABASE_ANON_KEY"),
    "secret": ("SUPABASE_SECRET_KEY", "SUPABASE_SERVICE_ROLE_KEY"),
}
AGENT_TOKEN_NAME = "EHG_AGENT_TOKEN"  # noqa: S105 - the name of a variable
AGENT_TOKEN_HEADER = "x-agent-token"  # noqa: S105 - the name of a header
_SECRET_NAMES = (*KEY_NAMES.values(), (AGENT_TOKEN_NAME,))
_PROJECT_NAMES = (URL_NAME, *(name for names in _SECRET_NAMES for name in names))
_ROLES: dict[str, KeyKind] = {"anon": "publishable", "service_role": "secret", "authenticated": "user token"}


class Settings(BaseModel):
    """A project's URL, and the keys and the agent token that this program has.

    A program needs only the keys of its roles. It needs an agent token if it works as a registered agent.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    publishable_key: SecretStr | None = None
    secret_key: SecretStr | None = None
    agent_token: SecretStr | None = None

    @classmethod
    def from_env(cls, *, dotenv: bool = True) -> Self:
        """Read SUPABASE_URL, SUPABASE_PUBLISHABLE_KEY, SUPABASE_SECRET_KEY and EHG_AGENT_TOKEN.

        The legacy names SUPABASE_ANON_KEY and SUPABASE_SERVICE_ROLE_KEY are used where the new ones are
        not set. All of them come from one source, so that no key is sent to the URL of another source:
        the environment if it sets any of them, otherwise `.env` in the current folder, which
        `dotenv=False` ignores. The environment of the process is not changed.

        Raises:
            SettingsError: SUPABASE_URL is not set, or `.env` cannot be read.
        """
        url = variable(URL_NAME, dotenv=dotenv)
        if url is None:
            others = [name for name in _PROJECT_NAMES if _value(os.environ, name)]
            if others:
                raise SettingsError(
                    f"SUPABASE_URL is not set in the environment, which sets {others[0]}",
                    hint="Set both there, or both in .env: no key is sent to the URL of another source.",
                )
            raise SettingsError(
                "SUPABASE_URL is not set",
                hint="Set it in the environment or in a .env file here. To start a Supabase of your own, run:"
                " ehg-tasks local start, then ehg-tasks local env --write .env.",
            )
        return cls.of(url, *(variable(*names, dotenv=dotenv) for names in _SECRET_NAMES))

    @classmethod
    def of(
        cls,
        url: str,
        publishable_key: str | None = None,
        secret_key: str | None = None,
        agent_token: str | None = None,
    ) -> Self:
        """Settings with keys and a token that are plain strings."""
        return cls(
            url=url,
            publishable_key=SecretStr(publishable_key) if publishable_key else None,
            secret_key=SecretStr(secret_key) if secret_key else None,
            agent_token=SecretStr(agent_token) if agent_token else None,
        )

    def env(self) -> dict[str, str]:
        """The environment variables from which `from_env` reads these settings, including the secrets."""
        secrets = zip(_SECRET_NAMES, (self.publishable_key, self.secret_key, self.agent_token), strict=True)
        return {URL_NAME: self.url} | {
            names[0]: secret.get_secret_value() for names, secret in secrets if secret
        }

    @staticmethod
    def configured() -> bool:
        """Whether the environment or `.env` names a project, or a part of one.

        Raises:
            SettingsError: `.env` cannot be read.
        """
        return variable(*(name for name in _PROJECT_NAMES if name != AGENT_TOKEN_NAME)) is not None

    def key(self, kind: Literal["publishable", "secret"]) -> SecretStr:
        """The key of this kind.

        Raises:
            SettingsError: it is not set.
        """
        key = self.publishable_key if kind == "publishable" else self.secret_key
        if key is None:
            name, legacy = KEY_NAMES[kind]
            raise SettingsError(
                f"there is no {kind} key",
                hint=f"Set {name} (or {legacy}) where SUPABASE_URL is set: in the environment or in .env.",
            )
        return key


def url_and_key(
    settings: Settings | None, url: str | None, key: str | None, kind: KeyKind, client: str
) -> tuple[str, str]:
    """The URL and the key for a client (the name of a class) that works with keys of one kind.

    Raises:
        SettingsError: the URL or the key is missing, malformed, or of another kind.
    """
    if settings is not None:
        if url is not None or key is not None:
            raise SettingsError(f"{client} takes settings, or url and key, but not both")
        url = settings.url
        key = settings.key("secret" if kind == "secret" else "publishable").get_secret_value()
    if url is None or key is None:
        hint = f"Pass Settings, or url and key, or use {client}.from_env()."
        raise SettingsError(f"{client} needs {'a URL' if url is None else 'a key'}", hint=hint)
    check_key(key, kind, client)
    return check_url(url), key


def checked_agent_token(settings: Settings | None, given: str | None) -> str | None:
    """The token for an agent's client: the given one, or else that of the settings.

    Raises:
        SettingsError: it cannot be sent in a header; the message does not quote it.
    """
    if given is None and settings is not None and settings.agent_token is not None:
        given = settings.agent_token.get_secret_value()
    if given is None or _fits_header(given):
        return given
    raise SettingsError(
        "the agent token is blank, or holds a space, a control character or a character that is not ASCII",
        hint=f"Use the token that `ehg-tasks register-agent` printed ({AGENT_TOKEN_NAME}).",
    )


def _fits_header(secret: str) -> bool:
    # The HTTP library would quote a header with a line break in its error message.
    return secret != "" and secret.isascii() and secret.isprintable() and " " not in secret


def variable(*names: str, dotenv: bool = True) -> str | None:
    """The first of these variables that is set in the source of the settings (see `Settings.from_env`).

    Raises:
        SettingsError: `.env` cannot be read.
    """
    source: Mapping[str, str | None] = os.environ
    if dotenv and not any(_value(os.environ, name) for name in _PROJECT_NAMES):
        source = _read_dotenv(Path(".env"))
    return next((value for name in names if (value := _value(source, name))), None)


def _value(source: Mapping[str, str | None], name: str) -> str:
    return (source.get(name) or "").strip()


def _read_dotenv(path: Path) -> Mapping[str, str | None]:
    if not path.exists():
        return {}
    from dotenv import dotenv_values

    try:
        return dotenv_values(path, interpolate=False)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read {path}: {type(error).__name__}") from None


def key_kind(key: str) -> KeyKind:
    """The kind of a key or token, by its form alone. Only the server can tell whether it is genuine.

    New keys are recognized by their prefix; legacy keys and users' access tokens by the role in the JWT.
    """
    if key.startswith("sb_publishable_"):
        return "publishable"
    if key.startswith("sb_secret_"):
        return "secret"
    role = _claim(key, "role")
    return _ROLES.get(role, "unknown") if isinstance(role, str) else "unknown"


def expired(error: AuthenticationFailed, token: str | None) -> AuthenticationFailed:
    """The error to raise for a refused access token: if the token has expired, one that says so."""
    expiry = None if token is None else _claim(token, "exp")
    if not isinstance(expiry, int | float) or not 0 < expiry < time.time():
        return error
    when = datetime.fromtimestamp(expiry, UTC)
    return AuthenticationFailed(
        f"the access token expired at {when:%Y-%m-%d %H:%M} UTC",
        code=error.code,
        hint="Sign in again, and give the new token.",
        status=error.status,
    )


def _claim(token: str, name: str) -> Any:
    """A claim of a JWT, whose signature is not checked; None if there is none."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        payload = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return None
    return payload.get(name) if isinstance(payload, dict) else None


def check_key(key: str, expected: KeyKind, client: str) -> None:
    """Refuse a key unless `client` (the name of a class) accepts its kind.

    Raises:
        SettingsError: the key is of another kind; the message does not quote it.
    """
    kind = key_kind(key) if _fits_header(key) else "unknown"
    if kind == expected:
        return
    form = _noun(expected) if expected == "user token" else "Supabase key"
    given = f"something that is not a {form}" if kind == "unknown" else f"a {_noun(kind)}"
    names = KEY_NAMES.get(expected)
    hint = f"Use the project's {expected} key ({names[0]})." if names else "Sign in and use the access token."
    if kind == "secret":
        hint += " A secret key gives full access: keep it out of agents and browsers."
    raise SettingsError(f"{client} needs a {_noun(expected)}, but was given {given}", hint=hint)


def _noun(kind: KeyKind) -> str:
    return kind if kind == "user token" else f"{kind} key"
