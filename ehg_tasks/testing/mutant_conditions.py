"""Rules that break conditions: terms dropped, comparisons negated or made blind to nulls."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ehg_tasks.testing.mutant_source import ENDS, STARTS, Edit, Source

NEGATED = {"=": "<>", "<>": "=", "!=": "=", "<": ">=", "<=": ">", ">": "<=", ">=": "<", "~": "!~", "!~": "~"}
NEXT_TO = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}
TIMES = re.compile(r"_at\b|now\b|clock_timestamp|not_before|since|\btime|interval|before")


def _terms(source: Source) -> Iterator[Edit]:
    """Drop each operand of AND and OR."""
    done = set()
    operators = [
        p for p, word in enumerate(source.words) if word in ("and", "or") and p not in source.betweens
    ]
    for place in operators:
        for step in (-1, 1):
            term = list(source.siblings(place, step, STARTS if step < 0 else ENDS))
            if not term or (term := sorted(term))[0] in done:
                continue
            first, last = term[0], term[-1]
            done.add(first)
            before, after = first - 1 in operators, last + 1 in operators
            if before and after and source.words[first - 1] != source.words[last + 1]:
                before, after = source.words[first - 1] == "and", source.words[last + 1] == "and"
            start, end = (
                (source.start(first - 1), source.end(last))
                if before
                else (source.start(first), source.end(last + 1))
            )
            yield Edit("term", f"{source.shown(start, end)} dropped", ((start, end, ""),))


def _conditions(source: Source) -> Iterator[Edit]:
    """Drop a condition that is a single term, of WHERE, ON or CASE."""
    for place, word in enumerate(source.words):
        if word not in ("where", "on", "when") or (word == "on" and source.word(place + 1) == "conflict"):
            continue
        condition = list(source.siblings(place, 1, ENDS))
        if not condition or source.words[condition[-1] + 1 : condition[-1] + 2] in (["and"], ["or"]):
            continue
        start, end = source.start(condition[0]), source.end(condition[-1])
        if source.text[start:end].strip() in ("true", "false"):
            continue
        change, new = ("never", "false") if word == "when" else ("dropped", "true")
        yield Edit("condition", f"`{word} {source.shown(start, end)[1:]} {change}", ((start, end, new),))


def _comparisons(source: Source) -> Iterator[Edit]:
    """Negate each comparison, and move it by one where it does not compare times."""
    for place, word in enumerate(source.words):
        start, end = source.start(place), source.end(place)
        if word in NEGATED and place not in source.assignments:
            left = list(source.siblings(place, -1, STARTS))
            right = list(source.siblings(place, 1, ENDS))
            if not left or not right:
                continue
            around = source.start(min(left)), source.end(max(right))
            shown = source.shown(*around)
            if source.word(place + 1) in ("any", "some"):
                new, end = ("<> all" if word == "=" else f"{NEGATED[word]} all"), source.end(place + 1)
            else:
                new = NEGATED[word]
            yield Edit("comparison", f"{shown} negated ({new})", ((start, end, new),))
            if word in NEXT_TO and not TIMES.search(source.text[slice(*around)].lower()):
                other = NEXT_TO[word]
                yield Edit("comparison", f"{shown} with {other}", ((start, source.end(place), other),))
        elif word == "in" and source.word(place + 1) == "(" and source.word(place - 1) != "not":
            shown = source.shown(source.start(place - 1), source.end(source.closers[place + 1]))
            yield Edit("comparison", f"{shown} negated", ((start, start, "not "),))
        elif (
            word == "exists" and source.word(place - 1) not in ("if", "not") and source.word(place + 1) == "("
        ):
            shown = source.shown(start, source.end(source.closers[place + 1]))
            yield Edit("comparison", f"{shown} negated", ((start, start, "not "),))
        elif word == "not" and source.word(place + 1) not in (
            "null",
            "distinct",
            "true",
            "false",
            "materialized",
        ):
            if source.word(place - 1) in ("is", "if", "for"):
                continue
            right = list(source.siblings(place, 1, ENDS))
            if right:
                shown = source.shown(start, source.end(max(right)))
                yield Edit("comparison", f"{shown} negated", ((start, source.start(place + 1), ""),))


def _nulls(source: Source) -> Iterator[Edit]:
    """Reverse each test for null, and make what minds nulls blind to them."""
    for place in source.find("is"):
        start, negated = source.start(place), source.word(place + 1) == "not"
        last = place + 1 + negated
        if source.word(last) not in ("null", "distinct", "true", "false"):
            continue
        left = sorted(source.siblings(place, -1, STARTS))
        if not left:
            continue
        if source.word(last) == "null":
            shown = source.shown(source.start(left[0]), source.end(last))
            new = "is null" if negated else "is not null"
            yield Edit("null", f"{shown} negated", ((start, source.end(last), new),))
        elif source.word(last) == "distinct" and source.word(last + 1) == "from":
            right = sorted(source.siblings(last + 1, 1, ENDS))
            if right:
                shown = source.shown(source.start(left[0]), source.end(right[-1]))
                blind, new = ("=", "is distinct from") if negated else ("<>", "is not distinct from")
                yield Edit("null", f"{shown} blind to null", ((start, source.end(last + 1), blind),))
                yield Edit("comparison", f"{shown} negated", ((start, source.end(last + 1), new),))
        elif negated:
            shown = source.shown(source.start(left[0]), source.end(last))
            yield Edit(
                "null", f"{shown} blind to null", ((source.start(left[0]), source.start(left[0]), "not "),
                                                   (start, source.end(last), ""))
            )  # fmt: skip


RULES = (_terms, _conditions, _comparisons, _nulls)
