"""Blanking one field of an event that should never have been there, without breaking chain or proofs.

A leaf holds only the SHA-256 of an event's bytes. So the bytes may lose a field if the ledger says so itself: a
`Redacted` event keeps the digest they had and the digest of what remains, signed by the ledger's key, and is in the chain
like all others. Verification accepts exactly those bytes. What was blanked cannot be proved any more; that something
was, and by whom, can.

Without the signature, anyone who can append could put other bytes into a recorded line, and have them believed.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import orjson

from ledger.codec import decode
from ledger.errors import OneCtlError, RefusedError
from ledger.events import Redacted
from ledger.readable import document_of
from ledger.spec import BLANK
from ledger.streams import LEDGER_STREAM
from ledger.value import Value, short_value

if TYPE_CHECKING:
    from ledger.checkpoint import SigningKey, VerifierKey
    from ledger.store import Row, Store

_PLACES = (
    (re.compile(r"reason"), "meta"),
    (re.compile(r"message"), "data"),
    (re.compile(r"(values|env)\..+", re.DOTALL), "data"),
    (re.compile(r"fields\.\d+\.(wanted|found)"), "data"),
)
"""Fields that hold what a person or a cluster wrote, and where. Blanking others would change what happened."""


def asks_for(field: str) -> bool:
    """Whether what is in a field is what a request asked for, whose digest is over it; reasons are in none."""
    return field.startswith(("values.", "env."))


@short_value
class Remains(Value):
    """What is known of a redacted event.

    Attributes:
        original: SHA-256 of the bytes as recorded; what the leaf holds.
        remaining: SHA-256 of the bytes that are left.
    """

    original: bytes
    remaining: bytes

    def as_recorded(self, digest: bytes) -> bytes:
        """The digest in the leaf of bytes that have this one: exactly those that are left stand for those recorded."""
        return self.original if digest == self.remaining else digest


class Redactions(dict[int, Remains]):
    """What is known of redacted events, by position; grows by redactions in the order of the ledger.

    Args:
        key: The ledger's key.
    """

    def __init__(self, key: VerifierKey) -> None:
        super().__init__()
        self._key = key

    def believe(self, event: Redacted) -> bool:
        """Take a redaction into account if it is signed and continues the one before of the same event; whether it is."""
        try:
            before = self.get(event.position)
            old, new = bytes.fromhex(event.old_digest), bytes.fromhex(event.new_digest)
            signature, said = b64decode(event.signature, validate=True), statement(event, self._key.name)
        except (ValueError, TypeError):  # what somebody made up may hold anything
            return False
        if (before is not None and before.remaining != old) or not self._key.verifies(signature, said):
            return False
        self[event.position] = Remains(before.original if before else old, new)
        return True


def redactions(store: Store, key: VerifierKey | None = None) -> Mapping[int, Remains]:
    """All redactions of a ledger that its key signed, by the position of the event that was redacted.

    A line that cannot be read, or is not signed, is passed over here: it redacts nothing, and verification reports what
    it was to stand for.

    Args:
        store: The ledger.
        key: The ledger's key; default: the one that it names itself.
    """
    return _weighed(store, key)[0]


def unsigned(store: Store, position: int) -> Redacted | None:
    """The first redaction of an event that is not believed, as versions before 0.1.0 made them; None if all are."""
    return next((event for event in _weighed(store)[1] if event.position == position), None)


def _weighed(store: Store, key: VerifierKey | None = None) -> tuple[Mapping[int, Remains], Sequence[Redacted]]:
    """What the redactions that are believed say, and the redactions that are not believed."""
    lines = [row for row in store.stream(LEDGER_STREAM.bytes) if row.topic == Redacted.__name__]
    if not lines:
        return {}, ()
    from ledger.ledger_key import ledger_key  # noqa: PLC0415 - few ledgers have any

    try:
        found = Redactions(key or ledger_key(store))
    except OneCtlError:
        return {}, ()
    doubtful: dict[tuple[object, ...], Redacted] = {}
    for row in lines:
        try:
            event, _ = decode(row.topic, row.state)
        except OneCtlError:
            continue
        assert isinstance(event, Redacted)
        said = (event.position, event.field, event.old_digest, event.new_digest)
        if found.believe(event):
            doubtful.pop(said, None)  # signed later
        else:
            doubtful[said] = event
    return found, tuple(doubtful.values())


def statement(event: Redacted, origin: str) -> bytes:
    """What a redaction's signature is made over: a line that nothing else signed begins with, and its fields as JSON."""
    said = {
        "field": event.field,
        "new_digest": event.new_digest,
        "old_digest": event.old_digest,
        "origin": origin,
        "position": event.position,
    }
    return b"1ctl.dev/redaction/v1\n" + orjson.dumps(said, option=orjson.OPT_SORT_KEYS)


def signed(event: Redacted, key: SigningKey) -> Redacted:
    """The redaction, signed by the ledger's key."""
    return replace(event, signature=b64encode(key.sign(statement(event, key.name))).decode())


def redacted(row: Row, field: str) -> tuple[Redacted, bytes]:
    """The event that says a field of a stored line is blanked, yet to be `signed`, and the bytes that remain.

    Raises:
        RefusedError: The line has no such field, or it is not free text, or is blank already.
        UnreadableEventError: The line cannot be read.
    """
    document = document_of(row)
    *path, last = _path(field)
    holder: Any = document
    for name in path:
        holder = _part(holder, name)
    if not isinstance(_part(holder, last), str):
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
        signature="",
    )
    return event, remaining


def texts(row: Row) -> Mapping[str, str]:
    """The fields of a stored line that can be redacted, with what is in them.

    Raises:
        UnreadableEventError: The line cannot be read.
    """
    document = document_of(row)
    data, reason = document["data"], document["meta"].get("reason")
    found = {"reason": reason, "message": data.get("message")}
    for holder in ("values", "env"):
        values = data.get(holder)
        found |= {f"{holder}.{key}": value for key, value in values.items()} if isinstance(values, dict) else {}
    for number, each in enumerate(data.get("fields") or ()):
        if isinstance(each, dict):
            found |= {f"fields.{number}.{name}": each.get(name) for name in ("wanted", "found")}
    return {field: text for field, text in found.items() if isinstance(text, str)}


_LONG = 6
"""From how many characters on a text is looked for within others; shorter ones occur by chance."""


def also_in(rows: Iterable[Row], text: str) -> Sequence[tuple[int, str]]:
    """Position and field of every other place of a text that is to be blanked, in the order of the rows."""
    quoted = orjson.dumps(text).decode()  # as events about drift write it

    def holds(other: str) -> bool:
        return other in (text, quoted) or (len(text) >= _LONG and (text in other or quoted[1:-1] in other))

    return [(row.position, field) for row in rows for field, other in texts(row).items() if holds(other)]


def _path(field: str) -> tuple[str, ...]:
    """Where in a stored line a field is.

    Raises:
        RefusedError: It is not one that can be redacted.
    """
    for pattern, inside in _PLACES:
        if pattern.fullmatch(field):
            return (inside, *field.split(".", -1 if field.startswith("fields.") else 1))
    raise RefusedError(
        f'"{field}" cannot be redacted: only what people or clusters wrote can',
        hint="Fields: values.KEY or env.KEY (environment), message (of a failure), reason (of a request), "
        "fields.N.wanted or fields.N.found (of drift)",
    )


def _part(holder: Any, name: str) -> Any:
    if isinstance(holder, list):
        return holder[int(name)] if name.isdecimal() and int(name) < len(holder) else None
    return holder.get(name) if isinstance(holder, dict) else None
