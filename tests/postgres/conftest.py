from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from ledger.postgres_store import PostgresStore

OpenStore = Callable[..., PostgresStore]


@pytest.fixture
def open_postgres() -> Iterator[OpenStore]:
    """Opens stores, and closes them after the test."""
    stores: list[PostgresStore] = []

    def opened(url: str, *, lock_timeout: float = 30) -> PostgresStore:
        stores.append(PostgresStore(url, lock_timeout=lock_timeout))
        return stores[-1]

    yield opened
    for store in stores:
        store.close()


@pytest.fixture
def store(database: str, open_postgres: OpenStore) -> PostgresStore:
    """A store on a database that nobody has used."""
    return open_postgres(database)
