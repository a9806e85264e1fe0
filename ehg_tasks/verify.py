"""Compare a project with what this version expects, fact by fact.

A project's facts come from `describe_task_contracts()`. `expected.json` holds those of a project that
has just been migrated. Facts that do not matter (rows, comments, the order of columns) are left out, as is
wording that differs between PostgreSQL versions. Columns and constraints of the referenced tables are the
project's own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ehg_tasks.errors import UnexpectedAnswer

Profile = Literal["specified", "hardened"]
Facts = dict[str, dict[str, dict[str, Any]]]
"""Kind of object -> name of the object -> fact -> value."""

EXPECTED = Path(__file__).with_name("expected.json")

# Kind of object -> key in a description, name of an object, facts to compare.
_KINDS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "column": ("columns", "{name}", ("type", "nullable", "default")),
    "constraint": ("constraints", "{name}", ("type", "definition")),
    "index": ("indexes", "{name}", ("definition", "valid")),
    "row level security": ("row_level_security", "{name}", ("state",)),
    "policy": (
        "policies",
        '"{name}" on {table}',
        ("command", "permissive", "roles", "using", "with_check"),
    ),
    "trigger": ("triggers", "{name}", ("definition", "enabled")),
    "function": (
        "functions",
        "{name}",
        ("arguments", "returns", "security", "volatility", "settings", "body_md5"),
    ),
    "view": ("views", "{name}", ("options", "definition")),
    "part": ("parts", "{object}", ("definition",)),
    "grant": ("grants", "{privilege} on {object} to {role}", ()),
}
# Agents' direct access to the table, which the hardened profile removes.
_DIRECT_ACCESS = re.compile(r'^"Anon can |on public\.agent_task_contracts to anon$')
# A project may replace this function to have its own retry schedule.
_REPLACEABLE = "ehg_tasks.retry_wait(integer)"
_OF_ITS_OWN = ("body_md5", "settings")


@dataclass(frozen=True)
class Verdict:
    """The result of a comparison.

    Attributes:
        profile: `specified` if agents may write to the table directly, `hardened` if they may not.
        differences: one line each; empty if the project matches.
        notes: what the project has of its own and may have, one line each.
    """

    profile: Profile
    differences: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def matches(self) -> bool:
        """Whether the project matches."""
        return not self.differences


def expected() -> Facts:
    """The facts that this version expects, in the specified profile."""
    stored: Facts = json.loads(EXPECTED.read_text("utf-8"))["facts"]
    return stored


def compare(description: dict[str, Any]) -> Verdict:
    """Compare a project with what this version expects.

    Args:
        description: the result of `BackendTasks.describe`.

    Raises:
        UnexpectedAnswer: `description` does not describe the table.
    """
    live, wanted = facts(description), expected()
    direct = [(kind, name) for kind in wanted for name in wanted[kind] if _DIRECT_ACCESS.search(name)]
    profile: Profile = "specified"
    if not any(name in live.get(kind, {}) for kind, name in direct):
        profile = "hardened"
        for kind, name in direct:
            del wanted[kind][name]
    lines = [*_differences(live, wanted), *_findings(description)]
    return Verdict(
        profile,
        tuple(" ".join(line.split()) for line in lines),
        tuple(" ".join(line.split()) for line in _notes(live, wanted)),
    )


def facts(description: dict[str, Any]) -> Facts:
    """The facts of a description; a kind that an older description lacks is left out.

    Raises:
        UnexpectedAnswer: `description` does not describe the table.
    """
    try:
        result = {
            kind: {
                name.format(**row): {key: _value(row, key) for key in keys}
                for row in _rows(description[part])
            }
            for kind, (part, name, keys) in _KINDS.items()
            if part in description
        }
    except (TypeError, KeyError, AttributeError):
        result = {}
    if "column" not in result:
        raise UnexpectedAnswer("describe_task_contracts() returned no description of the table")
    return result


def _rows(part: Any) -> list[dict[str, Any]]:
    if isinstance(part, dict):  # row level security, by table
        return [{"name": name, "state": state} for name, state in part.items()]
    return list(part or [])


def _value(row: dict[str, Any], key: str) -> Any:
    value = row.get(key)
    if key == "options":  # an event trigger of the project may have set them: `on` means `true`
        return [re.sub(r"=(on|yes|1)$", "=true", option) for option in value or []]
    if key != "definition" or not isinstance(value, str):
        return value
    if row.get("type") == "c":
        # A dump and restore moves the casts and brackets of a check.
        return re.sub(r"::(character varying|text)(\[\])?|[()]", "", value)
    if "options" in row:
        # A view: PostgreSQL 18 writes the alias of its only source (c, r) only where it is needed.
        return " ".join(re.sub(r"\b[cr]\.", "", value).split())
    return value


def _differences(live: Facts, wanted: Facts) -> Iterator[str]:
    for kind, objects in wanted.items():
        if kind not in live:
            yield f"outdated describe_task_contracts(): it reports no {kind}; apply the migrations"
            continue
        yield from (f"missing {kind}: {name}" for name in objects if name not in live[kind])
        if kind != "index":  # a project may have indexes of its own: a note
            yield from (f"extra {kind}: {name}" for name in live[kind] if name not in objects)
        for name in (name for name in objects if name in live[kind]):
            for key, value in objects[name].items():
                actual = live[kind][name][key]
                if actual == value or (name == _REPLACEABLE and key in _OF_ITS_OWN):
                    continue
                if key == "body_md5":
                    yield f"changed function: {name} has a different body"
                else:
                    yield f"changed {kind}: {name} has {key} {_shown(actual)} instead of {_shown(value)}"


def _notes(live: Facts, wanted: Facts) -> Iterator[str]:
    """What a project may have of its own."""
    for name in sorted(live.get("index", {}).keys() - wanted["index"].keys()):
        yield f"extra index: {name}"
    own = live.get("function", {}).get(_REPLACEABLE)
    if own is not None and any(own[key] != wanted["function"][_REPLACEABLE][key] for key in _OF_ITS_OWN):
        yield f"changed function: {_REPLACEABLE}, the project's own retry schedule"


def _findings(description: dict[str, Any]) -> Iterator[str]:
    if "findings" not in description:
        yield "outdated describe_task_contracts(): it reports no findings; apply the migrations"
    for row in description.get("findings", []):
        yield f"{row['object']} {row['finding']}"


def _shown(value: Any) -> str:
    return "none" if value is None else value if isinstance(value, str) else json.dumps(value)
