"""Who leads: of all workers of one ledger, at most one for each cluster.

A row in the ledger's own database decides, by that database's clock. A lock that the kernel or the server frees when
its holder dies stands beside it, and only makes a hand-over quick: a holder that is stopped keeps its lock, and a lock
can be lost while its holder lives, so a lock alone proves nothing.

Invariants:

* The row is taken when it has expired; before that by its own holder, or by whoever has the lock, if the holder had it
  (`locked`): then the holder let go of it, mostly by dying. Each taking raises the epoch by one.
* `Lease.held` is false as soon as the last renewal is older than the lease's seconds, counted from before it was sent.
  The row is valid for as long from when it was written, which is later. So nobody can take it while it is held.
* Nothing keeps the row locked between statements: a holder that is stopped anywhere blocks nobody for longer than
  until the row expires. (One that is stopped within a commit to a file blocks its writers, as any writer would.)

What can break the second, for at most the lease's seconds: on PostgreSQL a server that loses a session while its client
lives (a broken network, a restart) frees the lock; where the end of the connection arrives, `held` notices. A database's
clock that is set forward. On a file, somebody who removes the lock beside it.

A write that was sent before leadership was lost may arrive after it; the cluster's preconditions are there for that.
"""

from __future__ import annotations

import threading
import time
from typing import NamedTuple, Protocol

import orjson

from ledger.clock import elapsed
from ledger.errors import LedgerDamagedError

_LONGEST_MESSAGE = 500
_LARGEST = 2**62
"""Of a row's numbers: by then a database that counts on is still far from its largest."""

_LOCK_SECONDS = 0.2
"""How long to wait for the lock of a row that is free. A leader without it would be followed only when the row expires."""


class Trouble(NamedTuple):
    """What keeps the holder from applying what is recorded.

    Attributes:
        reason: In one word.
        message: One sentence; holds no secret.
        seconds: For how long.
        app: ``namespace/name`` of the only app that is concerned, or None.
    """

    reason: str
    message: str
    seconds: float
    app: str | None


class LeaseRow(NamedTuple):
    """What everybody can see of a lease.

    Attributes:
        holder: Who took it last.
        epoch: How often it was taken.
        valid: Whether it still is, by the database's clock.
        age: Seconds since it was taken or renewed, by the same clock.
        position: How far the holder has got in the ledger, as it said when it last renewed.
        note: Where the holder runs, for people.
        trouble: What kept it from working when it last renewed, or None.
    """

    holder: str
    epoch: int
    valid: bool
    age: float
    position: int
    note: str
    trouble: Trouble | None = None


def lease_row(holder: object, epoch: object, valid: object, age_us: object, position: object, note: object) -> LeaseRow:
    """The row as a database answers it.

    Raises:
        LedgerDamagedError: It holds what no lease does.
    """
    if not (isinstance(holder, str) and isinstance(note, str) and isinstance(position, int)):
        raise damaged_lease()
    where, _, told = note.partition("\n")
    return LeaseRow(
        holder, number_of(epoch), bool(valid), number_of(age_us) / 1_000_000, position, where, _trouble(told)
    )


def number_of(value: object) -> int:
    """An epoch, or another number of a lease's row.

    Raises:
        LedgerDamagedError: It is none, or too large to grow.
    """
    if not isinstance(value, int) or not -_LARGEST < value < _LARGEST:
        raise damaged_lease()
    return value


def damaged_lease() -> LedgerDamagedError:
    """The row of a lease is not what any worker writes. It is no history: nothing but who leads now is in it."""
    return LedgerDamagedError(
        "the ledger is damaged: a row of worker_leases holds what none can hold",
        hint="It is no history. Delete it while no worker runs: DELETE FROM worker_leases",
    )


def noted(where: str, trouble: Trouble | None) -> str:
    """What is kept in the row's note: where the holder runs, and below it what is wrong, if anything is."""
    if trouble is None:
        return where
    told = trouble._replace(message=trouble.message[:_LONGEST_MESSAGE], seconds=round(trouble.seconds, 3))
    return f"{where}\n{orjson.dumps(told._asdict()).decode()}"


def _trouble(told: str) -> Trouble | None:
    """What `noted` wrote; None for what another program may have written."""
    if not told:
        return None
    try:
        found = orjson.loads(told)
        app = None if found["app"] is None else str(found["app"])
        return Trouble(str(found["reason"]), str(found["message"]), float(found["seconds"]), app)
    except (ValueError, TypeError, KeyError):
        return None


