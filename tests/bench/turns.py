"""Measuring in turns: A B A B …, so that all contenders see the same machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

Measurement = Callable[[], float]
"""Does something once and returns the figure, for instance the seconds it took."""

Told = Callable[[int, int], None]
"""Called with how many measurements of how many are done."""


def in_turns(
    contenders: Mapping[str, Measurement], turns: int, told: Told, *, warm_up: bool = True
) -> dict[str, list[float]]:
    """The figures of each contender, turn by turn; every turn asks each once, in the order given.

    Args:
        contenders: What to measure, by name.
        turns: How many figures of each.
        told: See `Told`.
        warm_up: Whether a first turn is not counted: files are then in memory, and bytecode is compiled.
    """
    figures: dict[str, list[float]] = {name: [] for name in contenders}
    first = -1 if warm_up else 0
    total = (turns - first) * len(contenders)
    done = 0
    for turn in range(first, turns):
        for name, measure in contenders.items():
            told(done, total)
            figure = measure()
            done += 1
            if turn >= 0:
                figures[name].append(figure)
    told(total, total)
    return figures


def seconds(call: Callable[[], object]) -> float:
    """How long a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
