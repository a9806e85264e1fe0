"""Measurements, the ratios between them, and the goals that they meet or miss."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Ratio:
    """The ratio of two cases: the median, lowest and highest of the rounds."""

    median: float
    lowest: float
    highest: float

    def __str__(self) -> str:
        return f"{self.median:.2f}"

    @property
    def range(self) -> str:
        """The rounds' lowest and highest ratio."""
        return f"{self.lowest:.2f} to {self.highest:.2f}"


class Samples:
    """One value for each case and round."""

    def __init__(self) -> None:
        self._values: defaultdict[Hashable, list[float]] = defaultdict(list)

    def add(self, case: Hashable, value: float) -> None:
        """Add the value of the next round."""
        self._values[case].append(value)

    def median(self, case: Hashable) -> float:
        """Return the median over the rounds."""
        return statistics.median(self._values[case])

    def ratio(self, case: Hashable, to: Hashable) -> Ratio:
        """Compare two cases round by round, because they were measured one after the other."""
        ratios = [a / b for a, b in zip(self._values[case], self._values[to], strict=True)]
        return Ratio(statistics.median(ratios), min(ratios), max(ratios))

    def best(self, cases: Sequence[Hashable]) -> Hashable:
        """Return the case with the highest median."""
        return max(cases, key=self.median)


@dataclass(frozen=True)
class Goal:
    """What a ratio should be.

    Attributes:
        what: what is compared with what.
        bound: the lowest ratio that meets the goal, or the highest if `at_most`.
        ratio: what was measured.
    """

    what: str
    bound: float
    ratio: Ratio
    at_most: bool = False

    @property
    def cells(self) -> list[str]:
        """The row of the table of goals."""
        goal = f"at {'most' if self.at_most else 'least'} {self.bound:g}"
        return [self.what, goal, str(self.ratio), self.ratio.range, "met" if self.met else "**missed**"]

    @property
    def met(self) -> bool:
        """Whether it is met."""
        return self.ratio.median <= self.bound if self.at_most else self.ratio.median >= self.bound


@dataclass(frozen=True)
class Table:
    """A table of the page: its caption, the names of its columns, and its rows."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Section:
    """What one scenario found.

    Attributes:
        title: heading.
        text: what was measured, in words.
        goals: the goals, with their ratios.
        tables: more ratios, then the figures.
    """

    title: str
    text: str
    goals: Sequence[Goal] = field(default_factory=list)
    tables: Sequence[Table] = field(default_factory=list)


def number(value: float) -> str:
    """Write a figure with at least three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
