"""The key files of one user or one worker: the effects identity, and the signing key of each ledger.

Files are made once, mode 0600, and synced before anything refers to them. They are never in a database.
"""

from __future__ import annotations

import os
import secrets
from base64 import b64decode, b64encode
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from ledger import sealing
from ledger.durable_files import make_directory, sync_directory
from ledger.errors import OneCtlError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_IDENTITY = "1CTL-IDENTITY-1"
_SIGNING = "PRIVATE+KEY"
_ED25519 = b"\x01"  # the algorithm byte of a C2SP signed-note key


class KeyFileError(OneCtlError):
    """A key file cannot be read or made, or holds something else."""


class KeyFiles:
    """Where keys lie.

    Args:
        directory: Made on first use, mode 0700.
        identity: File of the effects identity if it is not in the directory (``ONECTL_IDENTITY``).
        signing: File of the signing key if it is not in the directory (``ONECTL_SIGNING_KEY``).
    """

    def __init__(self, directory: Path, *, identity: Path | None = None, signing: Path | None = None) -> None:
        self._directory = directory
        self._identity = identity or directory / "identity.key"
        self._signing = signing

    def identity_private(self) -> bytes | None:
        """The private half of the effects identity, 32 bytes, or None where this machine does not hold it."""
        text = _read(self._identity)
        if text is None:
            return None
        kind, _, key = text.strip().partition(" ")
        if kind != _IDENTITY:
            raise KeyFileError(f"{self._identity} is not an effects identity", hint="Name the right file.")
        return _key_bytes(key, self._identity)

    def make_identity(self) -> str:
        """The public half of the effects identity, base64; made if there is none yet."""
        private = self.identity_private()
        if private is None:
            private, _ = sealing.generate()
            if not _write_once(self._identity, f"{_IDENTITY} {b64encode(private).decode()}\n"):
                return self.make_identity()  # another process was first; theirs counts
        return sealing.public_half(private)

    def make_signing_key(self, ledger_id: str, origin: str) -> str:
        """Make the ledger's signing key, Ed25519, and return its C2SP verifier key ``origin+hash+base64``.

        A key that the named file holds already (``ONECTL_SIGNING_KEY``) is used: under its new origin it is another
        verifier key, and what nobody can sign with must not get into the ledger.
        """
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

        path = self.signing_path(ledger_id)
        key = Ed25519PrivateKey.generate()
        public, digest = _verifier(key, origin)
        private = b64encode(_ED25519 + key.private_bytes_raw()).decode()
        if not _write_once(path, f"{_SIGNING}+{origin}+{digest}+{private}\n"):
            public, digest = _verifier(Ed25519PrivateKey.from_private_bytes(_signing_private(path)), origin)
        return f"{origin}+{digest}+{b64encode(public).decode()}"

    def forget_signing_key(self, ledger_id: str) -> None:
        """Remove a signing key whose ledger did not come to be, unless its file was named: it may serve others."""
        if self._signing is not None:
            return
        with suppress(FileNotFoundError):
            self.signing_path(ledger_id).unlink()

    def signing_path(self, ledger_id: str) -> Path:
        """The file of a ledger's signing key."""
        return self._signing or self._directory / f"{ledger_id}.signing.key"


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise KeyFileError(f"the key file {path} cannot be read: {error}") from error


def _key_bytes(text: str, path: Path, *, prefix: bytes = b"") -> bytes:
    """The 32 bytes of a private key, behind a prefix."""
    try:
        decoded = b64decode(text, validate=True)
    except ValueError:
        decoded = b""
    if len(decoded) != len(prefix) + 32 or not decoded.startswith(prefix):
        # Without "from" and without the text: what was read may be a key.
        raise KeyFileError(f"the key in {path} is damaged", hint="Restore the file from a copy.")
    return decoded.removeprefix(prefix)


def _signing_private(path: Path) -> bytes:
    kind, _, rest = (_read(path) or "").strip().partition(f"{_SIGNING}+")
    if kind or rest.count("+") < 2:
        raise KeyFileError(f"{path} is not a signing key", hint="Name the right file, or one that is not there yet.")
    return _key_bytes(rest.split("+", 2)[2], path, prefix=_ED25519)


def _verifier(key: Ed25519PrivateKey, origin: str) -> tuple[bytes, str]:
    """The public key with its algorithm byte, and the C2SP key hash."""
    public = _ED25519 + key.public_key().public_bytes_raw()
    return public, sha256(f"{origin}\n".encode() + public).digest()[:4].hex()


def _write_once(path: Path, text: str) -> bool:
    """Whether the file was made by this call: complete and on disk, or not at all."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        make_directory(path.parent)
        descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.link(draft, path)
        finally:
            draft.unlink()
        sync_directory(path.parent)
    except FileExistsError:
        return False
    except OSError as error:
        raise KeyFileError(f"the key file {path} cannot be made: {error.strerror}") from error
    return True
