"""The async clients, from which the sync clients are generated."""

from __future__ import annotations

import secrets
from typing import Any

import pytest
from psycopg import Connection

from ehg_tasks import (
    AccessDenied,
    AsyncAgentTasks,
    AsyncBackendTasks,
    AsyncDashboardTasks,
    ContractNotFound,
    NewContract,
)
from tests.clients.helpers import WORK
from tests.conftest import Project


async def test_the_async_clients_work_from_sign_in_to_paging(
    project: Project, database: Connection[Any]
) -> None:
    email, password = f"{secrets.token_hex(6)}@example.com", secrets.token_urlsafe(12)
    async with (
        AsyncAgentTasks(url=project.url, key=project.publishable_key) as agent,
        AsyncDashboardTasks(url=project.url, key=project.publishable_key) as dashboard,
        AsyncBackendTasks(url=project.url, key=project.secret_key) as backend,
    ):
        with pytest.raises(AccessDenied):
            await dashboard.count()
        await dashboard.sign_up(email, password)
        await dashboard.sign_in(email, password)

        created = await agent.create_many([NewContract(**WORK)] * 5)
        ids = [contract.contract_id for contract in created]
        claims = await agent.claim("DESIGN", limit=2)
        for claim in claims:
            await agent.complete(claim, output={"a": 1})
        assert (await agent.outcome(claims[0].contract_id)).output == {"a": 1}
        assert sorted([row.id async for row in dashboard.list(page_size=2)]) == sorted(ids)
        assert await dashboard.count(status="completed") == 2

        await backend.delete(ids[0])
        with pytest.raises(ContractNotFound):
            await dashboard.get(ids[0])
        assert sum(group.contracts for group in await dashboard.stats()) == 4
        await dashboard.sign_out()
        with pytest.raises(AccessDenied):
            await dashboard.stats()
