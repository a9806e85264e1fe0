"""The access matrix as the page docs/access-rules.md."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tests.access import matrix
from tests.access.matrix import ROLES, Relations

WORDS = {
    "42501": "refused (42501)",
    "21000": "refused (21000)",
    "55000": "refused (55000)",
    "0 rows": "no rows",
    "1 rows": "1 row",
    "ok": "allowed",
}
INTRODUCTION = Path(__file__).with_name("introduction.md").read_text()


def table(cases: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    """Outcomes by role as a Markdown table."""
    yield f"| | {' | '.join(ROLES)} |"
    yield "|---|---|---|---|"
    for name, outcomes in cases.items():
        yield f"| {name} | {' | '.join(WORDS.get(outcome, outcome) for outcome in outcomes)} |"


def relations(title: str, text: str, cases: Relations) -> Iterator[str]:
    """A section with a table for each relation."""
    yield f"## {title}\n\n{text}\n"
    for relation, operations in cases.items():
        yield f"### `{relation}`\n"
        yield from table(operations)
        yield ""


def names(title: str, text: str, cases: Iterable[str]) -> Iterator[str]:
    """A section with a list."""
    yield f"## {title}\n\n{text}\n"
    yield from (f"- {name}" for name in cases)
    yield ""


def text() -> str:
    """The whole page."""
    functions = {
        f"`{name}`": tuple(function.outcome(role) for role in ROLES)
        for name, function in matrix.FUNCTIONS.items()
    }
    lines = [
        INTRODUCTION,
        *relations(
            "As shipped",
            "`+1` adds a row, `~1` changes one, `-1` removes one. The database holds two contracts, one"
            " artifact and one directive. `one` filters on the key, `all` has no filter. The tables in schema"
            " `ehg_tasks` are closed to all three roles.",
            matrix.SPECIFIED,
        ),
        *relations("Hardened: what differs", "With `supabase/optional/hardened.sql`.", matrix.HARDENED),
        "## Functions\n\nIn both profiles. Some functions also require a claim token or a contract id."
        " In schema `ehg_tasks`, the function of the same name opens to the same roles, and every other"
        " function is closed to all three.\n",
        *table(functions),
        "",
        *relations(
            "Row level security alone",
            "With every privilege granted to the three roles, so that no grant hides a broken policy. This is"
            " not how the project ships. In schema `ehg_tasks`, anon and authenticated still see, add"
            " and change nothing.",
            matrix.RLS_ALONE,
        ),
        *relations(
            "Row level security alone, hardened: what differs",
            "With `supabase/optional/hardened.sql` and every privilege granted.",
            matrix.HARDENED_RLS_ALONE,
        ),
        *names(
            "Invalid credentials",
            "Each is refused over HTTP whatever it asks for, and nothing changes:",
            matrix.INVALID_CREDENTIALS,
        ),
        *names(
            "The token decides the role",
            "Whatever key comes with it:",
            (f"{name}: acts as {role}" for name, (_, _, role) in matrix.VALID_CREDENTIALS.items()),
        ),
    ]
    return "\n".join(lines).replace("\n\n\n", "\n\n").rstrip() + "\n"
