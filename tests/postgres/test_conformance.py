"""The `eventsourcing` library's own conformance cases, over a PostgreSQL database."""

from __future__ import annotations

import gc

import pytest
from eventsourcing.tests import persistence as cases

from ledger.postgres_store import PostgresStore
from ledger.recorder import LedgerRecorder


class TestPostgresRecorder(cases.ApplicationRecorderTestCase[LedgerRecorder]):
    """What the library asks of an application recorder, asked of ours on a database."""

    @pytest.fixture(autouse=True)
    def _fresh(self, database: str) -> None:
        self._url = database

    def setUp(self) -> None:
        self._stores: list[PostgresStore] = []

    def tearDown(self) -> None:
        for store in self._stores:
            store.close()
        gc.collect()

    def create_recorder(self) -> LedgerRecorder:
        store = PostgresStore(self._url)
        self._stores.append(store)
        return LedgerRecorder(store)

    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()
