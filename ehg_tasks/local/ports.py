"""Ports on loopback: the usual ones where they are free."""

from __future__ import annotations

import socket

from ehg_tasks.errors import LocalStackError


def choose(name: str, wanted: int | None, last: int, usual: int) -> int:
    """The wanted port, or else the one of last time, the usual one, or any that is free.

    Raises:
        LocalStackError: the wanted one is taken; `name` is that of its option.
    """
    if wanted is None:
        return next((port for port in (last, usual) if port and _is_free(port)), None) or _any_free()
    if not _is_free(wanted):
        raise LocalStackError(
            f"port {wanted} is taken", hint=f"Stop what uses it, or choose another with --{name}."
        )
    return wanted


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return False
    return True


def _any_free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
