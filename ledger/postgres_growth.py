"""When a ledger in PostgreSQL may have grown: every append notifies; whoever misses that looks again a second later."""

from __future__ import annotations

from contextlib import suppress

from ledger.errors import OneCtlError
from ledger.postgres_connection import Database
from ledger.postgres_names import CHANNEL
from ledger.postgres_own_connection import OwnConnection

LOOK_SECONDS = 1.0
"""How long to rely on being notified."""


class PostgresGrowth:
    """See `Growth`. Listens on a connection of its own, unless a pooler stands in between, which passes nothing on.

    Args:
        database: The ledger.
    """

    def __init__(self, database: Database) -> None:
        self._connection = OwnConnection(database, patience=10 * LOOK_SECONDS)
        self._listens_in = 0  # the number of the connection that listens

    def attend(self) -> None:
        """See `Growth.attend`."""
        # That the server cannot be reached shows when the ledger is asked whether it has grown.
        with suppress(OneCtlError):
            self._connection.open()
            if self._connection.is_direct and self._listens_in != self._connection.number:
                self._connection.listen(CHANNEL)
                self._listens_in = self._connection.number

    def wait(self, timeout: float, wake: int) -> None:
        """See `Growth.wait`."""
        self._connection.notified(wake, min(timeout, LOOK_SECONDS))

    def close(self) -> None:
        """See `Growth.close`."""
        self._connection.close()
