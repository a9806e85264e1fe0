"""The diagrams and tables on docs/lifecycle.md say what the functions do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.lifecycle.helpers import (
    Database,
    claim,
    contract,
    create,
    end_lease,
    end_wait,
    held,
    reach_time_limit,
)
from tests.sql import Caller

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "lifecycle.md").read_text("utf-8")
README = (ROOT / "README.md").read_text("utf-8")
EDGE = re.compile(r"^ +(\S+) --> (\S+): ", re.MULTILINE)
STATES = ("ready", "held", "in_progress", "completed", "failed", "cancelled")


def edges(page: str) -> set[tuple[str, str]]:
    """The transitions in the diagram of a page."""
    [diagram] = re.findall(r"^```mermaid\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    return set(EDGE.findall(diagram))


class Subject:
    """A contract in some state, with what the actions need to know about it."""

    def __init__(self, database: Database, anon: Caller, service: Caller) -> None:
        self.database, self.anon, self.service = database, anon, service
        self.dependency: UUID | None = None
        self.id = UUID(int=0)
        self.held: dict[str, Any] = {}

    def bring(self, state: str, max_retries: int) -> None:
        """Create the contract and bring it into this state."""
        waits: dict[str, Any] = {}
        if state == "held":
            self.dependency = create(self.anon, "OTHER")
            waits = {"depends_on": [self.dependency]}
        self.id = create(self.anon, max_retries=max_retries, **waits)
        if state in ("in_progress", "completed", "failed"):
            self.held = held(claim(self.anon, contract_id=self.id))
        if state == "completed":
            self.anon("complete_task_contract", **self.held)
        elif state == "failed":
            self.anon("fail_task_contract", **self.held, error_message="e", retry=False)
        elif state == "cancelled":
            self.anon("cancel_task_contract", contract_id=self.id)

    def state(self) -> str:
        """The status, or the table of the queue that holds the contract if it is pending."""
        status = str(contract(self.database, self.id)["status"])
        [(is_ready, is_held)] = self.database.execute(
            "select exists (select from ehg_tasks.ready where contract_id = %(id)s),"
            " exists (select from ehg_tasks.held where contract_id = %(id)s)",
            {"id": self.id},
        ).fetchall()
        assert is_ready + is_held == (status == "pending")
        return "ready" if is_ready else "held" if is_held else status


def its_lease_ends(c: Subject) -> None:
    end_lease(c.database, c.id)
    c.service("cleanup_stale_contracts")


def its_time_limit_ends(c: Subject) -> None:
    reach_time_limit(c.database, c.id)
    c.service("cleanup_stale_contracts")


def its_time_comes(c: Subject) -> None:
    c.database.execute("update ehg_tasks.held set waits_for = 0 where contract_id = %s", [c.id])
    end_wait(c.database, c.id)
    c.anon("claim_task_contract", target_agent="T", contract_id=uuid4())


def nobody_claims_it(c: Subject) -> None:
    c.database.execute("update ehg_tasks.ready set claimable_since = now() - interval '2 days'")
    c.service("cleanup_stale_contracts")


ACTIONS: dict[str, Callable[[Subject], Any]] = {
    "claim": lambda c: c.anon("claim_task_contract", target_agent="T", contract_id=c.id),
    "complete": lambda c: c.anon("complete_task_contract", **c.held),
    "fail": lambda c: c.anon("fail_task_contract", **c.held, error_message="e"),
    "fail for good": lambda c: c.anon("fail_task_contract", **c.held, error_message="e", retry=False),
    "release": lambda c: c.anon("release_task_contract", **c.held),
    "cancel": lambda c: c.anon("cancel_task_contract", contract_id=c.id),
    "requeue": lambda c: c.service("requeue_task_contract", contract_id=c.id),
    "service role completes": lambda c: c.service("complete_task_contract", contract_id=c.id),
    "service role fails": lambda c: c.service("complete_task_contract", contract_id=c.id, success=False),
    "dependency completes": lambda c: c.service("complete_task_contract", contract_id=c.dependency),
    "dependency is cancelled": lambda c: c.service("cancel_task_contract", contract_id=c.dependency),
    "its lease ends": its_lease_ends,
    "its time comes": its_time_comes,
    "nobody claims it": nobody_claims_it,
}


@pytest.fixture
def transitions(database: Database, anon: Caller, service: Caller) -> set[tuple[str, str]]:
    """Every change of state that an action makes, of contracts with and without retries left."""
    found = {("[*]", "pending")}
    for state in STATES:
        for act in ACTIONS.values():
            for max_retries in (0, 2):
                database.execute("delete from public.agent_task_contracts")
                subject = Subject(database, anon, service)
                subject.bring(state, max_retries)
                assert subject.state() == state
                with suppress(psycopg.Error):  # refused in this state, or there is no claim to show
                    act(subject)
                found.add((state, subject.state()))
    return {(before, after) for before, after in found if before != after}


def expanded(shown: set[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """A transition from pending is one from ready and from held. A requeued contract is ready here."""
    for before, after in shown:
        for one in ("ready", "held") if before == "pending" else (before,):
            yield one, "ready" if after == "pending" and before != "[*]" else after


def test_the_diagram_of_the_page_shows_every_transition(transitions: set[tuple[str, str]]) -> None:
    assert set(expanded(edges(PAGE))) == transitions


def test_the_diagram_of_the_readme_shows_transitions_between_statuses(
    transitions: set[tuple[str, str]],
) -> None:
    statuses = {"ready": "pending", "held": "pending"}
    observed = {(statuses.get(a, a), statuses.get(b, b)) for a, b in transitions}
    assert edges(README) - observed == set()
    assert {after for _, after in edges(README)} == {after for _, after in observed}


def test_the_waits_before_a_retry_are_those_on_the_page(database: Database) -> None:
    rows = database.execute(
        "select extract(epoch from ehg_tasks.retry_wait(n))::integer from generate_series(1, 30) as n"
    ).fetchall()
    seconds = [row[0] for row in rows]
    [shown] = set(re.findall(r"\| (\d+ s, \d+ s, \d+ s … \d+ min) \|", PAGE))
    assert shown == "{} s, {} s, {} s … {} min".format(*seconds[:3], max(seconds) // 60)
    assert seconds[:5] == [5 * 2 ** (n - 1) for n in range(1, 6)]


# What happens, in the words of the page -> actions, with the retries that are left before.
ENDS: dict[str, list[tuple[Callable[[Subject], Any], int]]] = {
    "`fail`, retries left": [(ACTIONS["fail"], 2)],
    "`fail` with no retries left, or with `retry=False`": [
        (ACTIONS["fail"], 0),
        (ACTIONS["fail for good"], 2),
    ],
    "the lease or the time limit ends, retries left": [(its_lease_ends, 2), (its_time_limit_ends, 2)],
    "the lease or the time limit ends, no retries left": [(its_lease_ends, 0), (its_time_limit_ends, 0)],
    "`release`": [(ACTIONS["release"], 0), (ACTIONS["release"], 2)],
    "`cancel`": [(ACTIONS["cancel"], 0), (ACTIONS["cancel"], 2)],
}
[TABLE] = re.findall(r"^\| what happens .*\n\|[-|]+\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in TABLE.splitlines()]


@pytest.mark.parametrize(("happens", "then", "wait", "counts"), ROWS, ids=lambda cell: cell)
def test_an_attempt_ends_as_the_table_says(
    database: Database, anon: Caller, service: Caller, happens: str, then: str, wait: str, counts: str
) -> None:
    for act, max_retries in ENDS[happens]:
        subject = Subject(database, anon, service)
        subject.bring("in_progress", max_retries)
        act(subject)
        assert subject.state() == then.removeprefix("pending (").removesuffix(")")
        waits = database.execute(
            "select 1 from ehg_tasks.held where contract_id = %s and not_before > clock_timestamp()",
            [subject.id],
        ).fetchall()
        assert bool(waits) == (" s" in wait)
        assert contract(database, subject.id)["retry_count"] == (counts == "yes")


def test_the_table_lists_every_end() -> None:
    assert [row[0] for row in ROWS] == list(ENDS)
