"""A ledger of which lines were cut out or cut off: what reads it by positions says so, and nothing reads on over the gap."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest

from ledger.audit_log import Filter, entries, newest
from ledger.clock import from_micros
from ledger.errors import LedgerDamagedError, RefusedError
from ledger.moments import as_of, at_position
from ledger.pages import line_at, lines, page, pages
from ledger.sqlite_store import SqliteStore
from tests.ledger.support import START_US, write

LINES = 9
DAMAGED = {"a gap": 5, "its end is gone": 8}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with closing(SqliteStore(tmp_path / "ledger.db")) as store:
        write(store, LINES)
        yield store


@pytest.fixture(params=DAMAGED)
def damaged(store: SqliteStore, request: pytest.FixtureRequest) -> tuple[SqliteStore, int]:
    """A ledger, and its first position without a line."""
    first: int = DAMAGED[request.param]
    gone = f"= {first}" if request.param == "a gap" else f">= {first}"
    with closing(sqlite3.connect(store.path)) as connection, connection:
        connection.execute("DROP TRIGGER stored_events_no_delete")
        connection.execute(f"DELETE FROM stored_events WHERE notification_id {gone}")
    return store, first


@pytest.mark.parametrize("limit", [1, 2, 4, LINES, 100])
@pytest.mark.parametrize(("start", "stop"), [(1, None), (3, None), (2, 7), (4, 4), (LINES + 1, None), (5, 4)])
def test_every_line_is_given_out_once_and_in_order(
    store: SqliteStore, limit: int, start: int, stop: int | None
) -> None:
    found = list(pages(store, start, stop, limit=limit))
    assert all(0 < len(rows) <= limit for rows in found)
    assert [row.position for rows in found for row in rows] == list(range(start, (stop or LINES) + 1))


def test_what_is_appended_meanwhile_is_given_out_too(store: SqliteStore) -> None:
    found = []
    for row in lines(store, 1):
        found.append(row.position)
        if row.position == LINES:
            write(store, 2, stream="meanwhile")
    assert found == list(range(1, LINES + 3))


@pytest.mark.parametrize("limit", [1, 2, 4, LINES])
def test_lines_before_a_gap_are_given_out_and_then_it_is_told(damaged: tuple[SqliteStore, int], limit: int) -> None:
    store, first = damaged
    reading = (row.position for rows in pages(store, 1, limit=limit) for row in rows)
    found = list(islice(reading, (first - 1) // limit * limit))
    assert found == list(range(1, len(found) + 1))
    with pytest.raises(LedgerDamagedError, match=f"there is no event at position {first}$") as caught:
        list(reading)
    assert caught.value.hint == "See: 1ctl audit verify"


@pytest.mark.parametrize(
    "question",
    [
        lambda store, first: page(store, first, limit=1),
        line_at,
        at_position,
        lambda store, _: as_of(store, START_US + 1_000_000_000),
        lambda store, _: list(entries(store, Filter())),
        lambda store, _: list(entries(store, Filter(), upto=LINES)),
        lambda store, _: newest(store, Filter(), LINES),
    ],
)  # fmt: skip
def test_no_answer_is_given_over_a_gap(
    damaged: tuple[SqliteStore, int], question: Callable[[SqliteStore, int], object]
) -> None:
    with pytest.raises(LedgerDamagedError, match="there is no event at position"):
        question(*damaged)


@pytest.mark.parametrize(("early_us", "to_the"), [(1, "microseconds"), (250_000, "microseconds"), (250_001, "seconds")])
def test_the_first_event_is_told_apart_from_the_time_that_it_was_not_recorded_by(
    tmp_path: Path, early_us: int, to_the: str
) -> None:
    with closing(SqliteStore(tmp_path / "late.db")) as store:
        (first,) = write(store, 1, clock_us=START_US + 250_000)
        with pytest.raises(RefusedError, match="nothing was recorded by then") as caught:
            as_of(store, first.recorded_us - early_us)
    told = from_micros(first.recorded_us).astimezone().isoformat(sep=" ", timespec=to_the)
    assert caught.value.hint == f"The first event is of {told}."
