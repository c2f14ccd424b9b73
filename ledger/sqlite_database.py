"""A SQLite file that many processes and threads share: who may write when, and what is on disk when that is over.

Invariants:

* A change is one transaction, acknowledged after it was synced to disk (``synchronous=FULL``), including the journal.
* Writers queue at a file lock, since SQLite's own busy handler lets one writer starve the others.
* Reading never creates the file, and works while others write.

SQLite 3.7.0 to 3.51.2 can lose data of a WAL that several connections reset at once (fixed in 3.51.3, and in 3.50.7
and 3.44.6 of their branches); there a rollback journal is used. It is truncated rather than deleted: SQLite then syncs
the end of each commit.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from ledger import sql_sqlite as sql
from ledger.durable_files import make_directory, sync_directory
from ledger.errors import (
    LedgerBusyError,
    LedgerDamagedError,
    LedgerFullError,
    LedgerIncompleteError,
    LedgerUnavailableError,
    NotALedgerError,
    OutcomeUnknownError,
    UnknownEventError,
)
from ledger.file_lock import FileLock
from ledger.instance import new_instance
from ledger.leaf import GENESIS
from ledger.sqlite_files import copy_database, escaped
from ledger.sqlite_guard import guarded, missing_tables, refuse_strange, schema_of
from ledger.sqlite_remains import is_damage, keep_bytes, make_replaceable
from ledger.sqlite_tables import TABLE_EXISTS, SqliteTables, table_of, text_of, unless_there
from ledger.text import Lines

STORE_VERSION = 7
"""Version of the tables, in ``PRAGMA user_version``. An older file is brought up to it by the first `writing`."""

_BUSY, _FULL = "SQLITE_BUSY", "SQLITE_FULL"
_FROM_BACKUP = "Restore it from a backup. Nothing was recorded."
_IF_IT_IS_ONE = Lines(
    "If it never was a ledger, name another file with --ledger. If it was, its beginning is lost.", _FROM_BACKUP
)
_APPLICATION_ID = 0x31435450  # "1CTP", so that `file` and a careless path can tell whose database it is


class SqliteDatabase:
    """A database with the tables of a ledger. Safe for many processes and threads at once.

    Args:
        path: The database file; made with the first change, together with its directory.
        lock_timeout: Seconds to wait for other writers, and for a reader to get its turn.
    """

    def __init__(self, path: Path, *, lock_timeout: float = 30.0) -> None:
        self.path = path
        self._timeout = lock_timeout
        self._local = threading.local()
        self._connections: list[tuple[sqlite3.Connection, threading.RLock]] = []
        self._process = os.getpid()
        self._owners: list[tuple[threading.Thread, tuple[sqlite3.Connection, threading.RLock]]] = []
        self._closed = False
        # A store that is forgotten without `close` gives its files back as well.
        weakref.finalize(self, _disconnect, self._connections)
        self._lock = FileLock(path.with_name(path.name + ".lock"))

    def close(self) -> None:
        """See `Store.close`."""
        self._closed = True
        self._disconnect()

    def _disconnect(self) -> None:
        _disconnect(self._connections)
        self._owners.clear()
        self._local = threading.local()

    def query(self, text: str, parameters: Mapping[str, object]) -> Sequence[tuple[Any, ...]]:
        """Rows of a read-only statement; none if there is no file.

        Raises:
            LedgerBusyError, LedgerDamagedError, LedgerUnavailableError: The file cannot be read.
        """
        return self.query_if_there(text, parameters) or []

    def query_if_there(self, text: str, parameters: Mapping[str, object]) -> Sequence[tuple[Any, ...]] | None:
        """Like `query`, but None if there is no ledger, so that a row that was lost can be told from one never made."""
        try:
            opened = self._open(create=False)
            if opened is None:
                return None
            connection, in_use = opened
            with in_use:
                return connection.execute(text, parameters).fetchall()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            self._fail(error)
        except OSError as error:
            raise self._unavailable("read", error) from error

    def ask(self, name: str, parameters: Mapping[str, object]) -> Sequence[tuple[Any, ...]]:
        """See `ModelStore.ask`."""
        return self.query(text_of(name), parameters)

    def knows(self, table: str) -> bool:
        """See `ModelStore.knows`."""
        return bool(self.query(TABLE_EXISTS, {"name": table_of(table)}))

    def tables_version(self) -> int:
        """See `ModelStore.tables_version`."""
        rows = self.query("PRAGMA user_version", {})
        return int(rows[0][0]) if rows else 0

    def prepare(self) -> None:
        """See `ModelStore.prepare`."""
        with self.writing():
            pass

    @contextmanager
    def change(self, *, wait: bool = True) -> Iterator[SqliteTables]:
        """See `ModelStore.change`. A file of an older program is left to it: what is asked of the ledger changes nothing."""
        _refuse_older(self.tables_version(), self.path)
        with self.writing(wait=wait) as connection:
            yield SqliteTables(connection)

    @contextmanager
    def moment(self) -> Iterator[None]:
        """See `ModelStore.moment`."""
        if not self.tables_version():  # somebody may make the file meanwhile
            yield
            return
        self.query("BEGIN", {})
        try:
            yield
        finally:
            self.query("ROLLBACK", {})

    @contextmanager
    def writing(self, *, wait: bool = True) -> Iterator[sqlite3.Connection]:
        """One durable transaction behind the writers' lock; rolled back if the block raises.

        Args:
            wait: Whether to wait for the lock, and for those who read while the transaction is to be committed.

        Raises:
            LedgerBusyError: The lock was not free in time, or a reader kept the commit from beginning.
            LedgerUnavailableError: The file cannot be written; nothing was recorded.
            OutcomeUnknownError: The commit itself failed.
        """
        with self.alone(timeout=self._timeout if wait else 0):
            yield from self._transaction(wait=wait)

    @contextmanager
    def alone(self, *, timeout: float | None = None) -> Iterator[None]:
        """A block during which nobody else writes; outside of a transaction, for what concerns the file as a whole.

        Args:
            timeout: Seconds to wait for other writers; None means as long as this store waits.

        Raises:
            LedgerBusyError: The lock was not free in time.
            LedgerUnavailableError: The lock cannot be made; nothing was recorded.
        """
        timeout = self._timeout if timeout is None else timeout
        try:
            make_directory(self.path.parent)
            acquired = self._lock.acquire(timeout)
        except OSError as error:
            raise self._unavailable("written", error) from error
        if not acquired:
            raise LedgerBusyError(
                f"the ledger {self.path} is locked by another process for {timeout:g} s",
                hint="Nothing was recorded. Try again when the other command is done.",
            )
        try:
            yield
        finally:
            self._lock.release()

    def replace(self, complete: Path) -> None:
        """Put a complete ledger file's content in place of whatever is there, in one durable transaction; while `alone`.

        In place, not by renaming: other processes that have this file open go on with what is in it then. One that
        still knew a renamed file under this name would take the journal of the new one for its own, and roll it back.
        """
        try:
            with closing(self._connect()) as connection:
                _make_durable(connection)
                copy_database(complete, connection)
            sync_directory(self.path.parent)  # the journal is gone for good
        except (sqlite3.Error, UnicodeDecodeError) as error:
            self._fail(error)
        except OSError as error:
            raise self._unavailable("written", error) from error

    def set_aside(self, aside: Path) -> None:
        """Keep the bytes of a file that cannot be read any more, so that it can be replaced; while `alone`.

        The file itself stays where it is, for `replace`.

        Raises:
            LedgerBusyError: Others keep it open in a way in which it cannot be replaced.
            LedgerUnavailableError: It cannot be copied.
        """
        self._disconnect()
        try:
            keep_bytes(self.path, aside)
            make_replaceable(self.path, timeout=self._timeout)
        except sqlite3.Error as error:
            self._fail(error)
        except OSError as error:
            raise self._unavailable("put aside", error) from error

    def _transaction(self, *, wait: bool) -> Iterator[sqlite3.Connection]:
        try:
            connection, in_use = self._open_to_write()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            self._fail(error)
        except OSError as error:
            raise self._unavailable("written", error) from error
        with in_use, _patience(connection, self._timeout, wait=wait):
            try:
                connection.execute("BEGIN IMMEDIATE")
                _bring_up_to_date(connection, self.path)
                yield connection
            except sqlite3.Error as error:
                _rollback(connection)
                self._fail(error)
            except BaseException:
                _rollback(connection)
                raise
            try:
                connection.execute("COMMIT")
            except sqlite3.Error as error:
                if _was_taken_back(connection, error):
                    self._fail_before_commit(error)
                raise OutcomeUnknownError(f"the ledger {self.path} failed while committing ({error})") from error

    def _open(self, *, create: bool) -> tuple[sqlite3.Connection, threading.RLock] | None:
        """This thread's connection and the lock to hold while using it; None if there is no ledger to read."""
        if self._closed:
            raise LedgerUnavailableError(f"the ledger {self.path} was closed")
        opened: tuple[sqlite3.Connection, threading.RLock] | None = getattr(self._local, "opened", None)
        if opened is not None:
            return opened
        if not create and not self.path.exists():
            return None
        if not create and self.path.stat().st_size == 0:
            return None  # being created by another process, or by one that died doing so
        connection = self._connect()
        try:
            ready = _is_ready(connection, self.path)
            if not ready and not create:
                connection.close()
                return None
            if os.access(self.path, os.W_OK):
                _set_journal(connection)  # it changes the file, so only once that is known to be ours
            if not ready:
                _make_durable(connection)
                create_schema(connection)
        except BaseException:
            connection.close()
            raise
        opened = (connection, threading.RLock())
        self._local.opened, self._local.durable = opened, not ready
        self._connections.append(opened)
        self._close_those_of_ended_threads()
        self._owners.append((threading.current_thread(), opened))
        return opened

    def _open_to_write(self) -> tuple[sqlite3.Connection, threading.RLock]:
        """This thread's connection, whose changes are synced and leave nothing of what they delete; see `_open`."""
        opened = self._open(create=True)
        assert opened is not None
        if not self._local.durable:
            _make_durable(opened[0])
            self._local.durable = True
        return opened

    def _close_those_of_ended_threads(self) -> None:
        """A process that makes threads for years would otherwise keep a connection, and its files, for each."""
        if os.getpid() != self._process:
            return  # after a fork they are another process'
        for entry in [entry for entry in self._owners if not entry[0].is_alive()]:
            with suppress(ValueError):  # another thread was first
                self._owners.remove(entry)
                self._connections.remove(entry[1])
                entry[1][0].close()

    def _connect(self) -> sqlite3.Connection:
        if not self.path.exists():
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            sync_directory(self.path.parent)
        mode = "rw" if os.access(self.path, os.W_OK) else "ro"
        address = f"file:{escaped(self.path.absolute())}?mode={mode}"
        connection = sqlite3.connect(
            address, uri=True, timeout=self._timeout, isolation_level=None, check_same_thread=False
        )
        return guarded(connection)

    def _unavailable(self, verb: str, error: OSError) -> LedgerUnavailableError:
        return LedgerUnavailableError(f"the ledger {self.path} cannot be {verb}: {error.strerror}", hint=_hint(error))

    def _fail(self, error: sqlite3.Error | UnicodeDecodeError) -> NoReturn:
        name = getattr(error, "sqlite_errorname", "") or ""
        if is_damage(error):
            hint = _IF_IT_IS_ONE if name == "SQLITE_NOTADB" else _FROM_BACKUP
            raise LedgerDamagedError(f"the ledger {self.path} is damaged: {error}", hint=hint) from error
        if _names_what_is_missing(error):
            raise LedgerIncompleteError(f"the ledger {self.path} is damaged: {error}", hint=_FROM_BACKUP) from error
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise LedgerBusyError(
                f"the ledger {self.path} is locked by another process", hint="Nothing was recorded. Try again."
            ) from error
        kind = LedgerFullError if name == _FULL else LedgerUnavailableError
        raise kind(f"the ledger {self.path} cannot be used: {error}", hint="Nothing was recorded.") from error

    def _fail_before_commit(self, error: sqlite3.Error) -> NoReturn:
        if error.sqlite_errorname == _BUSY:
            raise LedgerBusyError(
                f"the ledger {self.path} cannot be written while another process keeps reading it",
                hint="Nothing was recorded. End what reads it, such as a shell with an open transaction, and try again.",
            ) from error
        self._fail(error)


