"""Whether a project is as this version expects it: two descriptions, compared fact by fact.

A description is what `describe_task_contracts()` answers. The expected one comes with the package, made
from its migrations. Facts that do not matter (rows, comments, the order of columns) and those that
PostgreSQL's versions word differently are left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ehg_tasks.errors import UnexpectedAnswer

Profile = Literal["specified", "hardened"]
Facts = dict[str, dict[str, Any]]  # the facts of each object of a kind, by the object's name
Row = dict[str, Any]

EXPECTED = Path(__file__).with_name("expected.json")
# What lets agents write to the table itself, which the hardened profile takes away.
_ANON = re.compile(r'on public\.agent_task_contracts to anon$|^"Anon can ')
# A project may replace it, to have a retry schedule of its own.
REPLACEABLE = {"ehg_tasks.retry_wait(integer)"}


@dataclass(frozen=True)
class Verdict:
    """What a comparison found.

    Attributes:
        profile: whether agents may write to the table itself (specified) or not (hardened).
        differences: a line each; empty where the project matches.
    """

    profile: Profile
    differences: tuple[str, ...]

    @property
    def matches(self) -> bool:
        """Whether there is no difference."""
        return not self.differences


def expected() -> dict[str, Any]:
    """The description that this version expects, of the specified profile."""
    described: dict[str, Any] = json.loads(EXPECTED.read_text("utf-8"))
    return described


def compare(live: dict[str, Any], wanted: dict[str, Any] | None = None) -> Verdict:
    """Compare a project with what this version expects.

    Args:
        live: the answer of `BackendTasks.describe`.
        wanted: another description to expect.

    Raises:
        UnexpectedAnswer: `live` is no description.
    """
    there, should = facts(live), facts(expected() if wanted is None else wanted)
    for_agents = [(kind, name) for kind in ("policy", "grant") for name in should[kind] if _ANON.search(name)]
    profile: Profile = "specified"
    if not any(name in there.get(kind, {}) for kind, name in for_agents):
        profile = "hardened"
        for kind, name in for_agents:
            del should[kind][name]
    return Verdict(profile, tuple(line for kind in should for line in _differences(kind, there, should)))


def facts(described: dict[str, Any]) -> dict[str, Facts]:
    """A description as facts by kind and name, without those that do not matter.

    Kinds that the description does not know are left out: an older version's knows fewer.

    Raises:
        UnexpectedAnswer: it is no description.
    """
    try:
        found = {kind: read(described[key] or {}) for key, (kind, read) in _KINDS.items() if key in described}
    except (TypeError, KeyError, AttributeError):
        found = {}
    if "column" not in found:
        raise UnexpectedAnswer("describe_task_contracts() gave no description of the table")
    return found


def _differences(kind: str, there: dict[str, Facts], should: dict[str, Facts]) -> Iterator[str]:
    if kind not in there:
        yield f"older function: describe_task_contracts() does not tell of each {kind}: apply the migrations"
        return
    live, wanted = there[kind], should[kind]
    yield from (f"missing {kind}: {name}" for name in wanted if name not in live)
    yield from (f"extra {kind}: {name}" for name in live if name not in wanted)
    for name in (name for name in wanted if name in live):
        for fact, value in sorted(wanted[name].items()):
            found = live[name].get(fact)
            if found == value or (name in REPLACEABLE and fact in {"body", "settings"}):
                continue
            if fact == "body":
                yield f"changed function: {name} has another body than this version's"
            else:
                yield f"changed {kind}: {name} has {fact} {_told(found)} instead of {_told(value)}"


def _told(value: Any) -> str:
    text = "none" if value is None else value if isinstance(value, str) else json.dumps(value)
    return " ".join(text.split())


# --- readers of the description's parts ----------------------------------------------------------


def _named(rows: Iterable[Row]) -> Facts:
    return {row["name"]: _without(row, "name") for row in rows}


def _constraints(rows: Iterable[Row]) -> Facts:
    return {row["name"]: _without(row, "name") | {"definition": _plain(row)} for row in rows}


def _plain(constraint: Row) -> str:
    """A constraint's definition; a check's without casts and brackets, which a dump and restore move."""
    text: str = constraint["definition"]
    if constraint["type"] != "c":
        return text
    return re.sub(r"::(character varying|text)(\[\])?|[()]", "", text)


def _columns(rows: Iterable[Row]) -> Facts:
    return {row["name"]: _without(row, "name", "description") for row in rows}


def _policies(rows: Iterable[Row]) -> Facts:
    return {f'"{row["name"]}" on {row["table"]}': _without(row, "name", "table") for row in rows}


def _security(tables: dict[str, bool]) -> Facts:
    return {name: {"state": "on" if on else "off"} for name, on in dict(tables).items()}


def _functions(rows: Iterable[Row]) -> Facts:
    return {row["name"]: _without(row, "name", "body_md5") | {"body": row["body_md5"]} for row in rows}


def _views(rows: Iterable[Row]) -> Facts:
    return {
        row["name"]: {"options": row["options"], "definition": _unqualified(row["definition"])}
        for row in rows
    }


def _unqualified(definition: str) -> str:
    """A view's query, without the table's alias: PostgreSQL 18 writes it only where it is needed."""
    return " ".join(re.sub(r"\bc\.", "", definition).split())


def _parts(rows: Iterable[Row]) -> Facts:
    return {row["object"]: {"definition": row["definition"]} for row in rows}


def _grants(rows: Iterable[Row]) -> Facts:
    return {f"{row['privilege']} on {row['object']} to {row['role']}": {} for row in rows}


def _without(row: Row, *names: str) -> Row:
    return {name: value for name, value in row.items() if name not in names}


_KINDS: dict[str, tuple[str, Callable[[Any], Facts]]] = {
    "columns": ("column", _columns),
    "constraints": ("constraint", _constraints),
    "indexes": ("index", _named),
    "row_level_security": ("row level security", _security),
    "policies": ("policy", _policies),
    "triggers": ("trigger", _named),
    "functions": ("function", _functions),
    "views": ("view", _views),
    "parts": ("part", _parts),
    "grants": ("grant", _grants),
}
