from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from ledger.postgres_migrate import migrate
from ledger.postgres_schema import role_script
from ledger.postgres_store import PostgresStore
from tests.postgres_support import Server, administer

OpenStore = Callable[..., PostgresStore]


@pytest.fixture
def database(empty_database: str) -> str:
    """Address of a database without tables: here it matters who makes them."""
    return empty_database


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


@pytest.fixture
def roles(postgres: Server, database: str) -> dict[str, str]:
    """Addresses of the database for one login of each role."""
    migrate(database)
    administer(database, role_script("t1"), role_script("t1"))
    addresses = {}
    for role in ("reader", "writer", "worker", "nobody"):
        name = f"{role}_login"
        administer(
            database,
            f"DO $$ BEGIN CREATE ROLE {name} LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
            *([f"GRANT t1_{role} TO {name}"] if role != "nobody" else []),
        )
        addresses[role] = database.replace("//postgres@", f"//{name}@")
    return addresses
