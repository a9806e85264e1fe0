"""A worker in a separate process: ``python -m tests.reliability.worker_process MODE OPTIONS``.

It prints one line for each event. MODE says what the handler does:

    quick      returns its process id
    hold       waits for a line on standard input, or until it is cancelled
    stubborn   never returns
    fork       forks a process, ends it with SIGTERM, and returns its exit code
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import sys
import threading
import time
from dataclasses import asdict

from ehg_tasks import AgentTasks, Task, Worker


def print_line(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(mode: str, options: str) -> None:
    logging.basicConfig(format="log %(message)s", level=logging.INFO, stream=sys.stdout)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    finish = threading.Event()

    def wait_for_a_line() -> None:
        if sys.stdin.readline():
            finish.set()

    def handler(task: Task) -> dict[str, int]:
        print_line(f"started {task.id}")
        if mode == "fork":
            child = multiprocessing.get_context("fork").Process(target=time.sleep, args=[60])
            child.start()
            time.sleep(0.1)
            child.terminate()
            child.join()
            return {"exit code": child.exitcode or 0}
        while mode == "stubborn":
            time.sleep(1)
        while mode == "hold" and not finish.is_set():
            if task.wait(0.05):
                print_line(f"cancelled {task.id}")
                break
        return {"pid": os.getpid()}

    if mode == "hold":  # a forked process would wait for the lock that this thread holds on standard input
        threading.Thread(target=wait_for_a_line, daemon=True).start()
    with AgentTasks.from_env() as agent:
        worker = Worker(agent, "T", handler, **json.loads(options))
    print_line(f"agent {worker.agent_id}")
    worker.run()
    print_line(f"counters {json.dumps(asdict(worker.counters))}")


if __name__ == "__main__":
    main(*sys.argv[1:])
