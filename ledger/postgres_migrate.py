"""Creates a ledger's tables in a PostgreSQL database, and brings older ones up to date."""

from __future__ import annotations

from sqlalchemy import Integer, column, select, table, text

from ledger.errors import LedgerUnavailableError, UnknownEventError
from ledger.postgres_address import Address
from ledger.postgres_connection import Database, Transaction
from ledger.postgres_names import MIGRATION_LOCK, SCHEMA
from ledger.postgres_schema import SCHEMA_VERSION, schema_text, upgrade_text
from ledger.postgres_tables import TABLE_EXISTS

_VERSION = select(table("schema_version", column("version", Integer), schema=SCHEMA))


def migrate(url: str, *, lock_timeout: float = 30.0) -> int:
    """Create the tables or update them, in one transaction; the schema version they have then.

    May be repeated, and run by several processes at once.

    Args:
        url: The database, as its owner reaches it.
        lock_timeout: Seconds to wait for another process that does the same.

    Raises:
        UnknownEventError: A newer program made the tables.
        LedgerUnavailableError: The database cannot be reached, or its user may not create tables.
        LedgerBusyError: Another process is doing it.
    """
    database = Database(Address(url), lock_timeout=lock_timeout)
    try:
        return create_or_update(database)
    finally:
        database.close()


def create_or_update(database: Database) -> int:
    """`migrate` on a database that is open."""
    with database.transaction() as transaction:
        transaction.lock(MIGRATION_LOCK, database.lock_timeout_ms)
        version = _stored_version(transaction)
        refuse_newer(version, database.shown)
        if version == 0:
            _refuse_other_encoding(transaction, database.shown)
            transaction.script(schema_text())
        elif version < SCHEMA_VERSION:
            transaction.script(upgrade_text(version))
    return SCHEMA_VERSION


def schema_version(database: Database) -> int:
    """The version of the tables; 0 if there are none."""
    with database.transaction(snapshot=True) as transaction:
        return _stored_version(transaction)


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


def _stored_version(transaction: Transaction) -> int:
    if not transaction.query(TABLE_EXISTS, {"name": "schema_version"}):
        return 0
    ((version,),) = transaction.query(_VERSION, {})
    return int(version)


def _refuse_other_encoding(transaction: Transaction, shown: str) -> None:
    ((encoding,),) = transaction.query(text("SHOW server_encoding"), {})
    if encoding != "UTF8":
        raise LedgerUnavailableError(
            f"the database {shown} is encoded in {encoding}; a ledger needs UTF8",
            hint="Create another: CREATE DATABASE ledger ENCODING 'UTF8' TEMPLATE template0",
        )
