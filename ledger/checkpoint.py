"""Checkpoints: the ledger's size and root, signed (C2SP tlog-checkpoint, signed-note, tlog-cosignature; Ed25519).

A note is handled as bytes from the file to the signature and back, never re-made from what was understood of it.
What this module accepts is exactly one encoding of each thing: no other base64, no leading zeros, no carriage returns.
A signature by a key that was not asked for is passed over; a wrong one by the key that was asked for refuses the note.
"""

from __future__ import annotations

import re
import secrets
import struct
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Self

from ledger.clock import LATEST_US
from ledger.errors import OneCtlError
from ledger.merkle import HASH_SIZE

ED25519 = 0x01
"""Signature type of a log's own signature (C2SP signed-note)."""

COSIGNATURE = 0x04
"""Signature type of a witness's timestamped signature (C2SP tlog-cosignature)."""

MAX_NOTE = 1 << 20
MAX_SIGNATURES = 100

_PRIVATE = "PRIVATE+KEY+"
_DASH = "\u2014 ".encode()
_KEY_SIZE = 32
_SIGNATURE_SIZE = 64
_TIME = struct.Struct(">Q")
_DECIMAL = re.compile(rb"0|[1-9][0-9]{0,18}")
_CONTROL = re.compile(rb"[\x00-\x09\x0b-\x1f]")
_KEY_HINT = "A verifier key reads NAME+8 hex digits+BASE64. The ledger's own is recorded at its position 1."


class CheckpointError(OneCtlError):
    """A checkpoint, a signature or a key is not what it should be."""


class KeyMissingError(CheckpointError):
    """The signing key is not on this machine."""


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """The public half of a key (C2SP signed-note, "Verifier keys").

    Attributes:
        name: Whose it is; for a ledger's key its origin.
        public: The Ed25519 public key, 32 bytes.
        algorithm: `ED25519` or `COSIGNATURE`.
    """

    name: str
    public: bytes
    algorithm: int = ED25519

    @property
    def key_id(self) -> bytes:
        """The first four bytes of the SHA-256 of name, newline, algorithm and key."""
        return sha256(f"{self.name}\n".encode() + self._material()).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{b64encode(self._material()).decode()}"

    def _material(self) -> bytes:
        return bytes([self.algorithm]) + self.public

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether this key made the signature (Ed25519, 64 bytes) over just this message."""
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True

    @classmethod
    def parse(cls, text: str) -> Self:
        """A key from its text form.

        Raises:
            CheckpointError: It is not a key, or of an algorithm other than Ed25519.
        """
        name, key_id, material = _key_parts(text, "verifier key")
        key = cls(name, material[1:], material[0])
        if key.key_id != key_id:
            raise CheckpointError("the verifier key was damaged: its hash does not fit", hint=_KEY_HINT)
        return key


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The private half of a key, as it is kept in a file: ``PRIVATE+KEY+name+hash+base64``.

    Attributes:
        name: Whose it is.
        seed: The Ed25519 private key, 32 bytes; never shown.
        algorithm: `ED25519` to sign as a ledger, `COSIGNATURE` to sign as a witness.
    """

    name: str
    seed: bytes = field(repr=False)
    algorithm: int = ED25519

    @classmethod
    def generate(cls, name: str, algorithm: int = ED25519) -> Self:
        """A new key. One key has one name and one use: a cosignature does not cover the name it is made under."""
        return cls(name, secrets.token_bytes(_KEY_SIZE), algorithm)

    @classmethod
    def parse(cls, text: str) -> Self:
        """A key from its text form; errors never show any of it.

        Raises:
            CheckpointError: It is not a key.
        """
        if not text.startswith(_PRIVATE):
            raise CheckpointError("this is not a signing key", hint="The file holds one line: PRIVATE+KEY+...")
        name, key_id, material = _key_parts(text.removeprefix(_PRIVATE), "signing key")
        key = cls(name, material[1:], material[0])
        if key.verifier.key_id != key_id:
            raise CheckpointError(
                "the signing key was damaged: its hash does not fit", hint="Restore it from a backup."
            )
        return key

    @property
    def verifier(self) -> VerifierKey:
        """The public half."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

        public = Ed25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw()
        return VerifierKey(self.name, public, self.algorithm)

    def to_text(self) -> str:
        """The line to keep in a file of mode 0600."""
        material = b64encode(bytes([self.algorithm]) + self.seed).decode()
        return f"{_PRIVATE}{self.name}+{self.verifier.key_id.hex()}+{material}\n"

    def sign(self, message: bytes) -> bytes:
        """The signature over these bytes (Ed25519, 64 bytes). What each use signs begins with a line of its own."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

        return Ed25519PrivateKey.from_private_bytes(self.seed).sign(message)

    def signature_line(self, message: bytes, *, stamp: bytes = b"") -> bytes:
        """A note's signature line over these bytes; a time stamp goes before the signature."""
        encoded = b64encode(self.verifier.key_id + stamp + self.sign(message))
        return _DASH + self.name.encode() + b" " + encoded + b"\n"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What is signed (C2SP tlog-checkpoint, "Note text").

    Attributes:
        origin: Which log.
        size: How many leaves; the ledger's newest position.
        root: The tree's root at that size, 32 bytes.
        extensions: Further lines; other logs may have them, ours has none.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def body(self) -> bytes:
        """The text that is signed."""
        lines = (self.origin, str(self.size), b64encode(self.root).decode(), *self.extensions)
        return "".join(f"{line}\n" for line in lines).encode()

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """A checkpoint from its text; whether it is signed is another question.

        Raises:
            CheckpointError: The text is not a checkpoint.
        """
        lines = body.split(b"\n")
        if len(lines) < 4 or lines.pop() or not all(lines):
            raise CheckpointError("a checkpoint has three lines: origin, size and root")
        origin, size, root, *extensions = lines
        if not origin.decode().isprintable():  # it is shown to people, even if the checkpoint is refused
            raise CheckpointError("the checkpoint's origin holds characters that cannot be shown")
        extra = tuple(line.decode() for line in extensions)
        return cls(origin.decode(), parse_decimal(size, "the size"), parse_hash(root, "the root"), extra)


