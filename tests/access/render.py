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
    "ok": "may",
}

INTRODUCTION = """\
# Access rules

Who may do what with task contracts. This page is printed from the access matrix
(`tests/access/matrix.py`) by `make docs`; the tests run every case below against a real Postgres and a
real Supabase-compatible API, look at the whole database before and after, and fail when this page is
stale or when the catalog holds a policy, grant, function or trigger that the matrix does not know.

Three roles use the Data API: **anon** (the publishable key: agents), **authenticated** (a signed-in user:
dashboards) and **service_role** (the secret key: backend jobs).

## The four policies, in plain words

| policy | in practice |
|---|---|
| Anon can create task contracts | An agent may add a contract to the table, any contract, and gets no answer back: asking for the row (`Prefer: return=representation`, supabase-py's default) reads, and anon may not read. |
| Anon can update task contracts | An update with a filter is refused, because a filter reads. An update without a filter would reach every row, so a guard refuses it from two rows on. What is left is next to nothing: agents claim and finish work through the functions. |
| Authenticated users can read task contracts | A signed-in user sees every contract, and changes none. |
| Service role full access on task contracts | Backend jobs do everything. service_role passes over row level security anyway (BYPASSRLS); the policy says so for readers. |

The grants say the same and no more: anon INSERT and UPDATE, authenticated SELECT, service_role SELECT,
INSERT, UPDATE and DELETE. TRUNCATE, REFERENCES and TRIGGER, which row level security does not cover, are
granted to none of the three. A project that grants everything by default (made before 30 October 2026)
and one that grants nothing end alike.

## Traps, and what is done about them

- **An anon update with a filter** needs the SELECT privilege for the columns that it filters on. With that
  privilege and no SELECT policy it would change no row and say nothing. Without it, it is refused loudly
  (42501), so anon has no SELECT privilege.
- **An anon insert that asks for its row back**, or an upsert on `id`, needs to read and is refused. Use
  `returning="minimal"`, or better `create_task_contract`, which answers.
- **An anon update without a filter** reaches all rows. Hosted projects refuse it in the API's sessions; the
  guard `trg_task_contracts_anon_rows` refuses it everywhere, from two rows on, with the same SQLSTATE (21000).
- **Size.** The guard `trg_task_contracts_anon_sizes` holds direct anon writes to the limits of the functions
  (TC006): 64 KiB a text or JSON field, 1,000 input artifacts.
- **The guards fire for direct writes only**: inside the functions the current user is their owner.
- **The functions** in `public` run with their caller's rights and are one line each; the rules stand behind
  them in `ehg_tasks`, a schema that the API does not expose, with their owner's rights and a fixed
  `search_path`. EXECUTE is taken from PUBLIC and given by name.

## What the database advisors say

Supabase's advisors report two warnings in the specified profile: 0024, *RLS policy always true*, for the two
anon policies. They are right that `true` restricts nothing. It stands because the table's specification has
these policies word for word, and because grants, guards and the absence of a SELECT policy leave an agent
with: add a contract, and update the only one there is. Where nothing but the functions is used, apply
`supabase/optional/hardened.sql`: it drops both policies and their grants, and the advisors find nothing.
"""


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
