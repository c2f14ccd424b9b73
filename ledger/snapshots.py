"""Snapshots: an app as it was folded at a position, kept so that nobody folds its whole history again (ADR 20).

A snapshot is a cache. It can be dropped at any time, it is written when that costs nobody anything, and it is believed only
where it can be checked: it is of this program's `shape`, and its digest is over its bytes and over the chain of the line
that it was made at. So it is used in no ledger that has another history below that line, and in none that ends before.
A redaction deletes all of them in its own transaction, since one may hold what was blanked. What no check on reading can
find, a false state with a true digest, `audit verify` finds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from hashlib import sha256
from heapq import merge
from typing import TYPE_CHECKING, NamedTuple

from ledger import app_state
from ledger.app import App, evolve
from ledger.codec import recorded
from ledger.errors import ConflictError, LedgerBusyError, LedgerUnavailableError, OutcomeUnknownError
from ledger.store import Row, SnapshotRow, is_well_formed
from ledger.streams import LEDGER_STREAM

if TYPE_CHECKING:
    from ledger.spec import AppId
    from ledger.store import ModelStore, Store, Tables

STEP = 50
"""Events of one app between two of its snapshots: what a question folds at most."""

WORTH = 4
"""A snapshot is kept once the events since the one before are this many times its size: they grow no faster than that."""

_DIGEST_SIZE = 32
_LAST_LINES = 2
"""Lines that are read besides those after a snapshot: the last that are folded in, one of each stream."""


class Position(NamedTuple):
    """An app at a place from where more can be folded.

    Attributes:
        app: The app.
        digest: What the line there has to confirm, with the bytes that were hashed; None where nothing is folded.
    """

    app: App
    digest: tuple[bytes, bytes] | None = None

    def is_confirmed_by(self, line: Row) -> bool:
        """Whether this was folded from the history that leads to the line."""
        return self.digest is None or _digest(line.chain, self.digest[1]) == self.digest[0]


def folded(store: ModelStore, app_id: AppId, *, upto: int | None = None) -> App:
    """An app as its events add up to, at a position or now. Folds about `STEP` events if there are snapshots.

    After more than that, snapshots are left behind for others, if they can be written without waiting.

    Raises:
        UnknownEventError, LedgerDamagedError: An event cannot be read by this program.
        LedgerUnavailableError, LedgerBusyError: The ledger cannot be read.
    """
    app, lines = _begin(store, app_id, upto)
    if len(lines) >= STEP + _LAST_LINES:
        return _fold_and_keep(store, app_id, upto)
    return _fold(app, lines)


def keep(store: ModelStore, snapshots: Sequence[SnapshotRow], *, ledger_version: int) -> None:
    """Write snapshots, if that is possible at once; see `write`.

    Whoever only reads need not wait, nor hear that nothing can be written here: the next one folds more, just as well.
    """
    with suppress(LedgerBusyError, LedgerUnavailableError, ConflictError, OutcomeUnknownError):
        write(store, snapshots, ledger_version=ledger_version, wait=False)


def write(store: ModelStore, snapshots: Sequence[SnapshotRow], *, ledger_version: int, wait: bool = True) -> bool:
    """Write snapshots, in place of those at the same positions; whether they were written.

    They are not if something was redacted since, or if the ledger was put back and they are of lines that are gone.

    Args:
        store: The ledger's storage.
        snapshots: What to write; those of an app in rising position, and all of them folded from one history.
        ledger_version: Version of the ledger's own stream before the folded events were read.
        wait: Whether to wait while others write.

    Raises:
        LedgerBusyError, LedgerUnavailableError, ConflictError, OutcomeUnknownError: They could not be written.
    """
    with store.change(wait=wait) as tables:
        ((version,),) = tables.ask("ledger.stream_version", {"stream": LEDGER_STREAM.bytes})
        if (version or 0) != ledger_version:
            return False
        if not all(_stands(tables, newest) for newest in {each.stream: each for each in snapshots}.values()):
            return False
        places = [{"of_stream": each.stream, "at_position": each.position} for each in snapshots]
        tables.execute_all("ledger.delete_snapshot", places)
        tables.execute_all("ledger.insert_snapshot", [each._asdict() for each in snapshots])
    return True


def _stands(tables: Tables, snapshot: SnapshotRow) -> bool:
    """Whether the line that a snapshot was made at is still there, with all that led to it."""
    place = {"start": snapshot.position, "stop": snapshot.position, "limit": 1}
    lines = [Row._make(row) for row in tables.ask("ledger.positions", place)]
    digest, state = snapshot.state[:_DIGEST_SIZE], snapshot.state[_DIGEST_SIZE:]
    return any(is_well_formed(line) and _digest(line.chain, state) == digest for line in lines)


def app_lines(store: Store, app: App, *, upto: int) -> Iterator[Row]:
    """The app's lines above the versions that are folded in, in rising position, however many they are.

    Args:
        store: The ledger's storage.
        app: The app so far.
        upto: The last position; lines up to it have to be there already.
    """
    own = _pages(store, app.stream.bytes, app.version, upto)
    observed = _pages(store, app.observed.bytes, app.observed_version, upto)
    return merge(own, observed, key=lambda row: row.position)


class SnapshotMaker:
    """Folds an app on, and makes a snapshot whenever one is due.

    Attributes:
        app: The app so far.
        made: Snapshots that were made on the way.
    """

    def __init__(self, app: App) -> None:
        self.app = app
        self.made: list[SnapshotRow] = []
        self._events = self._bytes = 0

    def fold(self, line: Row) -> None:
        """One more line."""
        self.app = evolve(self.app, recorded(line))
        self._events += 1
        self._bytes += len(line.state)
        if self._events % STEP == 0:
            snapshot = snapshot_of(self.app, line)
            if self._bytes >= WORTH * len(snapshot.state):
                self.made.append(snapshot)
                self._events = self._bytes = 0


def snapshot_of(app: App, line: Row) -> SnapshotRow:
    """A snapshot of an app whose newest line this is."""
    state = app_state.to_bytes(app)
    return SnapshotRow(app.stream.bytes, line.position, app_state.shape(), _digest(line.chain, state) + state)


def position_of(snapshot: SnapshotRow) -> Position | None:
    """What a snapshot says; None if it cannot be read. The line that it was made at has to confirm it."""
    try:
        stored = memoryview(snapshot.state).tobytes()  # of anything but bytes, a TypeError
        digest, state = stored[:_DIGEST_SIZE], stored[_DIGEST_SIZE:]
        app = app_state.from_bytes(state)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return Position(app, (digest, state)) if app.head == snapshot.position else None


def _begin(store: Store, app_id: AppId, upto: int | None) -> tuple[App, Sequence[Row]]:
    """Where to fold on from, and the next lines; see `_next_lines`."""
    begin = _nearest(store, app_id, upto)
    lines = _next_lines(store, begin.app, upto)
    if _begins_with(lines, begin):
        return begin.app, lines
    app = App(id=app_id)
    return app, _next_lines(store, app, upto)


def _nearest(store: Store, app_id: AppId, upto: int | None) -> Position:
    begin = Position(App(id=app_id))
    row = store.snapshot(begin.app.stream.bytes, shape=app_state.shape(), upto=upto)
    found = position_of(row) if row is not None else None
    return found if found is not None and found.app.id == app_id else begin


def _next_lines(store: Store, app: App, upto: int | None) -> Sequence[Row]:
    """The last lines that are folded in, and those after them; not all if there are many."""
    after = (max(app.version - 1, 0), max(app.observed_version - 1, 0))  # versions begin at 1
    limit = STEP + _LAST_LINES
    return store.two_streams(app.stream.bytes, app.observed.bytes, after=after, upto=upto, limit=limit)


def _begins_with(lines: Sequence[Row], begin: Position) -> bool:
    if begin.digest is None:
        return True
    last = next((line for line in lines if line.position == begin.app.head), None)
    return last is not None and begin.is_confirmed_by(last)


def _fold(app: App, lines: Sequence[Row]) -> App:
    for line in lines:
        if line.position > app.head:
            app = evolve(app, recorded(line))
    return app


def _fold_and_keep(store: ModelStore, app_id: AppId, upto: int | None) -> App:
    # The order counts: what is redacted after the version was asked for keeps the snapshots from being written. So a
    # snapshot to begin with that was read before is read again.
    ledger_version, instance = store.stream_version(LEDGER_STREAM.bytes), store.instance()
    app, _ = _begin(store, app_id, upto)
    maker = SnapshotMaker(app)
    for line in app_lines(store, app, upto=store.head().position if upto is None else upto):
        maker.fold(line)
    if maker.made and store.instance() == instance:  # a restore gives another one: all was read before it or after it
        keep(store, maker.made, ledger_version=ledger_version)
    return maker.app


def _pages(store: Store, stream: bytes, after: int, upto: int) -> Iterator[Row]:
    while page := store.stream(stream, after=after, limit=STEP):
        for line in page:
            if line.position > upto:
                return
            yield line
        after = page[-1].version


def _digest(chain: bytes, state: bytes) -> bytes:
    return sha256(chain + state).digest()
