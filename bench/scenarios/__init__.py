"""What is measured. Each module here has `measure(lab)`, which returns a section of the page."""

from __future__ import annotations

from collections.abc import Callable

from bench.lab import Lab
from bench.results import Section
from bench.scenarios import batches, claims, creates, pairs, snapshot, worker

SCENARIOS: dict[str, Callable[[Lab], Section]] = {
    "pairs": pairs.measure,
    "batches": batches.measure,
    "claims": claims.measure,
    "creates": creates.measure,
    "snapshot": snapshot.measure,
    "worker": worker.measure,
}
