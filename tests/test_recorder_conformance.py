"""The `eventsourcing` library's own conformance cases, over every store."""

from __future__ import annotations

import gc
from pathlib import Path
from tempfile import TemporaryDirectory

from eventsourcing.tests import persistence as cases

from ledger.recorder import LedgerRecorder
from ledger.sqlite_store import SqliteStore


class TestSqliteRecorder(cases.ApplicationRecorderTestCase[LedgerRecorder]):
    """What the library asks of an application recorder, asked of ours on a SQLite file."""

    def setUp(self) -> None:
        self._directory = TemporaryDirectory()
        self._stores: list[SqliteStore] = []

    def tearDown(self) -> None:
        for store in self._stores:
            store.close()
        self._directory.cleanup()
        gc.collect()

    def create_recorder(self) -> LedgerRecorder:
        store = SqliteStore(Path(self._directory.name) / "ledger.db")
        self._stores.append(store)
        return LedgerRecorder(store)

    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()
