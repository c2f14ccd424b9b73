"""Keeps read models equal to the ledger: catches up, rebuilds, and answers where nothing can be written.

Invariants:

* A projection's rows and its checkpoint change in one transaction, so rows are always those of one position.
* Whoever moves a checkpoint moves it from where they read it; of two that catch up at once, one begins again.
* A rebuild folds into a private temporary database. The old rows answer until all new ones replace them at once.
* Reading makes no file: without a ledger there is nothing to know. With nothing new it takes no lock.
* A read model that contradicts itself or the ledger answers nothing: whoever changed it is noticed. Only a comparison
  with a fresh fold (`difference`) finds rows that were changed into others that there could be.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice, zip_longest
from typing import TYPE_CHECKING, Any, Generic, NamedTuple

from ledger.codec import told
from ledger.errors import (
    LedgerBusyError,
    LedgerIncompleteError,
    LedgerUnavailableError,
    OutcomeUnknownError,
    UnknownEventError,
)
from ledger.events import Redacted
from ledger.leaf import GENESIS
from ledger.pages import page, pages
from ledger.sqlite_tables import SqliteTables
from ledger.text import Lines
from projections.projection import R, ReadModelError, wrong_model

if TYPE_CHECKING:
    from ledger.envelope import Line
    from ledger.store import Asking, ModelStore, Row, Store, Tables
    from ledger.telling import Told
    from projections.projection import Projection

PAGE = 5000
"""Events folded in one transaction."""

AT_ONCE = 1000
"""Events read at a time where nothing is stored in between: few enough to stay in the processor's cache."""

ROWS_IN_MEMORY = 20_000
"""Rows that a rebuild holds in memory before it puts them aside."""

SCRATCH_KIB = 16 * 1024
"""Memory for the rows that a rebuild puts aside, and for sorting what they were before."""

_CHECKPOINTS = "projections.projection_checkpoints"


class Place(NamedTuple):
    """How far the ledger was read: a line's position, and its chain, by which a ledger that was put back is told."""

    position: int
    chain: bytes


_BEGINNING = Place(0, GENESIS)


class Unstored(Generic[R]):
    """What has to be added to the table for it to be up to date.

    Attributes:
        table_exists: Whether the table is there to be asked.
        rows: Rows by key that stand in for the table's, if it could not be written; otherwise none.
        replaced: The rows by key that they stand in for, as the table has them.
    """

    def __init__(self, *, table_exists: bool, rows: dict[str, R], replaced: dict[str, R]) -> None:
        self.table_exists = table_exists
        self.rows = rows
        self.replaced = replaced


def checkpoint(store: ModelStore, projection: Projection[Any, Any]) -> int | None:
    """The position that a read model has reached; None if it has yet to be built.

    Raises:
        UnknownEventError: A newer program made it.
        ReadModelError: It is not what it should be.
    """
    with store.moment():
        return _reached(store, projection)


def rebuild(
    store: ModelStore,
    projection: Projection[Any, Any],
    progress: Told | None = None,
    *,
    wait: bool = True,
    any_version: bool = False,
) -> None:
    """Fold the whole ledger again, and replace the read model with the result.

    Others may read, append and catch up meanwhile; writers wait only while the finished rows are put in place.

    Args:
        store: The ledger's storage.
        projection: The read model.
        progress: Told how far it is.
        wait: Whether to begin although it is another writer's turn. Once everything is folded, it waits anyway.
        any_version: Whether to replace it even if a newer program made it, as somebody has asked for.

    Raises:
        UnknownEventError: A newer program made the read model, or wrote events that this one does not know.
        LedgerUnavailableError, LedgerBusyError: The old read model still stands.
    """
    if store.head().position == 0:
        return
    with store.change(wait=wait):
        pass  # whoever cannot write here is told before everything is folded
    with _scratch(projection) as scratch:
        begun = _fold_into(scratch, store, projection, _BEGINNING, progress)
        with store.change() as tables:
            _refuse_other_history(store, begun)
            if not any_version:
                with suppress(ReadModelError):  # that is what it mends
                    _position(tables, projection)
            reached = _fold_into(scratch, store, projection, begun, progress)
            _replace(tables, projection, scratch, reached.position)


