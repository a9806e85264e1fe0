"""Each generated file is up to date."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg import Connection

from tools.generate import GENERATED, ROOT


@pytest.mark.parametrize("path", GENERATED)
def test_a_generated_file_is_up_to_date(connection: Connection[Any], path: str) -> None:
    assert (ROOT / path).read_text("utf-8") == GENERATED[path](connection), "outdated: run `make generated`"
