"""Threads that append to a ledger in a database until it is taken from them, and know what they were told."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import closing

from ledger.codec import request_of
from ledger.errors import LedgerUnavailableError, OutcomeUnknownError
from ledger.postgres_store import PostgresStore
from ledger.store import Beside, NewRow, RequestRow, Row
from ledger.verify import verify_chain
from tests.faults.ledger_invariants import ALL, hold, positions_have_no_gap
from tests.ledger.support import STATE

PATIENCE = 60.0


class Writer(threading.Thread):
    """Appends one line after the other to a stream of its own.

    Args:
        url: The ledger.
        number: Its own.
        through: Whether to go on with the same request when the connection is lost, or to end there.

    Attributes:
        acknowledged: By request id, the position that was acknowledged.
        pending: The request that was not, if it ended there.
        unknown: How often it was left open whether a request was recorded.
    """

    def __init__(self, url: str, number: int, *, through: bool = False) -> None:
        super().__init__()
        self.acknowledged: dict[str, int] = {}
        self.pending: str | None = None
        self.unknown = 0
        self.error: BaseException | None = None
        self._store = PostgresStore(url)
        self._number = number
        self._through = through
        self._enough = threading.Event()

    def run(self) -> None:
        """Append."""
        with closing(self._store):
            try:
                for version in range(1, 1_000_000):
                    if self._enough.is_set() or not self._append(version):
                        return
            except BaseException as error:  # noqa: BLE001 - for who waits for it
                self.error = error

    def enough(self) -> None:
        """End after the line that is being appended."""
        self._enough.set()

    def _append(self, version: int) -> bool:
        request = f"{self._number}-{version}"
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.acknowledged[request] = append(self._store, request)
            except (OutcomeUnknownError, LedgerUnavailableError) as error:
                self.unknown += isinstance(error, OutcomeUnknownError)
                if not self._through:
                    self.pending = request
                    return False
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
                continue
            return True


def append(store: PostgresStore, request: str) -> int:
    """Append a line that a request asks for, unless it was recorded; its position."""
    known = store.request(request)
    if known is not None:
        return known.first_position
    number, version = map(int, request.split("-"))
    beside = Beside(request=RequestRow(request, b"s" * 16, b"d" * 32, 0, 0))
    state = STATE.replace(b'"request_id":null', b'"request_id":"%s"' % request.encode()) % number
    row = NewRow(bytes([number]) * 16, version, "Noted", state)
    return store.append([row], clock_us=time.time_ns() // 1000, beside=beside)[0].position


def started(writers: Sequence[Writer], *, each: int) -> None:
    """Start them, and wait until each has been acknowledged so many lines."""
    for writer in writers:
        writer.start()
    deadline = time.monotonic() + PATIENCE
    while min(len(writer.acknowledged) for writer in writers) < each:
        assert time.monotonic() < deadline, [writer.error for writer in writers]
        time.sleep(0.005)


def assert_kept(store: PostgresStore, writers: Sequence[Writer]) -> Sequence[Row]:
    """What was acknowledged is where it was said to be, once; nothing else but what was asked for; the chain is whole."""
    rows = positions_have_no_gap(store)
    hold(verify_chain(store).damage is None, f"5: {verify_chain(store).damage}")
    said = [request_of(row.state) for row in rows if row.topic == "Noted"]
    hold(len(said) == len(set(said)), "1: a request was recorded twice")
    told: dict[str, int] = {}
    for writer in writers:
        hold(writer.error is None, f"7: {writer.error!r}")
        told |= writer.acknowledged
    for request, position in told.items():
        hold(position <= len(rows), f"1: {request} was acknowledged at {position}, the ledger ends at {len(rows)}")
        hold(
            request_of(rows[position - 1].state) == request, f"1: {request} was acknowledged at {position}, and is not"
        )
    open_ones = {writer.pending for writer in writers}
    hold(set(said) <= told.keys() | open_ones, f"1: nobody asked for {set(said) - told.keys() - open_ones}")
    return store.positions(1, limit=ALL)
