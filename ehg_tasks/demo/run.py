"""The main job, end to end: one parent agent, several worker processes, a dashboard user, a backend job."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ehg_tasks import (
    AgentTasks,
    BackendTasks,
    DashboardTasks,
    NewContract,
    Outcome,
    Settings,
    TaskContractError,
)
from ehg_tasks.demo.checker import AGENT
from ehg_tasks.demo.documents import DOCUMENT_REPORT_SCHEMA, DocumentReport

PARENT = "DEMO_PARENT"
CALL = 1000  # contracts or ids that the server takes in one call
POLL_SECONDS = 0.3


@dataclass
class Progress:
    """What the demo tells its screen while it runs. The command line overrides what it shows."""

    def step(self, text: str) -> None:
        """Tell that the next step begins."""

    def finished(self, done: int, total: int) -> None:
        """Tell how many of the contracts have ended."""


@dataclass
class Summary:
    """What the demo found."""

    reports: list[DocumentReport] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """Contracts that ended without a report, one line each."""
    seconds: float = 0.0
    workers: int = 0
    agents_seen: int = 0
    """How many different worker processes completed at least one contract."""
    dashboard: str = ""
    """What the signed-in user saw, or why nobody could sign in."""
    totals: dict[str, int] = field(default_factory=dict)
    """Contracts of this run by status, as the backend job counts them; empty without a secret key."""


def run(settings: Settings, folder: Path, documents: list[Path], workers: int, progress: Progress) -> Summary:
    """Hand every document to the checking agents and gather what they report.

    Raises:
        TaskContractError: when the project refuses or cannot be reached.
    """
    started = time.monotonic()
    session = uuid.uuid4()
    summary = Summary(workers=workers)
    contracts = [new_contract(path.relative_to(folder).as_posix(), session) for path in documents]

    with AgentTasks(settings) as parent:
        progress.step(f"{workers} processes of {AGENT} wait for work, with the publishable key only")
        with worker_processes(settings, folder, session, workers) as processes:
            progress.step(f"{PARENT} creates {len(contracts)} contracts for {AGENT}")
            ids: list[uuid.UUID] = []
            try:
                for start in range(0, len(contracts), CALL):
                    made = parent.create_many(contracts[start : start + CALL])
                    ids += [contract.contract_id for contract in made]
                outcomes = wait(parent, ids, processes, progress)
            except BaseException:
                withdraw(parent, ids)
                raise

    for outcome in outcomes:
        if outcome.status == "completed":
            summary.reports.append(DocumentReport.model_validate(outcome.output))
        else:
            summary.problems.append(f"{outcome.contract_id} {outcome.status}: {outcome.error_message}")
    progress.step("A dashboard user signs up, signs in and looks at the table")
    summary.dashboard = look(settings, session)
    if settings.secret_key is not None:
        progress.step("The backend job counts")
        with BackendTasks(settings) as backend:
            rows = list(backend.list(session_id=session))
        summary.totals = dict(Counter(str(row.status) for row in rows))
        summary.agents_seen = len({row.completed_by_agent_id for row in rows if row.completed_by_agent_id})
    summary.seconds = time.monotonic() - started
    return summary


def new_contract(path: str, session: uuid.UUID) -> NewContract:
    """Describe the check of one document."""
    return NewContract(
        parent_agent=PARENT,
        target_agent=AGENT,
        objective="Check heading order, links and code fences of this document; estimate its reading time.",
        session_id=session,
        input_summary=path[-4096:],
        constraints={"path": path},
        expected_output_type="document_report",
        output_schema=DOCUMENT_REPORT_SCHEMA,
        timeout_minutes=5,
        created_by="ehg-tasks demo",
    )


@contextmanager
def worker_processes(
    settings: Settings, folder: Path, session: uuid.UUID, count: int
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run ``count`` worker processes; they end with this block, or with this program however it ends."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SUPABASE_")}
    environment["SUPABASE_URL"] = settings.url
    environment["SUPABASE_PUBLISHABLE_KEY"] = settings.key("publishable").get_secret_value()
    command = [sys.executable, "-m", "ehg_tasks.demo.checker", str(folder), str(session)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        for _ in range(count)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()  # "ready", or nothing where it could not start
        yield processes
    finally:
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in processes:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            assert process.stdout is not None
            process.stdout.close()


def wait(
    parent: AgentTasks, ids: list[uuid.UUID], processes: list[subprocess.Popen[bytes]], progress: Progress
) -> list[Outcome]:
    """Poll the outcomes of ``ids`` until every contract has ended."""
    open_ids = list(ids)
    ended: dict[uuid.UUID, Outcome] = {}
    while open_ids:
        if all(process.poll() is not None for process in processes):
            raise TaskContractError("all worker processes have ended; their messages are above")
        for start in range(0, len(open_ids), CALL):
            for outcome in parent.outcomes(open_ids[start : start + CALL]):
                if outcome.status.is_final:
                    ended[outcome.contract_id] = outcome
        open_ids = [contract_id for contract_id in open_ids if contract_id not in ended]
        progress.finished(len(ended), len(ids))
        if open_ids:
            time.sleep(POLL_SECONDS)
    return [ended[contract_id] for contract_id in ids]


def withdraw(parent: AgentTasks, ids: list[uuid.UUID]) -> None:
    """Cancel what has not ended, so that nothing of a broken run waits for the next one."""
    for start in range(0, len(ids), CALL):
        for outcome in parent.outcomes(ids[start : start + CALL]):
            if not outcome.status.is_final:
                with suppress(TaskContractError):  # it may have ended meanwhile
                    parent.cancel(outcome.contract_id, "the demo was interrupted")


def look(settings: Settings, session: uuid.UUID) -> str:
    """Sign a new user up and in, and say what that user sees of the table."""
    email, password = f"dana-{secrets.token_hex(4)}@example.com", secrets.token_urlsafe(16)
    filters: dict[str, Any] = {"session_id": session}
    with DashboardTasks(settings) as dashboard:
        try:
            dashboard.sign_up(email, password)
            dashboard.sign_in(email, password)
        except TaskContractError as error:
            # A hosted project may ask for a confirmed address, or allow no sign-up at all.
            return f"nobody could sign in: {error.message}"
        shown = sum(1 for _ in dashboard.list(**filters))
        return f"{email} sees {shown} of {dashboard.count(**filters)} contracts of this run"
