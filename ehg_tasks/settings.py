"""Where the project is and which keys open it: from the environment or a `.env` file."""

from __future__ import annotations

import base64
import ipaddress
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, SecretStr

from ehg_tasks.errors import SettingsError

KeyKind = Literal["publishable", "secret", "user token", "unknown"]

URL_NAMES = ("SUPABASE_URL",)
KEY_NAMES: dict[KeyKind, tuple[str, ...]] = {
    "publishable": ("SUPABASE_PUBLISHABLE_KEY", "SUPABASE_ANON_KEY"),
    "secret": ("SUPABASE_SECRET_KEY", "SUPABASE_SERVICE_ROLE_KEY"),
}
_ROLES: dict[str, KeyKind] = {"anon": "publishable", "service_role": "secret", "authenticated": "user token"}


class Settings(BaseModel):
    """A project's URL and the keys that this program holds; a program needs the keys of its roles only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    publishable_key: SecretStr | None = None
    secret_key: SecretStr | None = None

    @classmethod
    def from_env(cls, *, dotenv: bool = True) -> Self:
        """Read SUPABASE_URL, SUPABASE_PUBLISHABLE_KEY and SUPABASE_SECRET_KEY.

        The legacy names SUPABASE_ANON_KEY and SUPABASE_SERVICE_ROLE_KEY count where the new ones are
        not set. The environment goes before the current folder's `.env`, which `dotenv=False` leaves
        unread. The environment of the process is not changed.

        Raises:
            SettingsError: there is no SUPABASE_URL, or `.env` cannot be read.
        """
        found = _given(dotenv)
        url, publishable, secret = map(found, (URL_NAMES, KEY_NAMES["publishable"], KEY_NAMES["secret"]))
        if url is None:
            raise SettingsError(
                "SUPABASE_URL is not set",
                hint="Set it in the environment or in a .env file here; or start a Supabase of your own:"
                " ehg-tasks local start, then ehg-tasks local env > .env.",
            )
        return cls(
            url=url,
            publishable_key=SecretStr(publishable) if publishable else None,
            secret_key=SecretStr(secret) if secret else None,
        )

    @staticmethod
    def configured() -> bool:
        """Whether the environment or `.env` names a project, or a part of one.

        Raises:
            SettingsError: `.env` cannot be read.
        """
        return any(map(_given(dotenv=True), (URL_NAMES, *KEY_NAMES.values())))

    def key(self, kind: Literal["publishable", "secret"]) -> SecretStr:
        """The key of this kind.

        Raises:
            SettingsError: there is none.
        """
        key = self.publishable_key if kind == "publishable" else self.secret_key
        if key is None:
            name, legacy = KEY_NAMES[kind]
            raise SettingsError(
                f"no {kind} key is given", hint=f"Set {name} (or {legacy}) in the environment or in .env."
            )
        return key


def variable(*names: str) -> str | None:
    """The first of these variables that the environment or `.env` sets.

    Raises:
        SettingsError: `.env` cannot be read.
    """
    return _given(dotenv=True)(names)


def _given(dotenv: bool) -> Callable[[tuple[str, ...]], str | None]:
    """A finder of the first of some variables that is set."""
    sources: list[Mapping[str, str | None]] = [os.environ]
    if dotenv:
        sources.append(_read_dotenv(Path(".env")))

    def first(names: tuple[str, ...]) -> str | None:
        values = (source.get(name) for source in sources for name in names)
        return next((value.strip() for value in values if value and value.strip()), None)

    return first


def _read_dotenv(path: Path) -> Mapping[str, str | None]:
    if not path.exists():
        return {}
    from dotenv import dotenv_values

    try:
        return dotenv_values(path, interpolate=False)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read {path}: {type(error).__name__}") from None


def key_kind(key: str) -> KeyKind:
    """What a key or token opens, by its form alone; whether it is genuine only the server knows.

    New keys tell by their prefix, legacy keys and users' access tokens by the role in the JWT.
    """
    if key.startswith("sb_publishable_"):
        return "publishable"
    if key.startswith("sb_secret_"):
        return "secret"
    parts = key.split(".")
    if len(parts) != 3:
        return "unknown"
    try:
        payload = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return "unknown"
    role = payload.get("role") if isinstance(payload, dict) else None
    return _ROLES.get(role, "unknown") if isinstance(role, str) else "unknown"


def check_key(key: str, wanted: KeyKind, user: str) -> None:
    """Refuse a key of another kind than `user` (the name of a client) works with.

    Raises:
        SettingsError: in words, without the key.
    """
    # A line break in a key would end up, key and all, in the HTTP library's complaint about it.
    found = key_kind(key) if key.isascii() and key.isprintable() and " " not in key else "unknown"
    if found == wanted:
        return
    article = {"unknown": "something that is no Supabase key"}.get(found, f"a {found}{_noun(found)}")
    names = KEY_NAMES.get(wanted)
    hint = f"Use the project's {wanted} key ({names[0]})." if names else "Sign in and use the access token."
    if found == "secret":
        hint += " A secret key opens everything: keep it out of agents and browsers."
    raise SettingsError(f"{user} works with a {wanted}{_noun(wanted)}, and was given {article}", hint=hint)


def _noun(kind: KeyKind) -> str:
    return "" if kind == "user token" else " key"


def is_loopback(host: str) -> bool:
    """Whether this name or address never leaves the machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def check_url(url: str) -> str:
    """The project's URL, without a slash at its end.

    Raises:
        SettingsError: it is no http(s) URL, holds a password or a query, is the address of one API of
            the project, or would send keys unencrypted over a network.
    """
    example = "It looks like https://abcdefgh.supabase.co or http://127.0.0.1:54321."
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not host or not url.isprintable() or " " in url:
        raise SettingsError("SUPABASE_URL is not an http(s) URL", hint=example)
    if parts.username is not None or parts.query or parts.fragment:
        raise SettingsError("SUPABASE_URL must hold no user name, password, query or fragment", hint=example)
    if parts.path.rstrip("/").endswith(("/rest/v1", "/auth/v1")):
        raise SettingsError("SUPABASE_URL must end before /rest/v1 or /auth/v1", hint=example)
    if parts.scheme == "http" and not is_loopback(host):
        raise SettingsError(
            f"http://{host} would send keys unencrypted", hint="Use https; http is for this machine only."
        )
    return url.rstrip("/")
