"""How much of each fault is tried: ``ONECTL_FAULTS=few|short|long``, or a number to try that one case again.

``few`` is what every run of the tests takes, ``short`` what continuous integration takes, ``long`` is for a night.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, TypeVar, get_args

import pytest

from tests.seeds import seeds as enough

Dose = Literal["few", "short", "long"]
N = TypeVar("N")

VARIABLE = "ONECTL_FAULTS"
LEFT_OUT = "in the short and the long dose"
"""Why a test is skipped that takes long."""

_ASKED = os.environ.get(VARIABLE, "few")

DOSE: Dose = next((dose for dose in get_args(Dose) if dose == _ASKED), "long")
"""What was asked for; a single case may be one of the long dose."""

ONLY: int | None = int(_ASKED) if _ASKED.isdigit() else None
"""The one case that was asked for."""

if ONLY is None and _ASKED not in get_args(Dose):
    raise SystemExit(f"{VARIABLE}={_ASKED}: expected few, short, long or the number of a case")


def of(*, few: N, short: N, long: N) -> N:
    """What belongs to the dose."""
    return {"few": few, "short": short, "long": long}[DOSE]


def not_few(why: str) -> pytest.MarkDecorator:
    """Marks a test that only continuous integration and nights have time for.

    Args:
        why: What takes its time.
    """
    return pytest.mark.skipif(DOSE == "few", reason=f"{why}: {LEFT_OUT}")


def seeds(*, few: int, short: int, long: int, again: Iterable[int] = ()) -> Sequence[int]:
    """Seeds to try, or the one that was asked for.

    Args:
        few: How many; ``ONECTL_TEST_SEEDS`` says otherwise.
        short: How many.
        long: How many.
        again: Seeds that failed once. They are tried in every dose, first.
    """
    if ONLY is not None:
        return [ONLY]
    return list(dict.fromkeys([*again, *of(few=enough(few), short=range(short), long=range(long))]))


class Cases:
    """Counts the cases of a test that finds out how many there are while it runs.

    Attributes:
        count: How many were begun.
        now: The number of the one that runs.
    """

    def __init__(self) -> None:
        self.count = 0
        self.now: int | None = None

    def each(self, numbers: Iterable[int]) -> Iterator[int]:
        """The numbers, or the one that was asked for."""
        for number in numbers if ONLY is None else [ONLY]:
            self.now = number
            self.count += 1
            yield number
