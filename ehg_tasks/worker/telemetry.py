"""OpenTelemetry spans, where its API is installed (`pip install 'ehg-tasks[otel]'`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from ehg_tasks.models import Claim
from ehg_tasks.worker.tasks import Failure

_INSTALLED = find_spec("opentelemetry") is not None and find_spec("opentelemetry.trace") is not None


@contextmanager
def task_span(task: Claim) -> Iterator[Callable[[Failure], None]]:
    """A span `task_contract` around a handler; call what it gives to note a failure."""
    if not _INSTALLED:
        yield lambda failure: None  # noqa: ARG005
        return
    from opentelemetry import trace

    attributes = {
        "ehg_tasks.contract_id": str(task.contract_id),
        "ehg_tasks.target_agent": task.target_agent,
        "ehg_tasks.parent_agent": task.parent_agent,
        "ehg_tasks.attempt": task.attempt,
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