@contextmanager
def reading(store: ModelStore, projection: Projection[R, Any], *, upto: int | None = None) -> Iterator[Unstored[R]]:
    """A block in which the projection's tables, with what is unstored, hold every append acknowledged before.

    Args:
        store: The ledger's storage.
        projection: The read model.
        upto: What is asked about: what is unstored leads up to this position; None for now.

    Raises:
        UnknownEventError: A newer program made the read model, or wrote events that this one does not know.
        ReadModelError: The read model is not what it should be.
        LedgerUnavailableError, LedgerBusyError: The ledger cannot be read.
    """
    with _incomplete_told(projection):
        if _could_catch_up(store, projection):
            yield Unstored(table_exists=store.knows(_CHECKPOINTS), rows={}, replaced={})
            return
        with store.moment():  # checkpoint, rows and events of one moment, whoever catches up meanwhile
            yield _fold_in_memory(store, projection, upto)


def difference(store: ModelStore, projection: Projection[Any, Any], progress: Told | None = None) -> str | None:
    """How a read model first differs from a fresh fold of the ledger, as a clause; None if it is what it should be.

    It is compared as of its checkpoint, and if it has yet to be built, not at all. Nothing is written: whoever may only
    read may ask. Others may go on working meanwhile. If they catch up while rows are compared, these are compared again,
    and who writes to a file waits for that.

    Args:
        store: The ledger's storage, whose chain was verified.
        projection: The read model.
        progress: Told how far the fold is.

    Raises:
        UnknownEventError: A newer program made the read model, or wrote events that this one does not know.
        ReadModelError: The read model contradicts itself.
        LedgerUnavailableError, LedgerBusyError: The ledger cannot be read.
    """
    with _incomplete_told(projection), _scratch(projection) as scratch:
        begun = checkpoint(store, projection)
        if begun is None:
            return None
        folded = _fold_into(scratch, store, projection, _BEGINNING, progress, upto=begun)
        found = _other(store, projection, scratch)
        if checkpoint(store, projection) == folded.position:
            return found
        with store.moment():  # others caught up meanwhile, so once more, while none of them can
            reached = _reached(store, projection)
            if reached is None:
                return None
            if reached < folded.position:
                raise LedgerBusyError("the read model was replaced while it was compared", hint="Try again.")
            _fold_into(scratch, store, projection, folded, progress, upto=reached)
            return _other(store, projection, scratch)


def _other(store: ModelStore, projection: Projection[Any, Any], scratch: Tables) -> str | None:
    return _other_rows(store, projection, scratch) or _other_past(store, projection, scratch)


def _other_rows(store: ModelStore, projection: Projection[Any, Any], scratch: Tables) -> str | None:
    after, count = "", 0
    while rows := projection.page(store, after, PAGE):
        for row in rows:
            after = projection.name_of(row)
            if row != projection.load(scratch, after):
                return f"the row of {after} is not what the events add up to"
        count += len(rows)
    lacking = sum(1 for _ in projection.stored(scratch)) - count
    return f"it lacks {lacking} of {count + lacking} rows" if lacking else None


def _other_past(store: ModelStore, projection: Projection[Any, Any], scratch: Tables) -> str | None:
    for row, fresh in zip_longest(_past_of(store, projection), projection.stored_past(scratch)):
        if row is None or fresh is None or tuple(row) != tuple(fresh):
            return f"what it says of the past is not what the events add up to, from {(row or fresh)[:2]} on"
    return None


def _past_of(store: ModelStore, projection: Projection[Any, Any]) -> Iterator[Any]:
    after = None
    while rows := projection.past_page(store, after, PAGE):
        yield from rows
        after = rows[-1]


@contextmanager
def _incomplete_told(projection: Projection[Any, Any]) -> Iterator[None]:
    """A block in which a table of the projection that is gone, or has other columns, is told as its own damage."""
    try:
        yield
    except LedgerIncompleteError as error:
        if any(table.partition(".")[2] in error.message for table in (*projection.tables, _CHECKPOINTS)):
            raise wrong_model(projection.name, error.message.rpartition(" is damaged: ")[2]) from error
        raise


