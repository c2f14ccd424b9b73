"""What a benchmark makes of what it measured: medians, quartiles, ratios of neighbouring runs, aims met or not. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

LEAST_TURNS = 9
"""A median of fewer is no figure to keep."""

Subject = Literal["figure", "ratio"]
"""What an aim is about: our figure, or our figure over the other's."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Where the middle half of the measurements lies.

    Attributes:
        median: The figure.
        low: First quartile.
        high: Third quartile.
        turns: How many measurements there were.
    """

    median: float
    low: float
    high: float
    turns: int


@dataclass(frozen=True, slots=True)
class Aim:
    """What a figure, or its ratio, should be at most (or at least, for what is better when it is more)."""

    of: Subject
    limit: float
    at_least: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One comparison of a row.

    Attributes:
        what: What was measured.
        unit: Of both figures: ``s``, ``B``, or any word.
        ours: Our figure.
        other: What it is compared with, a peer or a floor; None if with nothing.
        theirs: The other's figure, of the same run.
        ratio: Ours over theirs, of neighbouring measurements; None where theirs is 0.
        aim: What is aimed at; None for a figure that is there for information.
    """

    what: str
    unit: str
    ours: Spread
    other: str | None = None
    theirs: Spread | None = None
    ratio: Spread | None = None
    aim: Aim | None = None

    @property
    def met(self) -> bool | None:
        """Whether the aim is met; None if there is none, or nothing to tell it by."""
        judged = None if self.aim is None else self.ours if self.aim.of == "figure" else self.ratio
        if self.aim is None or judged is None:
            return None
        return judged.median >= self.aim.limit if self.aim.at_least else judged.median <= self.aim.limit


def spread(measured: Sequence[float]) -> Spread:
    """Median and quartiles; at least one measurement."""
    if len(measured) == 1:
        return Spread(measured[0], measured[0], measured[0], 1)
    low, median, high = statistics.quantiles(measured, n=4, method="inclusive")
    return Spread(median, low, high, len(measured))


def paired(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """The spread of ratios, each of two measurements that were taken one right after the other.

    A machine that is busy for a while then slows down both, and the ratio hardly.

    Raises:
        ValueError: There are not as many of one as of the other.
    """
    return spread([one / other for one, other in zip(ours, theirs, strict=True)])


def alone(what: str, unit: str, ours: Sequence[float], *, aim: Aim | None = None) -> Line:
    """A line that is compared with nothing, or with its aim only."""
    return Line(what=what, unit=unit, ours=spread(ours), aim=aim)


def beside(
    what: str, unit: str, ours: Sequence[float], other: str, theirs: Sequence[float], *, aim: Aim | None = None
) -> Line:
    """A line that compares measurements taken in turns."""
    ratio = paired(ours, theirs) if all(theirs) else None
    return Line(
        what=what,
        unit=unit,
        ours=spread(ours),
        other=other,
        theirs=spread(theirs),
        ratio=ratio,
        aim=aim,
    )


def at_most(limit: float, *, of: Subject = "ratio") -> Aim:
    """An aim for what is better when it is less."""
    return Aim(of, limit)


def at_least(limit: float, *, of: Subject = "ratio") -> Aim:
    """An aim for what is better when it is more."""
    return Aim(of, limit, at_least=True)
