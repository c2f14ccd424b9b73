"""Whether what lies beside the log leads to what is in it: who opened a life where, and at which lines releases begin.

Answers about an app are found by the table of lives and by the index of landmarks, which no hash covers. Both follow
from the lines, so they are compared with them as the chain is walked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import orjson

from ledger.landmarks import LANDMARKS
from ledger.store import LifeRow, Row, Store

_OPENS = b'"life_key":"'
"""In the bytes of the ``Deployed`` that opens a life, and of no other one: within a text a quote is escaped."""

_LONGEST = 64
"""More lines than any command appends at once."""


class Misled(NamedTuple):
    """Something beside the log does not lead to a line as it should.

    Attributes:
        position: Of the line.
        detail: One sentence for a person.
    """

    position: int
    detail: str


class BesideCheck:
    """Takes the lines in their order, each page of them once, and compares.

    Args:
        store: The ledger.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._before: Sequence[Row] = ()
        self._lives = 0
        self._landmarks: tuple[int, int] = (0, 0)

    def page(self, rows: Sequence[Row]) -> Misled | None:
        """Compare the lives that open in these lines, which follow those of the last call; the first mistake."""
        count, total = self._landmarks
        for at, row in enumerate(rows):
            if row.topic in LANDMARKS:
                count, total = count + 1, total + row.position
                if row.topic == "Deployed" and _OPENS in row.state and (wrong := self._check_life(rows, at)):
                    return wrong
        self._landmarks = (count, total)
        self._before = rows[-_LONGEST:]
        return None

    def end(self, upto: int) -> Misled | None:
        """Compare how many there are, after the last page, which ended at this position; the first mistake."""
        if self._store.life_count(upto) != self._lives:
            return Misled(upto, "the table of lives names lives that no event opened")
        if self._store.landmark_totals(upto) != self._landmarks:
            position = self._first_lost(upto)
            return Misled(position, f"the release at position {position} is not found: the index is damaged")
        return None

    def _check_life(self, rows: Sequence[Row], at: int) -> Misled | None:
        row = rows[at]
        try:
            document = orjson.loads(row.state)
            deployment_id, subject = document["data"]["deployment_id"], document["meta"]["subject"]
            names = (subject["cluster"], subject["namespace"], subject["app"])
            opened = LifeRow(deployment_id, *names, self._append_began(rows, at))
        except (ValueError, KeyError, TypeError):  # in the chain all the same: it was recorded by some other program
            return Misled(row.position, f"position {row.position} opens a life, and cannot be read")
        if self._store.life(deployment_id) != opened:
            detail = f"the table of lives does not say where the life that position {row.position} opens begins"
            return Misled(row.position, detail)
        self._lives += 1
        return None

    def _append_began(self, rows: Sequence[Row], at: int) -> int:
        """The first position of what was appended together with a line."""
        lines = [*self._before, *rows[max(0, at - _LONGEST) : at + 1]]
        mark = _append_of(lines[-1])
        began = lines[-1].position
        for line in reversed(lines):
            if _append_of(line) != mark:
                break
            began = line.position
        return began

    def _first_lost(self, upto: int) -> int:
        """The first landmark that is not found by its stream; asked for one by one, and only if there is one."""
        position = 1
        while rows := self._store.positions(position, upto, limit=_LONGEST):
            for row in rows:
                place = row.position
                if row.topic in LANDMARKS and not self._store.landmarks(row.stream, start=place, stop=place, limit=1):
                    return place
            position = rows[-1].position + 1
        return upto


def _append_of(row: Row) -> tuple[object, ...]:
    """What the lines of one append have in common, and no others."""
    meta = orjson.loads(row.state)["meta"]
    return row.recorded_us, meta["request_id"], meta["clock"]
