"""The tests run on the PostgreSQL version that was chosen."""

from __future__ import annotations

import psycopg

from tests import versions
from tests.conftest import EXTERNAL, Project
from tests.databases import Databases


def test_the_chosen_postgresql_runs(project: Project, databases: Databases) -> None:
    urls = [databases.superuser_url] if EXTERNAL else [databases.superuser_url, project.database_url]
    for url in urls:
        with psycopg.connect(url) as connection:
            assert connection.info.server_version // 10_000 == int(versions.CHOSEN)
