"""Grants, policies and row level security end alike in a project of either grant era."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection

from tests.access.known import known, live
from tests.databases import Databases

CONFIG = Path(__file__).parents[2] / "supabase" / "config.toml"


@pytest.mark.parametrize("old_era", [False, True], ids=["grants nothing", "grants everything"])
def test_a_fresh_project_of_either_grant_era_ends_alike(databases: Databases, old_era: bool) -> None:
    name = databases.create(old_era=old_era)
    databases.migrate(name)
    with databases.connect(name) as connection:
        assert live(connection) == set(known())


def test_the_live_project_has_these_grants(database: Connection[Any]) -> None:
    assert live(database) == set(known())


def test_applying_the_migrations_twice_changes_no_grant(databases: Databases) -> None:
    name = databases.migrated()
    databases.migrate(name)
    with databases.connect(name) as connection:
        assert live(connection) == set(known())


def test_the_engine_schema_is_not_exposed() -> None:
    """The Data API offers the functions of exposed schemas; the engine's are for the surface alone."""
    assert "ehg_tasks" not in tomllib.loads(CONFIG.read_text())["api"]["schemas"]
