"""Whoever follows a ledger reads every line once, in order, and soon."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from ledger.errors import LedgerDamagedError, LedgerReplacedError, OneCtlError
from ledger.follow import Follower
from ledger.leaf import chain_hash
from ledger.store import Head, ModelStore, NewRow, Row
from ledger.stores import open_store
from tests.faults import dose
from tests.postgres_support import administer

ROOT = Path(__file__).parents[2]
LONG = 30.0
"""Seconds of a wait that something ends; the busiest machine is far quicker."""

SOON = 0.5
"""Seconds that nobody would wait for by polling every second, and that the best of some tries takes on a busy machine."""

TRIES = 3


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "ledger.db")
    return str(request.getfixturevalue("database"))


@pytest.fixture
def store(address: str) -> Iterator[ModelStore]:
    with closing(open_store(address)) as opened:
        yield opened


@pytest.fixture
def other(address: str) -> Iterator[ModelStore]:
    """The ledger as somebody else uses it."""
    with closing(open_store(address)) as opened:
        yield opened


@pytest.fixture
def follower(store: ModelStore) -> Iterator[Follower]:
    with closing(Follower(store, 0)) as made:
        yield made


def append(store: ModelStore, *versions: int) -> Row:
    return store.append([NewRow(b"f" * 16, version, "Noted", b"{}") for version in versions], clock_us=1)[-1]


def positions(rows: Sequence[Row]) -> list[int]:
    return [row.position for row in rows]


def after(seconds: float, call: Callable[[], object]) -> threading.Timer:
    timer = threading.Timer(seconds, call)
    timer.start()
    return timer


class Later:
    """A call that another thread makes in a moment; `begun` and `ended` are when it did, by the monotonic clock."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call
        self.begun = self.ended = float("inf")
        self._timer = after(0.3, self._make)

    def _make(self) -> None:
        self.begun = time.monotonic()
        self._call()
        self.ended = time.monotonic()

    def late(self) -> float:
        """Seconds from its end until now, which is after its beginning."""
        now = time.monotonic()
        assert self.begun <= now
        self._timer.join()
        return now - self.ended