def _names_what_is_missing(error: Exception) -> bool:
    """Whether a table is not there, or a column; SQLite has no code of its own for that."""
    said = str(error)
    return said.startswith(("no such table: ", "no such column: ")) or "has no column named" in said


def wal_is_safe(version: tuple[int, ...]) -> bool:
    """Whether this SQLite has the fix for several connections resetting a WAL at once."""
    if version[:2] == (3, 44):
        return version >= (3, 44, 6)
    if version[:2] == (3, 50):
        return version >= (3, 50, 7)
    return version >= (3, 51, 3)


def _make_durable(connection: sqlite3.Connection) -> None:
    """Sync what is changed, and overwrite what is deleted; for a connection before its first change."""
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA secure_delete=ON")


def _set_journal(connection: sqlite3.Connection) -> None:
    if not wal_is_safe(sqlite3.sqlite_version_info):
        connection.execute("PRAGMA journal_mode=truncate")
    elif connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        connection.execute("PRAGMA journal_mode=wal")


def _is_ready(connection: sqlite3.Connection, path: Path) -> bool:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    schema = schema_of(connection)
    ours = {"ledger_head", "ledger_instance"} <= {entry.name for entry in schema} or _has_our_id(connection)
    if ours and not version:  # somebody may just have made it; version and tables come in one transaction
        version = connection.execute("PRAGMA user_version").fetchone()[0]
    if not ours and (version or schema):
        raise NotALedgerError(
            f"{path} is a SQLite database of something else, not a ledger", hint="Name another file with --ledger."
        )
    _refuse_newer(version, path)
    refuse_strange(schema)
    if not ours:
        return False
    _refuse_no_version(version, path)
    if missing := missing_tables(schema, version):
        raise LedgerIncompleteError(
            f"the ledger {path} is damaged: it has lost its table {', '.join(missing)}", hint=_FROM_BACKUP
        )
    return True