class Lease(Protocol):
    """One candidate's hold on the leadership of one cluster. Safe for several threads; `held` never waits for another."""

    @property
    def held(self) -> bool:
        """Whether this candidate may act as leader now. Asks neither the database nor the disk."""

    @property
    def epoch(self) -> int:
        """The epoch of the leadership that was taken last; 0 before the first."""

    @property
    def head(self) -> int:
        """Position of the ledger's newest line when the row was last taken or renewed. Asks nobody."""

    def acquire(self) -> bool:
        """Become leader if nobody is; whether this candidate leads now. Waits for no other candidate, and may be repeated.

        Raises:
            LedgerEndedError: The ledger is a replica, a backup, or goes on elsewhere.
            LedgerUnavailableError, LedgerBusyError, LedgerDamagedError: The ledger cannot be asked or written.
        """

    def renew(self, position: int, trouble: Trouble | None = None) -> bool:
        """Stay leader; False once another one is, and then for good until `acquire`.

        Args:
            position: How far this leader has got.
            trouble: What keeps it from going on, for everybody to see.

        Raises:
            LedgerEndedError: The ledger has ended meanwhile.
            LedgerUnavailableError, LedgerBusyError, OutcomeUnknownError: It cannot be told. Repeat; if it cannot be told
                in time, `held` ends by itself.
        """

    def release(self) -> None:
        """Stop being leader or candidate, so that another one takes over at once. `acquire` may be called again.

        Raises:
            LedgerUnavailableError, LedgerBusyError, OutcomeUnknownError: The row could not be expired. The lock is freed.
        """


class LeasePlace(Protocol):
    """Where one candidate finds row and lock. Used by one thread at a time, but for `stands` and `head`.

    Attributes:
        head: Position of the ledger's newest line when the row was last taken or renewed.
    """

    head: int

    def lock(self) -> bool:
        """Whether the lock is in hand, after trying to get it."""

    def unlock(self) -> None:
        """Give the lock back, if it is in hand."""

    def is_free(self, *, locked: bool) -> bool:
        """Whether the row could be taken, with the lock in hand or without; only reads.

        Raises:
            LedgerEndedError: Nothing is recorded in this ledger any more.
        """

    def take(self, *, locked: bool) -> int | None:
        """The new epoch if the row could be taken, else None.

        Raises:
            LedgerEndedError: Nothing is recorded in this ledger any more.
        """

    def renew(self, epoch: int, position: int, *, locked: bool, trouble: Trouble | None = None) -> bool:
        """Extend the row if it is still this candidate's, of this epoch.

        Raises:
            LedgerEndedError: Nothing is recorded in this ledger any more.
        """

    def expire(self, epoch: int) -> None:
        """End the row's validity if it is still this candidate's, of this epoch."""

    def stands(self) -> bool:
        """Whether nothing that is known here, without asking, says that others may take the row."""

    def close(self) -> None:
        """Give up lock and connection; both are made again when needed."""


class _Term(NamedTuple):
    """A leadership, and until when it is known to be one, in seconds of `ledger.clock.elapsed`."""

    epoch: int
    until: float


class RowLease:
    """See `Lease`.

    Args:
        place: Where row and lock are.
        seconds: How long the row is valid without being renewed.
    """

    def __init__(self, place: LeasePlace, *, seconds: float) -> None:
        self._place = place
        self._seconds = seconds
        self._turn = threading.Lock()
        self._term: _Term | None = None
        self._epoch = 0

    @property
    def held(self) -> bool:
        """See `Lease.held`."""
        term = self._term
        return term is not None and elapsed() < term.until and self._place.stands()

    @property
    def epoch(self) -> int:
        """See `Lease.epoch`."""
        return self._epoch

    @property
    def head(self) -> int:
        """See `Lease.head`."""
        return self._place.head

    def acquire(self) -> bool:
        """See `Lease.acquire`."""
        with self._turn:
            if self.held:
                return True
            self._term = None
            try:
                self._take()
            finally:
                if self._term is None:
                    self._place.unlock()  # the leader may want it: it is without one
            return self.held

    def _take(self) -> None:
        locked = self._place.lock()
        if not self._place.is_free(locked=locked):
            return
        # Whoever has the lock of a free row is about to take it, or has just expired it, unless it is stopped.
        until = elapsed() + _LOCK_SECONDS
        while not locked and elapsed() < until:
            time.sleep(_LOCK_SECONDS / 20)
            locked = self._place.lock()
        sent = elapsed()
        epoch = self._place.take(locked=locked)
        if epoch is not None:
            self._epoch, self._term = epoch, _Term(epoch, sent + self._seconds)

    def renew(self, position: int, trouble: Trouble | None = None) -> bool:
        """See `Lease.renew`."""
        with self._turn:
            term = self._term
            if term is None:
                return False
            locked = self._place.lock()
            sent = elapsed()
            if not self._place.renew(term.epoch, position, locked=locked, trouble=trouble):
                self._term = None
                self._place.unlock()
                return False
            self._term = term._replace(until=sent + self._seconds)
            return True

    def release(self) -> None:
        """See `Lease.release`."""
        with self._turn:
            term, self._term = self._term, None
            try:
                if term is not None:
                    self._place.expire(term.epoch)
            finally:
                self._place.close()