def load_signing_key(path: Path) -> SigningKey:
    """The signing key in a file, such as `ledger.keys.KeyFiles.signing_path` names.

    Raises:
        KeyMissingError: There is no file.
        CheckpointError: It cannot be read, or it holds something else.
    """
    try:
        kept = path.read_bytes()
    except FileNotFoundError:
        raise KeyMissingError(
            f"there is no signing key {path}",
            hint="Only the machine that made the ledger has it; ONECTL_SIGNING_KEY names it elsewhere.",
        ) from None
    except OSError as error:
        raise CheckpointError(f"the signing key {path} cannot be read: {error.strerror}") from error
    if not kept.isascii():
        raise CheckpointError(f"{path} is not a signing key", hint="The file holds one line: PRIVATE+KEY+...")
    return SigningKey.parse(kept.decode().strip())


def sign(checkpoint: Checkpoint, key: SigningKey) -> bytes:
    """The checkpoint as a note signed by its ledger (C2SP signed-note).

    Raises:
        CheckpointError: The key is not the ledger's.
    """
    if key.algorithm != ED25519 or key.name != checkpoint.origin:
        raise CheckpointError(f"the key of {key.name} does not sign for {checkpoint.origin}")
    body = checkpoint.body()
    return body + b"\n" + key.signature_line(body)