def _has_our_id(connection: sqlite3.Connection) -> bool:
    found: int = connection.execute("PRAGMA application_id").fetchone()[0]
    return found == _APPLICATION_ID


def _refuse_newer(version: int, path: Path) -> None:
    if version > STORE_VERSION:
        raise UnknownEventError(
            f"the ledger {path} has tables of version {version}; this 1ctl knows up to {STORE_VERSION}",
            hint="A newer 1ctl made it. Upgrade this one: 1ctl --version",
        )


def _refuse_older(version: int, path: Path) -> None:
    if 0 < version < STORE_VERSION:
        raise LedgerUnavailableError(
            f"the ledger {path} has tables of version {version}: an older 1ctl may use it, so nothing is kept beside it",
            hint="The first command that records something brings it up to date.",
        )


def _refuse_no_version(version: int, path: Path) -> None:
    if version < 1:
        raise LedgerDamagedError(
            f"the ledger {path} is damaged: it has lost the version of its tables (user_version is {version})",
            hint=Lines(
                "Nothing was recorded. Put it back from a backup: 1ctl ledger restore FILE",
                f"Or, in a copy, try: sqlite3 COPY 'PRAGMA user_version={STORE_VERSION}', then 1ctl audit verify",
            ),
        )


def _bring_up_to_date(connection: sqlite3.Connection, path: Path) -> None:
    """Add the tables that an older file lacks, in the transaction that is about to write to it.

    Asked before every write, not once: while a file is open, a restore may put another one in its place.
    """
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == STORE_VERSION:
        return
    _refuse_newer(version, path)
    _refuse_no_version(version, path)
    for later in range(version + 1, STORE_VERSION + 1):
        for text in sql.ADDED[later]:
            connection.execute(unless_there(text))  # the version says what is there at least
    connection.execute(f"PRAGMA user_version={STORE_VERSION}")


