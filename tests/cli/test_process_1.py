"""`ehg-tasks` as process 1 of a container, simulated by a process that adopts orphans as process 1 does."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

PROGRAM = """
import ctypes, os, signal, subprocess, sys, time
ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER
from ehg_tasks.__main__ import act_as_init
act_as_init()
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
subprocess.run(["sh", "-c", "sleep 0.2 & exec true"], check=True)
print(os.getpid(), flush=True)
time.sleep(60)
"""


def children(pid: int) -> list[int]:
    """The children of a process, ended ones included."""
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(line) for line in listed.stdout.split()]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 7), (signal.SIGUSR1, 128 + signal.SIGUSR1)])
def test_process_1_passes_signals_on_reaps_orphans_and_ends_with_the_program(
    number: signal.Signals, code: int
) -> None:
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        program = int(process.stdout.readline())
        deadline = time.monotonic() + 20
        while children(process.pid) != [program]:  # until the orphan has ended and is reaped
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        assert process.wait(20) == code
