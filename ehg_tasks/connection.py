"""How a client reaches its project: the URL, proxies, certificates and logs of its HTTP client."""

from __future__ import annotations

import ipaddress
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ehg_tasks.errors import SettingsError

_calling = ContextVar("calling", default=False)


@dataclass(frozen=True)
class Connection:
    """How a client reaches its project.

    Attributes:
        url: the project's URL.
        key: the key of the client's role.
        timeout: how long one attempt of a call waits for an answer, in seconds.
        retries: how many attempts may follow the first.
        agent_token: the token of the registered agent that the client works as, if there is one.
    """

    url: str
    key: str = field(repr=False)
    timeout: float
    retries: int
    agent_token: str | None = field(default=None, repr=False)


def is_loopback(host: str) -> bool:
    """Whether this name or address refers to this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def check_url(url: str) -> str:
    """The project's URL, without a trailing slash.

    Raises:
        SettingsError: it is not an http(s) URL, contains a password or a query, is the address of one of
            the project's APIs, or would send keys unencrypted over a network.
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
        raise SettingsError(
            "SUPABASE_URL must not contain a user name, password, query or fragment", hint=example
        )
    if parts.path.rstrip("/").endswith(("/rest/v1", "/auth/v1")):
        raise SettingsError("SUPABASE_URL must end before /rest/v1 or /auth/v1", hint=example)
    if parts.scheme == "http" and not is_loopback(host):
        raise SettingsError(
            f"http://{host} would send keys unencrypted", hint="Use https; http is for this machine only."
        )
    return url.rstrip("/")


def http_options(url: str) -> dict[str, Any]:
    """Options of an httpx client for the project at this URL. `check_url` must have accepted it.

    The environment chooses the proxy of a project on a network, and the certificates to trust. A project
    on this machine is never reached through a proxy, which would see its keys.

    Raises:
        SettingsError: the environment names certificates that cannot be read.
    """
    import httpx

    parts = urlsplit(url)
    try:
        certificates = httpx.create_ssl_context(trust_env=parts.scheme == "https")
    except OSError as error:
        names = " and ".join(name for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name))
        raise SettingsError(
            f"the certificates that {names or 'Python'} names cannot be read: {error.strerror or error}",
            hint=f"Correct {names}, or unset it to use the certificates of the package certifi.",
        ) from None
    # No redirects: the keys go to this project and nowhere else.
    return {
        "trust_env": not is_loopback(parts.hostname or ""),
        "verify": certificates,
        "follow_redirects": False,
    }


@contextmanager
def proxies_in_words() -> Iterator[None]:
    """Report a proxy that httpx refuses when a client is made. The message quotes no URL of a proxy.

    Raises:
        SettingsError: instead of the exceptions of httpx.
    """
    import httpx

    try:
        yield
    except ImportError:
        raise SettingsError(
            "the environment names a SOCKS proxy, which needs one more package",
            hint="Run: pip install 'httpx[socks]'. Or unset ALL_PROXY and HTTPS_PROXY.",
        ) from None
    except (httpx.InvalidURL, ValueError):
        raise SettingsError(
            "a proxy setting of the environment is not valid",
            hint="Correct HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY; in NO_PROXY, write an IPv6 address"
            " without brackets, and no IPv6 network.",
        ) from None


@contextmanager
def calling() -> Iterator[None]:
    """Keep httpx from logging the calls made here: a worker makes several a second."""
    token = _calling.set(True)
    try:
        yield
    finally:
        _calling.reset(token)


def _is_wanted(record: logging.LogRecord) -> bool:
    return record.levelno > logging.INFO or not _calling.get()


logging.getLogger("httpx").addFilter(_is_wanted)  # the program's own requests are still logged