def create_schema(connection: sqlite3.Connection) -> None:
    """Create the tables of a ledger in a database that has none, as one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        if not connection.execute("PRAGMA user_version").fetchone()[0]:
            for text in sql.SCHEMA:
                connection.execute(text)
            connection.execute(sql.INSERT_HEAD, {"position": 0, "recorded_us": 0, "chain": GENESIS})
            connection.execute(sql.INSERT_INSTANCE, {"instance": new_instance(), "writer": None, "note": None})
            connection.execute(f"PRAGMA application_id={_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version={STORE_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        _rollback(connection)
        raise


@contextmanager
def _patience(connection: sqlite3.Connection, seconds: float, *, wait: bool) -> Iterator[None]:
    """A block in which SQLite does not wait for other connections either, if there is to be no waiting."""
    if wait:
        yield
        return
    connection.execute("PRAGMA busy_timeout=0")
    try:
        yield
    finally:
        connection.execute(f"PRAGMA busy_timeout={int(seconds * 1000)}")


def _rollback(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        try:
            connection.execute("ROLLBACK")
        except sqlite3.Error:
            connection.interrupt()  # the disk is gone; the journal restores the file when it is next opened


def _was_taken_back(connection: sqlite3.Connection, error: sqlite3.Error) -> bool:
    """Whether a commit that failed is known not to have happened: SQLite kept the transaction open, and rolled it back.

    It does so where a reader was in the way before anything was written. An error of the disk may come after the commit.
    """
    name = getattr(error, "sqlite_errorname", "")
    kept = connection.in_transaction and name in (_BUSY, _FULL)
    _rollback(connection)
    return kept and not connection.in_transaction


def _hint(error: OSError) -> str:
    return f"Nothing was recorded. Check {error.filename}." if error.filename else "Nothing was recorded."


def _disconnect(connections: list[tuple[sqlite3.Connection, threading.RLock]]) -> None:
    while connections:
        connection, in_use = connections.pop()
        with in_use:  # SQLite crashes when a connection is closed under a statement of another thread
            connection.close()
