"""renew_task_contracts and complete_task_contracts: a row for each item, and none undoes another."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.lifecycle.helpers import (
    Database,
    artifact,
    artifacts,
    attempts,
    claim,
    claimed,
    contract,
    create,
    end_lease,
    held,
    leases,
    reach_time_limit,
)
from tests.lifecycle.invariants import check_invariants
from tests.sql import Caller, Row, jsonb, refused

MIB = 1024 * 1024


def item(row: Row, **fields: Any) -> dict[str, Any]:
    """An item of a bulk call for a claim."""
    return {name: str(value) for name, value in held(row).items()} | fields


def renew(caller: Caller, *items: Any) -> list[Row]:
    return caller("renew_task_contracts", claims=jsonb(list(items)))


def complete(caller: Caller, *items: Any) -> list[Row]:
    return caller("complete_task_contracts", results=jsonb(list(items)))


def claim_several(caller: Caller, count: int, **fields: Any) -> list[Row]:
    for _ in range(count):
        create(caller, **fields)
    return caller("claim_task_contract", target_agent="T", limit=count, lease_seconds=60)


class TestEither:
    """What both calls refuse as a whole."""

    @pytest.mark.parametrize(
        ("items", "code", "message"),
        [
            (None, "TC005", "must be an array of one or more objects"),
            ([], "TC005", "must be an array of one or more objects"),
            ({}, "TC005", "must be an array of one or more objects"),
            ("x", "TC005", "must be an array of one or more objects"),
            (1, "TC005", "must be an array of one or more objects"),
            ([{}, 1], "TC005", "must hold objects only"),
            ([{}, None], "TC005", "must hold objects only"),
            ([{}, []], "TC005", "must hold objects only"),
            ([{}] * 101, "TC006", "has 101 entries, the limit is 100"),
            ([{}, {"status": "completed"}], "TC005", "unknown field: status"),
            ([{}, {"p_contract_id": "x"}], "TC005", "unknown field: p_contract_id"),
        ],
        ids=str,
    )
    @pytest.mark.parametrize(
        ("function", "parameter"),
        [("renew_task_contracts", "claims"), ("complete_task_contracts", "results")],
    )
    def test_anything_but_an_array_of_1_to_100_items(
        self,
        anon: Caller,
        database: Database,
        function: str,
        parameter: str,
        items: Any,
        code: str,
        message: str,
    ) -> None:
        row = claimed(anon)
        if isinstance(items, list) and items:
            items = [item(row), *items[1:]]
        before = contract(database, row["contract_id"]), leases(database)
        with refused(code, message):
            anon(function, **{parameter: jsonb(items)})
        assert (contract(database, row["contract_id"]), leases(database)) == before


class TestRenew:
    def test_every_claim_gets_a_row_in_the_order_given(self, anon: Caller, database: Database) -> None:
        rows = claim_several(anon, 7)
        running, released, cancelled, completed, failed, late, expired = rows
        anon("release_task_contract", **held(released))
        anon("cancel_task_contract", contract_id=cancelled["contract_id"])
        anon("complete_task_contract", **held(completed))
        anon("fail_task_contract", **held(failed), error_message="e", retry=False)
        reach_time_limit(database, late["contract_id"])
        end_lease(database, expired["contract_id"])
        unknown = {"contract_id": uuid4(), "claim_token": uuid4()}
        wrong = running | {"claim_token": uuid4()}
        order = [failed, running, unknown, late, wrong, released, expired, completed, cancelled]
        answers = renew(anon, *(item(row) for row in order))
        assert [(a["contract_id"], a["state"]) for a in answers] == [
            (failed["contract_id"], "failed"),
            (running["contract_id"], "renewed"),
            (unknown["contract_id"], "unknown"),
            (late["contract_id"], "timed_out"),
            (running["contract_id"], "lost"),
            (released["contract_id"], "lost"),
            (expired["contract_id"], "renewed"),
            (completed["contract_id"], "completed"),
            (cancelled["contract_id"], "cancelled"),
        ]
        ends = {lease["contract_id"]: lease["expires_at"] for lease in leases(database)}
        for answer in answers:
            is_renewed = answer["state"] == "renewed"
            end = ends[answer["contract_id"]] if is_renewed else None
            assert (answer["lease_expires_at"], answer["attempt"]) == (end, 1 if is_renewed else None)
        assert ends[expired["contract_id"]] > ends[late["contract_id"]]

    def test_a_token_renews_its_own_contract_only(self, anon: Caller, database: Database) -> None:
        """Also where the token is renewed in the same call."""
        mine, other = claim_several(anon, 2)
        end_lease(database, other["contract_id"])
        before = [lease for lease in leases(database) if lease["contract_id"] == other["contract_id"]]
        answers = renew(anon, item(mine), item(mine, contract_id=str(other["contract_id"])))
        assert [a["state"] for a in answers] == ["renewed", "lost"]
        assert (answers[1]["lease_expires_at"], answers[1]["attempt"]) == (None, None)
        after = [lease for lease in leases(database) if lease["contract_id"] == other["contract_id"]]
        assert after == before

    def test_a_lost_claim_is_lost_to_the_next_holder(self, anon: Caller, database: Database) -> None:
        first = claimed(anon)
        end_lease(database, first["contract_id"])
        second = claim(anon)
        assert [a["state"] for a in renew(anon, item(first), item(second))] == ["lost", "renewed"]

    def test_the_same_claim_twice_gets_two_rows(self, anon: Caller) -> None:
        row = claimed(anon)
        answers = renew(anon, item(row), item(row))
        assert [a["state"] for a in answers] == ["renewed", "renewed"]
        assert answers[0] == answers[1]

    def test_missing_values_are_unknown_or_lost(self, anon: Caller, database: Database) -> None:
        row = claimed(anon)
        before = leases(database)
        contract_id = str(row["contract_id"])
        answers = renew(
            anon, {}, {"contract_id": None}, {"contract_id": contract_id}, item(row, claim_token=None)
        )
        assert [a["state"] for a in answers] == ["unknown", "unknown", "lost", "lost"]
        assert leases(database) == before

    def test_a_refused_report_keeps_no_lease_from_being_renewed(
        self, anon: Caller, database: Database
    ) -> None:
        rows = claim_several(anon, 4)
        renew(anon, *(item(row, progress={"percent": 1}) for row in rows))
        reports = [{"text": "x" * 5000}, [1], {"percent": 2}, None]
        answers = renew(
            anon, *(item(row, progress=report) for row, report in zip(rows, reports, strict=True))
        )
        assert [(a["state"], a["message"]) for a in answers] == [
            ("renewed", "p_progress is too large: 5012 bytes, the limit is 4096"),
            ("renewed", "p_progress must be a JSON object"),
            ("renewed", None),
            ("renewed", None),
        ]
        outcomes = anon("task_contract_outcomes", contract_ids=[row["contract_id"] for row in rows])
        assert [row["progress"]["percent"] for row in outcomes] == [1, 1, 2, 1]

    def test_a_refused_report_of_a_lost_claim_is_not_told(self, anon: Caller) -> None:
        row = claimed(anon)
        [answer] = renew(anon, item(row, claim_token=str(uuid4()), progress=[1]))
        assert (answer["state"], answer["message"]) == ("lost", None)

    def test_a_hundred_claims_are_renewed(self, anon: Caller, database: Database) -> None:
        rows = claim_several(anon, 100)
        database.execute("update ehg_tasks.attempts set expires_at = expires_at - interval '30 seconds'")
        answers = renew(anon, *(item(row) for row in rows))
        assert [a["contract_id"] for a in answers] == [row["contract_id"] for row in rows]
        assert all(
            a["lease_expires_at"] >= row["lease_expires_at"] for a, row in zip(answers, rows, strict=True)
        )

    def test_what_is_not_a_uuid_refuses_the_call(self, anon: Caller, database: Database) -> None:
        row = claimed(anon)
        before = leases(database)
        for bad in ({"contract_id": "x"}, item(row, claim_token="x")):
            with refused("22P02"):
                renew(anon, item(row), bad)
        assert leases(database) == before


def rows_of(answers: list[Row]) -> list[tuple[Any, ...]]:
    return [(a["success"], a["status"], a["was_duplicate"], a["code"]) for a in answers]


RECORDED = (True, "completed", False, None)
REPEATED = (True, "completed", True, None)


def not_recorded(code: str) -> tuple[Any, ...]:
    return (False, None, None, code)


class TestComplete:
    def test_every_result_is_recorded_and_gets_a_row_in_the_order_given(
        self, anon: Caller, database: Database
    ) -> None:
        rows = claim_several(anon, 3)
        agent, key = uuid4(), uuid4()
        answers = complete(
            anon,
            item(rows[2], output={"a": [1]}, result_summary="fine", execution_tokens=5),
            item(rows[0], success=False, error_message="cannot"),
            item(rows[1], agent_id=str(agent), idempotency_key=str(key)),
        )
        assert [a["contract_id"] for a in answers] == [rows[n]["contract_id"] for n in (2, 0, 1)]
        assert rows_of(answers) == [RECORDED, (True, "failed", False, None), RECORDED]
        assert [a["message"] for a in answers] == [
            "task contract completed", "task contract failed", "task contract completed"
        ]  # fmt: skip
        [stored] = artifacts(database)
        first, second, third = (contract(database, a["contract_id"]) for a in answers)
        assert (first["result_summary"], first["execution_tokens"]) == ("fine", 5)
        assert first["output_artifact_id"] == answers[0]["output_artifact_id"] == stored["id"]
        assert (stored["content_text"], stored["summary"], stored["token_count"]) == ('{"a": [1]}', "fine", 5)
        assert stored["metadata"] == {"contract_id": str(first["id"])}
        assert first["completion_idempotency_key"] == rows[2]["claim_token"]
        assert (second["status"], second["error_message"]) == ("failed", "cannot")
        assert (third["completion_idempotency_key"], third["completed_by_agent_id"]) == (key, agent)
        outcomes = [attempts(database, a["contract_id"])[0]["outcome"] for a in answers]
        assert outcomes == ["completed", "failed", "completed"]
        check_invariants(database)

    def test_the_result_is_the_same_as_that_of_a_single_call(self, anon: Caller, database: Database) -> None:
        create(anon, session_id=uuid4())
        create(anon, session_id=uuid4())
        agent = uuid4()
        rows = anon("claim_task_contract", target_agent="T", limit=2, agent_id=agent)
        given: dict[str, Any] = {"result_summary": "s", "execution_tokens": 3, "output": {"b": None}}
        [single] = anon("complete_task_contract", **held(rows[0]), **given)
        [bulk] = complete(anon, item(rows[1], **given))
        assert {name: bulk[name] for name in ("success", "status", "was_duplicate", "message")} == {
            name: single[name] for name in ("success", "status", "was_duplicate", "message")
        }
        one, two = (contract(database, row["contract_id"]) for row in rows)
        own = {
            "id", "session_id", "created_at", "started_at", "completed_at", "updated_at",
            "completion_idempotency_key", "output_artifact_id",
        }  # fmt: skip
        assert {n: v for n, v in one.items() if n not in own} == {
            n: v for n, v in two.items() if n not in own
        }
        assert one["completed_by_agent_id"] == agent
        stored = artifacts(database)
        own = {"id", "session_id", "created_at", "metadata"}
        assert len({str({n: v for n, v in a.items() if n not in own}) for a in stored}) == 1
        assert {a["session_id"] for a in stored} == {one["session_id"], two["session_id"]}

    def test_a_refused_result_does_not_affect_the_others(self, anon: Caller, database: Database) -> None:
        rows = claim_several(anon, 4)
        done, lost, cancelled = claim_several(anon, 3)
        anon("complete_task_contract", **held(done), result_summary="first")
        end_lease(database, lost["contract_id"])
        claim(anon)
        anon("cancel_task_contract", contract_id=cancelled["contract_id"])
        unknown = artifact(database)
        database.execute("delete from public.agent_artifacts")
        left = rows[3]
        before = [contract(database, row["contract_id"]) for row in (done, lost, cancelled, left)]
        answers = complete(
            anon,
            item(rows[0], output="a"),
            item(done, result_summary="second"),
            item(lost),
            item(rows[1], output="b"),
            item(cancelled),
            item(left, output={"x": "x" * MIB}),
            item(left, claim_token=None),
            item(left, claim_token=str(uuid4())),
            item(left, result_summary="x" * 65537),
            item(left, output={}, output_artifact_id=str(unknown)),
            item(left, output_artifact_id=str(unknown)),
            item(left, execution_tokens=-1),
            item(left, execution_tokens="many"),
            item(left, execution_tokens=2**40),
            item(left, success="perhaps"),
            {"contract_id": str(uuid4())},
            {"contract_id": None},
            {"contract_id": "x"},
            {},
            item(rows[2], output="c"),
        )
        assert rows_of(answers) == [
            RECORDED, not_recorded("TC004"), not_recorded("TC002"), RECORDED, not_recorded("TC003"),
            not_recorded("TC006"), not_recorded("TC002"), not_recorded("TC002"), not_recorded("TC006"),
            not_recorded("TC005"), not_recorded("23503"), not_recorded("TC005"), not_recorded("22P02"),
            not_recorded("22003"), not_recorded("22P02"), not_recorded("TC001"), not_recorded("TC005"),
            not_recorded("22P02"), not_recorded("TC005"), RECORDED,
        ]  # fmt: skip
        assert all(answer["message"] for answer in answers)
        assert [contract(database, row["contract_id"]) for row in (done, lost, cancelled, left)] == before
        assert sorted(a["content_text"] for a in artifacts(database)) == ['"a"', '"b"', '"c"']
        check_invariants(database)

    @pytest.mark.parametrize(
        "bad",
        [{"execution_tokens": "many"}, {"output_artifact_id": str(UUID(int=1))}, {"output": "x" * MIB}],
        ids=["type", "reference", "size"],
    )
    def test_one_bad_value_does_not_stop_the_others_from_being_recorded(
        self, anon: Caller, database: Database, bad: dict[str, Any]
    ) -> None:
        rows = claim_several(anon, 3)
        items = [item(row, output=n) for n, row in enumerate(rows)]
        answers = complete(anon, items[0], item(rows[1], **bad), items[2])
        assert [a["success"] for a in answers] == [True, False, True]
        assert sorted(row["content_text"] for row in artifacts(database)) == ["0", "2"]
        assert complete(anon, items[1])[0]["success"] is True

    @pytest.mark.parametrize("output", [{}, [], "text", "5", 0, False, {"a": [1, None]}], ids=repr)
    def test_any_json_but_null_can_be_the_output(self, anon: Caller, output: Any) -> None:
        row = claimed(anon)
        complete(anon, item(row, output=output))
        [outcome] = anon("task_contract_outcomes", contract_ids=[row["contract_id"]])
        assert outcome["output"] == output

    def test_an_existing_artifact_can_be_the_output(self, anon: Caller, database: Database) -> None:
        row, report = claimed(anon), artifact(database, '"done"')
        [answer] = complete(anon, item(row, output_artifact_id=str(report)))
        assert answer["output_artifact_id"] == report

    def test_a_deeply_nested_output_is_refused(self, anon: Caller, database: Database) -> None:
        nested: Any = []
        for _ in range(70):
            nested = [nested]
        rows = claim_several(anon, 2)
        answers = complete(anon, item(rows[0], output=nested), item(rows[1], output=1))
        assert rows_of(answers) == [not_recorded("TC006"), RECORDED]
        assert len(artifacts(database)) == 1


class TestRepeats:
    def test_a_repeat_of_the_call_records_nothing(self, anon: Caller, database: Database) -> None:
        rows = claim_several(anon, 3)
        items = [item(row, output={"n": n}, result_summary="s") for n, row in enumerate(rows)]
        first = complete(anon, *items)
        before = [contract(database, row["contract_id"]) for row in rows]
        repeat = complete(anon, *items)
        assert rows_of(repeat) == [REPEATED] * 3
        assert [a["output_artifact_id"] for a in repeat] == [a["output_artifact_id"] for a in first]
        assert [contract(database, row["contract_id"]) for row in rows] == before
        assert len(artifacts(database)) == 3

    def test_a_contract_that_is_given_twice_is_recorded_once(self, anon: Caller, database: Database) -> None:
        row, other = claim_several(anon, 2)
        answers = complete(anon, item(row, output=1), item(other), item(row, output=1), item(row, output=2))
        assert rows_of(answers) == [RECORDED, RECORDED, REPEATED, not_recorded("TC004")]
        assert [row["content_text"] for row in artifacts(database)] == ["1"]

    def test_the_earlier_holder_does_not_disturb_the_present_one_in_the_same_call(
        self, anon: Caller, database: Database
    ) -> None:
        first = claimed(anon)
        end_lease(database, first["contract_id"])
        second = claim(anon)
        answers = complete(anon, item(first, output="old"), item(second, output="new"))
        assert rows_of(answers) == [not_recorded("TC002"), RECORDED]
        assert [row["content_text"] for row in artifacts(database)] == ['"new"']


class TestServiceRole:
    def test_it_needs_no_token_for_contracts_that_were_claimed_once_at_most(
        self, anon: Caller, service: Caller, database: Database
    ) -> None:
        twice = claimed(anon)
        anon("release_task_contract", **held(twice))
        claim(anon)
        once, unclaimed = claimed(anon)["contract_id"], create(anon)
        ids = [once, unclaimed, twice["contract_id"]]
        answers = complete(service, *({"contract_id": str(i), "output": 1} for i in ids))
        assert rows_of(answers) == [RECORDED, RECORDED, not_recorded("TC002")]
        check_invariants(database)

    def test_agents_do(self, anon: Caller, database: Database) -> None:
        ids = [claimed(anon)["contract_id"], create(anon)]
        answers = complete(anon, *({"contract_id": str(i)} for i in ids))
        assert rows_of(answers) == [not_recorded("TC002")] * 2


def test_dependents_of_all_completed_contracts_are_freed(anon: Caller, database: Database) -> None:
    rows = claim_several(anon, 3)
    joined = create(anon, depends_on=[row["contract_id"] for row in rows])
    single = create(anon, depends_on=[rows[0]["contract_id"]])
    given_up = create(anon, depends_on=[rows[1]["contract_id"]], on_dependency_failure="run")
    complete(anon, item(rows[0]), item(rows[1], success=False), item(rows[2]))
    check_invariants(database)
    assert contract(database, joined)["status"] == "cancelled"
    ids = [row["contract_id"] for row in anon("claim_task_contract", target_agent="T", limit=9)]
    assert ids == [single, given_up]


def test_the_claim_is_checked_before_the_output(anon: Caller, database: Database) -> None:
    """Otherwise a caller without any claim makes the server check a hundred outputs."""
    row = claimed(anon)
    wide = item(row, claim_token=str(uuid4()), output=[[1] * 10_000])
    assert (
        rows_of(complete(anon, wide, item(row, claim_token=None, output={"x": "x" * MIB})))
        == [not_recorded("TC002")] * 2
    )
    assert contract(database, row["contract_id"])["status"] == "in_progress"