def took(call: Callable[[], object]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began


def test_where_nothing_is_recorded_a_wait_ends_in_time(follower: Follower) -> None:
    assert 0.2 <= min(took(lambda: follower.wait(0.2)) for _ in range(TRIES)) < SOON + 0.2
    assert not follower.wait(0)
    assert list(follower.read(10)) == []


def test_what_was_there_before_is_read_without_waiting(follower: Follower, other: ModelStore) -> None:
    append(other, 1, 2, 3)
    assert took(lambda: follower.wait(LONG)) < LONG / 2
    assert positions(follower.read(2)) == [1, 2]
    assert follower.wait(30)
    assert positions(follower.read(10)) == [3]
    assert (follower.position, follower.wait(0.1)) == (3, False)


def test_it_begins_after_a_position(store: ModelStore, other: ModelStore) -> None:
    append(other, 1, 2, 3)
    with closing(Follower(store, 2)) as follower:
        assert follower.wait(0)
        assert positions(follower.read(10)) == [3]


def test_a_wait_ends_when_somebody_appends(follower: Follower, other: ModelStore) -> None:
    append(other, 1)
    assert positions(follower.read(10)) == [1]
    late = []
    for version in range(2, 2 + TRIES):
        appended = Later(partial(append, other, version))
        assert follower.wait(LONG)
        late.append(appended.late())
        assert positions(follower.read(10)) == [version]
    assert min(late) < SOON
    assert max(late) < LONG / 2


def test_a_wait_ends_when_the_ledger_is_made(follower: Follower, other: ModelStore) -> None:
    made = Later(lambda: append(other, 1))
    assert follower.wait(LONG)
    assert made.late() < LONG / 2
    assert positions(follower.read(10)) == [1]


def test_what_the_same_thread_appended_is_followed_too(follower: Follower, store: ModelStore) -> None:
    for version in (1, 2):
        append(store, version)
        assert follower.wait(30)
        assert positions(follower.read(10)) == [version]


def test_what_is_written_beside_the_log_ends_no_wait(follower: Follower, other: ModelStore) -> None:
    append(other, 1)
    follower.read(10)
    lease = other.lease("c", holder="one", note="", seconds=30)
    timer = after(0.1, lambda: [lease.acquire(), *(lease.renew(turn) for turn in range(5))])
    assert not follower.wait(0.5)
    timer.join()
    lease.release()


def test_a_wake_ends_a_wait_at_once(follower: Follower, other: ModelStore) -> None:
    append(other, 1)
    follower.read(10)
    late = []
    for _ in range(TRIES):
        woken = Later(follower.wake)
        assert not follower.wait(LONG)
        late.append(woken.late())
    assert min(late) < SOON
    assert max(late) < LONG / 2
    assert not follower.wait(0.05), "once"


def test_a_wake_that_comes_before_the_wait_is_not_lost(follower: Follower) -> None:
    for _ in range(100_000):
        follower.wake()
    assert took(lambda: follower.wait(LONG)) < LONG / 2
    assert took(lambda: follower.wait(0.1)) >= 0.1


def test_a_wake_does_not_hide_that_there_is_more(follower: Follower, other: ModelStore) -> None:
    append(other, 1)
    follower.wake()
    assert follower.wait(30)


def test_who_closed_may_be_woken_and_closed_again(store: ModelStore) -> None:
    follower = Follower(store, 0)
    for _ in range(2):
        follower.close()
        follower.wake()


_APPENDS = """
import sys
from ledger.store import NewRow
from ledger.stores import open_store

address, number, each = sys.argv[1:]
store = open_store(address)
version = 1
for turn in range(1, int(each) + 1):
    rows = [NewRow(bytes([int(number)]) * 16, version + more, "Noted", b"{}") for more in range(turn % 3 + 1)]
    store.append(rows, clock_us=1)
    version += len(rows)
store.close()
"""


@dose.not_few("processes append for seconds")
def test_while_four_processes_append_it_reads_every_line_once_and_in_order(address: str, follower: Follower) -> None:
    each = 40
    total = 4 * sum(turn % 3 + 1 for turn in range(1, each + 1))
    arguments = [[address, str(number), str(each)] for number in range(1, 5)]
    processes = [subprocess.Popen([sys.executable, "-c", _APPENDS, *given], cwd=ROOT) for given in arguments]
    seen: list[int] = []
    while len(seen) < total and follower.wait(60):
        seen += positions(follower.read(7))
    assert [process.wait(timeout=60) for process in processes] == [0] * 4
    assert seen == list(range(1, total + 1))
    assert not follower.wait(0)


# -- Not the ledger that it was ----------------------------------------------------------------------------------------


class Replaced:
    """A store whose ledger another one is put in place of."""

    def __init__(self, store: ModelStore) -> None:
        self._store = store
        self.lines: list[Row] | None = None

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def head(self) -> Head:
        if self.lines is None:
            return self._store.head()
        return Head(self.lines[-1].position, 1, self.lines[-1].chain)

    def positions(self, start: int, stop: int | None = None, *, limit: int) -> Sequence[Row]:
        if self.lines is None:
            return self._store.positions(start, stop, limit=limit)
        return [row for row in self.lines if start <= row.position <= (stop or 1000)][:limit]


def relined(rows: Sequence[Row]) -> list[Row]:
    """Lines that are as well chained, but others."""
    chain, lines = b"\1" * 32, []
    for row in rows:
        chain = chain_hash(chain, row.leaf)
        lines.append(row._replace(chain=chain))
    return lines


def test_a_ledger_that_became_shorter_is_not_waited_for(store: ModelStore) -> None:
    append(store, 1, 2, 3)
    replaced = Replaced(store)
    with closing(Follower(replaced, 0)) as follower:  # type: ignore[arg-type] # by __getattr__
        follower.read(10)
        replaced.lines = list(store.positions(1, limit=2))
        with pytest.raises(LedgerReplacedError, match="position 3") as caught:
            follower.wait(30)
        assert caught.value.hint is not None


@pytest.mark.parametrize("begin", [0, 2])
def test_lines_that_do_not_continue_those_before_are_not_given_out(store: ModelStore, begin: int) -> None:
    append(store, 1, 2)
    replaced = Replaced(store)
    with closing(Follower(replaced, begin)) as follower:  # type: ignore[arg-type] # by __getattr__
        follower.read(10)
        append(store, 3, 4)
        replaced.lines = relined(store.positions(1, limit=10))
        assert follower.wait(0)
        with pytest.raises(LedgerReplacedError):
            follower.read(10)
        assert follower.position == 2


def test_a_position_that_the_ledger_never_had_is_not_followed(store: ModelStore) -> None:
    append(store, 1)
    with closing(Follower(store, 5)) as follower:
        for ask in (lambda: follower.wait(0), lambda: follower.read(1)):
            with pytest.raises(LedgerReplacedError):
                ask()


def test_a_line_that_is_missing_is_damage_and_nothing_after_it_is_given_out(address: str, store: ModelStore) -> None:
    append(store, 1, 2, 3)
    remove = "DELETE FROM stored_events WHERE notification_id = 2"
    if "://" in address:
        administer(address, "ALTER TABLE stored_events DISABLE TRIGGER stored_events_no_delete", remove)
    else:
        with closing(sqlite3.connect(address)) as connection, connection:
            connection.execute("DROP TRIGGER stored_events_no_delete")
            connection.execute(remove)
    with closing(Follower(store, 0)) as follower, pytest.raises(LedgerDamagedError, match="position 2 is missing"):
        follower.read(10)


def test_a_store_that_was_closed_says_so(store: ModelStore) -> None:
    follower = Follower(store, 0)
    store.close()
    with closing(follower), pytest.raises(OneCtlError, match="closed"):
        follower.wait(30)
