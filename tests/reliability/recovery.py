"""A killed worker's contract is picked up within 75 seconds with default options (`make prove`)."""

from __future__ import annotations

import signal
import time

from ehg_tasks import AgentTasks
from tests.reliability.conftest import Start
from tests.reliability.helpers import create_contracts


def test_a_killed_workers_contract_is_picked_up_within_75_seconds_by_default(
    start: Start, agent: AgentTasks
) -> None:
    [contract_id] = create_contracts(agent)
    # The fixture polls more often by default than a worker does.
    victim = start("hold", poll_seconds=0.5)
    victim.read_until("started")
    other = start("quick", poll_seconds=0.5)
    victim.popen.kill()
    killed = time.monotonic()
    other.read_until(f"started {contract_id}")
    assert time.monotonic() - killed < 75
    other.popen.send_signal(signal.SIGTERM)
    assert other.counters() == {"claimed": 1, "completed": 1}
