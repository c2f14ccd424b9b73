"""Which store an address means."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ledger.errors import InvalidValueError, LedgerUnavailableError

if TYPE_CHECKING:
    from ledger.store import ModelStore


def open_store(address: str | Path, *, lock_timeout: float = 30.0, patience: float | None = None) -> ModelStore:
    """The store at an address; nothing is opened or created before it is used.

    Args:
        address: A path of a file (SQLite), or a URL ``postgresql://…``. A `Path` is always a file.
        lock_timeout: Seconds to wait for other writers.
        patience: Seconds after which a database that has not answered is given up; more than `lock_timeout`. None: it
            is waited for.

    Raises:
        InvalidValueError: It is a URL of something else, or a bad one.
        LedgerUnavailableError: It is ``/`` or ``.``.
    """
    scheme, found, _ = str(address).partition("://")
    if isinstance(address, Path) or not found:
        from ledger.sqlite_store import SqliteStore  # noqa: PLC0415 - only what is used is imported

        path = Path(address)
        if not path.name:
            raise LedgerUnavailableError(f"{path} is a directory, not a ledger", hint="Name a file.")
        return SqliteStore(path, lock_timeout=lock_timeout)
    if scheme not in {"postgresql", "postgres", "postgresql+psycopg"}:
        raise InvalidValueError(
            "ledger address",
            None,
            f"begins with {scheme}://, which no ledger is kept in",
            example="postgresql://host/db",
        )
    from ledger.postgres_store import PostgresStore  # noqa: PLC0415 - SQLAlchemy takes 180 ms to import

    return PostgresStore(address, lock_timeout=lock_timeout, patience=patience)
