"""Rules shared by all functions on an existing contract.

It must exist, its status must allow the call, and the caller must present the current claim token.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from tests.lifecycle.helpers import Database, artifacts, claimed, contract, create, held, leases
from tests.sql import Caller, refused

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