def open_note(note: bytes, key: VerifierKey) -> Checkpoint:
    """The checkpoint in a note that was signed by this key, which must be the one of the checkpoint's origin.

    Raises:
        CheckpointError: It is not a note or not a checkpoint, not signed by the key, or signed wrongly.
    """
    checkpoint, body, signatures = _read(note)
    if key.algorithm != ED25519:
        raise CheckpointError("this is a witness's key; a checkpoint is signed by its ledger", hint=_KEY_HINT)
    if checkpoint.origin != key.name:
        raise CheckpointError(
            f"the checkpoint is about {checkpoint.origin}, the key belongs to {key.name}",
            hint="Name the checkpoint and the key of the same ledger.",
        )
    ours = list(_by(key, signatures))
    if not ours:
        raise CheckpointError(f"the checkpoint is not signed by the given key of {key.name}")
    if not all(key.verifies(signature, body) for signature in ours):
        raise CheckpointError("the signature is wrong: the checkpoint was changed after it was signed")
    return checkpoint


def unverified(note: bytes) -> Checkpoint:
    """The checkpoint in a note, its signatures left unchecked: to learn which key to ask for.

    Raises:
        CheckpointError: It is not a note, or not a checkpoint.
    """
    return _read(note)[0]


def cosign(note: bytes, key: SigningKey, *, seconds: int) -> bytes:
    """The note with a witness's line added (C2SP tlog-cosignature), instead of an older one by the same key.

    Args:
        note: A checkpoint that the witness has found consistent with all it saw before.
        key: The witness's key.
        seconds: When, in seconds since 1970-01-01 UTC.

    Raises:
        CheckpointError: The key is not a witness's, or the note is none, or has too many signatures already.
    """
    if key.algorithm != COSIGNATURE:
        raise CheckpointError("this is a ledger's key; a witness signs with a key of its own")
    _, body, signatures = _read(note)
    lines = [_line(name, value) for name, value in signatures if not _is_by(key.verifier, name, value)]
    lines.append(key.signature_line(_cosigned(body, seconds), stamp=_TIME.pack(seconds)))
    cosigned = body + b"\n" + b"".join(lines)
    _read(cosigned)  # who sent it may have left no room
    return cosigned


def cosigned_at(note: bytes, key: VerifierKey) -> int | None:
    """When this witness signed the note, in seconds since 1970-01-01 UTC; None if it did not.

    Raises:
        CheckpointError: There is a line by this witness, and it is wrong; or the key is not a witness's.
    """
    if key.algorithm != COSIGNATURE:
        raise CheckpointError(f"the key of {key.name} is a ledger's; a witness signs with a key of its own")
    _, body, signatures = _read(note)
    times = []
    for value in _by(key, signatures):
        if len(value) != _TIME.size + _SIGNATURE_SIZE:
            raise CheckpointError(f"the cosignature of {key.name} has the wrong length")
        (seconds,) = _TIME.unpack_from(value)
        if seconds > LATEST_US // 1_000_000 or not key.verifies(value[_TIME.size :], _cosigned(body, seconds)):
            raise CheckpointError(f"the cosignature of {key.name} is wrong")
        times.append(seconds)
    return max(times, default=None)


def witnessed(note: bytes, witnesses: Sequence[VerifierKey]) -> tuple[tuple[str, int], ...]:
    """The name of each of these witnesses, and when it signed the note, in seconds since 1970-01-01 UTC.

    Raises:
        CheckpointError: One of them did not sign it, or wrongly.
    """
    times = [(witness.name, cosigned_at(note, witness)) for witness in witnesses]
    missing = next((name for name, seconds in times if seconds is None), None)
    if missing is not None:
        raise CheckpointError(
            f"the checkpoint is not cosigned by the given key of {missing}",
            hint="Make the proof with the checkpoint that the witness gave back: 1ctl audit prove --checkpoint FILE",
        )
    return tuple((name, seconds) for name, seconds in times if seconds is not None)


def unknown_signatures(note: bytes, keys: Sequence[VerifierKey]) -> int:
    """How many of the note's signatures are by none of these keys, so that nobody can say what they are worth.

    Raises:
        CheckpointError: It is not a note.
    """
    return sum(not any(_is_by(key, name, value) for key in keys) for name, value in _read(note)[2])


def parse_decimal(text: bytes, what: str) -> int:
    """A number as C2SP writes it: ASCII digits, no leading zero, below 2**63.

    Raises:
        CheckpointError: It is written otherwise.
    """
    if not _DECIMAL.fullmatch(text) or (number := int(text)) >= 1 << 63:
        raise CheckpointError(f"{what} is not a decimal number")
    return number


