"""Proofs about a ledger that are checked without it.

* A proof file (C2SP tlog-proof) shows that one event is in the tree of a signed checkpoint. Its ``extra`` line holds
  the entry (`ledger.leaf.entry`), from which the verifier makes the leaf: nothing in the file is taken on trust.
* An extension (the request body of C2SP tlog-witness ``add-checkpoint``) shows that a signed checkpoint continues an
  older one: nothing before it was changed, removed or put in between.

`ledger.proving` makes them.
"""

from __future__ import annotations

import re
import struct
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Self
from uuid import UUID

from ledger import checkpoint as notes
from ledger.checkpoint import Checkpoint, VerifierKey
from ledger.clock import iso
from ledger.errors import OneCtlError
from ledger.leaf import leaf_of
from ledger.merkle import HASH_SIZE, verify_consistency, verify_inclusion

MAX_PROOF = 2 << 20
MAX_PATH = 63
"""The most hashes that a proof about fewer than 2**63 leaves needs (C2SP tlog-witness)."""

_HEADER = b"c2sp.org/tlog-proof@v1"
_HEAD = struct.Struct(">Q16sQqH")
# What is proved is shown to people, so whoever made the proof must not choose sentences or control characters for them.
_TOPIC = re.compile(rb"[A-Za-z][A-Za-z0-9]{0,63}")


