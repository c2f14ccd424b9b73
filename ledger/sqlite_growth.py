"""When a ledger in a SQLite file may have grown: by polling, since SQLite tells nobody."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ledger.follow import readable

if TYPE_CHECKING:
    from ledger.sqlite_store import SqliteStore

POLL_SECONDS = 0.005
"""Time between two looks at `PRAGMA data_version`: half of it is the delay on average, less than an append may take.
A shorter one would cost processor time, since each look wakes it up (`tests/docs/measure_follow.py` measures both)."""


class SqliteGrowth:
    """See `Growth`.

    Args:
        store: The ledger. What is appended through the same connection, by this thread, is not noticed.
    """

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self._seen: object = None

    def attend(self) -> None:
        """See `Growth.attend`."""
        self._seen = self._store.data_version()

    def wait(self, timeout: float, wake: int) -> None:
        """See `Growth.wait`."""
        deadline = time.monotonic() + timeout
        while self._store.data_version() == self._seen:
            remaining = deadline - time.monotonic()
            if remaining <= 0 or readable(wake, min(POLL_SECONDS, remaining)):
                return

    def close(self) -> None:
        """See `Growth.close`. Connections are the store's."""
