"""The live table as a Markdown page, in the shape of the table's reference document."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

Row = dict[str, Any]
TABLE = "public.agent_task_contracts"
_CONSTRAINTS = {"p": "Primary Key", "f": "Foreign Keys", "c": "Check Constraints", "u": "Unique Constraints"}
_FOREIGN_KEY = re.compile(r"FOREIGN KEY \((?P<column>.*?)\) REFERENCES (?:public\.)?(?P<target>\S+\(.*?\))")
_TRIGGER = re.compile(
    r"CREATE TRIGGER \S+ (?P<timing>.+?) ON \S+ (?:.*?)"
    r"FOR EACH (?:ROW|STATEMENT) (?:WHEN \((?P<when>.*)\) )?EXECUTE FUNCTION (?P<function>.*)"
)


def page(described: dict[str, Any]) -> str:
    """The page of a description that `describe_task_contracts()` gave."""
    return "\n".join(_lines(described)) + "\n"


def _lines(described: dict[str, Any]) -> Iterator[str]:
    policies = [policy for policy in described["policies"] or [] if policy["table"] == TABLE]
    protected = "Enabled" if described["row_level_security"].get(TABLE) else "Disabled"
    yield f"# {described['table']} Table"
    yield ""
    yield f"**Rows**: {described['row_count']:,}"
    yield f"**RLS**: {protected} ({len(policies)} policies)"
    yield from ("", "---", "")
    yield from _columns(described["columns"])
    yield from _constraints(described["constraints"] or [])
    yield from ("## Indexes", "")
    for index in described["indexes"] or []:
        yield from (f"- `{index['name']}`", "  ```sql", f"  {index['definition']}", "  ```")
    yield ""
    yield from _policies(policies)
    yield from ("## Triggers", "")
    for trigger in described["triggers"] or []:
        yield from _trigger(trigger)


def _columns(columns: list[Row]) -> Iterator[str]:
    yield from (f"## Columns ({len(columns)} total)", "")
    yield "| Column | Type | Nullable | Default | Description |"
    yield "|--------|------|----------|---------|-------------|"
    for column in columns:
        default = f"`{column['default']}`" if column["default"] is not None else "-"
        nullable = "YES" if column["nullable"] else "**NO**"
        told = _cell(column.get("description") or "-")
        yield f"| {column['name']} | `{_type(column['type'])}` | {nullable} | {_cell(default)} | {told} |"
    yield ""


def _type(name: str) -> str:
    """The type as the information schema has it."""
    if name.endswith("[]"):
        return "ARRAY"
    return {"smallint": "smallint(16)", "integer": "integer(32)", "bigint": "bigint(64)"}.get(name, name)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _constraints(constraints: list[Row]) -> Iterator[str]:
    yield from ("## Constraints", "")
    for kind, heading in _CONSTRAINTS.items():
        rows = [row for row in constraints if row["type"] == kind]
        if not rows:
            continue
        yield f"### {heading}"
        for row in rows:
            key = _FOREIGN_KEY.match(row["definition"])
            told = f"{key['column']} → {key['target']}" if key else row["definition"]
            yield f"- `{row['name']}`: {told}"
        yield ""


def _policies(policies: list[Row]) -> Iterator[str]:
    yield from ("## RLS Policies", "")
    for n, policy in enumerate(policies, 1):
        kind = "" if policy["permissive"] else ", restrictive"
        yield from (f"### {n}. {policy['name']} ({policy['command']}{kind})", "")
        yield f"- **Roles**: {{{','.join(policy['roles'])}}}"
        if policy["using"] is not None:
            yield f"- **Using**: `{policy['using']}`"
        if policy["with_check"] is not None:
            yield f"- **With Check**: `{policy['with_check']}`"
        yield ""


def _trigger(trigger: Row) -> Iterator[str]:
    yield from (f"### {trigger['name']}", "")
    found = _TRIGGER.match(trigger["definition"])
    if found is None:
        yield f"- **Definition**: `{trigger['definition']}`"
    else:
        yield f"- **Timing**: {found['timing']}"
        if found["when"]:
            yield f"- **When**: `{found['when']}`"
        yield f"- **Action**: `EXECUTE FUNCTION {found['function'].removeprefix('public.')}`"
    if not trigger["enabled"]:
        yield "- **Disabled**"
    yield ""
