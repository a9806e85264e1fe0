"""A planner hands work to specialists: three searches at once, and an article that waits for them.

One search fails and is retried, one takes its worker down with it, and one is cancelled. Start a project with
`ehg-tasks local start`, write its keys with `ehg-tasks local env > .env`, and run this file.
"""

import os
import subprocess
import sys

from ehg_tasks import AgentTasks, NewContract, Outcome, Task, Worker

agent = AgentTasks.from_env()


def search(task: Task) -> str:
    if task.objective == "lakes" and task.attempt == 1:
        raise TimeoutError("the search engine did not answer")  # recorded, and retried after a wait
    if task.objective == "rivers" and task.attempt == 1:
        os._exit(1)  # nothing is recorded; the lease ends, and another worker gets the contract
    task.report(message=f"searching for {task.objective}", percent=50)
    return f"all about {task.objective}"


def write(task: Task) -> str:
    searches = agent.outcomes(task.constraints["searches"])
    return ", ".join(str(each.output) for each in searches)


def plan() -> None:
    topics = [NewContract(parent_agent="PLANNER", target_agent="SEARCH", objective=topic)
              for topic in ("rivers", "lakes", "glaciers", "deserts")]  # fmt: skip
    *needed, unwanted = [created.contract_id for created in agent.create_many(topics)]
    article = agent.create(
        parent_agent="PLANNER",
        target_agent="WRITE",
        objective="Write about water",
        constraints={"searches": [str(contract_id) for contract_id in needed]},
        depends_on=needed,
    )
    agent.cancel(unwanted, "no water there")
    for ended in agent.as_completed([*needed, unwanted, article.contract_id], timeout=120, on_change=show):
        show(ended)


def show(outcome: Outcome) -> None:
    attempts = [attempt.outcome.value for attempt in agent.history(outcome.contract_id) if attempt.outcome]
    print(outcome.status, outcome.waiting or "", outcome.output or "", attempts, flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["work"]:
        Worker(agent, {"SEARCH": search, "WRITE": write}, concurrency=1, lease_seconds=5).run()
    else:
        workers = [subprocess.Popen([sys.executable, __file__, "work"]) for _ in range(2)]
        plan()
        for worker in workers:
            worker.terminate()
