"""Keeps read models equal to the ledger: catches up, rebuilds, and answers where nothing can be written.

Invariants:

* A projection's rows and its checkpoint change in one transaction, so rows are always those of one position.
* Whoever moves a checkpoint moves it from where they read it; of two that catch up at once, one begins again.
* A rebuild folds into a private temporary database. The old rows answer until all new ones replace them at once.
* Reading makes no file: without a ledger there is nothing to know. With nothing new it takes no lock.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from uuid import UUID

from ledger.codec import decode
from ledger.envelope import Recorded
from ledger.errors import LedgerBusyError, LedgerUnavailableError, OutcomeUnknownError, UnknownEventError
from ledger.events import Redacted
from projections import sql_sqlite as sql

if TYPE_CHECKING:
    from ledger.sqlite_store import SqliteStore
    from ledger.store import Row
    from projections.projection import Projection, Query

R = TypeVar("R")

PAGE = 5000
"""Events read, and folded in one transaction, at a time."""

ROWS_IN_MEMORY = 20_000
"""Rows that a rebuild holds before it puts them aside."""

_HAS_TABLES = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'projection_checkpoints'"

Progress = Callable[[int, int], None]
"""Told, during a rebuild, the position reached and the position of the ledger's head."""


class Unstored(Generic[R]):
    """What has to be added to the table for it to be up to date.

    Attributes:
        table_exists: Whether the table is there to be asked.
        rows: Rows by key that stand in for the table's, if it could not be written; otherwise none.
    """

    def __init__(self, *, table_exists: bool, rows: dict[str, R]) -> None:
        self.table_exists = table_exists
        self.rows = rows


def checkpoint(store: SqliteStore, projection: Projection[Any]) -> int | None:
    """The position that a read model has reached; None if it has yet to be built."""
    return _position(store.query, projection)


def catch_up(store: SqliteStore, projections: Iterable[Projection[Any]]) -> None:
    """Bring read models up to the ledger's head as it is when this is called; build those that are missing or old.

    May be repeated, and run by several processes at once.

    Raises:
        UnknownEventError: A newer program made the read model, or wrote events that this one does not know.
        LedgerUnavailableError, LedgerBusyError: The ledger cannot be read, or cannot be written now.
    """
    head = store.head().position
    if head == 0:
        return
    for projection in projections:
        _catch_up(store, projection, head)


def rebuild(store: SqliteStore, projection: Projection[Any], progress: Progress | None = None) -> None:
    """Fold the whole ledger anew, and replace the read model with what comes out.

    Others may read, append and catch up meanwhile; writers wait only while the finished rows are put in place.

    Raises:
        UnknownEventError: A newer program made the read model, or wrote events that this one does not know.
        LedgerUnavailableError, LedgerBusyError: The old read model still stands.
    """
    if store.head().position == 0:
        return
    with _scratch() as scratch:
        position = _fold_into(scratch, store, projection, 0, progress)
        with store.writing() as connection:
            _position(_query_of(connection), projection)
            position = _fold_into(scratch, store, projection, position, progress)
            _replace(connection, projection, scratch, position)


@contextmanager
def reading(store: SqliteStore, projection: Projection[R]) -> Iterator[Unstored[R]]:
    """A block in which the projection's table, with what is unstored, holds every append acknowledged before.

    Raises:
        UnknownEventError: A newer program made the read model, or wrote events that this one does not know.
        LedgerUnavailableError, LedgerBusyError: The ledger cannot be read.
    """
    if _could_catch_up(store, projection):
        yield Unstored(table_exists=_has_tables(store.query), rows={})
        return
    store.query("BEGIN", {})  # checkpoint, rows and events of one moment, whoever catches up meanwhile
    try:
        yield _fold_in_memory(store, projection)
    finally:
        store.query("ROLLBACK", {})


def _could_catch_up(store: SqliteStore, projection: Projection[Any]) -> bool:
    try:
        catch_up(store, [projection])
    except (LedgerUnavailableError, LedgerBusyError, OutcomeUnknownError):
        return False  # if it cannot be read either, the reader will hear that
    return True


def _catch_up(store: SqliteStore, projection: Projection[Any], head: int) -> None:
    while True:
        position = _position(store.query, projection)
        if position is None:
            rebuild(store, projection)
            return
        if position >= head:
            return
        _advance(store, projection, position)


def _advance(store: SqliteStore, projection: Projection[Any], position: int) -> None:
    """Fold a page of events, unless another process was first."""
    page = store.positions(position + 1, limit=PAGE)
    if _has_redaction(page):
        rebuild(store, projection)
        return
    history = list(_decoded(page, projection))  # before the lock: others may be waiting for it
    with store.writing() as connection:
        moved = connection.execute(
            sql.MOVE_CHECKPOINT,
            {
                "position": page[-1].position,
                "of": projection.name,
                "expected_version": projection.version,
                "expected_position": position,
            },
        )
        if moved.rowcount == 1:
            rows: dict[str, Any] = {}
            _fold(projection, rows, history, _query_of(connection))
            projection.save(connection, rows.values())


