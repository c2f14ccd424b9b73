from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from ledger.postgres_migrate import migrate
from ledger.postgres_schema import role_script
from ledger.postgres_store import PostgresStore
from tests.postgres_support import Server, administer, name_of

OpenStore = Callable[..., PostgresStore]


ROLES = ("reader", "writer", "worker", "nobody")


@pytest.fixture(scope="session")
def granted(postgres: Server) -> str:
    """Name of a database with tables and a login of each role, to be copied."""
    url = postgres.new_database()
    migrate(url)
    administer(url, role_script("t1"), role_script("t1"))
    for role in ROLES:
        login = f"{role}_login"
        administer(url, f"DO $$ BEGIN CREATE ROLE {login} LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
        if role != "nobody":
            administer(url, f"GRANT t1_{role} TO {login}")
    return name_of(url)


@pytest.fixture
def database(postgres: Server, request: pytest.FixtureRequest) -> Iterator[str]:
    """Address of a database of the test's own: without tables, since here it matters who makes them, or with `roles`."""
    with_roles = "roles" in request.fixturenames
    url = postgres.new_database(f"TEMPLATE {request.getfixturevalue('granted')}" if with_roles else "")
    yield url
    postgres.drop(url)


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
def roles(database: str) -> dict[str, str]:
    """Addresses of the database for one login of each role; its owner has made the tables."""
    return {role: database.replace("//postgres@", f"//{role}_login@") for role in ROLES}
