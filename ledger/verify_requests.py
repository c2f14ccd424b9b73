"""Whether the table of requests says what the lines say: which request led to which of them.

A request that is not in the table could be recorded a second time; one that is there and led to nothing is never recorded.
The lines that were appended together follow each other, and have time, request and clock in common.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from ledger.errors import UnreadableEventError
from ledger.events import SCHEMA_VERSIONS
from ledger.misled import Misled
from ledger.readable import document_of, has_newer_envelope, is_newer
from ledger.request import REQUESTED
from ledger.store import ModelStore, Row
from ledger.table_pages import table_pages
from ledger.tally import Tally

PAGE = 2000

_UNKNOWN = "?"
PARTS: Mapping[str, str] = {
    **{kind.__name__: "alone" for kind in SCHEMA_VERSIONS},
    **dict.fromkeys(REQUESTED, "requested"),
    **dict.fromkeys(("LedgerCreated", "WorkerIdentitySet", "Redacted"), _UNKNOWN),
}
"""What a line is in an append: ``alone`` in one that remembers no request, ``requested`` in one that does. A ledger is
created with a command or without one, and redactions of versions before 0.1.0 were not remembered."""


Said = tuple[object, object]
"""The request that a line names, and its writer's clock."""


def said_by(document: Mapping[str, Any]) -> Said:
    """What a line says, whose JSON this is; nothing if this program cannot know."""
    if has_newer_envelope(document):
        return None, None
    meta = document["meta"]
    return meta.get("request_id"), meta.get("clock")


def said_in(state: bytes) -> Said | None:
    """What a line says, found in the bytes that this program writes; None if it has to be parsed.

    Within a text a quote is escaped, so nothing in a text is taken for a name. A name may stand in the data as well,
    but those of the envelope come last. Whoever writes other bytes misleads this; what is then wrong is parsed again.
    """
    request, clock = state.rfind(b'"request_id":"') + 14, state.rfind(b'"clock":"') + 9
    request_id = state[request : state.find(b'"', request)]
    if request < 14 or clock < 9 or b"\\" in request_id:
        return None
    try:
        return request_id.decode(), state[clock : state.find(b'"', clock)].decode()
    except UnicodeDecodeError:
        return None


class Appended(NamedTuple):
    """Lines that were appended together for a request.

    Attributes:
        request_id: Its id.
        first: Position of the first.
        last: Position of the last.
        sure: Position of the last that this program knows to be of it; 0 if it knows none.
        exact: Whether it knows all of them.
    """

    request_id: str
    first: int
    last: int
    sure: int
    exact: bool


class Appends:
    """Takes the lines in their order, and tells which were appended together.

    Attributes:
        began: The first position of what the last line was appended with.
    """

    def __init__(self) -> None:
        self.began = 0
        self._mark: tuple[object, ...] | None = None
        self._last = self._sure = 0
        self._exact = True

    def add(self, row: Row, said: Said, *, newer: bool = False) -> Appended | None:
        """One more line; what was appended before, if that is complete now and may have been asked for.

        Args:
            row: The line.
            said: What it says.
            newer: Whether a newer program wrote it, whose lines may be another part of an append.
        """
        position, _, _, topic, _, recorded_us, _, _ = row
        part = _UNKNOWN if newer else PARTS[topic]
        if part == "alone":
            return self.alone(position)
        done = None
        mark = (recorded_us, *said)
        if mark != self._mark:
            if self._mark is not None:
                done = self.end()
            self.began, self._mark = position, mark
        self._last = position
        if part == "requested":
            self._sure = position
        else:
            self._exact = False
        return done

    def alone(self, position: int) -> Appended | None:
        """Likewise, for a line that is appended without a request."""
        done = self.end() if self._mark is not None else None
        self.began = position
        return done

    def end(self) -> Appended | None:
        """What the last lines were, after all of them."""
        done = None
        if self._mark is not None and isinstance(request_id := self._mark[1], str) and (self._sure or not self._exact):
            done = Appended(request_id, self.began, self._last, self._sure, self._exact)
        self._mark, self._sure, self._exact = None, 0, True
        return done


class RequestCheck:
    """Compares by a tally what the lines and the table say.

    Args:
        store: The ledger.
    """

    def __init__(self, store: ModelStore) -> None:
        self._store = store
        self._said = Tally()
        self._passed_over = array("q")
        self._last: list[tuple[str, int, int]] = []  # added together, which takes a third of the time

    def add(self, appended: Appended) -> None:
        """What was appended together."""
        first, last = appended.first, appended.last
        if not appended.exact:
            row = self._store.request(appended.request_id)
            if row is None or not (row.first_position == first and appended.sure <= _place(row.last_position) <= last):
                if appended.sure:
                    self._said.count += 1  # so that it does not add up
                return  # of another append, or of none
            last = row.last_position
        self._last.append((appended.request_id, first, last))
        if len(self._last) >= PAGE:
            self._add_up()

    def pass_over(self, position: int) -> None:
        """A line, behind those before, of which nobody here knows what it answers; 8 bytes of memory."""
        self._passed_over.append(position)

    def end(self, upto: int) -> Misled | None:
        """Compare the table, as it is in the moment after this position, with all that was added; what is wrong."""
        self._add_up()
        there = Tally()
        for rows in table_pages(self._store, "ledger.request_places"):
            there.add(row for row in rows if not self._is_passed_over(row))
        return None if there.matches(self._said) else self._first_wrong(upto)

    def _is_passed_over(self, row: tuple[Any, ...]) -> bool:
        """Whether a request led to nothing but lines that were passed over."""
        if not self._passed_over:
            return False
        first, last = _place(row[1]), _place(row[2])
        count = bisect_right(self._passed_over, last) - bisect_left(self._passed_over, first)
        return 0 < last - first + 1 == count

    def _add_up(self) -> None:
        self._said.add(self._last)
        self._last.clear()

    def _first_wrong(self, upto: int) -> Misled | None:
        """Where the difference is: looked for once, with every line parsed, and only if there seems to be one."""
        known: dict[str, tuple[int, int]] = {}
        for each in _all_appended(self._lines(upto)):
            row = self._store.request(each.request_id)
            if (
                row is not None
                and row.first_position == each.first
                and each.sure <= _place(row.last_position) <= each.last
            ):
                if each.exact and row.last_position != each.last:
                    return _wrong(each)
                known[each.request_id] = (row.first_position, row.last_position)
            elif each.sure:
                return _wrong(each)
        for rows in table_pages(self._store, "ledger.request_places"):
            for request_id, first, last in rows:
                if known.get(request_id) != (first, last) and not self._is_passed_over((request_id, first, last)):
                    detail = f"the table of requests names one that no event was recorded for: {request_id!r}"
                    return Misled(min(max(_place(first), 1), upto), detail)
        return None

    def _lines(self, upto: int) -> Iterator[Row]:
        position = 1
        while rows := self._store.positions(position, upto, limit=PAGE):
            yield from rows
            position = rows[-1].position + 1


def _all_appended(lines: Iterable[Row]) -> Iterator[Appended]:
    appends = Appends()
    for row in lines:
        try:
            document = document_of(row)
        except UnreadableEventError:
            continue
        done = appends.add(row, said_by(document), newer=is_newer(row.topic, document))
        if done is not None:
            yield done
    done = appends.end()
    if done is not None:
        yield done


def _place(value: object) -> int:
    """A file that somebody changed may hold anything where a position belongs."""
    return value if isinstance(value, int) else 0


def _wrong(appended: Appended) -> Misled:
    detail = f"the table of requests does not say that position {appended.first} answers {appended.request_id!r}"
    return Misled(appended.first, detail)
