"""Whether the indexes that answers are found by lead to the very lines that the chain covers: no hash covers an index.

An index is read from end to end and compared by a tally with what the lines say. To look each line up in it, which tells
where one is lost, takes several times as long, and is done only where the two differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import TYPE_CHECKING

from ledger.landmarks import LANDMARKS
from ledger.misled import Misled
from ledger.tally import Tally

if TYPE_CHECKING:
    from ledger.store import Indexed, Row, Store

PAGE = 10_000
"""Entries of an index that are read at a time."""

_LINES = 500
"""Lines that are asked for at once where one of them is looked for."""

_place = itemgetter(0, 1, 2)
_landmark = itemgetter(0, 1, 3)
_TOPICS = frozenset(LANDMARKS)


class IndexCheck:
    """Takes the lines in their order, each once, and compares.

    Args:
        store: The ledger.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._streams, self._landmarks = Tally(), Tally()

    def add(self, rows: Sequence[Row]) -> None:
        """More lines, which are intact."""
        self._streams.add(map(_place, rows))
        self._landmarks.add(_landmark(row) for row in rows if row[3] in _TOPICS)

    def end(self, upto: int) -> Misled | None:
        """Compare, after the last line, which is at this position; the first mistake."""
        if not self._agrees("streams", self._streams, upto):
            detail = "the index of streams names lines that are not there: it is damaged"
            return first_unfindable(self._store, upto) or Misled(upto, detail, "unfindable")
        if not self._agrees("landmarks", self._landmarks, upto):
            detail = "the index of releases names some that are not there: it is damaged"
            return self._first_lost_landmark(upto) or Misled(upto, detail, "unfindable")
        return None

    def _agrees(self, index: Indexed, lines: Tally, upto: int) -> bool:
        """Whether the entries of an index up to a position are those of the lines."""
        there = Tally()
        after = (b"", 0)
        # One whose order is damaged may lead round in a circle.
        while there.count <= lines.count and (rows := self._store.indexed(index, after=after, upto=upto, limit=PAGE)):
            there.add(rows)
            position, stream, of = rows[-1]
            after = (stream, of if isinstance(of, int) else position)
        return there.matches(lines)

    def _first_lost_landmark(self, upto: int) -> Misled | None:
        start = 1
        while rows := self._store.positions(start, upto, limit=_LINES):
            for row in rows:
                place = row.position
                if row.topic in _TOPICS and not self._store.landmarks(row.stream, start=place, stop=place, limit=1):
                    detail = f"the release at position {place} is not found: the index is damaged"
                    return Misled(place, detail, "unfindable")
            start = rows[-1].position + 1
        return None


def first_unfindable(store: Store, upto: int, *, start: int = 1) -> Misled | None:
    """The first line from one position to another that is not found by its stream; each of them is looked up."""
    for first in range(start, upto + 1, _LINES):
        for position in store.unfindable(first, min(first + _LINES - 1, upto)):
            detail = f"the event at position {position} is not found in its stream: the index is damaged"
            return Misled(position, detail, "unfindable")
    return None
