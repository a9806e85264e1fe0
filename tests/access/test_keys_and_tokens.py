"""Who is who: keys of both generations, user tokens, and every kind of wrong one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from postgrest import APIError, ReturnMethod
from psycopg import Connection

from tests.conftest import Project

TABLE = "agent_task_contracts"
MINIMAL = ReturnMethod.minimal
ROW = {"parent_agent": "PLANNER", "target_agent": "DESIGN", "objective": "draw"}
Contracts = Callable[[], list[dict[str, Any]]]


def token(secret: str, role: str, *, seconds: int = 600, **claims: Any) -> str:
    now = int(time.time())
    payload = {"role": role, "aud": "authenticated", "iat": now - 1000, "exp": now + seconds, **claims}
    return jwt.encode(payload, secret, algorithm="HS256")


def try_everything(project: Project, key: str, bearer: str | None) -> set[str | None]:
    """The codes with which a read, a write and a function call are refused."""
    api = project.api(key, bearer)
    calls: list[Callable[[], object]] = [
        api.table(TABLE).select("id").execute,
        api.table(TABLE).insert(ROW, returning=MINIMAL).execute,
        api.rpc("create_task_contract", {f"p_{name}": value for name, value in ROW.items()}).execute,
    ]
    codes = set()
    for call in calls:
        with pytest.raises(APIError) as raised:
            call()
        codes.add(raised.value.code)
    return codes


def test_the_legacy_keys_work_as_the_new_ones_do(project: Project, contracts: Contracts) -> None:
    anon = project.api(project.anon_jwt)
    anon.table(TABLE).insert(ROW, returning=MINIMAL).execute()
    with pytest.raises(APIError, match="permission denied"):
        anon.table(TABLE).select("id").execute()
    service = project.api(project.service_role_jwt)
    assert len(service.table(TABLE).select("id").execute().data) == 1
    assert len(contracts()) == 1


@pytest.mark.parametrize(
    "key", ["sb_publishable_made_up_key_00000000", "sb_secret_made_up_key_0000000000000"]
)
def test_a_made_up_key_is_refused(project: Project, key: str, contracts: Contracts) -> None:
    assert len(try_everything(project, key, None)) == 1
    assert contracts() == []


def test_a_forged_token_is_refused(project: Project, contracts: Contracts) -> None:
    forged = token("another secret, long enough for the signature", "service_role")
    try_everything(project, project.publishable_key, forged)
    assert contracts() == []


def test_a_forged_legacy_key_is_refused(project: Project, contracts: Contracts) -> None:
    forged = token("another secret, long enough for the signature", "service_role")
    try_everything(project, forged, None)
    assert contracts() == []


def test_an_unsigned_token_is_refused(project: Project, contracts: Contracts) -> None:
    unsigned = jwt.encode({"role": "service_role", "exp": int(time.time()) + 600}, "", algorithm="none")
    try_everything(project, project.publishable_key, unsigned)
    assert contracts() == []


def test_an_expired_token_is_refused(project: Project, contracts: Contracts) -> None:
    expired = token(project.jwt_secret, "authenticated", seconds=-60)
    try_everything(project, project.publishable_key, expired)
    assert contracts() == []


def test_a_token_for_an_unknown_role_is_refused(project: Project, contracts: Contracts) -> None:
    for role in ("postgres", "supabase_admin", "no_such_role"):
        try_everything(project, project.publishable_key, token(project.jwt_secret, role))
    assert contracts() == []


def test_a_user_stays_a_user_beside_the_secret_key(
    project: Project, user_token: str, database: Connection[Any], contracts: Contracts
) -> None:
    """The token decides the role, not the key that comes with it."""
    database.execute(
        "insert into public.agent_task_contracts (parent_agent, target_agent, objective)"
        " values ('P', 'T', 'o')"
    )
    before = contracts()
    api = project.api(project.secret_key, user_token)
    assert len(api.table(TABLE).select("id").execute().data) == 1
    with pytest.raises(APIError) as raised:
        api.table(TABLE).insert(ROW, returning=MINIMAL).execute()
    assert raised.value.code == "42501"
    assert contracts() == before
