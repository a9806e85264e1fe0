"""The server's limits. SQL enforces them; these are for batches, and for errors before a call is sent."""

from __future__ import annotations

CLAIMS = 100
"""Contracts in one call of `claim`."""
ENTRIES = 1000
"""Contracts in one call of `create_many`, ids in one of `outcomes`, input artifacts of a contract."""
TEXT_BYTES = 64 * 2**10
"""A text, such as a summary or an error message, in UTF-8."""
OUTPUT_BYTES = 2**20
"""An output, as JSON."""
