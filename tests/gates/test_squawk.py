"""Squawk over the SQL that users run on their databases, with the rules of `.squawk.toml`."""

from __future__ import annotations

import json
import subprocess
import sysconfig
import tomllib
from pathlib import Path
from typing import Any

from ehg_tasks import migrations

ROOT = Path(__file__).parents[2]
CONFIG = tomllib.loads((ROOT / ".squawk.toml").read_text())
SQUAWK = Path(sysconfig.get_path("scripts")) / "squawk"


def findings(*options: str, sql: str | None = None) -> list[dict[str, Any]]:
    """What Squawk reports on every file, or on `sql`."""
    files = [] if sql else [str(path) for path in [*migrations.migrations(), *migrations.optional()]]
    answer = subprocess.run(
        [str(SQUAWK), "--reporter=json", *options, *files],
        cwd=ROOT, input=sql, capture_output=True, text=True, check=False,
    )  # fmt: skip
    reported: list[dict[str, Any]] = json.loads(answer.stdout)
    assert (answer.returncode == 0) == (not reported), answer.stderr
    return reported


def test_it_finds_nothing() -> None:
    assert findings() == []


def test_no_rule_is_off_without_need(tmp_path: Path) -> None:
    everything = tmp_path / "squawk.toml"
    everything.write_text(
        f'pg_version = "{CONFIG["pg_version"]}"\nassume_in_transaction = true\nexcluded_rules = []\n'
    )
    found = {finding["rule_name"] for finding in findings(f"--config={everything}")}
    assert found == set(CONFIG["excluded_rules"])


def test_it_finds_what_is_wrong() -> None:
    [finding] = findings(sql="alter table public.agent_task_contracts alter column priority type bigint;")
    assert finding["rule_name"] == "changing-column-type"