class ProofError(OneCtlError):
    """A proof does not show what it should, or cannot be made."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What one leaf stands for (`ledger.leaf.entry`), field by field.

    Attributes:
        position: Place in the ledger, from 1.
        stream: Id of the stream, 16 bytes.
        version: Place in the stream, from 1.
        recorded_us: When, in microseconds since 1970-01-01 UTC.
        topic: What kind of event.
        state_digest: SHA-256 of the event's bytes.
    """

    position: int
    stream: bytes
    version: int
    recorded_us: int
    topic: str
    state_digest: bytes

    @classmethod
    def parse(cls, entry: bytes) -> Self:
        """The fields of an entry.

        Raises:
            ProofError: The bytes are not an entry.
        """
        try:
            position, stream, version, recorded_us, length = _HEAD.unpack_from(entry)
            iso(recorded_us)
        except (struct.error, OverflowError, ValueError):
            raise ProofError("the proof's entry is not one of a 1ctl ledger") from None
        topic = entry[_HEAD.size : -HASH_SIZE]
        if len(entry) != _HEAD.size + length + HASH_SIZE or not _TOPIC.fullmatch(topic):
            raise ProofError("the proof's entry is not one of a 1ctl ledger")
        return cls(position, stream, version, recorded_us, topic.decode(), entry[-HASH_SIZE:])

    @property
    def stream_id(self) -> UUID:
        """The stream's id as it is usually written."""
        return UUID(bytes=self.stream)

    @property
    def recorded_at(self) -> str:
        """When, as ISO 8601 in UTC."""
        return iso(self.recorded_us)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """A proof file as it was read; nothing in it is verified.

    Attributes:
        entry: The bytes on the ``extra`` line.
        index: Index of the leaf; the position is one more.
        path: The inclusion proof.
        note: The signed checkpoint, verbatim.
    """

    entry: bytes
    index: int
    path: tuple[bytes, ...]
    note: bytes

    def to_bytes(self) -> bytes:
        """The proof file."""
        head = (_HEADER, b"extra " + b64encode(self.entry), b"index %d" % self.index)
        return _lines(*head, *map(b64encode, self.path)) + b"\n" + self.note

    @staticmethod
    def is_begun_by(text: bytes) -> bool:
        """Whether a file says that it is such a proof."""
        return text.startswith(_HEADER + b"\n")

    @classmethod
    def parse(cls, text: bytes) -> Self:
        """The parts of a proof file.

        Raises:
            ProofError, CheckpointError: It is malformed.
        """
        lines, note = _head(text, "proof")
        if lines[0] != _HEADER:
            raise ProofError("this is not a proof", hint=f"The first line of a proof reads {_HEADER.decode()}.")
        if len(lines) < 3 or not lines[1].startswith(b"extra ") or not lines[2].startswith(b"index "):
            raise ProofError("the proof lacks its extra or its index line; it is not one of a 1ctl ledger")
        return cls(
            entry=notes.parse_base64(lines[1].removeprefix(b"extra "), "the extra line"),
            index=notes.parse_decimal(lines[2].removeprefix(b"index "), "the index"),
            path=_path(lines[3:]),
            note=note,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """What a proof file has shown.

    Attributes:
        entry: The event's line in the ledger.
        checkpoint: The signed tree that it is in.
        state_checked: Whether given event bytes were compared with the entry's digest, and fitted.
        witnessed: The given witnesses, each with when it signed the checkpoint, in seconds since 1970-01-01 UTC.
        unknown: How many more signatures the checkpoint has, by keys that were not given.
    """

    entry: Entry
    checkpoint: Checkpoint
    state_checked: bool
    witnessed: tuple[tuple[str, int], ...]
    unknown: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """A consistency proof with the checkpoint that it leads to (C2SP tlog-witness, ``add-checkpoint``).

    Attributes:
        old_size: Size of the tree that is continued.
        path: The consistency proof.
        note: The newer signed checkpoint, verbatim.
    """

    old_size: int
    path: tuple[bytes, ...]
    note: bytes

    def to_bytes(self) -> bytes:
        """The text form."""
        return _lines(b"old %d" % self.old_size, *map(b64encode, self.path)) + b"\n" + self.note

    @staticmethod
    def is_begun_by(text: bytes) -> bool:
        """Whether a file says that it is such a proof."""
        return text.startswith(b"old ")

    @classmethod
    def parse(cls, text: bytes) -> Self:
        """The parts of the text form.

        Raises:
            ProofError, CheckpointError: It is malformed.
        """
        lines, note = _head(text, "consistency proof")
        if not lines[0].startswith(b"old "):
            raise ProofError("this is not a consistency proof", hint='Its first line reads "old SIZE".')
        old_size = notes.parse_decimal(lines[0].removeprefix(b"old "), "the old size")
        return cls(old_size=old_size, path=_path(lines[1:]), note=note)


def verify_proof(
    text: bytes, key: VerifierKey, *, state: bytes | None = None, witnesses: Sequence[VerifierKey] = ()
) -> Proven:
    """Check a proof file without the ledger: entry, leaf, path, root, signature, in this order.

    Args:
        text: The file.
        key: The ledger's key, from somewhere other than the file.
        state: The bytes of the event; compared with the digest in the entry.
        witnesses: Keys of witnesses, each of which must have cosigned the checkpoint.

    Raises:
        ProofError, CheckpointError: It does not prove anything, and why.
    """
    proof = Proof.parse(text)
    entry = Entry.parse(proof.entry)
    if entry.position != proof.index + 1:
        raise ProofError(f"the proof is for index {proof.index}, its entry for position {entry.position}")
    signed = notes.open_note(proof.note, key)
    if not verify_inclusion(leaf_of(proof.entry), proof.index, signed.size, proof.path, signed.root):
        raise ProofError(f"the entry is not at position {entry.position} of the tree in the checkpoint")
    if state is not None and sha256(state).digest() != entry.state_digest:
        raise ProofError(
            f"these are not the bytes of the event at position {entry.position}",
            hint="Bytes are compared exactly: a newline at the end counts. A redacted event no longer fits.",
        )
    return Proven(
        entry=entry,
        checkpoint=signed,
        state_checked=state is not None,
        witnessed=notes.witnessed(proof.note, witnesses),
        unknown=notes.unknown_signatures(proof.note, [key, *witnesses]),
    )


def verify_extension(text: bytes, old: Checkpoint, key: VerifierKey) -> Checkpoint:
    """The newer checkpoint of a consistency proof, once it is shown to continue the older one.

    Raises:
        ProofError, CheckpointError: It does not, and why.
    """
    extension = Extension.parse(text)
    signed = notes.open_note(extension.note, key)
    if signed.origin != old.origin:
        raise ProofError(f"the checkpoints are of two ledgers, {old.origin} and {signed.origin}")
    if extension.old_size != old.size:
        raise ProofError(f"the proof begins at size {extension.old_size}, the older checkpoint has {old.size}")
    if not verify_consistency(old.size, signed.size, old.root, signed.root, extension.path):
        raise ProofError(f"the ledger at size {signed.size} is not a continuation of what it was at size {old.size}")
    return signed


# -- Text ----------------------------------------------------------------------------------------------------------


def _lines(*lines: bytes) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def _head(text: bytes, what: str) -> tuple[list[bytes], bytes]:
    """The lines before the first blank one, and the note after it."""
    if len(text) > MAX_PROOF:
        raise ProofError(f"the {what} is larger than {MAX_PROOF} bytes")
    head, blank, note = text.partition(b"\n\n")
    if not blank:
        raise ProofError(f"this is not a {what}, or it was cut off: there is no blank line before the checkpoint")
    return head.split(b"\n"), note


def _path(lines: Sequence[bytes]) -> tuple[bytes, ...]:
    if len(lines) > MAX_PATH:
        raise ProofError(f"a proof has at most {MAX_PATH} hashes")
    return tuple(notes.parse_hash(line, "a hash of the proof") for line in lines)
