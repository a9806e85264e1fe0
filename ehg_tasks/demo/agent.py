"""An agent process of the demo: `python -m ehg_tasks.demo.agent FOLDER AGENT`.

It has only the publishable key, and works on the contracts of AGENT until its standard input ends.
Standard input ends with the parent process, so no agent outlives the demo.
"""

from __future__ import annotations

import logging
import sys
import threading
from pathlib import Path
from typing import Any

from ehg_tasks import AgentTasks, FinalFailure, Result, Settings, Task, TaskContractError, Worker
from ehg_tasks.demo.documents import check_document


def main(folder: Path, target_agent: str) -> None:
    """Check documents in `folder` until standard input ends."""

    def check(task: Task) -> Result:
        constraints: Any = task.constraints
        try:
            report = check_document(folder, constraints["path"])
        except (OSError, ValueError) as error:  # another attempt would read the same file
            raise FinalFailure(f"cannot check the document: {error}") from error
        return Result(report.model_dump(), summary=f"{len(report.findings)} findings, {report.words} words")

    def stop_with_parent() -> None:
        sys.stdin.buffer.read()
        worker.stop()

    with AgentTasks(Settings.from_env(dotenv=False)) as agent:
        worker = Worker(agent, target_agent, check, concurrency=1, poll_seconds=0.1, max_poll_seconds=0.2)
        threading.Thread(target=stop_with_parent, daemon=True).start()
        print("ready", flush=True)  # noqa: T201 - the parent waits for it
        worker.run()


if __name__ == "__main__":
    # The parent shows why contracts fail; a log on the terminal would repeat it, without escapes.
    logging.getLogger("ehg_tasks.worker").addHandler(logging.NullHandler())
    try:
        main(Path(sys.argv[1]), sys.argv[2])
    except TaskContractError as error:
        sys.exit(f"an agent process ended: {error}")
