# ruff: noqa: INP001, T201 - a program of one file, to be copied alone, that speaks on standard output
"""Check a proof of a 1ctl ledger, without 1ctl and without the ledger.

    python verify_proof.py FILE --key VERIFIER_KEY [--witness VERIFIER_KEY]... [--event FILE]

Needs Python 3.11 and the package `cryptography`. Take the verifier key (NAME+8 hex digits+BASE64) from whoever runs
the ledger or from your own records, and those of witnesses from them, never from where the proof came from. Exit code 0:
proved. 1: not proved, and why. 2: the command line cannot be understood.

The formats are described in proof.md beside this file. This program shares no code with 1ctl, so that the two can be
compared; it is short enough to be read before it is trusted.
"""

from __future__ import annotations

import argparse
import base64
import re
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from uuid import UUID

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

NUMBER = r"(?:0|[1-9][0-9]{0,18})"
BASE64 = r"[A-Za-z0-9+/]+={0,2}"
HASH = r"[A-Za-z0-9+/]{43}="
TEXT = r"[^\x00-\x1f]+"

PROOF = re.compile(
    rf"c2sp\.org/tlog-proof@v1\n"
    rf"extra (?P<entry>{BASE64})\n"
    rf"index (?P<index>{NUMBER})\n"
    rf"(?P<path>(?:{HASH}\n){{0,63}})"
    rf"\n"
    rf"(?P<signed>(?P<origin>{TEXT})\n(?P<size>{NUMBER})\n(?P<root>{HASH})\n(?:{TEXT}\n)*)"
    rf"\n"
    rf"(?P<signatures>(?:\u2014 [^\s\x00-\x1f+]+ {BASE64}\n){{1,100}})"
)
KEY = re.compile(rf"(?P<name>[^\s\x00-\x1f+]+)\+(?P<id>[0-9a-f]{{8}})\+(?P<material>{BASE64})")
TOPIC = re.compile(r"[A-Za-z][A-Za-z0-9]{0,63}")
ENTRY_HEAD = 42  # bytes before the topic
LEDGER, WITNESS = 1, 4  # the first byte of a key
LATEST = 253_402_300_799  # the last second of the year 9999


class NotProvedError(Exception):
    """Why not."""


@dataclass
class Key:
    """Whose key it is, its id in signatures, and the Ed25519 public key."""

    name: str
    key_id: bytes
    public: bytes


@dataclass
class Event:
    """What the ledger recorded about one event."""

    position: int
    stream: UUID
    version: int
    recorded: datetime
    topic: str
    digest: bytes


def main() -> int:
    """Read the arguments, check, say what is proved."""
    parser = argparse.ArgumentParser(description="Check a proof of a 1ctl ledger, without the ledger.")
    parser.add_argument("file", type=Path, help="the proof")
    parser.add_argument("--key", required=True, help="the ledger's verifier key: NAME+8 hex digits+BASE64")
    parser.add_argument(
        "--witness", action="append", default=[], help="a witness's verifier key; it must have cosigned"
    )
    parser.add_argument("--event", type=Path, help="a file with the bytes of the event, exactly as recorded")
    given = parser.parse_args()
    for option, text in [("--key", given.key), *(("--witness", each) for each in given.witness)]:
        if not KEY.fullmatch(text):
            parser.error(
                f'{option} takes the key itself, which reads NAME+8 hex digits+BASE64, not a file: {option} "$(cat FILE)"'
            )
    try:
        state = given.event.read_bytes() if given.event else None
        text, key = given.file.read_bytes(), read_key(given.key)
        event, size, origin = check(text, key, state)
        witnesses = [read_key(each, WITNESS) for each in given.witness]
        times = [(witness.name, cosigned_at(text, witness)) for witness in witnesses]
    except NotProvedError as error:
        print(f"NOT PROVED: {error}.")
        return 1
    except OSError as error:
        print(f"NOT PROVED: {error.filename} cannot be read: {error.strerror}.")
        return 1
    report(event, size, origin, has_state=state is not None)
    report_witnesses(times, unknown(text, [key, *witnesses]))
    return 0


