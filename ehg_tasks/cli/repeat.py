"""Repeat an action, or wait, until the user stops the command."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from ehg_tasks.cli.output import print_notice
from ehg_tasks.errors import TemporaryError


@contextmanager
def until_stopped() -> Iterator[None]:
    """Leave the block quietly on Ctrl-C or SIGTERM."""

    def stop(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    with suppress(KeyboardInterrupt):
        yield


def repeat(action: Callable[[], None], every: float, times: int | None = None) -> None:
    """Run an action every `every` seconds, `times` times or forever.

    Raises:
        TemporaryError: the last run failed; earlier failures are printed as notices.
    """
    runs = 0
    while True:
        runs += 1
        try:
            action()
        except TemporaryError as error:
            if runs == times:
                raise
            print_notice(f"ehg-tasks: {error}")
        if runs == times:
            return
        time.sleep(every)
