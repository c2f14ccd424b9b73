"""Following a ledger: every line once, in order, soon after it was appended.

Invariants:

* What is given out continues what was given out before: no gap, nothing twice, nothing that others put in its place.
* That the ledger has grown is asked of the ledger itself. What tells to look sooner is a hint: one that is lost costs
  time, one that is wrong or comes twice costs a question.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from ledger.errors import LedgerDamagedError, LedgerReplacedError
from ledger.leaf import GENESIS, chain_hash

if TYPE_CHECKING:
    from ledger.store import Row, Store


class Growth(Protocol):
    """Notices when a ledger may have grown. For one thread at a time."""

    def attend(self) -> None:
        """Notice what is appended from now on."""

    def wait(self, timeout: float, wake: int) -> None:
        """Wait until something was noticed, but no longer than this way of noticing may go without a look.

        Args:
            timeout: Seconds after which to return in any case.
            wake: A descriptor; return once it can be read.
        """

    def close(self) -> None:
        """Give up what is kept open for it."""


class Follower:
    """Reads a ledger to its end and beyond, as it grows. For one thread, but for `wake`.

    Args:
        store: The ledger.
        after: The position after which to begin.
    """

    def __init__(self, store: Store, after: int) -> None:
        self._store = store
        self._position = after
        self._chain = GENESIS if after == 0 else None
        self._growth = store.growth()
        self._ends = threading.RLock()  # a signal's handler may wake it while the same thread does
        self._woken, self._waker = os.pipe()
        for end in (self._woken, self._waker):
            os.set_blocking(end, False)

    @property
    def position(self) -> int:
        """Position of the last line that was given out, or after which to begin."""
        return self._position

    def wait(self, timeout: float) -> bool:
        """Wait until there is more to read; whether there is.

        Args:
            timeout: Seconds to wait at most.

        Raises:
            LedgerReplacedError: The ledger ends before the position that was given out.
            LedgerUnavailableError, LedgerBusyError: The ledger cannot be asked; may be repeated.
        """
        deadline = time.monotonic() + timeout
        while True:
            self._growth.attend()
            if self._has_grown():
                return True
            remaining = deadline - time.monotonic()
            if self._was_woken() or remaining <= 0:
                return False
            self._growth.wait(remaining, self._woken)

    def read(self, limit: int) -> Sequence[Row]:
        """The next lines, in rising position; none if there are none yet.

        Args:
            limit: How many at most.

        Raises:
            LedgerReplacedError: Other lines stand where some were given out.
            LedgerDamagedError: A line is missing.
            LedgerUnavailableError, LedgerBusyError: The ledger cannot be read; may be repeated.
        """
        if self._chain is None:
            self._chain = self._chain_at(self._position)
        rows = self._store.positions(self._position + 1, limit=limit)
        position, chain = self._position, self._chain
        for row in rows:
            position += 1
            if row.position != position:
                raise LedgerDamagedError(f"the event at position {position} is missing", hint="See: 1ctl audit verify")
            if row.chain != chain_hash(chain, row.leaf):
                raise self._replaced()
            chain = row.chain
        self._position, self._chain = position, chain
        return rows

    def wake(self) -> None:
        """End the wait that is under way in another thread, or else the next one, at once. From any thread or signal."""
        with self._ends:
            if self._waker >= 0:
                with suppress(BlockingIOError):  # it is full of wakes
                    os.write(self._waker, b".")

    def close(self) -> None:
        """Give up connections; not while another thread waits."""
        self._growth.close()
        with self._ends:
            ends = (self._woken, self._waker)
            self._woken = self._waker = -1
            for end in ends:
                if end >= 0:
                    os.close(end)

    def _has_grown(self) -> bool:
        position = self._store.head().position
        if position < self._position:
            raise self._replaced()
        return position > self._position

    def _was_woken(self) -> bool:
        woken = False
        with suppress(BlockingIOError):
            while os.read(self._woken, 65536):
                woken = True
        return woken

    def _chain_at(self, position: int) -> bytes:
        rows = self._store.positions(position, position, limit=1)
        if not rows:
            raise self._replaced()
        return rows[0].chain

    def _replaced(self) -> LedgerReplacedError:
        return LedgerReplacedError(
            f"the ledger does not continue what was read up to position {self._position}",
            hint="It was put back from a backup. Begin again from what it says now.",
        )


def readable(descriptor: int, timeout: float) -> bool:
    """Whether a descriptor can be read, within that many seconds."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(max(0.0, timeout) * 1000))
