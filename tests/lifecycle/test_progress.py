"""Progress: what a worker reports with a renewal, and who sees it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lifecycle.helpers import Database, claim, claimed, create, end_lease, held, leases
from tests.sql import Caller, Row, jsonb, refused

REPORT = {"message": "half of it", "percent": 50, "tokens": 1200}


def renew(caller: Caller, row: Row, progress: Any) -> None:
    caller("renew_task_contract", **held(row), progress=progress)


def renew_in_bulk(caller: Caller, row: Row, progress: Any) -> Row:
    item = {name: str(value) for name, value in held(row).items()} | {"progress": progress}
    [answer] = caller("renew_task_contracts", claims=jsonb([item]))
    return answer


def seen(caller: Caller, row: Row) -> tuple[Any, Any]:
    [outcome] = caller("task_contract_outcomes", contract_ids=[row["contract_id"]])
    return outcome["progress"], caller("task_contract_history", contract_id=row["contract_id"])[-1][
        "progress"
    ]


@pytest.mark.parametrize("report", [renew, renew_in_bulk])
class TestReports:
    def test_the_last_report_is_kept_with_the_attempt(self, anon: Caller, report: Any) -> None:
        row = claimed(anon)
        assert seen(anon, row) == (None, None)
        report(anon, row, REPORT)
        assert seen(anon, row) == (REPORT, REPORT)
        report(anon, row, {"percent": 60})
        assert seen(anon, row) == ({"percent": 60}, {"percent": 60})

    def test_a_renewal_without_a_report_keeps_the_last_one(self, anon: Caller, report: Any) -> None:
        row = claimed(anon)
        report(anon, row, REPORT)
        report(anon, row, None)
        assert seen(anon, row) == (REPORT, REPORT)

    def test_it_stays_after_the_attempt_and_the_next_one_begins_without(
        self, anon: Caller, database: Database, report: Any
    ) -> None:
        row = claimed(anon)
        report(anon, row, REPORT)
        end_lease(database, row["contract_id"])
        second = claim(anon)
        history = anon("task_contract_history", contract_id=row["contract_id"])
        assert [attempt["progress"] for attempt in history] == [REPORT, None]
        report(anon, second, {"percent": 1})
        anon("complete_task_contract", **held(second))
        assert seen(anon, second) == ({"percent": 1}, {"percent": 1})

    def test_a_report_at_the_limit_is_accepted(self, anon: Caller, report: Any) -> None:
        row = claimed(anon)
        largest = {"message": "x" * (4096 - len('{"message": ""}'))}
        report(anon, row, largest)
        assert seen(anon, row) == (largest, largest)

    @pytest.mark.parametrize(
        ("progress", "code", "message"),
        [
            ({"message": "x" * 4096}, "TC006", "p_progress is too large: 4111 bytes, the limit is 4096"),
            ({"message": "é" * 2048}, "TC006", "p_progress is too large"),
            ({"a": [1] * 20_000}, "TC006", "p_progress, as jsonb, is too large"),
            ({"a": {str(n): n for n in range(1500)}}, "TC006", "p_progress, as jsonb, is too large"),
            ([1], "TC005", "p_progress must be a JSON object"),
            ("half", "TC005", "p_progress must be a JSON object"),
            (50, "TC005", "p_progress must be a JSON object"),
        ],
        ids=["large", "bytes", "wide", "many keys", "array", "text", "number"],
    )
    def test_other_reports_are_refused(
        self, anon: Caller, database: Database, report: Any, progress: Any, code: str, message: str
    ) -> None:
        """A call for one claim is refused. One for several renews the lease and says what is wrong."""
        row = claimed(anon)
        before = leases(database)
        if report is renew:
            with refused(code, message):
                renew(anon, row, jsonb(progress))
            assert leases(database) == before
        else:
            assert message in renew_in_bulk(anon, row, progress)["message"]
            assert leases(database)[0]["progress"] is None


def test_a_deeply_nested_report_is_refused(anon: Caller, database: Database) -> None:
    row, nested = claimed(anon), "[" * 70 + "]" * 70
    with refused("TC006", "p_progress is nested"):
        anon.run(
            "select * from public.renew_task_contract(%s, %s, %s::jsonb)",
            [row["contract_id"], row["claim_token"], f'{{"a": {nested}}}'],
        )
    assert leases(database)[0]["progress"] is None


def test_without_the_claim_a_report_is_not_looked_at(anon: Caller, database: Database) -> None:
    create(anon)
    row = claim(anon)
    wrong = row | {"claim_token": row["contract_id"]}
    with refused("TC002"):
        renew(anon, wrong, {"message": "x" * 5000})
    assert leases(database)[0]["progress"] is None
