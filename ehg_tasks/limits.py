"""The server's limits. SQL enforces them; these are for batches, and for errors before a call is sent."""

from __future__ import annotations

CLAIMS = 100
"""Contracts in one call of `claim`, and claims in one of `renew_many` or `complete_many`."""
ENTRIES = 1000
"""Contracts in one call of `create_many`, ids in one of `outcomes`, input artifacts of a contract."""
DEPENDENCIES = 100
"""Contracts that one contract waits for."""
ATTEMPTS = 100
"""Attempts in one answer of `history`."""
TIMEOUT_MINUTES = 10_080
"""The longest time limit of an attempt: a week."""
RETRIES = 100
"""Attempts that may follow the first."""
LEASE_SECONDS = 5
"""The shortest lease."""
TEXT_BYTES = 64 * 2**10
"""A text, such as a summary or an error message, in UTF-8."""
OUTPUT_BYTES = 2**20
"""An output, as JSON."""
PROGRESS_BYTES = 4 * 2**10
"""A progress report, as JSON."""
INT_MAX = 2**31 - 1
"""The largest Postgres `integer`."""