def _fold_in_memory(store: SqliteStore, projection: Projection[R]) -> Unstored[R]:
    """The rows that events after the checkpoint lead to; all rows if there is no table that can be built on."""
    position = _position(store.query, projection)
    if position is not None and any(map(_has_redaction, _pages(store, position))):
        position = None
    rows: dict[str, R] = {}
    for page in _pages(store, position or 0):
        _fold(projection, rows, _decoded(page, projection), store.query if position is not None else None)
    return Unstored(table_exists=position is not None, rows=rows)


def _fold_into(
    scratch: sqlite3.Connection,
    store: SqliteStore,
    projection: Projection[Any],
    position: int,
    progress: Progress | None,
) -> int:
    """Fold everything after a position into the scratch database; the position reached."""
    rows: dict[str, Any] = {}
    for page in _pages(store, position):
        _fold(projection, rows, _decoded(page, projection), _query_of(scratch))
        if len(rows) > ROWS_IN_MEMORY:
            projection.save(scratch, rows.values())
            rows.clear()
        position = page[-1].position
        if progress is not None:
            progress(position, store.head().position)
    projection.save(scratch, rows.values())
    return position


def _fold(projection: Projection[R], rows: dict[str, R], history: Iterable[Recorded], stored: Query | None) -> None:
    """Fold events into rows, which are looked up among the stored ones when first touched."""
    for recorded in history:
        key = projection.key(recorded)
        if stored is not None and key is not None and key not in rows:
            row = projection.load(stored, key)
            if row is not None:
                rows[key] = row
        projection.apply(rows, recorded)


def _replace(
    connection: sqlite3.Connection, projection: Projection[Any], scratch: sqlite3.Connection, position: int
) -> None:
    connection.execute(f"DROP TABLE IF EXISTS {projection.table}")  # its columns may be those of an older version
    _create_tables(connection)
    finished = projection.stored(scratch)
    while batch := list(islice(finished, PAGE)):
        projection.save(connection, batch)
    connection.execute(sql.DELETE_CHECKPOINT, {"name": projection.name})
    checkpoint = {"name": projection.name, "version": projection.version, "position": position}
    connection.execute(sql.INSERT_CHECKPOINT, checkpoint)


@contextmanager
def _scratch() -> Iterator[sqlite3.Connection]:
    """A temporary database with our tables, which no one else sees and which is gone with its process."""
    connection = sqlite3.connect("", isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode=OFF")
        connection.execute("BEGIN")
        _create_tables(connection)
        yield connection
    except sqlite3.Error as error:
        raise LedgerUnavailableError(
            f"a read model cannot be built: {error}", hint="Nothing was changed. Check the space for temporary files."
        ) from error
    finally:
        connection.close()


def _create_tables(connection: sqlite3.Connection) -> None:
    for text in sql.SCHEMA:
        connection.execute(text.replace("TABLE", "TABLE IF NOT EXISTS", 1).replace("INDEX", "INDEX IF NOT EXISTS", 1))


def _position(query: Query, projection: Projection[Any]) -> int | None:
    """The checkpoint's position; None if the read model is missing or older than the projection.

    Raises:
        UnknownEventError: It is newer.
    """
    rows = query(sql.CHECKPOINT, {"name": projection.name}) if _has_tables(query) else []
    if not rows:
        return None
    version, position = rows[0]
    if version > projection.version:
        raise UnknownEventError(
            f"the ledger's read model {projection.name!r} has version {version};"
            f" this 1ctl knows up to {projection.version}",
            hint="A newer 1ctl made it. Upgrade this one: 1ctl --version",
        )
    return int(position) if version == projection.version else None


def _has_tables(query: Query) -> bool:
    return bool(query(_HAS_TABLES, {}))


def _pages(store: SqliteStore, position: int) -> Iterator[Sequence[Row]]:
    """Everything after a position, a page at a time, until there is no more."""
    while page := store.positions(position + 1, limit=PAGE):
        yield page
        position = page[-1].position


def _has_redaction(page: Iterable[Row]) -> bool:
    """Whether an earlier event was blanked: what it said may still be in any row."""
    return any(row.topic == Redacted.__name__ for row in page)


def _decoded(page: Iterable[Row], projection: Projection[Any]) -> Iterator[Recorded]:
    """The events of a page that the projection does not ignore. A topic that nobody knows is refused, not skipped."""
    return (_recorded(row) for row in page if row.topic not in projection.ignored)


def _recorded(row: Row) -> Recorded:
    event, envelope = decode(row.topic, row.state)
    return Recorded(row.position, UUID(bytes=row.stream), row.version, row.recorded_us, envelope, event)


def _query_of(connection: sqlite3.Connection) -> Query:
    return lambda text, parameters: connection.execute(text, parameters).fetchall()
