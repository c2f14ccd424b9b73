"""Which of the places that hold a ledger's lines may append to it: never two.

Every store has an instance id, by chance and outside of the log, so that a copy of the log has another. Its ``writer``
says who may append: nobody in particular (None), this very instance, another one, or nobody at all (a replica, a
backup, a copy that is not complete). Whoever appends is held to it in the same transaction.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import NamedTuple

from ledger.errors import LedgerDamagedError, LedgerEndedError

REPLICA = "replica"
"""Writer of a ledger that was imported: it is read, never appended to."""

BACKUP = "backup"
"""Writer of a backup, until it is restored."""

BACKUP_OF_ENDED = "backup of a ledger that ended"
"""Writer of a backup of a ledger that goes on elsewhere."""

_INCOMING = "incoming from "
_RESTORE = "Restore it from a backup."


class Instance(NamedTuple):
    """One place that holds a ledger's lines.

    Attributes:
        instance: Its own id, UUID text.
        writer: None: whoever has it may append. Otherwise the instance that may, or one of the words above.
        note: For people: where the ledger goes on, or comes from; of a backup the digest of the tables beside the log.
    """

    instance: str
    writer: str | None
    note: str | None

    @property
    def may_append(self) -> bool:
        """Whether lines may be appended here."""
        return self.writer in (None, self.instance)

    def refuse_ended(self) -> None:
        """Say why nothing is appended here, if nothing is.

        Raises:
            LedgerEndedError: This is a replica, a backup, or a ledger that goes on elsewhere.
        """
        if self.writer is not None and not self.may_append:
            raise ended_error(self.writer, self.note)

    @property
    def has_ended(self) -> bool:
        """Whether the ledger goes on elsewhere."""
        return self.writer == BACKUP_OF_ENDED or not (
            self.may_append or self.writer in (REPLICA, BACKUP) or self.is_incoming
        )

    @property
    def is_backup(self) -> bool:
        """Whether this is a backup that was made as one."""
        return self.writer in (BACKUP, BACKUP_OF_ENDED)

    @property
    def is_incoming(self) -> bool:
        """Whether a copy has begun here and is not complete."""
        return self.writer is not None and self.writer.startswith(_INCOMING)


def instance_row(rows: Sequence[Sequence[object]]) -> Instance:
    """The instance row, as a ledger that has tables answers it.

    Raises:
        LedgerDamagedError: It is gone, or is none.
    """
    if len(rows) != 1:
        raise LedgerDamagedError("the ledger has lost its instance row", hint=_RESTORE)
    instance, writer, note = rows[0]
    if not isinstance(instance, str) or not isinstance(writer, str | None) or not isinstance(note, str | None):
        raise LedgerDamagedError("the ledger is damaged: its instance row holds what none can hold", hint=_RESTORE)
    return Instance(instance, writer, note)


def new_instance() -> str:
    """An instance id that no other store has."""
    return str(uuid.uuid4())


def incoming(source: str) -> str:
    """The writer of a store that is being filled from the instance `source`."""
    return _INCOMING + source


def ended_error(writer: str, note: str | None) -> LedgerEndedError:
    """Why nothing can be appended here.

    Args:
        writer: Who may, or one of the words of this module.
        note: What is kept beside it.
    """
    if writer == REPLICA:
        origin = f" of {note}" if note else ""
        return LedgerEndedError(
            f"this ledger is a read-only replica{origin}", hint="Nothing was recorded. Write to the original."
        )
    if writer in (BACKUP, BACKUP_OF_ENDED):
        return LedgerEndedError(
            "this ledger is a backup: nothing is recorded in it",
            hint="Nothing was recorded. Put it back, without --ledger: 1ctl ledger restore FILE",
        )
    if writer.startswith(_INCOMING):
        return LedgerEndedError(
            f"this ledger is being copied here from {note} and is not complete",
            hint="Nothing was recorded. Run the same 'ledger copy' again to complete it.",
        )
    return LedgerEndedError(
        f"this ledger goes on elsewhere: {note or f'instance {writer}'}",
        hint="Nothing was recorded. Use it there: --ledger, ONECTL_LEDGER, or the profile's ledger.",
    )
