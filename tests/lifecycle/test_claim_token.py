"""Rules shared by all functions on an existing contract.

It must exist, its status must allow the call, and the caller must present the current claim token.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from tests.lifecycle.helpers import (
    Database,
    artifacts,
    attempts,
    claim,
    claimed,
    contract,
    create,
    held,
    leases,
)
from tests.sql import Caller, jsonb, refused

# Every function that needs the claim token, with its other parameters.
HOLDER_CALLS: dict[str, dict[str, Any]] = {
    "renew_task_contract": {},
    "complete_task_contract": {"output": {}},
    "fail_task_contract": {"error_message": "e"},
    "release_task_contract": {},
    "task_contract_inputs": {},
}


@pytest.mark.parametrize("function", [*HOLDER_CALLS, "cancel_task_contract"])
@pytest.mark.parametrize(("contract_id", "code"), [(UUID(int=1), "TC001"), (None, "TC005")])
def test_an_unknown_contract_is_refused(
    anon: Caller, function: str, contract_id: UUID | None, code: str
) -> None:
    token = {} if function == "cancel_task_contract" else {"claim_token": UUID(int=2)}
    with refused(code):
        anon(function, contract_id=contract_id, **token, **HOLDER_CALLS.get(function, {}))


@pytest.mark.parametrize("function", HOLDER_CALLS)
@pytest.mark.parametrize(
    ("token", "message"), [(None, "no claim token"), (UUID(int=1), "is lost")], ids=["missing", "wrong"]
)
def test_a_missing_or_wrong_token_is_refused(
    anon: Caller, database: Database, function: str, token: UUID | None, message: str
) -> None:
    row = claimed(anon)
    before = contract(database, row["contract_id"]), leases(database)
    with refused("TC002", message):
        anon(function, contract_id=row["contract_id"], claim_token=token, **HOLDER_CALLS[function])
    assert (contract(database, row["contract_id"]), leases(database)) == before
    assert artifacts(database) == []


@pytest.mark.parametrize("function", HOLDER_CALLS)
@pytest.mark.parametrize(
    ("status", "code"),
    [("pending", "TC002"), ("completed", "TC003"), ("failed", "TC003"), ("cancelled", "TC003")],
)
def test_a_claim_token_is_refused_unless_the_contract_is_in_progress(
    anon: Caller, database: Database, function: str, status: str, code: str
) -> None:
    """Even with the token of a lease that a direct write left behind."""
    row = claimed(anon)
    database.execute("update public.agent_task_contracts set status = %s", [status])
    before = contract(database, row["contract_id"]), leases(database)
    with refused(code):
        anon(function, **held(row), **HOLDER_CALLS[function])
    assert (contract(database, row["contract_id"]), leases(database)) == before


@pytest.mark.parametrize("status", ["completed", "failed"])
def test_a_final_contract_cannot_be_cancelled(anon: Caller, database: Database, status: str) -> None:
    contract_id = create(anon)
    database.execute("update public.agent_task_contracts set status = %s", [status])
    before = contract(database, contract_id)
    with refused("TC003", f"already {status}"):
        anon("cancel_task_contract", contract_id=contract_id)
    assert contract(database, contract_id) == before


class TestNoAttempt:
    """A direct write can put a contract in progress without a claim. Then no token is the right one."""

    @pytest.fixture(params=["never claimed", "claimed before"])
    def contract_id(self, request: pytest.FixtureRequest, anon: Caller, service: Caller) -> Any:
        contract_id = create(anon)
        if request.param == "claimed before":
            row = claim(anon)
            anon("release_task_contract", **held(row))
        service.run("update public.agent_task_contracts set status = 'in_progress', started_at = now()")
        return contract_id

    @pytest.mark.parametrize("function", HOLDER_CALLS)
    @pytest.mark.parametrize("role", ["anon", "service_role"])
    def test_no_token_is_accepted(
        self,
        call_as: Callable[[str], Caller],
        database: Database,
        contract_id: UUID,
        function: str,
        role: str,
    ) -> None:
        caller, before = call_as(role), contract(database, contract_id)
        tokens: list[UUID | None] = [UUID(int=0), UUID(int=1)]
        tokens += [row["claim_token"] for row in attempts(database, contract_id)]
        if (function, role) != ("complete_task_contract", "service_role"):  # which needs none
            tokens.append(None)
        for token in tokens:
            if function == "release_task_contract" and token in tokens[2:] and token is not None:
                continue  # the repeat of that release
            with refused("TC002"):
                caller(function, contract_id=contract_id, claim_token=token, **HOLDER_CALLS[function])
        assert contract(database, contract_id) == before
        assert artifacts(database) == []

    def test_neither_is_one_in_a_bulk_call(self, anon: Caller, database: Database, contract_id: UUID) -> None:
        before = contract(database, contract_id)
        tokens = [
            None,
            str(UUID(int=0)),
            *(str(row["claim_token"]) for row in attempts(database, contract_id)),
        ]
        items = [{"contract_id": str(contract_id), "claim_token": token} for token in tokens]
        renewals = anon("renew_task_contracts", claims=jsonb(items))
        assert {row["state"] for row in renewals} == {"lost"}
        for items_of_one_call in (items, items[:1]):  # a contract that is given twice goes one by one
            results = anon("complete_task_contracts", results=jsonb(items_of_one_call))
            assert {row["code"] for row in results} == {"TC002"}
        assert contract(database, contract_id) == before