def _could_catch_up(store: ModelStore, projection: Projection[Any, Any]) -> bool:
    try:
        _catch_up(store, projection, store.head().position, wait=False)
    except (LedgerUnavailableError, LedgerBusyError, OutcomeUnknownError):
        return False  # if it cannot be read either, reading will say so
    return True


def _catch_up(store: ModelStore, projection: Projection[Any, Any], head: int, *, wait: bool = True) -> None:
    while head > 0:
        position = _position(store, projection)
        if position is None:
            rebuild(store, projection, wait=wait)
            return
        if position > head:
            checkpoint(store, projection)  # others may have appended; if not, it says what is wrong
        if position >= head:
            return
        _advance(store, projection, position, wait=wait)


def _advance(store: ModelStore, projection: Projection[Any, Any], position: int, *, wait: bool) -> None:
    """Fold a page of events, unless another process was first."""
    rows = page(store, position + 1, limit=PAGE)
    if _blanks_rows(projection, rows):
        rebuild(store, projection, wait=wait)
        return
    history = list(_decoded(rows, projection))  # before the lock: others may be waiting for it
    with store.change(wait=wait) as tables:
        _refuse_other_history(store, Place(rows[-1].position, rows[-1].chain))
        moved = tables.execute(
            "projections.move_checkpoint",
            {
                "position": rows[-1].position,
                "of": projection.name,
                "expected_version": projection.version,
                "expected_position": position,
            },
        )
        if moved == 1:
            fold = _Fold(projection, tables)
            fold.add(history)
            projection.save(tables, fold.rows.values())
            projection.save_past(tables, fold.past)


def _fold_in_memory(store: ModelStore, projection: Projection[R, Any], upto: int | None) -> Unstored[R]:
    """The rows that events after the checkpoint lead to; all rows if there is no table that can be built on."""
    position = _reached(store, projection)
    if position is not None and projection.redactable:
        later = pages(store, position + 1, limit=AT_ONCE)
        position = None if any(_blanks_rows(projection, rows) for rows in later) else position
    fold = _Fold(projection, store if position is not None else None)
    for rows in pages(store, (position or 0) + 1, upto, limit=AT_ONCE):
        fold.add(_decoded(rows, projection))
        fold.past.clear()  # only what was before the checkpoint is asked for
    return Unstored(table_exists=position is not None, rows=fold.rows, replaced=fold.replaced)


def _fold_into(
    scratch: Tables,
    store: ModelStore,
    projection: Projection[Any, Any],
    after: Place,
    progress: Told | None,
    *,
    upto: int | None = None,
) -> Place:
    """Fold everything after a place into the scratch database, to the end or to a position; the place reached."""
    fold = _Fold(projection, scratch)
    for rows in pages(store, after.position + 1, upto, limit=AT_ONCE):
        _refuse_other_history(store, after)  # or these lines do not follow on those before
        fold.add(_decoded(rows, projection))
        projection.save_past(scratch, fold.past)
        fold.past.clear()
        if len(fold.rows) > ROWS_IN_MEMORY:
            projection.save(scratch, fold.rows.values())
            fold.rows.clear()
            fold.replaced.clear()
        after = Place(rows[-1].position, rows[-1].chain)
        if progress is not None:
            progress(after.position, store.head().position)
    projection.save(scratch, fold.rows.values())
    return after


def _refuse_other_history(store: Store, read: Place) -> None:
    """Refuse to go on with what was folded of a ledger that was put back since; to keep it, within a change of the store.

    Raises:
        LedgerBusyError: It was.
    """
    if read != _BEGINNING and [row.chain for row in store.positions(read.position, read.position, limit=1)] != [
        read.chain
    ]:
        raise LedgerBusyError("the ledger was put back while it was read", hint="Nothing was changed. Try again.")


