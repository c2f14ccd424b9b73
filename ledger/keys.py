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

from ledger import sealing
from ledger.errors import OneCtlError

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
        return b64decode(key)

    def make_identity(self) -> str:
        """The public half of the effects identity, base64; made if there is none yet."""
        private = self.identity_private()
        if private is None:
            private, _ = sealing.generate()
            if not _write_once(self._identity, f"{_IDENTITY} {b64encode(private).decode()}\n"):
                return self.make_identity()  # another process was first; theirs counts
        return sealing.public_half(private)

    def make_signing_key(self, ledger_id: str, origin: str) -> str:
        """Make the ledger's signing key, Ed25519, and return its C2SP verifier key ``origin+hash+base64``."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

        key = Ed25519PrivateKey.generate()
        public = _ED25519 + key.public_key().public_bytes_raw()
        digest = sha256(f"{origin}\n".encode() + public).digest()[:4].hex()
        private = b64encode(_ED25519 + key.private_bytes_raw()).decode()
        _write_once(self.signing_path(ledger_id), f"{_SIGNING}+{origin}+{digest}+{private}\n")
        return f"{origin}+{digest}+{b64encode(public).decode()}"

    def forget_signing_key(self, ledger_id: str) -> None:
        """Remove a signing key whose ledger did not come to be."""
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


def _write_once(path: Path, text: str) -> bool:
    """Whether the file was made by this call: complete and on disk, or not at all."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.link(draft, path)
        finally:
            draft.unlink()
        _sync(path.parent)
    except FileExistsError:
        return False
    except OSError as error:
        raise KeyFileError(f"the key file {path} cannot be made: {error.strerror}") from error
    return True


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
