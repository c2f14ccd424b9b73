"""Moving a ledger to another store, so that it goes on there and nowhere else.

`LedgerMoved` is recorded first, in the transaction that ends the source; so there is no moment with two writers, and
every line that was acknowledged is copied. From then on nothing in the source changes: the copy may be interrupted at
any point and run again. The target takes over in the last transaction, after all of it was verified.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Literal, NamedTuple

from ledger.errors import ConflictError, LedgerDamagedError, LedgerUnavailableError, RefusedError
from ledger.instance import Instance, incoming
from ledger.pages import pages
from ledger.sqlite_files import may_be_database
from ledger.sqlite_store import SqliteStore
from ledger.store import Head, ModelStore
from ledger.telling import Begin
from ledger.text import Lines
from ledger.transfer import (
    beside_digest,
    instance_of,
    locked_head,
    put_beside,
    put_rows,
    set_instance,
    verified,
)

_IF_LOST = (
    "If the target is lost or damaged, back up what was moved (1ctl ledger backup FILE), and put that in a new place:"
    " 1ctl ledger restore FILE --accept-loss --ledger NEW"
)

End = Callable[[Instance], None]
"""Records `LedgerMoved` in the source, to go on in this instance."""


class Copied(NamedTuple):
    """What a copy led to.

    Attributes:
        head: The target's newest line.
        instance: The target's instance id.
        state: ``moved``: the ledger goes on in the target; ``before``: it had been moved there by an earlier run.
    """

    head: Head
    instance: str
    state: Literal["moved", "before"]


def copy_ledger(source: ModelStore, target: ModelStore, *, end: End, origin: str, progress: Begin) -> Copied:
    """Move a ledger; when run again after an interruption, it goes on where it stopped.

    Args:
        source: The ledger, or what is left of one that was being moved to this target.
        target: Nothing yet, an empty ledger, or the beginning of the source's lines.
        end: Ends the source.
        origin: Where the source is, for people.
        progress: Tells how far it is.

    Raises:
        RefusedError: The source went on elsewhere, or the target is something else.
        LedgerDamagedError: The source is damaged, and was not ended; or the copy is, and the source has ended.
    """
    here = source.instance()
    if here is None or source.head().position == 0:
        raise RefusedError("nothing is recorded in the ledger yet", hint="There is nothing to copy.")
    _refuse_source(here)
    if here.may_append:  # else the target is where it went, so what is there may be damaged
        _refuse_other_file(target)
    target.prepare()
    there = instance_of(target)
    if there.instance == here.instance:
        raise RefusedError("source and target are the same ledger", hint="Name another file or database with --to.")
    if not here.may_append and here.writer != there.instance:
        raise RefusedError(
            f"the ledger was moved already: it goes on at {here.note or here.writer}",
            hint=Lines("Copy it from there, or complete the copy to there.", _IF_LOST),
        )
    if here.writer == there.instance and there.writer == there.instance:
        return Copied(target.head(), there.instance, "before")
    _claim(source, target, here, there, origin)
    if here.may_append:
        with progress("Verifying") as told:
            verified(source, told, following=False)  # or a busy writer would never let it end
        end(there)
    head = source.head()
    _copy_lines(source, target, head, progress)
    _refuse_other(target, head, progress)
    _take_over(source, target, here, head)
    return Copied(head, there.instance, "moved")


def _refuse_source(here: Instance) -> None:
    if here.may_append or (here.has_ended and not here.is_backup):
        return
    raise RefusedError(
        "this is a replica, a backup, or a copy that is not complete: it does not go on anywhere",
        hint="Copy the ledger itself.",
    )


def _refuse_other_file(target: ModelStore) -> None:
    """Refuse a file that is no database; of one that is, its tables tell."""
    path = target.path if isinstance(target, SqliteStore) else None
    with suppress(OSError):  # what cannot be read is told when it is opened
        if path is not None and path.is_file() and not may_be_database(path):
            raise RefusedError(f"{path} exists and is not a database", hint="Name a new file with --to.")


def _claim(source: ModelStore, target: ModelStore, here: Instance, there: Instance, origin: str) -> None:
    """Make the target one that is being filled from this source, if it may be."""
    with target.change() as tables:
        now, head = instance_of(tables), locked_head(tables)
        claimed = incoming(here.instance)
        if now.instance != there.instance:
            raise ConflictError("the target was replaced meanwhile", hint="Nothing was copied. Try again.")
        if now.writer == claimed:
            return
        if now.is_incoming or now.is_backup or (head.position and now.writer == now.instance):
            raise RefusedError(
                "the target is another ledger, a backup, or being copied from elsewhere", hint="Name another one."
            )
        if head.position and not _begins(source, head):
            raise RefusedError(
                "the target is not empty, and is not the beginning of this ledger",
                hint="Name an empty database, or a file that does not exist.",
            )
        set_instance(tables, instance=now.instance, writer=claimed, note=origin)


def _begins(source: ModelStore, head: Head) -> bool:
    rows = source.positions(head.position, head.position, limit=1)
    return bool(rows) and rows[0].chain == head.chain


def _copy_lines(source: ModelStore, target: ModelStore, head: Head, progress: Begin) -> None:
    reached = target.head().position
    with progress("Copying") as told:
        for rows in pages(source, reached + 1, head.position):
            with target.change() as tables:
                if locked_head(tables).position != rows[0].position - 1:
                    raise ConflictError("another copy to this target runs", hint="Wait for it, then run it again.")
                put_rows(tables, rows)
            told(rows[-1].position, head.position)


def _refuse_other(target: ModelStore, head: Head, progress: Begin) -> None:
    try:
        with progress("Verifying the copy") as told:
            reached = verified(target, told, what="the copy", beside=False)  # those beside come last
    except LedgerDamagedError as error:
        raise LedgerDamagedError(error.message, hint=_IF_LOST) from error
    if reached != head:
        raise LedgerDamagedError("the copy does not end where the ledger ends", hint=_IF_LOST)


def _take_over(source: ModelStore, target: ModelStore, here: Instance, head: Head) -> None:
    digest = beside_digest(source)
    with target.change() as tables:
        there = instance_of(tables)
        if there.writer == there.instance:
            return  # another run of this copy was first
        if there.writer != incoming(here.instance) or locked_head(tables) != head:
            raise ConflictError("the target was changed meanwhile", hint="Run the copy again.")
        put_beside(tables, source)
        if beside_digest(tables) != digest:
            raise LedgerUnavailableError("the tables beside the log were not copied as they are")
        set_instance(tables, instance=there.instance, writer=there.instance, note=None)