class _Fold(Generic[R]):
    """Folds events into rows, which are looked up among the stored ones when first touched.

    Attributes:
        rows: What was touched, by key.
        past: What those rows were before, as the projection keeps it.
        replaced: What those rows are among the stored ones, by key.
    """

    def __init__(self, projection: Projection[R, Any], stored: Asking | None) -> None:
        self.rows: dict[str, R] = {}
        self.past: list[Any] = []
        self.replaced: dict[str, R] = {}
        self._projection = projection
        self._stored = stored

    def add(self, history: Iterable[Line]) -> None:
        """Fold more events, in rising position."""
        projection, rows = self._projection, self.rows
        for line in history:
            key = projection.key(line)
            if key is None:
                continue
            before = rows.get(key) or self._load(key, line.position)
            projection.apply(rows, line)
            if before is not None and rows[key] is not before:
                self.past.append(projection.past(before, line.position))

    def _load(self, key: str, position: int) -> R | None:
        row = self._projection.load(self._stored, key) if self._stored is not None else None
        if row is not None:
            if row.valid_from >= position:
                raise wrong_model(self._projection.name, f"the row of {key} is newer than its checkpoint")
            self.rows[key] = self.replaced[key] = row
        return row


def _replace(tables: Tables, projection: Projection[Any, Any], scratch: Tables, position: int) -> None:
    for table in projection.tables:
        tables.renew(table)
    finished = projection.stored(scratch)
    while batch := list(islice(finished, PAGE)):
        projection.save(tables, batch)
    tables.put(projection.past_table, projection.stored_past(scratch))
    tables.execute("projections.delete_checkpoint", {"name": projection.name})
    checkpoint = {"name": projection.name, "version": projection.version, "position": position}
    tables.execute("projections.insert_checkpoint", checkpoint)


@contextmanager
def _scratch(projection: Projection[Any, Any]) -> Iterator[Tables]:
    """A temporary database with the projection's table, which no one else sees and which ends with its process."""
    connection = sqlite3.connect("", isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode=OFF")
        connection.execute(f"PRAGMA cache_size=-{SCRATCH_KIB}")
        connection.execute("BEGIN")
        tables = SqliteTables(connection)
        for table in projection.tables:
            tables.renew(table)
        tables.unkey(projection.past_table)  # it is read once, sorted, when everything is in it
        yield tables
    except sqlite3.Error as error:
        raise LedgerUnavailableError(
            f"a read model cannot be built: {error}", hint="Nothing was changed. Check the space for temporary files."
        ) from error
    finally:
        connection.close()


def _reached(store: ModelStore, projection: Projection[Any, Any]) -> int | None:
    """See `checkpoint`; within a moment, so that checkpoint and head are of the same one."""
    position, head = _position(store, projection), store.head().position
    if position is not None and position > head:
        raise wrong_model(projection.name, f"its checkpoint is position {position}, and the ledger ends at {head}")
    return position


def _position(tables: Asking, projection: Projection[Any, Any]) -> int | None:
    """The checkpoint's position; None if the read model is missing or older than the projection.

    Raises:
        UnknownEventError: It is newer.
        ReadModelError: It is no checkpoint.
    """
    known = tables.knows(_CHECKPOINTS)
    rows = tables.ask("projections.checkpoint", {"name": projection.name}) if known else []
    if not rows:
        return None
    version, position = rows[0]
    if not isinstance(version, int) or not isinstance(position, int) or position < 0:
        raise wrong_model(projection.name, "its checkpoint holds what none can hold")
    if version > projection.version:
        raise UnknownEventError(
            f"the ledger's read model {projection.name!r} has version {version};"
            f" this 1ctl knows up to {projection.version}",
            hint=Lines(
                "A newer 1ctl made it. Upgrade this one: 1ctl --version",
                f"If none did, or to replace it all the same: 1ctl ledger rebuild {projection.name}",
            ),
        )
    return position if version == projection.version else None


def _blanks_rows(projection: Projection[Any, Any], rows: Iterable[Row]) -> bool:
    """Whether an earlier event was blanked, and what it said may still be in any row of the read model."""
    return projection.redactable and any(row.topic == Redacted.__name__ for row in rows)


def _decoded(rows: Iterable[Row], projection: Projection[Any, Any]) -> Iterator[Line]:
    """The events that the projection does not ignore. A topic that nobody knows is refused, not skipped."""
    return (line for row in rows if row.topic not in projection.ignored and (line := told(row)) is not None)
