"""The waits between retries."""

from __future__ import annotations

from ehg_tasks.waiting import Backoff


def test_waits_double_up_to_the_longest_and_are_shortened_by_at_most_half() -> None:
    for _ in range(50):
        backoff = Backoff(0.2, 5.0)
        for most in (0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0):
            assert most / 2 <= backoff.next() <= most


def test_a_reset_starts_again_with_the_first_wait() -> None:
    backoff = Backoff(1.0, 60.0)
    for _ in range(5):
        backoff.next()
    backoff.reset()
    assert backoff.next() <= 1.0
