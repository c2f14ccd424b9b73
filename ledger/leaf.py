"""What is hashed, and how lines are chained (ADR 4).

Leaf: ``SHA-256(0x00 || entry)`` as in RFC 6962, where entry is, in big-endian:

    u64 position | 16 bytes stream | u64 version | i64 recorded microseconds |
    u16 length of topic | topic in UTF-8 | 32 bytes SHA-256(state)

The state is the stored bytes, never a re-serialisation. Because the leaf holds only its digest, a field of one event
can be redacted later while the chain and all proofs stay valid.

Chain: ``chain(n) = SHA-256(chain(n-1) || leaf(n))`` with 32 zero bytes as ``chain(0)``.
"""

from __future__ import annotations

import struct
from hashlib import sha256

GENESIS = bytes(32)
"""The chain before position 1."""

_HEAD = struct.Struct(">Q16sQqH")


def entry(position: int, stream: bytes, version: int, recorded_us: int, topic: str, state_digest: bytes) -> bytes:
    """The bytes that stand for one line of the ledger in every proof about it."""
    name = topic.encode()
    return _HEAD.pack(position, stream, version, recorded_us, len(name)) + name + state_digest


def leaf_hash(position: int, stream: bytes, version: int, recorded_us: int, topic: str, state: bytes) -> bytes:
    """The RFC 6962 leaf hash of a stored event; 32 bytes."""
    return leaf_of(entry(position, stream, version, recorded_us, topic, sha256(state).digest()))


def leaf_of(entry_bytes: bytes) -> bytes:
    """The RFC 6962 leaf hash of an entry; 32 bytes."""
    return sha256(b"\0" + entry_bytes).digest()


def chain_hash(previous: bytes, leaf: bytes) -> bytes:
    """The chain value of a line, from its predecessor's and its own leaf; 32 bytes."""
    return sha256(previous + leaf).digest()
