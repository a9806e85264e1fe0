"""Ports on loopback."""

from __future__ import annotations

import socket

from ehg_tasks.errors import LocalStackError


def choose_port(option: str, requested: int | None, last: int, default: int) -> int:
    """Return the requested port, or else the first free one of: the last one used, the default, any other.

    Args:
        option: name of the command-line option for this port, for the error message.
        requested: the port that the caller insists on.
        last: the port of the last start; 0 if there was none.
        default: the port to prefer at the first start.

    Raises:
        LocalStackError: the requested port is in use.
    """
    for port in [last, default] if requested is None else [requested]:
        if port and _bind(port):
            return port
    if requested is None:
        return _bind(0)
    raise LocalStackError(
        f"port {requested} is in use",
        hint=f"Stop the program that uses it, or choose another port with --{option}.",
    )


def _bind(port: int) -> int:
    """Bind the port for a moment; return its number (for 0, that of a free port), or 0 if it is in use."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return 0
        bound: int = probe.getsockname()[1]
        return bound