def parse_hash(text: bytes, what: str) -> bytes:
    """A SHA-256 hash from base64.

    Raises:
        CheckpointError: It is not one.
    """
    value = parse_base64(text, what)
    if len(value) != HASH_SIZE:
        raise CheckpointError(f"{what} is not {HASH_SIZE} bytes long")
    return value


def parse_base64(text: bytes, what: str) -> bytes:
    """Bytes from standard base64 (RFC 4648, section 4), in the one form that an encoder gives.

    Raises:
        CheckpointError: It is not.
    """
    try:
        value = b64decode(text, validate=True)
    except (Base64Error, ValueError):
        value = None
    # Several texts decode to the same bytes, and a signed thing should have one form.
    if value is None or b64encode(value) != text:
        raise CheckpointError(f"{what} is not base64")
    return value


_Signatures = list[tuple[str, bytes]]  # key name; key id and signature


def _read(note: bytes) -> tuple[Checkpoint, bytes, _Signatures]:
    if len(note) > MAX_NOTE:
        raise CheckpointError(f"the checkpoint is larger than {MAX_NOTE} bytes")
    _check_text(note)
    text, blank, lines = note.rpartition(b"\n\n")
    if not blank or not lines.endswith(b"\n"):
        raise CheckpointError("this is not a signed checkpoint: no blank line before the signatures, or it was cut off")
    signatures = [_signature(line) for line in lines[:-1].split(b"\n")]
    if len(signatures) > MAX_SIGNATURES:
        raise CheckpointError(f"the checkpoint has more than {MAX_SIGNATURES} signatures")
    return Checkpoint.parse(text + b"\n"), text + b"\n", signatures


def _check_text(note: bytes) -> None:
    try:
        note.decode()
    except UnicodeDecodeError:
        raise CheckpointError("the checkpoint is not text in UTF-8") from None
    if _CONTROL.search(note):
        raise CheckpointError("the checkpoint holds control characters", hint="Was it copied with other line endings?")


def _signature(line: bytes) -> tuple[str, bytes]:
    name, space, value = line.removeprefix(_DASH).partition(b" ")
    if not line.startswith(_DASH) or not space or not _is_name(name.decode()):
        raise CheckpointError("a signature line is malformed")
    signature = parse_base64(value, "a signature")
    if len(signature) <= 4:
        raise CheckpointError("a signature line is malformed")
    return name.decode(), signature


def _line(name: str, value: bytes) -> bytes:
    return _DASH + name.encode() + b" " + b64encode(value) + b"\n"


def _is_by(key: VerifierKey, name: str, value: bytes) -> bool:
    return name == key.name and value[:4] == key.key_id


def _by(key: VerifierKey, signatures: _Signatures) -> Iterator[bytes]:
    return (value[4:] for name, value in signatures if _is_by(key, name, value))


def _cosigned(body: bytes, seconds: int) -> bytes:
    return f"cosignature/v1\ntime {seconds}\n".encode() + body


def _is_name(name: str) -> bool:
    return bool(name) and "+" not in name and not any(character.isspace() for character in name)


def _key_parts(text: str, what: str) -> tuple[str, bytes, bytes]:
    """Name, key id, and algorithm with key."""
    name, _, rest = text.partition("+")
    key_id, _, encoded = rest.partition("+")
    if not _is_name(name) or not name.isprintable() or not re.fullmatch("[0-9a-f]{8}", key_id) or not encoded.isascii():
        raise CheckpointError(f"this is not a {what}", hint=_KEY_HINT)
    material = parse_base64(encoded.encode(), f"the {what}")
    if len(material) != 1 + _KEY_SIZE or material[0] not in {ED25519, COSIGNATURE}:
        raise CheckpointError(f"the {what} is not an Ed25519 key", hint=_KEY_HINT)
    return name, bytes.fromhex(key_id), material
