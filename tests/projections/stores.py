"""Stores with a limit, for tests."""

from __future__ import annotations

from typing import NoReturn

from ledger.errors import LedgerUnavailableError
from ledger.sqlite_store import SqliteStore


class ReadOnlyStore(SqliteStore):
    """A ledger on a file system that this process may not write."""

    def writing(self) -> NoReturn:
        """See `SqliteStore.writing`."""
        raise LedgerUnavailableError(f"the ledger {self.path} cannot be written: Read-only file system")
