"""Whether two lots of rows are the same in whichever order they come, without keeping either: told by sums."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class Tally:
    """Counts rows, and adds up what each of them hashes to.

    Every row is written as bytes and hashed as such: Python hashes these in every process with another key, so nobody can
    prepare other rows of the same sum. Hashes of tuples would not do, since they grow almost in step with the last number
    of them: of two rows that swap it, one time in three the sum would be the same.

    Args:
        form: A row as bytes, such that no two rows are written alike; for ``%``.
    """

    def __init__(self, form: bytes) -> None:
        self._write = form.__mod__
        self.count = self._sum = 0

    def add(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """More rows.

        Raises:
            TypeError: A row cannot be written in this form. None of these rows count then.
        """
        hashes = [*map(hash, map(self._write, rows))]
        self.count += len(hashes)
        self._sum += sum(hashes)

    def matches(self, other: Tally) -> bool:
        """Whether as many rows were added to both, and the same."""
        return (self.count, self._sum) == (other.count, other._sum)
