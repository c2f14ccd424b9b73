"""Sealing secrets: HPKE (RFC 9180, base mode, X25519, HKDF-SHA256, ChaCha20-Poly1305).

Three steps keep values out of the log and out of reach:

* The effects identity is a key pair; its private half is a file (`ledger.keys`), its public half is in the ledger.
* Each life has a key pair of its own: the public half is in its first `Deployed`, the private half is stored wrapped,
  that is sealed to the effects identity. Destroying the life deletes the wrapped key.
* Each value is sealed to its life's key, bound to life, key and version, so that nobody can pass one off as another.

So whoever can append may set a secret, and only the holder of the identity can read it.
"""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING

from ledger.errors import SealedError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.hpke import Suite

OVERHEAD = 48
"""Bytes a ciphertext is longer than its plaintext: the encapsulated key and the tag."""

# `cryptography` is imported by the functions that need it: most commands seal and open nothing.


@cache
def _suite() -> Suite:
    from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite  # noqa: PLC0415

    return Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)


def generate() -> tuple[bytes, str]:
    """A new key pair: the private half as 32 bytes, the public half as base64."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey  # noqa: PLC0415

    private = X25519PrivateKey.generate().private_bytes_raw()
    return private, public_half(private)


def public_half(private: bytes) -> str:
    """The public key, base64, of a private one."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey  # noqa: PLC0415

    return b64encode(X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()).decode()


def identity_fingerprint(public: str) -> str:
    """The first 16 hex digits of the SHA-256 of an identity's public key (base64): short enough to compare by eye.

    Raises:
        ValueError: It is not base64.
    """
    return sha256(b64decode(public, validate=True)).hexdigest()[:16]


def wrap(life_private: bytes, deployment_id: str, identity: str) -> bytes:
    """A life's private key, sealed to an effects identity (public key, base64)."""
    return _seal(life_private, identity, _context("life", deployment_id))


def unwrap(wrapped: bytes, deployment_id: str, identity_private: bytes) -> bytes:
    """A life's private key again.

    Raises:
        SealedError: It was not sealed to this identity, or not for this life.
    """
    return _open(wrapped, identity_private, _context("life", deployment_id))


def seal_value(value: bytes, deployment_id: str, key: str, version: int, life_public: str) -> bytes:
    """A secret value, sealed to its life; `OVERHEAD` bytes longer than the value."""
    return _seal(value, life_public, _context("value", deployment_id, key, str(version)))


def open_value(ciphertext: bytes, deployment_id: str, key: str, version: int, life_private: bytes) -> bytes:
    """A secret value again.

    Raises:
        SealedError: It was not sealed to this life under this key and version.
    """
    return _open(ciphertext, life_private, _context("value", deployment_id, key, str(version)))


def fingerprint(value: bytes, life_private: bytes) -> str:
    """Sixteen hex digits that tell equal values of one life from others, and say nothing else about them."""
    key = sha256(b"1ctl fingerprint\0" + life_private).digest()
    return hmac.digest(key, value, "sha256").hex()[:16]


def _context(*parts: str) -> bytes:
    """What a ciphertext is bound to (HPKE's ``info``); NUL can be in none of the parts."""
    return "\0".join(("1ctl", *parts)).encode()


def _seal(plaintext: bytes, public: str, context: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey  # noqa: PLC0415

    return _suite().encrypt(plaintext, X25519PublicKey.from_public_bytes(b64decode(public)), context)


def _open(ciphertext: bytes, private: bytes, context: bytes) -> bytes:
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey  # noqa: PLC0415

    try:
        return _suite().decrypt(ciphertext, X25519PrivateKey.from_private_bytes(private), context)
    except (InvalidTag, ValueError):
        # Without "from": what was to be opened belongs in no traceback.
        raise SealedError("a sealed value cannot be opened with the key at hand") from None
