"""`ehg-tasks` and `python -m ehg_tasks`."""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    """Run the command line, or say what to install if its libraries are missing."""
    if os.getpid() == 1:
        act_as_init()
    try:
        from ehg_tasks.cli import run
    except ModuleNotFoundError as error:
        if error.name not in {"typer", "rich", "click"}:
            raise
        sys.exit("ehg-tasks: the command line needs more packages: pip install 'ehg-tasks[cli]'")
    run()


def act_as_init() -> None:
    """Continue in a child process, while this one passes signals on to it and reaps orphans until it ends.

    In a container without an init, what handlers leave running becomes a child of process 1. The program
    itself cannot reap all children, because asyncio and subprocess wait for their own.
    """
    signals = signal.valid_signals()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    program = os.fork()
    if program == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return
    while True:
        received = signal.sigwaitinfo(signals)
        if received.si_signo == signal.SIGCHLD:
            _reap(program)
        elif received.si_code <= 0:  # from a process; the terminal sends its signals to the child too
            os.kill(program, received.si_signo)


def _reap(program: int) -> None:
    """Reap every child that has ended. End with the program's exit code once it is among them."""
    while (ended := os.waitpid(-1, os.WNOHANG))[0]:
        if ended[0] == program:
            code = os.waitstatus_to_exitcode(ended[1])
            os._exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()
