"""Prints the access matrix as docs/access-rules.md: `make docs`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.access import matrix
from tests.access.matrix import ROLES, Outcomes

PAGE = Path(__file__).parents[2] / "docs" / "access-rules.md"
CODES = {
    "42501": "refused (42501)",
    "21000": "refused (21000)",
    "55000": "refused (55000)",
    "0 rows": "sees nothing",
    "1 rows": "1 row",
    "ok": "may",
}

INTRODUCTION = Path(__file__).with_name("introduction.md").read_text()


def table(cases: dict[str, Outcomes]) -> Iterator[str]:
    """One relation or list of functions as a Markdown table."""
    yield f"| | {' | '.join(ROLES)} |"
    yield "|---|---|---|---|"
    for name, outcomes in cases.items():
        yield f"| {name} | {' | '.join(CODES.get(outcome, outcome) for outcome in outcomes)} |"


def relations(title: str, text: str, cases: dict[str, dict[str, Outcomes]]) -> Iterator[str]:
    """A layer of the matrix."""
    yield f"## {title}\n\n{text}\n"
    for relation, operations in cases.items():
        yield f"### `{relation}`\n"
        yield from table(operations)
        yield ""


def functions(title: str, text: str, cases: dict[str, Outcomes]) -> Iterator[str]:
    """A list of functions of the matrix."""
    yield f"## {title}\n\n{text}\n"
    yield from table({f"`{name}`": outcomes for name, outcomes in cases.items()})
    yield ""


def names(title: str, text: str, cases: Iterable[str]) -> Iterator[str]:
    """Identities of the matrix."""
    yield f"## {title}\n\n{text}\n"
    yield from (f"- {name}" for name in cases)
    yield ""


def page() -> str:
    """The whole page."""
    lines = [
        INTRODUCTION,
        *relations(
            "As shipped",
            "`+1` adds a row, `~1` changes one, `-1` removes one; the world holds two contracts, one artifact"
            " and one directive. `one` is a statement with a filter on the key, `all` one without a filter.",
            matrix.SPECIFIED,
        ),
        *relations(
            "Hardened: what differs", "With `supabase/optional/hardened.sql` applied.", matrix.HARDENED
        ),
        *functions(
            "Functions",
            "In both profiles. An agent that may call a function still needs the claim's token, or the"
            " contract's id, where the function asks for it.",
            matrix.FUNCTIONS,
        ),
        *functions(
            "Functions of the engine",
            "Schema `ehg_tasks`, not exposed by the API. What is closed here trusts its callers.",
            matrix.ENGINE_FUNCTIONS,
        ),
        *relations(
            "Row level security alone",
            "The same with every privilege granted to the three roles, so that no grant hides a broken"
            " policy: this is what the policies hold by themselves. It is not how the project ships.",
            matrix.RLS_ALONE,
        ),
        *relations("Row level security alone, hardened: what differs", "", matrix.HARDENED_RLS_ALONE),
        *names(
            "Nobody",
            "Refused whatever they ask for, over HTTP, with nothing changed:",
            matrix.NOBODIES,
        ),
        *names(
            "The token decides",
            "The role is that of the token, whatever key comes with it:",
            (f"{name}: acts as {role}" for name, (_, _, role) in matrix.MIXED.items()),
        ),
    ]
    return "\n".join(lines).replace("\n\n\n", "\n\n").rstrip() + "\n"


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page())
