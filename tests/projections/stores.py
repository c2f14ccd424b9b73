"""The stores that tests of projections run on, and stores with a limit."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

from ledger.errors import LedgerUnavailableError
from ledger.postgres_store import PostgresStore
from ledger.reader import LedgerReader
from ledger.sqlite_store import SqliteStore
from ledger.store import ModelStore
from ledger.stores import open_store
from projections import runner
from projections.projection import Projection
from tests.postgres_support import administer
from tests.projections.histories import Script, write


def catch_up(store: ModelStore, projections: Iterable[Projection[Any, Any]]) -> None:
    """Bring read models up to the ledger's head as it is when this is called, as a reader does, but waiting for its turn.

    Raises:
        UnknownEventError: A newer program made the read model, or wrote events that this one does not know.
        LedgerUnavailableError, LedgerBusyError: The ledger cannot be read, or cannot be written now.
    """
    head = store.head().position
    for projection in projections:
        runner._catch_up(store, projection, head)


@contextmanager
def kept(ledger: Script) -> Iterator[LedgerReader]:
    """What a script says, in a store."""
    with TemporaryDirectory() as directory:
        store = SqliteStore(Path(directory) / "ledger.db")
        write(store, ledger.lines)
        yield LedgerReader(store)
        store.close()


class ReadOnlyStore(SqliteStore):
    """A ledger on a file system that this process may not write."""

    def writing(self, *, wait: bool = True) -> NoReturn:
        """See `SqliteStore.writing`."""
        raise LedgerUnavailableError(f"the ledger {self.path} cannot be written: Read-only file system")


class ReadOnlyPostgresStore(PostgresStore):
    """A ledger in a database that this user may not write."""

    def change(self, *, wait: bool = True) -> NoReturn:
        """See `PostgresStore.change`."""
        raise LedgerUnavailableError("the ledger does not allow its user to do this")


class Ledgers:
    """All stores that a test opens on one ledger, which need not exist yet."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._stores: list[ModelStore] = []

    def open(self) -> ModelStore:
        """One that reads and writes."""
        return self._opened(open_store(self._address))

    def outsider(self) -> ModelStore:
        """One that can only read."""
        sqlite = "://" not in self._address
        return self._opened(ReadOnlyStore(Path(self._address)) if sqlite else ReadOnlyPostgresStore(self._address))

    def administer(self, *statements: str) -> None:
        """Run statements past the store."""
        if "://" in self._address:
            administer(self._address, *statements)
            return
        with closing(sqlite3.connect(self._address)) as connection, connection:
            for statement in statements:
                connection.execute(statement)

    def close(self) -> None:
        """Close them all."""
        for store in self._stores:
            store.close()

    def _opened(self, store: ModelStore) -> ModelStore:
        self._stores.append(store)
        return store
