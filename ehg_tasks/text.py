"""Text that other agents wrote, made safe to print."""

from __future__ import annotations


def escaped(text: str) -> str:
    """Return the text with escapes in place of control characters, which a terminal would obey.

    Newlines and tabs are kept.
    """
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)
