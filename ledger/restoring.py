"""Putting a ledger back from a backup, and saying so in it.

What was recorded after the backup is lost, and others may have seen it: clusters reflect it, checkpoints hold it. So a
restore is refused where anything known here says that the ledger had gone further, unless the loss is accepted; the
ledger that is replaced is kept aside; and `LedgerRestored` raises the epoch that fences off the lost positions.

The backup is read line by line into a new file: nothing but lines and the tables beside them comes out of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from ledger.backup import check_beside, leave_out
from ledger.comparing import verify_against
from ledger.durable_files import sync_file
from ledger.errors import LedgerDamagedError, LedgerUnavailableError, NotALedgerError, OneCtlError, RefusedError
from ledger.instance import BACKUP_OF_ENDED, REPLICA, Instance, new_instance
from ledger.reader import LedgerReader
from ledger.sqlite_database import create_schema
from ledger.sqlite_files import copy_database, making, may_be_database, put_in_place, structural_fault
from ledger.sqlite_store import SqliteStore
from ledger.sqlite_tables import SqliteTables, transaction
from ledger.store import Head, ModelStore
from ledger.telling import Begin
from ledger.text import Lines
from ledger.transfer import instance_of, locked_head, put_beside, put_lines, set_instance, verified

_NAME_IT = "Name the file that 'ledger backup' wrote."


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """A backup that was checked, ready to be made a ledger.

    Attributes:
        path: A private copy; whoever has it may append.
        ledger_id: Whose backup it is.
        head: The newest line in it.
        epoch: Its epoch.
    """

    path: Path
    ledger_id: str
    head: Head
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What lies where a ledger is to be put back.

    Attributes:
        head: Its newest line; position 0 if there is nothing, None if it cannot be read.
        is_same: Whether it is known to be the ledger of the backup.
        epoch: Its epoch if it is the same ledger, else 0.
        lacking: What it has that the backup lacks, as a clause; None if nothing would be lost.
    """

    head: Head | None
    is_same: bool
    epoch: int
    lacking: str | None


def read_backup(path: Path, directory: Path, *, accept_loss: bool, progress: Begin) -> Backup:
    """Check a backup, and make a ledger of it in a private file.

    Args:
        path: The backup; any file that holds a ledger will do.
        directory: For private files; made, and removed by the caller.
        accept_loss: Whether a ledger that has ended may be put back: it then goes on in two places.
        progress: Tells how far it is.

    Raises:
        LedgerDamagedError: The backup is damaged, and where.
        RefusedError: There is no such file, or it is something else than a ledger, a replica, an incomplete copy, or the
            backup of a ledger that ended.
        LedgerUnavailableError: It cannot be read.
    """
    _refuse_no_database(path)
    raw = directory / "backup.db"
    with making(raw) as connection:
        copy_database(path, connection)
    made = directory / "ledger.db"
    with closing(SqliteStore(raw)) as backup:
        head = _checked(backup, path, progress)
        _refuse_unfit(_instance(backup), path, accept_loss=accept_loss)
        with making(made) as connection:
            create_schema(connection)
            with transaction(connection) as tables:
                _fill(tables, backup, head)
        reader = LedgerReader(backup)
        ledger_id, epoch = reader.ledger_id(), reader.epoch()
    if ledger_id is None:
        raise RefusedError("the file holds no ledger: position 1 does not name one", hint="Name another file.")
    return Backup(path=made, ledger_id=ledger_id, head=head, epoch=epoch)


def refuse_other(backup: Backup, notes: Sequence[tuple[str, bytes]], *, accept_loss: bool) -> None:
    """Refuse a backup that is not the ledger of checkpoints that were kept, or lacks what they cover.

    Args:
        backup: The backup.
        notes: Signed checkpoints, each with where it was kept.
        accept_loss: Whether one may lie ahead of the backup.

    Raises:
        LedgerDamagedError: The backup is not the ledger that was signed.
        RefusedError: A checkpoint lies ahead of it.
        CheckpointError: A checkpoint is none.
    """
    lost = None
    with closing(SqliteStore(backup.path)) as store:
        for kept, note in notes:
            result = verify_against(store, note)
            if result.verdict == "forked":
                raise LedgerDamagedError(
                    f"the backup is not the ledger of the checkpoint {kept}: {result.detail}",
                    hint="Compare with another backup, or ask whoever kept the checkpoint.",
                )
            if result.verdict == "rolled back":
                lost = f"the checkpoint {kept} covers positions up to {result.checkpoint.size}"
    if lost is not None and not accept_loss:
        raise _loss(backup, lost)


def find(place: ModelStore, backup: Backup) -> Found:
    """What lies where the ledger is to be put back."""
    try:
        here, head = place.instance(), _head(place)
        if here is None or head.position == 0:
            return Found(head=head, is_same=False, epoch=0, lacking=None)
        reader = LedgerReader(place)
        same = reader.ledger_id() == backup.ledger_id
        epoch = reader.epoch() if same else 0
        return Found(head=head, is_same=same, epoch=epoch, lacking=_lacking(head, backup, same=same))
    except LedgerDamagedError as error:
        lacking = f"the ledger there cannot be read ({error.message})"
        return Found(head=None, is_same=False, epoch=0, lacking=lacking)


def refuse_loss(backup: Backup, found: Found) -> None:
    """Refuse to replace a ledger that has what the backup lacks.

    Raises:
        RefusedError: It has something that the backup lacks.
    """
    if found.lacking is not None:
        raise _loss(backup, found.lacking)


