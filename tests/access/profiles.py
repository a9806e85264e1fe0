"""The states of the database in which the matrix is tested, and what is expected in each."""

from __future__ import annotations

from ehg_tasks import migrations
from tests.access import matrix
from tests.access.matrix import Relations


def _with(base: Relations, differing: Relations) -> Relations:
    return base | {relation: base[relation] | outcomes for relation, outcomes in differing.items()}


HARDEN = next(path for path in migrations.optional() if path.stem == "hardened").read_text()
TABLE = next(path for path in migrations.migrations() if "agent_task_contracts" in path.stem).read_text()
# Brings the specified profile back.
RESTORE = f"set ehg_tasks.profile = specified; {TABLE}; reset ehg_tasks.profile"
# Leaves row level security alone: no grant and no guard hides a broken policy.
RLS_ALONE = """
    alter table public.agent_task_contracts disable trigger trg_task_contracts_anon_rows;
    grant usage on schema ehg_tasks to anon, authenticated, service_role;
    grant all on all tables in schema public, ehg_tasks to anon, authenticated, service_role;
"""

# Name -> SQL that brings the database into this state, and the outcomes in it.
PROFILES: dict[str, tuple[str, Relations]] = {
    "specified": ("", matrix.SPECIFIED),
    "hardened": (HARDEN, _with(matrix.SPECIFIED, matrix.HARDENED)),
}
PROFILES_AND_RLS_ALONE = PROFILES | {
    "specified, RLS alone": (RLS_ALONE, matrix.RLS_ALONE),
    "hardened, RLS alone": (
        HARDEN + RLS_ALONE,
        _with(matrix.RLS_ALONE, matrix.HARDENED_RLS_ALONE),
    ),
}
