"""How a ledger begins: position 1 says which ledger it is, whatever later lines say."""

from __future__ import annotations

from ledger.codec import decode
from ledger.errors import LedgerDamagedError
from ledger.events import LedgerCreated
from ledger.store import Store
from ledger.streams import LEDGER_STREAM

_NAMES = "1ctl.dev/ledger/"


def origin_of(ledger_id: str) -> str:
    """The name of a ledger in its checkpoints (C2SP tlog-checkpoint, "origin"), which is its key's name as well."""
    return _NAMES + ledger_id


def id_of(origin: str) -> str:
    """The id of the ledger that has a name, as of `origin_of`."""
    return origin.removeprefix(_NAMES)


def founding(store: Store) -> LedgerCreated | None:
    """What position 1 says; None for an empty ledger.

    Raises:
        LedgerDamagedError: It says something else than which ledger this is, or two things at once.
    """
    rows = store.positions(1, 1, limit=1)
    if not rows:
        return None
    event, _ = decode(rows[0].topic, rows[0].state)
    if not isinstance(event, LedgerCreated) or rows[0].stream != LEDGER_STREAM.bytes:
        raise LedgerDamagedError("position 1 of the ledger does not say whose ledger it is", hint=_SEE)
    named = origin_of(event.ledger_id)
    if event.origin != named:
        raise LedgerDamagedError(f"position 1 of the ledger gives it two names: {event.origin} and {named}", hint=_SEE)
    return event


_SEE = "See what else is wrong: 1ctl audit verify"
