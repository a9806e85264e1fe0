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
    behind_views = ", ".join(f"`{name}`" for name in matrix.BEHIND_VIEWS)
    lines = [
        INTRODUCTION,
        *relations(
            "As shipped",
            "`+1` adds a row, `~1` changes one, `-1` removes one. The database holds three contracts, one"
            " artifact, one directive and one registered agent. `one` filters on the key, `all` has no"
            " filter. None of the three roles can use the tables in schema `ehg_tasks`.",
            matrix.SPECIFIED,
        ),
        *relations(
            "Differences in the hardened profile", "With `supabase/optional/hardened.sql`.", matrix.HARDENED
        ),
        "## Functions\n\nIn both profiles. Some functions also require a claim token or a contract id."
        " In schema `ehg_tasks`, the function of the same name can be called by the same roles. Authenticated"
        f" and service_role can also call what the views call there: {behind_views}. No other function there"
        " can be called by any of the three.\n",
        *table(functions),
        "",
        *relations(
            "Row level security on its own",
            "With every privilege granted to the three roles and without the guard on rows, so that neither"
            " hides a broken policy. This is not how the project ships. In schema `ehg_tasks`, anon and"
            " authenticated still cannot see, add or change anything.",
            matrix.RLS_ALONE,
        ),
        *relations(
            "Row level security on its own: differences in the hardened profile",
            "With `supabase/optional/hardened.sql` and every privilege granted.",
            matrix.HARDENED_RLS_ALONE,
        ),
        *names(
            "Invalid credentials",
            "The API refuses every request with these credentials, and nothing changes:",
            matrix.INVALID_CREDENTIALS,
        ),
        *names(
            "The token decides the role",
            "The key sent with it makes no difference:",
            (f"{name}: acts as {role}" for name, (_, _, role) in matrix.VALID_CREDENTIALS.items()),
        ),
    ]
    return "\n".join(lines).replace("\n\n\n", "\n\n").rstrip() + "\n"
