"""What the access matrix says that the catalog holds, and what the catalog holds, in the same words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from psycopg import Connection

from ehg_tasks.testing.catalog import items
from tests.access import matrix
from tests.access.matrix import ROLES

# privilege -> the operations that need it; a role that is refused all of them does not hold it
NEEDED_BY = {
    "SELECT": ("select",),
    "INSERT": ("insert",),
    "UPDATE": ("update one", "update all"),
    "DELETE": ("delete all",),
    "TRUNCATE": ("truncate",),
}
VIEW = "public.task_contract_stats"


def known() -> Iterator[str]:
    """What the matrix says that the catalog holds, in the words of `ehg_tasks.testing.catalog`."""
    for schema, roles in matrix.SCHEMAS.items():
        yield from (f"schema {schema} {role} USAGE" for role in roles)
    for relation, operations in matrix.SPECIFIED.items():
        if relation != VIEW:
            yield f"rls {relation}"
        for place, role in enumerate(ROLES):
            for privilege, needing in NEEDED_BY.items():
                outcomes = [operations[name][place] for name in needing if name in operations]
                if any(outcome != matrix.NO for outcome in outcomes):
                    yield f"grant {relation} {role} {privilege}"
    for relation, policies in matrix.POLICIES.items():
        yield from (f'policy {relation} "{name}"' for name in policies)
    yield from (f'trigger public.agent_task_contracts "{name}"' for name in matrix.TRIGGERS)
    for schema, functions in (("public", matrix.FUNCTIONS), ("ehg_tasks", matrix.ENGINE_FUNCTIONS)):
        for name, allowed in functions.items():
            for role, outcome in zip(ROLES, allowed, strict=True):
                if outcome == "ok" or (schema, name, role) in matrix.REFUSED_BEHIND_THE_DOOR:
                    yield f"execute {schema}.{name} {role}"


def live(connection: Connection[Any]) -> set[str]:
    """What the catalog holds; functions without their arguments, of which none has two versions."""
    return {
        re.sub(r"\(.*\)", "", item) if item.startswith("execute ") else item
        for item in items(connection, matrix.SCHEMAS)
    }
