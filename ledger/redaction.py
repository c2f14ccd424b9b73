"""Blanking one field of an event that should never have been there, without breaking chain or proofs.

A leaf holds only the SHA-256 of an event's bytes. So the bytes may lose a field if the ledger says so itself: a
`Redacted` event keeps the digest they had and the digest of what remains, and is in the chain like all others.
Verification accepts exactly those bytes. What was blanked cannot be proved any more; that something was, and by whom, can.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import orjson

from ledger.codec import decode
from ledger.errors import LedgerDamagedError, RefusedError
from ledger.events import Redacted
from ledger.spec import BLANK
from ledger.streams import LEDGER_STREAM
from ledger.value import Value, short_value

if TYPE_CHECKING:
    from ledger.store import Row, Store

_FREE_TEXT = ("values.", "env.", "message", "reason")
"""Fields that hold what a person or a cluster wrote. Blanking others would change what happened."""


@short_value
class Remains(Value):
    """What is known of a redacted event.

    Attributes:
        original: SHA-256 of the bytes as recorded; what the leaf holds.
        remaining: SHA-256 of the bytes that are left.
    """

    original: bytes
    remaining: bytes


def redactions(store: Store) -> Mapping[int, Remains]:
    """All redactions of a ledger, by the position of the event that was redacted.

    A line that cannot be read is passed over here: it redacts nothing, and verification reports it where it stands.
    """
    found: dict[int, Remains] = {}
    for row in store.stream(LEDGER_STREAM.bytes):
        if row.topic != Redacted.__name__:
            continue
        try:
            event, _ = decode(row.topic, row.state)
            assert isinstance(event, Redacted)
            old, new = bytes.fromhex(event.old_digest), bytes.fromhex(event.new_digest)
        except (LedgerDamagedError, ValueError, TypeError):
            continue
        before = found.get(event.position)
        found[event.position] = Remains(before.original if before else old, new)
    return found


def redacted(row: Row, field: str) -> tuple[Redacted, bytes]:
    """The event that says a field of a stored line is blanked, and the bytes that remain.

    Raises:
        RefusedError: The line has no such field, or it is not free text, or is blank already.
    """
    if not field.startswith(_FREE_TEXT):
        raise RefusedError(
            f'"{field}" cannot be redacted: only what people or clusters wrote can',
            hint="Fields: values.KEY or env.KEY (environment), message (of a failure), reason (of a request)",
        )
    document: dict[str, Any] = orjson.loads(row.state)
    holder: Any = document["meta"] if field == "reason" else document["data"]
    *path, last = field.split(".", 1)
    for name in path:
        holder = holder.get(name) if isinstance(holder, dict) else None
    if not isinstance(holder, dict) or not isinstance(holder.get(last), str):
        raise RefusedError(
            f'the event at position {row.position} has no text "{field}"', hint="See its fields: 1ctl -o json audit log"
        )
    if holder[last] == BLANK:
        raise RefusedError(
            f'"{field}" at position {row.position} is redacted already', hint="Nothing is left to blank."
        )
    holder[last] = BLANK
    document["meta"]["salt"] = ""  # with it, a short text could be guessed and compared with the old digest
    remaining = orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
    event = Redacted(
        position=row.position,
        field=field,
        old_digest=sha256(row.state).hexdigest(),
        new_digest=sha256(remaining).hexdigest(),
    )
    return event, remaining