def put_back(place: ModelStore, backup: Backup, found: Found, *, suffix: str, progress: Begin) -> Path | None:
    """Put the ledger in its place, in one transaction; where the one that was there is kept, if there was one.

    Args:
        place: Where to.
        backup: The backup, with `LedgerRestored` recorded in it.
        found: What was there when it was looked at; it must still be there.
        suffix: Of the name that a replaced file is kept under.
        progress: Tells how far it is.

    Raises:
        RefusedError: Something was recorded there meanwhile, or a database is not empty. Nothing was changed.
    """
    if isinstance(place, SqliteStore):
        return _put_file(place, backup, found, suffix)
    with closing(SqliteStore(backup.path)) as source:
        place.prepare()
        with place.change() as tables:
            if found.head is None or locked_head(tables).position:
                raise RefusedError(
                    "a ledger is put back into an empty database only", hint="Create another database and name it."
                )
            with progress("Restoring") as told:
                put_lines(tables, source, source.head().position, told)
            put_beside(tables, source)
            set_instance(tables, instance=new_instance(), writer=None, note=None)
    return None


def _refuse_no_database(path: Path) -> None:
    """Refuse what nobody could take for a backup; one that is damaged still begins as every database does."""
    try:
        if not path.is_file():
            raise RefusedError(f"there is no file {path}", hint=_NAME_IT)
        is_none = not may_be_database(path)
    except OSError as error:
        raise RefusedError(f"{path} cannot be read: {error.strerror}", hint=_NAME_IT) from error
    if is_none:
        raise RefusedError(
            f"{path} is no backup: it is not a database",
            hint=Lines(_NAME_IT, "If this is it, use another: it is damaged."),
        )


def _checked(backup: SqliteStore, path: Path, progress: Begin) -> Head:
    try:
        with progress("Verifying") as told:
            head = verified(backup, told, what="the backup")
        check_beside(backup)
        _instance(backup)
    except NotALedgerError as error:
        raise RefusedError(f"{path} is no backup: it is a database of something else", hint=_NAME_IT) from error
    except LedgerUnavailableError as error:
        raise LedgerDamagedError(f"the backup cannot be read: {error.message}", hint=error.hint) from error
    except LedgerDamagedError as error:
        fault = structural_fault(backup.path)
        if fault is None or "position" in error.message:
            raise
        raise LedgerDamagedError(f"the backup is damaged: {fault}", hint="Use another backup.") from error
    fault = structural_fault(backup.path)
    if fault is not None:
        raise LedgerDamagedError(f"the backup is damaged: {fault}", hint="Use another backup.")
    if head.position == 0:
        raise RefusedError(f"{path} is no backup: it holds no ledger", hint=_NAME_IT)
    return head


def _instance(backup: SqliteStore) -> Instance:
    here = instance_of(backup) if backup.instance() else Instance("", None, None)
    if here.has_ended and here.writer != BACKUP_OF_ENDED:
        try:
            UUID(here.writer)
        except ValueError:
            raise LedgerDamagedError(
                "the backup is damaged: it does not say who may append to it", hint="Use another backup."
            ) from None
    return here


def _refuse_unfit(here: Instance, path: Path, *, accept_loss: bool) -> None:
    if here.writer == REPLICA:
        raise RefusedError(
            f"{path} is a read-only replica: it has no sealed values and no keys", hint="Restore a backup instead."
        )
    if here.is_incoming:
        raise RefusedError(f"{path} is a copy that is not complete", hint="Run the same 'ledger copy' again.")
    if here.has_ended and not accept_loss:
        raise RefusedError(
            f"{path} holds a ledger that goes on elsewhere; put back, it would go on in two places",
            hint="Only if it is lost there: --accept-loss",
        )


def _fill(tables: SqliteTables, backup: SqliteStore, head: Head) -> None:
    put_lines(tables, backup, head.position)
    put_beside(tables, backup)


def _head(place: ModelStore) -> Head:
    """The head, which nothing follows: a ledger whose head lags behind its events is not as short as it says."""
    with place.moment():
        head = place.head()
        if place.positions(head.position + 1, limit=1):
            raise LedgerDamagedError("its head does not know all of its events")
    return head


def _lacking(head: Head, backup: Backup, *, same: bool) -> str | None:
    if not same:
        return "another ledger is there"
    if head.position > backup.head.position:
        return f"the ledger there has {head.position} events"
    with closing(SqliteStore(backup.path)) as store:
        rows = store.positions(head.position, head.position, limit=1)
    if not rows or rows[0].chain != head.chain:
        return "the ledger there has other events"
    return None


def _loss(backup: Backup, lacking: str) -> RefusedError:
    return RefusedError(
        f"the backup ends at position {backup.head.position}, and {lacking}: restoring would lose what it lacks",
        hint="Look for a newer backup. To give it up: --accept-loss",
    )


def _put_file(place: SqliteStore, backup: Backup, found: Found, suffix: str) -> Path | None:
    aside = place.path.with_name(place.path.name + suffix)
    with place.alone():
        if found.head is None:
            place.set_aside(aside)
        else:
            _refuse_change(place, found.head)
            if found.head.position:
                _keep_aside(place, aside)
        place.replace(backup.path)
        sync_file(place.path)
    return aside if found.head is None or found.head.position else None


def _refuse_change(place: SqliteStore, head: Head) -> None:
    try:
        now = place.head()
    except OneCtlError:
        now = None
    if now != head:
        raise RefusedError("the ledger changed while it was being replaced", hint="Nothing was changed. Try again.")


def _keep_aside(place: SqliteStore, aside: Path) -> None:
    """The ledger as it was, for looking at; not to be appended to any more."""
    draft = aside.with_name(f".{aside.name}.part")
    with making(draft) as connection:
        copy_database(place.path, connection)
        leave_out(connection)
        with transaction(connection) as tables:
            here = instance_of(tables)
            note = f"{place.path}, restored from a backup"
            set_instance(tables, instance=here.instance, writer=new_instance(), note=note)
    put_in_place(draft, aside)