def check(text: bytes, key: Key, state: bytes | None) -> tuple[Event, int, str]:
    """The event, the ledger's size and its name, once they are proved."""
    proof = match(text)
    size, index = int(proof["size"]), int(proof["index"])
    if size >= 1 << 63 or index >= 1 << 63:
        raise NotProvedError("a number in the proof is out of range")
    if proof["origin"] != key.name:
        raise NotProvedError(f"the proof is about the ledger {proof['origin']}, the key belongs to {key.name}")
    check_signature(proof["signed"].encode(), proof["signatures"], key)
    entry = unbase64(proof["entry"])
    event = read_entry(entry)
    if event.position != index + 1:
        raise NotProvedError(f"the entry is for position {event.position}, the proof for position {index + 1}")
    path = [unbase64(line) for line in proof["path"].split()]
    if root_of(sha256(b"\x00" + entry).digest(), index, size, path) != unbase64(proof["root"]):
        raise NotProvedError("the entry does not lead to the signed root: it is not in the ledger as it was signed")
    if state is not None and sha256(state).digest() != event.digest:
        raise NotProvedError("the event file does not hold the bytes that were recorded")
    return event, size, proof["origin"]


def match(text: bytes) -> re.Match[str]:
    """The parts of a proof."""
    try:
        found = PROOF.fullmatch(text.decode())
    except UnicodeDecodeError:
        found = None
    if found is None or not found["origin"].isprintable():
        raise NotProvedError("the file is not a proof of a 1ctl ledger, or it was damaged")
    return found


def read_key(text: str, kind: int = LEDGER) -> Key:
    """A verifier key in the form of C2SP signed-note, of a ledger or of a witness."""
    found = KEY.fullmatch(text)
    if found is None or not found["name"].isprintable():
        raise NotProvedError(f"the key {text!r} does not read NAME+8 hex digits+BASE64")
    material = unbase64(found["material"])
    if len(material) != 33 or material[0] != kind:
        holder = "ledger" if kind == LEDGER else "witness"
        raise NotProvedError(f"the key of {found['name']} is not the Ed25519 key of a {holder}")
    key_id = sha256(found["name"].encode() + b"\n" + material).digest()[:4]
    if key_id.hex() != found["id"]:
        raise NotProvedError(f"the key of {found['name']} was damaged: its hash does not fit")
    return Key(found["name"], key_id, material[1:])


def check_signature(signed: bytes, lines: str, key: Key) -> None:
    """At least one line by the key, and none by the key that is wrong."""
    signatures = [value[4:] for name, value in read_signatures(lines) if is_by(key, name, value)]
    if not signatures:
        raise NotProvedError(f"the checkpoint is not signed by the given key of {key.name}")
    if not all(verifies(key, signature, signed) for signature in signatures):
        raise NotProvedError("the signature is wrong: the checkpoint was changed after it was signed")


def cosigned_at(text: bytes, witness: Key) -> datetime:
    """When a witness signed the proof's checkpoint (C2SP tlog-cosignature); none of its lines may be wrong."""
    proof = match(text)
    times = []
    for name, value in read_signatures(proof["signatures"]):
        if is_by(witness, name, value):
            seconds, signature = int.from_bytes(value[4:12], "big"), value[12:]
            signed = f"cosignature/v1\ntime {seconds}\n{proof['signed']}".encode()
            if len(value) != 4 + 8 + 64 or seconds > LATEST or not verifies(witness, signature, signed):
                raise NotProvedError(f"the cosignature of {witness.name} is wrong")
            times.append(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds))
    if not times:
        raise NotProvedError(f"the checkpoint is not cosigned by the given key of {witness.name}")
    return max(times)


def unknown(text: bytes, keys: list[Key]) -> int:
    """How many signatures of the proof's checkpoint are by none of these keys."""
    signatures = read_signatures(match(text)["signatures"])
    return sum(not any(is_by(key, name, value) for key in keys) for name, value in signatures)


