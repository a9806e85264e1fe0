"""A worker's log records, and its OpenTelemetry spans if that API is installed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from ehg_tasks.models import Claim
from ehg_tasks.text import escaped
from ehg_tasks.worker.outcomes import Failure

logger = logging.getLogger("ehg_tasks.worker")

_SPANS = find_spec("opentelemetry") is not None and find_spec("opentelemetry.trace") is not None


def log(
    level: int,
    message: str,
    *,
    agent: str,
    claim: Claim | None = None,
    seconds: float | None = None,
    error: BaseException | None = None,
) -> None:
    """Write a log record that has `contract_id`, `agent`, `attempt` and `seconds`.

    The message becomes one line, and control characters in it are escaped.
    """
    if not logger.isEnabledFor(level):
        return
    extra = {
        "contract_id": str(claim.contract_id) if claim else None,
        "agent": agent,
        "attempt": claim.attempt if claim else None,
        "seconds": seconds,
    }
    logger.log(level, escaped(" | ".join(message.splitlines())), extra=extra, exc_info=error)


def _escape_traceback(record: logging.LogRecord) -> bool:
    # A traceback quotes the exception's message. Formatters use `exc_text` in its place.
    if record.exc_info:
        record.exc_text = escaped(logging.Formatter().formatException(record.exc_info))
    return True


logger.addFilter(_escape_traceback)


@contextmanager
def task_span(claim: Claim) -> Iterator[Callable[[Failure], None]]:
    """A span `task_contract` around a handler. It yields a function that notes a failure."""
    if not _SPANS:
        yield lambda _: None
        return
    from opentelemetry import trace

    attributes: dict[str, str | int] = {
        "ehg_tasks.contract_id": str(claim.contract_id),
        "ehg_tasks.target_agent": claim.target_agent,
        "ehg_tasks.parent_agent": claim.parent_agent,
        "ehg_tasks.attempt": claim.attempt,
    }
    tracer = trace.get_tracer("ehg_tasks")
    with tracer.start_as_current_span(
        "task_contract", kind=trace.SpanKind.CONSUMER, attributes=attributes
    ) as span:

        def failed(failure: Failure) -> None:
            if failure.error is not None:
                span.record_exception(failure.error)
            span.set_status(trace.Status(trace.StatusCode.ERROR, failure.message))

        yield failed
