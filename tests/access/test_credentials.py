"""Which role a key and a token act as, and which of them are refused, over HTTP."""

from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

import httpx
import jwt
import pytest
from psycopg import Connection

from tests.access import matrix
from tests.access.matrix import ROLES
from tests.access.operations import request, run_over_http, snapshot
from tests.access.seed import SAMPLES, SEED
from tests.conftest import Project

CONTRACTS = "public.agent_task_contracts"


def credential(project: Project, user_token: str, name: str | None) -> str | None:
    """A key or token of the matrix, with its placeholder replaced."""
    if name is None or not name.startswith("<"):
        return name
    kind, _, role = name.strip("<>").partition(" ")
    now = int(time.time())
    claims = {"role": role, "aud": "authenticated", "sub": str(uuid4()), "iat": now - 900, "exp": now + 900}
    match kind:
        case "publishable":
            return project.publishable_key
        case "secret":
            return project.secret_key
        case "user":
            return user_token
        case "legacy":
            return project.anon_jwt if role == "anon" else project.service_role_jwt
        case "expired":
            return jwt.encode(claims | {"exp": now - 60}, project.jwt_secret, algorithm="HS256")
        case "forged":
            return jwt.encode(claims, "another secret, long enough for a signature", algorithm="HS256")
        case "unsigned":
            return jwt.encode(claims, "", algorithm="none")
    assert kind == "signed"
    return jwt.encode(claims, project.jwt_secret, algorithm="HS256")


@pytest.mark.parametrize("name", matrix.INVALID_CREDENTIALS)
def test_invalid_credentials_are_refused(
    project: Project, user_token: str, database: Connection[Any], name: str
) -> None:
    key, token = (credential(project, user_token, part) for part in matrix.INVALID_CREDENTIALS[name])
    headers = {"apikey": key} if key else {}
    if key or token:
        headers["Authorization"] = f"Bearer {token or key}"
    database.execute(SEED)
    before = snapshot(database)
    table = f"{project.url}/rest/v1/agent_task_contracts"
    sample = SAMPLES[CONTRACTS]
    with httpx.Client(headers=headers) as client:
        answers = [
            client.get(table),
            client.post(table, json=sample.new),
            client.patch(table, json=dict([sample.change])),
            client.delete(table),
            *(
                client.post(
                    f"{project.url}/rest/v1/rpc/{name}",
                    json={f"p_{n}": value for n, value in function.arguments.items()},
                )
                for name, function in matrix.FUNCTIONS.items()
            ),
        ]
    assert {answer.status_code for answer in answers} <= {400, 401, 403}
    assert snapshot(database) == before


@pytest.mark.parametrize("name", matrix.VALID_CREDENTIALS)
def test_the_token_decides_the_role(
    project: Project, user_token: str, database: Connection[Any], name: str
) -> None:
    key, token, role = matrix.VALID_CREDENTIALS[name]
    api = project.api(str(credential(project, user_token, key)), credential(project, user_token, token))
    for operation in ("select", "insert", "insert returning", "update one", "delete one"):
        act = request(api, CONTRACTS, operation)
        assert act is not None
        outcome = run_over_http(database, act, CONTRACTS, reads=operation == "select")
        assert outcome == matrix.SPECIFIED[CONTRACTS][operation][ROLES.index(role)], operation
