"""Squawk finds nothing in the SQL that users run on their databases, under the rules in `.squawk.toml`."""

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


def findings(*options: str) -> list[dict[str, Any]]:
    """What Squawk reports on every SQL file."""
    files = [str(path) for path in [*migrations.migrations(), *migrations.optional()]]
    answer = subprocess.run(
        [str(SQUAWK), "--reporter=json", *options, *files],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    reported: list[dict[str, Any]] = json.loads(answer.stdout)
    assert (answer.returncode == 0) == (not reported), answer.stderr
    return reported


def test_squawk_finds_nothing() -> None:
    assert findings() == []


def test_every_excluded_rule_would_find_something(tmp_path: Path) -> None:
    everything = tmp_path / "squawk.toml"
    everything.write_text(
        f'pg_version = "{CONFIG["pg_version"]}"\nassume_in_transaction = true\nexcluded_rules = []\n'
    )
    broken = {finding["rule_name"] for finding in findings(f"--config={everything}")}
    assert broken == set(CONFIG["excluded_rules"])
