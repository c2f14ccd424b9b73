"""A backup: the whole ledger at one moment in one SQLite file, sealed values and wrapped keys included.

It is made while others append, and is not appended to: only a restore makes it a ledger again. The chain protects its
lines; a digest protects the tables beside them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ledger.durable_files import write_durably
from ledger.errors import LedgerDamagedError, OneCtlError, RefusedError
from ledger.instance import BACKUP, BACKUP_OF_ENDED, REPLICA, Instance, new_instance
from ledger.sqlite_database import create_schema
from ledger.sqlite_files import copy_database, drafting, file_errors, making, put_in_place, reading
from ledger.sqlite_guard import refuse_strange, schema_of
from ledger.sqlite_store import SqliteStore
from ledger.sqlite_tables import SqliteTables, transaction
from ledger.store import Head, ModelStore
from ledger.telling import Begin
from ledger.transfer import beside_digest, instance_of, put_beside, put_lines, set_instance, verified

CHECKPOINT_SUFFIX = ".checkpoint"
_DIGEST = "sha256:"

Sign = Callable[[ModelStore], bytes | None]
"""A signed checkpoint of a ledger as it is; None where its key is not here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackedUp:
    """What a backup holds.

    Attributes:
        head: The newest line in it.
        checkpoint: The signed checkpoint that was put beside it, or None.
    """

    head: Head
    checkpoint: bytes | None


def back_up(store: ModelStore, path: Path, *, sign: Sign, progress: Begin) -> BackedUp:
    """Write a backup and, if it can be signed, a checkpoint of exactly it beside; each complete or not at all.

    Args:
        store: The ledger.
        path: The file; an older backup of that name is replaced, anything else is not.
        sign: Signs the finished copy.
        progress: Tells how far it is.

    Raises:
        RefusedError: There is nothing to back up, the file is something else than a backup, or it has no directory.
        LedgerDamagedError: The ledger is damaged; an older backup of that name stays.
        LedgerBusyError: Another process makes a backup of that name.
        LedgerUnavailableError: The file cannot be written.
    """
    if store.head().position == 0:
        raise RefusedError("nothing is recorded in the ledger yet", hint="There is nothing to back up.")
    here = instance_of(store)
    _refuse_source(here)
    _refuse_other_file(path)
    path = path.resolve()
    with drafting(path, "part") as draft:
        with making(draft) as connection:
            if isinstance(store, SqliteStore):
                copy_database(store.path, connection)
                leave_out(connection)
            else:
                _read_into(connection, store, progress)
            _mark(connection, here)
        with closing(SqliteStore(draft)) as copy:
            with progress("Verifying") as told:
                head = verified(copy, told)
            note = sign(copy)
        _one_file(draft)
        put_in_place(draft, path)
        _put_checkpoint(path, note)
    return BackedUp(head=head, checkpoint=note)


def check_beside(store: ModelStore) -> None:
    """Check the tables beside the log of a backup against its digest; other files have none.

    Raises:
        LedgerDamagedError: They are not what was backed up.
    """
    here = store.instance()
    if here is None or not here.is_backup or here.note is None:
        return
    if here.note != _DIGEST + beside_digest(store):
        raise LedgerDamagedError(
            "the backup is damaged beside its events: in requests, lives, wrapped keys or sealed values",
            hint="Its events are intact. Use another backup.",
        )


def leave_out(connection: sqlite3.Connection) -> None:
    """Take what is not history out of a private copy: leases and snapshots, and the room they took."""
    tables = SqliteTables(connection)
    counts = [
        tables.execute(f"ledger.delete_{table}", {})
        for table in ("worker_leases", "app_snapshots")
        if tables.knows(f"ledger.{table}")
    ]
    if any(counts):
        connection.execute("VACUUM")


def checkpoint_path(path: Path) -> Path:
    """Where the checkpoint of a backup lies."""
    return path.with_name(path.name + CHECKPOINT_SUFFIX)


def _refuse_source(here: Instance) -> None:
    if here.writer == REPLICA:
        raise RefusedError(
            "this is a read-only replica: it has no sealed values and no keys",
            hint="Back up the original; to keep this one, keep the export it was made from.",
        )
    if here.is_backup or here.is_incoming:
        raise RefusedError(
            "this is a backup, or a copy that is not complete", hint="Back up the ledger itself, or copy the file."
        )


def _refuse_other_file(path: Path) -> None:
    try:
        is_new = not path.exists() or (path.is_file() and path.stat().st_size == 0)
        directory = path.resolve().parent
        if not directory.exists():
            raise RefusedError(
                f"there is no directory {directory}: is it mounted?", hint="Make it first, or name another file."
            )
    except OSError as error:
        raise RefusedError(f"{path} cannot be a file: {error.strerror}", hint="Name another file.") from error
    if not is_new and not (path.is_file() and _is_backup(path)):
        raise RefusedError(f"{path} exists and is not a backup", hint="Name another file.")


def _is_backup(path: Path) -> bool:
    try:
        with reading(path) as connection:
            refuse_strange(schema_of(connection))
            return instance_of(SqliteTables(connection)).is_backup
    except (OneCtlError, sqlite3.Error):
        return False


def _read_into(connection: sqlite3.Connection, store: ModelStore, progress: Begin) -> None:
    create_schema(connection)
    with transaction(connection) as tables, store.moment(), progress("Copying") as told:
        put_lines(tables, store, store.head().position, told)
        put_beside(tables, store)


def _mark(connection: sqlite3.Connection, origin: Instance) -> None:
    with transaction(connection) as tables:
        writer = BACKUP_OF_ENDED if origin.has_ended else BACKUP
        set_instance(tables, instance=new_instance(), writer=writer, note=_DIGEST + beside_digest(tables))


def _one_file(draft: Path) -> None:
    """Whatever journal this SQLite prefers: a backup is one file that can be copied as it is."""
    with file_errors(draft), closing(sqlite3.connect(draft)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")


def _put_checkpoint(path: Path, note: bytes | None) -> None:
    """Put after the backup: an older checkpoint beside a newer backup is still true, the reverse would not be."""
    beside = checkpoint_path(path)
    with file_errors(beside):
        if note is None:
            beside.unlink(missing_ok=True)
        else:
            write_durably(beside, note)
