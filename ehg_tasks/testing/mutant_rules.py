"""Rules that break a function's body or a condition, one small change at a time.

The lexer is PostgreSQL's own (pglast). An edit replaces slices of the text, and the rest stays as it is.
Some edits do not compile; whoever applies them leaves those out (`mutants` does). Left out by rule:
`limit 1` and `offset 0`, and whether a moment counts as before or after, which no test can hit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ehg_tasks.testing import mutant_conditions
from ehg_tasks.testing.mutant_source import Edit, Source

ARITHMETIC = {"+": "-", "-": "+"}
LOCK_STRENGTHS = ("update", "share", "no", "key")
DROPPED = frozenset({
    "perform", "insert", "update", "delete", "with", "select", "execute", "raise", "return", "get", "lock",
})  # fmt: skip


def edits(text: str, *, procedural: bool = False) -> Iterator[Edit]:
    """Yield every edit of a text, in the order of the rules and then of the text.

    Args:
        text: the body of a function in SQL or PL/pgSQL, or an expression.
        procedural: whether it is PL/pgSQL.
    """
    source = Source(text)
    for rule in (*RULES, *(PROCEDURAL_RULES if procedural else ())):
        yield from rule(source)


def _columns(source: Source) -> Iterator[Edit]:
    """Leave out each column of SET and INSERT, and what ON CONFLICT does."""
    for columns in source.set_lists:
        ranges = [(item.first, item.last) for item in columns]
        for number, item in enumerate(columns):
            shown = source.shown(source.start(item.first), source.end(item.last))
            if len(columns) > 1:
                cut = source.without(ranges, number)
            else:
                column = source.text[source.start(item.first) : source.end(item.place - 1)]
                cut = (source.start(item.place + 1), source.end(item.last), column)
            yield Edit("column", f"set {shown} dropped", (cut,))
    for place in source.find("insert", "into"):
        opening = next((p for p in source.siblings(place, 1, frozenset(";")) if source.words[p] == "("), None)
        if opening is None or source.tokens[opening - 1].name != "IDENT":
            continue
        columns_ = source.items(opening)
        after = source.closers[opening] + 1
        values = []
        if source.word(after) == "values" and source.word(after + 1) == "(":
            values = source.items(after + 1)
        elif source.word(after) == "select":
            values = source.items(after, frozenset(["from", "where", ";", "on", "returning", "union"]))
        if len(values) != len(columns_) or len(values) < 2:
            continue
        for number, (first, last) in enumerate(columns_):
            shown = source.shown(source.start(first), source.end(last))
            cuts = (source.without(columns_, number), source.without(values, number))
            yield Edit("column", f"inserted {shown} dropped", cuts)
    for place in source.find("on", "conflict"):
        clause = sorted(source.siblings(place, 1, frozenset(["returning", ";"])))
        start, end = source.start(place), source.end(clause[-1])
        yield Edit("column", f"{source.shown(start, end)} dropped", ((start, end, ""),))


def _locks(source: Source) -> Iterator[Edit]:
    """Take out each row lock, and SKIP LOCKED."""
    for place in source.find("for"):
        if source.word(place + 1) not in LOCK_STRENGTHS:
            continue
        clause = [place, *source.siblings(place, 1, frozenset([";", "loop"]))]
        start, end = source.start(place), source.end(max(clause))
        yield Edit("lock", f"{source.shown(start, end)} dropped", ((start, end, ""),))
    for place in source.find("skip", "locked"):
        start, end = source.start(place), source.end(place + 1)
        yield Edit("lock", "`skip locked` dropped", ((start, end, ""),))


def _orders(source: Source) -> Iterator[Edit]:
    """Reverse each key of an order, and take out each limit and DISTINCT."""
    for place in source.find("order", "by"):
        stops = frozenset(["limit", "offset", "for", ";", "rows", "range", "loop", "union"])
        for first, last in source.items(place + 1, stops):
            shown = source.shown(source.start(first), source.end(last))
            word = source.words[last]
            if word in ("desc", "asc"):
                cut = (source.start(last), source.end(last), "asc" if word == "desc" else "desc")
            else:
                cut = (source.end(last), source.end(last), " desc")
            yield Edit("order", f"order by {shown} reversed", (cut,))
    for place in source.find("limit"):
        clause = sorted(source.siblings(place, 1, frozenset(["for", "offset", ";", "returning", "loop"])))
        if not clause or source.words[place + 1 : clause[-1] + 1] == ["1"]:
            continue
        start, end = source.start(place), source.end(clause[-1])
        yield Edit("order", f"{source.shown(start, end)} dropped", ((start, end, ""),))
    for place in source.find("distinct"):
        if source.word(place - 1) in ("select", "(") and source.word(place + 1) != "on":
            start, end = source.start(place), source.start(place + 1)
            after = source.end(min(place + 3, len(source.words) - 1))
            yield Edit("order", f"{source.shown(start, after)} not distinct", ((start, end, ""),))


def _constants(source: Source) -> Iterator[Edit]:
    """Move each number and each interval by one, reverse true and false, and change each SQLSTATE."""
    for place, word in enumerate(source.words):
        start, end = source.start(place), source.end(place)
        around = source.shown(
            source.start(max(place - 3, 0)), source.end(min(place + 2, len(source.words) - 1))
        )
        name, before = source.tokens[place].name, source.word(place - 1)
        if name == "ICONST" and before != "offset" and not (before == "limit" and word == "1"):
            new = str(int(word) + 1)
            yield Edit("constant", f"{word} → {new} in {around}", ((start, end, new),))
        elif word in ("true", "false") and before not in ("on", "is", "not", "lateral"):
            new = "false" if word == "true" else "true"
            yield Edit("constant", f"{word} → {new} in {around}", ((start, end, new),))
        elif name == "SCONST" and before == "=" and source.word(place - 2) == "errcode":
            yield Edit("constant", f"errcode {word} → XX000", ((start, end, "'XX000'"),))
        elif name == "SCONST" and (before == "interval" or source.word(place + 2) == "interval"):
            new = re.sub(r"\d+", lambda match: str(int(match[0]) + 1), word, count=1)
            if new != word:
                yield Edit("constant", f"{word} → {new} in {around}", ((start, end, new),))
        elif word in ARITHMETIC and source.tokens[place - 1].name in ("IDENT", "ICONST", "PARAM", "ASCII_41"):
            new = ARITHMETIC[word]
            yield Edit("constant", f"{word} → {new} in {around}", ((start, end, new),))


def _arguments(source: Source) -> Iterator[Edit]:
    """Drop each argument of coalesce, greatest, least and nullif, and each element of a list of texts."""
    for place, word in enumerate(source.words):
        if word in ("coalesce", "greatest", "least", "nullif") and source.word(place + 1) == "(":
            start, closer = source.start(place), source.closers[place + 1]
            shown = source.shown(start, source.end(closer))
            items = source.items(place + 1)
            if word == "nullif":
                first = source.text[source.start(items[0][0]) : source.end(items[0][1])]
                yield Edit("default", f"{shown} without nullif", ((start, source.end(closer), f"({first})"),))
                continue
            for number, (first_token, last) in enumerate(items):
                if len(items) > 1:
                    argument = source.shown(source.start(first_token), source.end(last))
                    yield Edit("default", f"{shown} without {argument}", (source.without(items, number),))
        elif word in ("in", "array") and source.word(place + 1) in ("(", "["):
            items = source.items(place + 1)
            if len(items) < 2 or any(a != b or source.tokens[a].name != "SCONST" for a, b in items):
                continue
            shown = source.shown(source.start(place), source.end(source.closers[place + 1]))
            for number, (element, _) in enumerate(items):
                change = f"{source.words[element]} dropped from {shown}"
                yield Edit("list", change, (source.without(items, number),))


def _statements(source: Source) -> Iterator[Edit]:
    """Take out each statement, and each branch."""
    begun = False
    for place, word in enumerate(source.words):
        before = source.word(place - 1)
        begun = begun or word == "begin"
        if not begun or source.parents[place] != -1:
            continue
        start = source.start(place)
        if word in ("if", "elsif") and before != "end":
            then = [*source.siblings(place, 1, frozenset(["then"]))]
            first, last = source.start(place + 1), source.end(max(then))
            shown = source.shown(start, last)
            yield Edit("branch", f"{shown} never", ((first, last, "false"),))
            yield Edit("branch", f"{shown} always", ((first, last, "true"),))
        elif before in (";", "begin", "then", "else", "loop"):
            rest = [*source.siblings(place, 1, frozenset([";"]))]
            last_place = max(rest, default=place)
            assigned = any(source.word(p) == ":=" for p in range(place + 1, min(place + 8, last_place)))
            if word not in DROPPED and not (assigned and source.tokens[place].name == "IDENT"):
                continue
            if word == "return" and rest and source.word(place + 1) not in ("query", "next"):
                continue
            if word == "raise" and before == "then" and source.word(last_place + 2) == "end":
                continue  # the branch that is never taken is the same change
            shown = source.shown(start, source.end(last_place))
            yield Edit("statement", f"{shown} dropped", ((start, source.end(last_place), "null"),))


def _handlers(source: Source) -> Iterator[Edit]:
    """Make each exception handler wait for another error."""
    for place in source.find("exception", "when"):
        condition = [*source.siblings(place + 1, 1, frozenset(["then"]))]
        start, end = source.start(place + 2), source.end(max(condition))
        yield Edit(
            "branch", f"exception when {source.shown(start, end)} never", ((start, end, "assert_failure"),)
        )


RULES = (*mutant_conditions.RULES, _columns, _locks, _orders, _constants, _arguments)
PROCEDURAL_RULES = (_statements, _handlers)
