"""The demo from end to end: a parent agent, agent processes, a dashboard user and a backend job."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from ehg_tasks import (
    AgentTasks,
    BackendTasks,
    DashboardTasks,
    NewContract,
    Outcome,
    Settings,
    TaskContractError,
    limits,
)
from ehg_tasks.demo.documents import DocumentReport

POLL_SECONDS = 0.2


@dataclass
class Summary:
    """The result of a run. The texts in it come from other agents: escape them before printing."""

    reports: dict[str, DocumentReport] = field(default_factory=dict)
    """By document."""
    problems: list[str] = field(default_factory=list)
    """One line for each contract that ended without a report."""
    readers: list[str] = field(default_factory=list)
    """What the dashboard user and the backend job read, one line each."""
    seconds: float = 0.0


def run(
    settings: Settings, folder: Path, documents: Iterable[str], agents: int, progress: Callable[[str], None]
) -> Summary:
    """Have `agents` processes check the documents, and gather their reports.

    Raises:
        TaskContractError: the project refuses a call or cannot be reached, or an agent process ended.
    """
    started = time.monotonic()
    session = uuid.uuid4()
    # A unique name, so that this run's agents claim no other contracts in a shared project.
    target = f"DOCMON-{session.hex[:8]}"
    contracts = {uuid.uuid4(): document for document in documents}
    with AgentTasks(settings) as parent, cancel_on_error(parent, contracts):
        progress(f"Starting agent {target} (processes: {agents}) with only the publishable key ...")
        with agent_processes(settings, folder, target, agents) as processes:
            progress(f"Agent DEMO creates a contract for each document, addressed to {target} ...")
            create(parent, contracts, session, target)
            outcomes = wait(parent, contracts, processes)
    summary = summarize(contracts, outcomes)
    progress("A dashboard user signs up, signs in and reads the table ...")
    summary.readers.append(read_as_dashboard(settings, session, len(contracts)))
    if settings.secret_key is not None:
        progress("A backend job counts the contracts ...")
        summary.readers.append(read_as_backend(settings, session))
    summary.seconds = time.monotonic() - started
    return summary


def create(parent: AgentTasks, contracts: Mapping[uuid.UUID, str], session: uuid.UUID, target: str) -> None:
    """Create a contract for each document."""
    new = [
        NewContract(
            contract_id=contract_id,
            parent_agent="DEMO",
            target_agent=target,
            session_id=session,
            objective="Check the headings, code blocks and links of this document.",
            constraints={"path": document},
            output_schema=DocumentReport.model_json_schema(),
            timeout_minutes=5,
            created_by="ehg-tasks demo",
        )
        for contract_id, document in contracts.items()
    ]
    for start in range(0, len(new), limits.ENTRIES):
        parent.create_many(new[start : start + limits.ENTRIES])


def wait(
    parent: AgentTasks, contracts: Iterable[uuid.UUID], processes: Iterable[subprocess.Popen[bytes]]
) -> dict[uuid.UUID, Outcome]:
    """Poll until every contract has ended."""
    ended: dict[uuid.UUID, Outcome] = {}
    while waiting := [contract_id for contract_id in contracts if contract_id not in ended]:
        if any(process.poll() is not None for process in processes):
            raise TaskContractError("an agent process ended before the work did")
        outcomes = parent.outcomes(waiting)
        ended |= {outcome.contract_id: outcome for outcome in outcomes if outcome.status.is_final}
        time.sleep(POLL_SECONDS)
    return ended


def summarize(contracts: Mapping[uuid.UUID, str], outcomes: Mapping[uuid.UUID, Outcome]) -> Summary:
    """Sort the outcomes into reports and problems."""
    summary = Summary()
    for contract_id, document in contracts.items():
        outcome = outcomes[contract_id]
        if outcome.status != "completed":
            summary.problems.append(f"{document}: {outcome.status}: {outcome.error_message}")
            continue
        try:
            summary.reports[document] = DocumentReport.model_validate(outcome.output)
        except ValidationError:  # anyone with the publishable key can complete a contract
            summary.problems.append(f"{document}: completed, but the output is not a document report")
    return summary


@contextmanager
def cancel_on_error(parent: AgentTasks, contracts: Iterable[uuid.UUID]) -> Iterator[None]:
    """Cancel the contracts that have not ended if the block fails or is interrupted."""
    try:
        yield
    except BaseException:
        with suppress(TaskContractError):  # the first error says more
            for outcome in parent.outcomes(contracts):
                if not outcome.status.is_final:
                    with suppress(TaskContractError):  # it has just ended
                        parent.cancel(outcome.contract_id, "the demo was interrupted")
        raise


@contextmanager
def agent_processes(
    settings: Settings, folder: Path, target: str, count: int
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run `count` agent processes, which end with the block."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("SUPABASE_", "EHG_AGENT_"))
    }
    environment |= Settings(url=settings.url, publishable_key=settings.key("publishable")).env()
    command = [sys.executable, "-m", "ehg_tasks.demo.agent", str(folder), target]
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(count):
            processes.append(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
            )
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()  # "ready", or nothing if it has ended
        yield processes
    finally:
        for process in processes:
            process.communicate()  # closes its standard input, and waits for its end


def read_as_dashboard(settings: Settings, session: uuid.UUID, created: int) -> str:
    """Sign up and sign in as a new user, and return what that user can read."""
    email, password = f"dana-{secrets.token_hex(4)}@example.com", secrets.token_urlsafe(16)
    with DashboardTasks(settings) as dashboard:
        try:
            dashboard.sign_up(email, password)
            dashboard.sign_in(email, password)
        except TaskContractError as error:
            # A project may disable sign-ups or require email confirmation.
            return f"Dashboard: a new user cannot sign in: {error.message}"
        return f"Dashboard: {email} can read {dashboard.count(session_id=session)} of {created} contracts."


def read_as_backend(settings: Settings, session: uuid.UUID) -> str:
    """Return how many contracts have each status, and how many processes completed them."""
    with BackendTasks(settings) as backend:
        rows = list(backend.list(session_id=session))
    counts = Counter(str(row.status) for row in rows)
    agents = {row.completed_by_agent_id for row in rows if row.completed_by_agent_id}
    statuses = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    return f"Backend job: {statuses}; agent processes that took part: {len(agents)}."
