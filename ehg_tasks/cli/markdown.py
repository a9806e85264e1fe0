"""The live table as a Markdown page, in the format of the table's reference document."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

Row = dict[str, Any]
TABLE = "public.agent_task_contracts"
_CONSTRAINTS = {"p": "Primary Key", "f": "Foreign Keys", "c": "Check Constraints", "u": "Unique Constraints"}
# Types as the information schema shows them.
_TYPES = {"smallint": "smallint(16)", "integer": "integer(32)", "bigint": "bigint(64)"}
_FOREIGN_KEY = re.compile(r"FOREIGN KEY \((?P<column>.*?)\) REFERENCES (?:public\.)?(?P<target>\S+\(.*?\))")
_TRIGGER = re.compile(
    r"CREATE TRIGGER \S+ (?P<timing>.+?) ON \S+ (?:.*?)"
    r"FOR EACH (?:ROW|STATEMENT) (?:WHEN \((?P<when>.*)\) )?(?P<action>EXECUTE FUNCTION .*)"
)


def page(description: dict[str, Any]) -> str:
    """Return the page for a description that `describe_task_contracts()` returned."""
    return "\n".join(_lines(description))


def _lines(description: dict[str, Any]) -> Iterator[str]:
    policies = [policy for policy in description["policies"] or [] if policy["table"] == TABLE]
    rls = "Enabled" if description["row_level_security"].get(TABLE) else "Disabled"
    yield from (f"# {description['table']} Table", "")
    yield f"**Rows**: {description['row_count']:,}"
    yield f"**RLS**: {rls} ({len(policies)} policies)"
    yield from ("", "---", "")
    yield from _columns(description["columns"])
    yield from _constraints(description["constraints"] or [])
    yield from ("## Indexes", "")
    for index in description["indexes"] or []:
        yield from (f"- `{index['name']}`", "  ```sql", f"  {index['definition']}", "  ```")
    yield from ("", "## RLS Policies", "")
    for n, policy in enumerate(policies, 1):
        yield from _policy(n, policy)
    yield from ("## Triggers", "")
    for trigger in description["triggers"] or []:
        yield from _trigger(trigger)


def _columns(columns: list[Row]) -> Iterator[str]:
    yield from (f"## Columns ({len(columns)} total)", "")
    yield "| Column | Type | Nullable | Default | Description |"
    yield "|--------|------|----------|---------|-------------|"
    for column in columns:
        type_ = "ARRAY" if column["type"].endswith("[]") else _TYPES.get(column["type"], column["type"])
        nullable = "YES" if column["nullable"] else "**NO**"
        default = f"`{column['default']}`" if column["default"] is not None else "-"
        cells = (column["name"], f"`{type_}`", nullable, default, column.get("description") or "-")
        yield f"| {' | '.join(_cell(cell) for cell in cells)} |"
    yield ""


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
            text = f"{key['column']} → {key['target']}" if key else row["definition"]
            yield f"- `{row['name']}`: {text}"
        yield ""


def _policy(n: int, policy: Row) -> Iterator[str]:
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
    if parts := _TRIGGER.match(trigger["definition"]):
        yield f"- **Timing**: {parts['timing']}"
        if parts["when"]:
            yield f"- **When**: `{parts['when']}`"
        yield f"- **Action**: `{parts['action'].replace('public.', '', 1)}`"
    else:
        yield f"- **Definition**: `{trigger['definition']}`"
    if not trigger["enabled"]:
        yield "- **Disabled**"
    yield ""
