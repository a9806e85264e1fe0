"""A text in SQL or PL/pgSQL as tokens, by PostgreSQL's own lexer (pglast), and changes to parts of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from pglast.parser import Token, scan

Slice = tuple[int, int, str]  # from, to, and what to put there

# Where a term of a condition ends, to its left and to its right.
STARTS = frozenset({
    "where", "on", "when", "if", "elsif", "having", "return", "then", "else", "select", "set", ":=", ",", ";",
    "check", "using", "while", "begin", "loop", "and", "or", "query", "=>", "by",
})  # fmt: skip
ENDS = frozenset({
    ",", ";", "then", "when", "else", "end", "order", "group", "having", "limit", "offset", "for",
    "returning", "on", "join", "left", "right", "full", "cross", "inner", "where", "set", "loop", "as",
    "union", "except", "intersect", "window", "from", "into", "using", "and", "or", "filter", "do",
})  # fmt: skip
RAISE_OPTIONS = ("errcode", "message", "hint", "detail", "constraint", "table")


@dataclass(frozen=True)
class Edit:
    """One change to a text.

    Attributes:
        kind: the rule that made it.
        change: what it does, in one line.
        slices: the parts of the text that it replaces, from left to right.
    """

    kind: str
    change: str
    slices: tuple[Slice, ...]

    def apply(self, text: str) -> str:
        """Return the changed text."""
        for start, end, new in reversed(self.slices):
            text = text[:start] + new + text[end:]
        return text


class Source:
    """The tokens of a text, and which parentheses, brackets or CASE each of them is in."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[Token] = [
            token for token in scan(text) if token.name not in ("SQL_COMMENT", "C_COMMENT")
        ]
        self.words = [text[token.start : token.end + 1].lower() for token in self.tokens]
        self.parents: list[int] = []  # the index of the token that opens the innermost group, or -1
        self.closers: dict[int, int] = {}
        stack = [-1]
        for place, word in enumerate(self.words):
            if stack[-1] >= 0 and word == {"(": ")", "[": "]", "case": "end"}[self.words[stack[-1]]]:
                self.closers[stack.pop()] = place
            self.parents.append(stack[-1])
            if word in ("(", "[") or (word == "case" and self.word(place - 1) != "end"):
                stack.append(place)

    def word(self, place: int) -> str:
        """The word at a place, or an empty string beyond the ends."""
        return self.words[place] if 0 <= place < len(self.words) else ""

    def find(self, *words: str) -> Iterator[int]:
        """The places where these words follow each other."""
        for place in range(len(self.words)):
            if tuple(self.words[place : place + len(words)]) == words:
                yield place

    def start(self, place: int) -> int:
        """Where a token starts in the text."""
        return int(self.tokens[place].start)

    def end(self, place: int) -> int:
        """Where the text goes on after a token."""
        return int(self.tokens[place].end) + 1

    def shown(self, start: int, end: int) -> str:
        """A part of the text on one line, and not too long."""
        part = " ".join(re.sub(r"--[^\n]*", "", self.text[start:end]).split())
        return f"`{part if len(part) <= 90 else part[:89] + '…'}`"

    def siblings(self, place: int, step: int, stops: frozenset[str]) -> Iterator[int]:
        """The places beside a token in its group, up to a word that stops the walk, groups included."""
        parent, place = self.parents[place], place + step
        while 0 <= place < len(self.words) and self._within(place, parent):
            if self.parents[place] == parent and self._stops(place, stops):
                return
            yield place
            place += step

    def _within(self, place: int, parent: int) -> bool:
        return parent < place < self.closers.get(parent, len(self.words)) if parent >= 0 else True

    def _stops(self, place: int, stops: frozenset[str]) -> bool:
        word = self.words[place]
        if word not in stops:
            return False
        if word in ("left", "right") and self.word(place + 1) == "(":
            return False  # the functions
        if word == "end" and self.closers.get(self.parents[place]) != place:
            return self.parents[place] == -1
        if word == "from" and self.word(place - 1) == "distinct":
            return False
        return not (word == "and" and place in self.betweens)

    @cached_property
    def betweens(self) -> set[int]:
        """The places of the AND of each BETWEEN."""
        found = set()
        for place in self.find("between"):
            for other in range(place + 1, len(self.words)):
                if self.words[other] == "and" and self.parents[other] == self.parents[place]:
                    found.add(other)
                    break
        return found

    @cached_property
    def assignments(self) -> set[int]:
        """The places of `=` that do not compare: in SET, in RAISE … USING, and in PL/pgSQL's assignments."""
        found = {item.place for items in self.set_lists for item in items}
        for place in self.find("using"):
            if "raise" in (self.words[other] for other in self.siblings(place, -1, frozenset(";"))):
                found |= {
                    other
                    for other in self.siblings(place, 1, frozenset(";"))
                    if self.words[other] == "=" and self.word(other - 1) in RAISE_OPTIONS
                }
        return found

    @cached_property
    def set_lists(self) -> list[list[Item]]:
        """The columns of each SET of an UPDATE."""
        lists = []
        for place in self.find("set"):
            if self.tokens[place + 1].name != "IDENT" and self.word(place + 2) != "=":
                continue
            items = self.items(place, frozenset(["where", "from", "returning", ";", "on"]))
            equals = [next((p for p in range(*item) if self.words[p] == "="), 0) for item in items]
            lists.append([Item(*item, place) for item, place in zip(items, equals, strict=True) if place])
        return lists

    def items(self, place: int, stops: frozenset[str] = frozenset()) -> list[tuple[int, int]]:
        """The first and last token of each item in a list with commas that begins after a place.

        If the token there opens a group, the list is the group's.
        """
        inside = place in self.closers
        places = range(place + 1, self.closers[place]) if inside else list(self.siblings(place, 1, stops))
        parent = place if inside else self.parents[place]
        found: list[tuple[int, int]] = []
        first = place + 1
        for other in places:
            if self.words[other] == "," and self.parents[other] == parent:
                found.append((first, other - 1))
                first = other + 1
        last = places[-1] if places else place
        return [*found, (first, last)] if last >= first else found

    def without(self, items: list[tuple[int, int]], number: int) -> Slice:
        """The slice that drops an item, with a comma, from a list of two or more."""
        first, last = items[number]
        if number:
            return self.end(items[number - 1][1]), self.end(last), ""
        return self.start(first), self.start(items[1][0]), ""


@dataclass(frozen=True)
class Item:
    """An item `column = value` of a SET: its first and last token, and that of the `=`."""

    first: int
    last: int
    place: int
