"""Whether two lots of rows are the same in whichever order they come, without keeping either: told by sums."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import repeat
from marshal import dumps
from typing import Any

_FORM = 2
"""Of `marshal`: each value with its type, and the same values always as the same bytes, which later forms do not promise."""


class Tally:
    """Counts rows, and adds up what each of them hashes to.

    Every row is written as bytes and hashed as such: Python hashes these in every process with another key, so nobody can
    prepare other rows of the same sum. Hashes of tuples would not do, since they grow almost in step with the last number
    of them: of two rows that swap it, one time in three the sum would be the same.
    """

    def __init__(self) -> None:
        self.count = self._sum = 0

    def add(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """More rows, of whatever a database may hold."""
        hashes = [*map(hash, map(dumps, rows, repeat(_FORM)))]
        self.count += len(hashes)
        self._sum += sum(hashes)

    def matches(self, other: Tally) -> bool:
        """Whether as many rows were added to both, and the same."""
        return (self.count, self._sum) == (other.count, other._sum)
