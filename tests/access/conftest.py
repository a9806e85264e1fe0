"""The seeded database, the two profiles, and credentials for each role."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from psycopg import Connection

from tests.access.matrix import Relations
from tests.access.profiles import PROFILES, RESTORE
from tests.access.seed import SEED
from tests.conftest import Project


@pytest.fixture
def seeded(database: Connection[Any]) -> Iterator[Connection[Any]]:
    """The rows of the seed, in a transaction that is rolled back."""
    with database.transaction(force_rollback=True):
        database.execute(SEED)
        yield database


@pytest.fixture(params=PROFILES)
def profile(database: Connection[Any], request: pytest.FixtureRequest) -> Iterator[Relations]:
    """The live project in one of the profiles, and the outcomes in it."""
    prepare, outcomes = PROFILES[request.param]
    database.execute(prepare.encode() or b"select")
    yield outcomes
    database.execute(RESTORE.encode())


@pytest.fixture
def credentials(project: Project, user_token: str) -> dict[str, tuple[str, str | None]]:
    """The key and the token with which each role calls the API."""
    return {
        "anon": (project.publishable_key, None),
        "authenticated": (project.publishable_key, user_token),
        "service_role": (project.secret_key, None),
    }
