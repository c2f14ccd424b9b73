"""Whole SQLite files: copied consistently while others write, made in private, put in place at once."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ledger.durable_files import make_directory, sync_directory, sync_file
from ledger.errors import LedgerBusyError, LedgerDamagedError, LedgerUnavailableError
from ledger.sqlite_guard import guarded


def escaped(path: Path) -> str:
    """The path as SQLite's URI file names want it. `Path.as_uri` does the same, after 4 ms of importing urllib."""
    return str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def copy_database(source: Path, target: sqlite3.Connection) -> None:
    """Copy a database as it is at one moment, as one transaction; whatever was in the target is gone.

    Raises:
        sqlite3.Error: It cannot be read or written.
    """
    with reading(source) as connection:
        # In one step: with several, each write of others restarts it, and it might never end.
        connection.backup(target)


def may_be_database(path: Path) -> bool:
    """Whether a file begins as every SQLite file does (https://www.sqlite.org/fileformat.html), or is still empty.

    Raises:
        OSError: It is not there, or cannot be read.
    """
    begins = b"SQLite format 3\0"
    with path.open("rb") as file:
        return file.read(len(begins)) in (b"", begins)


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A database that is only looked at."""
    connection = sqlite3.connect(f"file:{escaped(path.absolute())}?mode=ro", uri=True, isolation_level=None)
    try:
        yield guarded(connection)
    finally:
        connection.close()


def structural_fault(path: Path) -> str | None:
    """The first thing that SQLite itself finds wrong with a database; None if there is nothing."""
    try:
        with reading(path) as connection:
            found = str(connection.execute("PRAGMA integrity_check(1)").fetchone()[0])
    except (sqlite3.Error, UnicodeDecodeError) as error:
        return str(error)
    return None if found == "ok" else found.splitlines()[-1]


@contextmanager
def alone_at(path: Path) -> Iterator[None]:
    """A block during which no other process is in such a block about this file, whether it is there yet or not.

    A lock file beside it (``.making``) lasts as long as the block; one that a killed process left is nobody's.

    Raises:
        LedgerBusyError: Another process is in one. Nothing was changed.
        LedgerUnavailableError: The lock file cannot be made.
    """
    lock = path.with_name(f".{path.name}.making")
    with file_errors(lock):
        make_directory(lock.parent)
        descriptor = _locked(lock)
    if descriptor is None:
        raise LedgerBusyError(
            f"another process is at work on {path}", hint="Nothing was changed. Wait until it is done, and try again."
        )
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(descriptor)


@contextmanager
def drafting(path: Path, word: str) -> Iterator[Path]:
    """A block, `alone_at` a file, that is given a name beside it; what is left there when the block ends is removed.

    Args:
        path: The file that is to be put in place.
        word: Ends the other name.

    Raises:
        LedgerBusyError, LedgerUnavailableError: As for `alone_at`.
    """
    draft = path.with_name(f".{path.name}.{word}")
    with alone_at(path):
        try:
            yield draft
        finally:
            with file_errors(draft):
                remove(draft)


@contextmanager
def making(path: Path) -> Iterator[sqlite3.Connection]:
    """A new database, mode 0600, that nobody else looks at meanwhile; on disk when the block ends.

    An older file of that name is removed first. A file that the block did not complete is removed.

    Raises:
        LedgerDamagedError: What it is made from is damaged.
        LedgerUnavailableError: It cannot be made.
    """
    with file_errors(path):
        make_directory(path.parent)
        remove(path)
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            connection.execute("PRAGMA synchronous=OFF")  # synced as a whole, below
            yield guarded(connection)
            connection.execute("PRAGMA journal_mode=DELETE")  # one file, whatever it was copied from
        except BaseException:
            connection.close()
            remove(path)
            raise
        connection.close()
        sync_file(path)


def put_in_place(draft: Path, path: Path) -> None:
    """Rename a complete file, durably.

    Raises:
        LedgerUnavailableError: It cannot be renamed.
    """
    with file_errors(path):
        sync_file(draft)
        draft.replace(path)
        sync_directory(path.parent)


def remove(path: Path) -> None:
    """Remove a database with what SQLite and writers keep beside it; nothing if it is not there."""
    for suffix in ("", "-journal", "-wal", "-shm", ".lock", ".lock.queue"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """A block in which errors about a file become ours."""
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "") or ""
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            raise LedgerDamagedError(f"the database is damaged: {error}", hint="Use another backup.") from error
        raise LedgerUnavailableError(f"{path} cannot be made: {error}") from error
    except OSError as error:
        raise LedgerUnavailableError(f"{path} cannot be made: {error.strerror}") from error


def _locked(lock: Path) -> int | None:
    """A descriptor that holds the lock; None if somebody else does."""
    while True:
        descriptor = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _still_named(lock, descriptor):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        os.close(descriptor)  # its last holder removed it meanwhile


def _still_named(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
