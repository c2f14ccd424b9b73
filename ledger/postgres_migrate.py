"""Creates a ledger's tables in a PostgreSQL database, and brings older ones up to date."""

from __future__ import annotations

from sqlalchemy import Connection, text

from ledger.errors import LedgerUnavailableError, UnknownEventError
from ledger.postgres_connection import Address, Database
from ledger.postgres_schema import MIGRATION_LOCK, SCHEMA, SCHEMA_VERSION, schema_text

_EXISTS = text(f"SELECT to_regclass('{SCHEMA}.schema_version') IS NOT NULL")
_VERSION = text(f"SELECT version FROM {SCHEMA}.schema_version")


def migrate(url: str, *, lock_timeout: float = 30.0) -> int:
    """Create the tables or update them, in one transaction; the schema version they have then.

    May be repeated, and run by several processes at once.

    Args:
        url: The database, as its owner reaches it.
        lock_timeout: Seconds to wait for another process that does the same.

    Raises:
        UnknownEventError: A newer program made the tables.
        LedgerUnavailableError: The database cannot be reached, or its user may not create tables.
        LedgerBusyError: Another process is at it.
    """
    database = Database(Address(url), lock_timeout=lock_timeout)
    try:
        return create_or_update(database)
    finally:
        database.close()


def create_or_update(database: Database) -> int:
    """`migrate` on a database that is open."""
    with database.transaction() as connection:
        _lock(connection, database.lock_timeout_ms)
        version = _stored_version(connection)
        refuse_newer(version, database.shown)
        if version == 0:
            _refuse_other_encoding(connection, database.shown)
            for statement in schema_text():
                connection.exec_driver_sql(statement)
    return SCHEMA_VERSION


def schema_version(database: Database) -> int:
    """The version of the tables; 0 if there are none."""
    with database.transaction(snapshot=True) as connection:
        return _stored_version(connection)


def refuse_newer(version: int, shown: str) -> None:
    """Refuse tables of a later program.

    Raises:
        UnknownEventError: They are.
    """
    if version > SCHEMA_VERSION:
        raise UnknownEventError(
            f"the ledger {shown} has tables of version {version}; this 1ctl knows up to {SCHEMA_VERSION}",
            hint="A newer 1ctl made them. Upgrade this one: 1ctl --version",
        )


def _lock(connection: Connection, timeout_ms: int) -> None:
    connection.execute(text(f"SET LOCAL lock_timeout = {timeout_ms}"))
    connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))


def _stored_version(connection: Connection) -> int:
    if not connection.execute(_EXISTS).scalar_one():
        return 0
    return int(connection.execute(_VERSION).scalar_one())


def _refuse_other_encoding(connection: Connection, shown: str) -> None:
    encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
    if encoding != "UTF8":
        raise LedgerUnavailableError(
            f"the database {shown} is encoded in {encoding}; a ledger needs UTF8",
            hint="Create another: CREATE DATABASE ledger ENCODING 'UTF8' TEMPLATE template0",
        )
