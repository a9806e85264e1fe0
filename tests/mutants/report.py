"""The page docs/mutation-report.md."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from ehg_tasks.testing.mutants import Mutant

OUTCOMES = ("behavior", "specification", "equivalent", "survived")
KINDS = {
    "term": "an operand of AND or OR dropped",
    "condition": "a WHERE, ON or WHEN without its condition",
    "comparison": "a comparison negated or moved by one",
    "null": "a test for null reversed, a comparison made blind to null",
    "branch": "an `if`, `elsif` or exception handler never or always taken",
    "statement": "a statement taken out",
    "column": "a column of SET or INSERT, or ON CONFLICT, dropped",
    "lock": "a row lock or SKIP LOCKED taken out",
    "order": "an order reversed, a limit or DISTINCT taken out",
    "constant": "a number or interval moved by one, true and false or + and - swapped, an error code changed",
    "default": "an argument of coalesce, greatest, least or nullif dropped",
    "list": "an element of a list dropped",
    "policy": "a policy dropped, widened, of the other kind, for other commands or with another condition",
    "rls": "row level security disabled, a view with its owner's rights",
    "privilege": "a privilege taken from a role or given to one",
    "role": "a role that bypasses row level security or is a member of another",
    "security": "a function with its owner's rights or the caller's, or without a fixed search_path",
    "trigger": "a trigger dropped, without an event, a column or its condition",
    "constraint": "a constraint, a default or NOT NULL dropped",
}


@dataclass(frozen=True)
class Result:
    """What became of a mutant: one of OUTCOMES, and the test or the reason."""

    mutant: Mutant
    outcome: str
    by: str = ""


def page(results: list[Result], made: int) -> str:
    """The report, by kind, with the mutants that survived and those that are equivalent.

    Args:
        results: of the mutants that were tried.
        made: how many there are.
    """
    outcomes = Counter(result.outcome for result in results)
    noticed = outcomes["behavior"] + outcomes["specification"]
    counted = len(results) - outcomes["equivalent"]
    lines = [
        "# Mutation report",
        "",
        "A mutant is the database with one rule broken. They are made by rules, from the parsed SQL and the"
        " catalog ([how](mutation-testing.md)), and `make mutants` runs the tests of behavior against them,"
        " one at a time. Tests that compare a function's source do not take part.",
        "",
        *([f"This is a sample: {len(results)} of {made} mutants.", ""] if len(results) < made else []),
        f"**The tests notice {noticed} of {counted} mutants: {100 * noticed / max(counted, 1):.1f} %.**"
        f" {outcomes['equivalent']} more are equivalent: what they change cannot be noticed.",
        "",
        "| kind | change | mutants | noticed by behavior | by the catalog alone | equivalent | survived |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    by_kind = defaultdict(list)
    for result in results:
        by_kind[result.mutant.kind].append(result.outcome)
    for kind, change in KINDS.items():
        counts = [by_kind[kind].count(outcome) for outcome in OUTCOMES]
        lines.append(f"| {kind} | {change} | {sum(counts)} | {' | '.join(map(str, counts))} |")
    lines += [
        "",
        "`by the catalog alone` counts changes that give or take a right that another rule withholds all the"
        " same, and changes to what the specification fixes word for word.",
        "",
    ]
    for outcome, title in (("survived", "Survived"), ("equivalent", "Equivalent")):
        chosen = [result for result in results if result.outcome == outcome]
        if chosen:
            lines += [f"## {title}", "", *_grouped(chosen), ""]
    return "\n".join(lines[:-1]) + "\n"


def _grouped(results: Iterable[Result]) -> list[str]:
    lines = []
    by_reason = defaultdict(list)
    for result in results:
        by_reason[result.by].append(result.mutant)
    for reason, mutants in by_reason.items():
        lines += [f"{reason[:1].upper()}{reason[1:]}:", ""] if reason else []
        lines += [f"- {mutant.title}" for mutant in mutants]
        lines.append("")
    return lines[:-1]