def read_signatures(lines: str) -> list[tuple[str, bytes]]:
    """Of each signature line the name, and the key's id with the signature."""
    pairs = [line[2:].split(" ") for line in lines.removesuffix("\n").split("\n")]
    values = [(name, unbase64(value)) for name, value in pairs]
    if any(len(value) <= 4 for _, value in values):
        raise NotProvedError("a signature line holds no signature")
    return values


def is_by(key: Key, name: str, value: bytes) -> bool:
    """Whether a signature line says that it is by this key."""
    return name == key.name and value[:4] == key.key_id


def verifies(key: Key, signature: bytes, message: bytes) -> bool:
    """Whether the key made this signature over just this message."""
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def read_entry(entry: bytes) -> Event:
    """The fields of an entry; all numbers are big-endian."""
    try:
        recorded = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(
            microseconds=int.from_bytes(entry[32:40], "big", signed=True)
        )
        event = Event(
            position=int.from_bytes(entry[0:8], "big"),
            stream=UUID(bytes=entry[8:24]),
            version=int.from_bytes(entry[24:32], "big"),
            recorded=recorded,
            topic=entry[ENTRY_HEAD:-32].decode(),
            digest=entry[-32:],
        )
    except (ValueError, OverflowError):
        raise NotProvedError("the entry is not one of a 1ctl ledger") from None
    length = int.from_bytes(entry[40:ENTRY_HEAD], "big")
    if len(entry) != ENTRY_HEAD + length + 32 or not TOPIC.fullmatch(event.topic):
        raise NotProvedError("the entry is not one of a 1ctl ledger")
    return event


def root_of(node: bytes, index: int, size: int, path: list[bytes]) -> bytes:
    """The root that a leaf and its path lead to: RFC 6962, section 2.1.1, read backwards."""
    if not 0 <= index < size or (size == 1) != (not path):
        raise NotProvedError("the path does not have the length that its place in the tree needs")
    if size == 1:
        return node
    left = 1 << (size - 1).bit_length() - 1  # the largest power of two smaller than the size
    if index < left:
        return sha256(b"\x01" + root_of(node, index, left, path[:-1]) + path[-1]).digest()
    return sha256(b"\x01" + path[-1] + root_of(node, index - left, size - left, path[:-1])).digest()


def unbase64(text: str) -> bytes:
    """Bytes from base64 in the one form that an encoder gives."""
    try:
        value = base64.b64decode(text, validate=True)
    except ValueError:
        value = None
    if value is None or base64.b64encode(value).decode() != text:
        raise NotProvedError("the proof or the key holds damaged base64")
    return value


def report(event: Event, size: int, origin: str, *, has_state: bool) -> None:
    """What is proved, and what is not."""
    print(f"PROVED: the event at position {event.position} is in the ledger {origin}")
    print(f"        as its key holder signed it when it had {size} events.")
    print(f"  what      {event.topic}")
    print(f"  stream    {event.stream}, its event number {event.version}")
    print(f"  recorded  {event.recorded.isoformat()} by the ledger's clock")
    print(f"  SHA-256   {event.digest.hex()}")
    if has_state:
        print("PROVED: the event file holds exactly the bytes that were recorded.")
    else:
        print("NOT CHECKED: what the event says. Give its bytes with --event.")
    print("NOT PROVED: that the clock was right, and that the ledger still holds the event.")


def report_witnesses(times: list[tuple[str, datetime]], others: int) -> None:
    """Who vouches that there is no other ledger of this name; if nobody, that this is not proved."""
    for name, time in times:
        print(f"PROVED: {name} cosigned the checkpoint at {time.isoformat()}")
        print("        and had seen no other ledger of that name until then.")
    if not times:
        print("NOT PROVED: that its key holder did not sign another ledger of the same name; see proof.md.")
    if others:
        print(f"NOT CHECKED: signatures by keys that were not given: {others}. See --witness.")


if __name__ == "__main__":
    sys.exit(main())
