"""A worker process of the demo: ``python -m ehg_tasks.demo.checker FOLDER SESSION``.

It acts as the target agent ``DOCMON``, holds the publishable key only (from the environment), and
ends when its standard input does, so it never outlives the program that started it.
"""

from __future__ import annotations

import os
import sys
import threading
import uuid
from contextlib import suppress
from pathlib import Path

from ehg_tasks import AgentTasks, Claim, ClaimLost, StatusConflict, TaskContractError
from ehg_tasks.demo.documents import check_document

AGENT = "DOCMON"
BATCH = 2  # contracts a call; small, so that the processes share few documents
IDLE_SECONDS = 0.1


def work(agent: AgentTasks, folder: Path, session: str, stop: threading.Event) -> None:
    """Claim and check documents below ``folder`` until ``stop`` is set.

    Contracts of other sessions, met on a shared project, are put aside and released in the end:
    released at once, they would come back with the next claim.
    """
    agent_id = uuid.uuid4()
    aside: list[Claim] = []
    while not stop.is_set():
        claims = agent.claim(AGENT, limit=BATCH, agent_id=agent_id)
        for claim in claims:
            if stop.is_set() or str(claim.session_id) != session:
                aside.append(claim)
                continue
            try:
                check(agent, folder, claim)
            except (ClaimLost, StatusConflict) as error:
                # Cancelled or handed on while we worked: the result is somebody else's now.
                print(error, file=sys.stderr, flush=True)  # noqa: T201
        if not claims:
            stop.wait(IDLE_SECONDS)
    for claim in aside:
        with suppress(ClaimLost, StatusConflict):
            agent.release(claim)


def check(agent: AgentTasks, folder: Path, claim: Claim) -> None:
    """Check one document and record the report, or fail the attempt with the reason."""
    constraints = claim.constraints if isinstance(claim.constraints, dict) else {}
    try:
        path = (folder / str(constraints.get("path", ""))).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise ValueError("the document lies outside the folder that this agent may read")  # noqa: TRY301
        report = check_document(path, folder)
    except (OSError, ValueError) as error:
        agent.fail(claim, str(error), retry=False)
        return
    found = f"{len(report.findings)} finding{'s' if len(report.findings) != 1 else ''}"
    agent.complete(
        claim,
        output=report.model_dump(mode="json"),
        result_summary=f"{report.path}: {found}, {report.words} words",
    )


def main() -> None:
    """Run until standard input ends."""
    folder, session = Path(sys.argv[1]), sys.argv[2]
    stop = threading.Event()

    def watch() -> None:
        sys.stdin.buffer.read()
        stop.set()

    threading.Thread(target=watch, daemon=True).start()
    try:
        with AgentTasks(url=os.environ["SUPABASE_URL"], key=os.environ["SUPABASE_PUBLISHABLE_KEY"]) as agent:
            print("ready", flush=True)  # noqa: T201 - for the program that waits for it
            work(agent, folder, session, stop)
    except TaskContractError as error:
        if not stop.is_set():
            sys.exit(f"a worker process ended: {error}")


if __name__ == "__main__":
    main()
