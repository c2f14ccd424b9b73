"""When a ledger in PostgreSQL may have grown: every append notifies; whoever misses that looks again a second later."""

from __future__ import annotations

from contextlib import suppress

from ledger.errors import OneCtlError
from ledger.postgres_connection import Database
from ledger.postgres_names import CHANNEL
from ledger.postgres_session import Session

LOOK_SECONDS = 1.0
"""How long to rely on being notified."""


class PostgresGrowth:
    """See `Growth`. Listens on a connection of its own, unless a pooler stands in between, which passes nothing on.

    Args:
        database: The ledger.
    """

    def __init__(self, database: Database) -> None:
        self._session = Session(database, patience=10 * LOOK_SECONDS)
        self._listens_in = 0  # the session's connection that listens

    def attend(self) -> None:
        """See `Growth.attend`."""
        # That the server cannot be reached shows when the ledger is asked whether it has grown.
        with suppress(OneCtlError):
            self._session.open()
            if self._session.is_direct and self._listens_in != self._session.number:
                self._session.listen(CHANNEL)
                self._listens_in = self._session.number

    def wait(self, timeout: float, wake: int) -> None:
        """See `Growth.wait`."""
        self._session.notified(wake, min(timeout, LOOK_SECONDS))

    def close(self) -> None:
        """See `Growth.close`."""
        self._session.close()
