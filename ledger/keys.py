"""The key files of one user or one worker: for each ledger its effects identity, and its signing key.

Files have mode 0600, and are complete and synced before anything refers to them. They are never in a database, and read
each time they are needed: another process may have replaced them.

A file of identities has one line a key: a word, the private half in base64, and the id of the ledger that it is for.
Several ledgers may share a file. More than one key of a ledger is in it while lives' keys are rewrapped, see
`ledger.rotation`, or where another copy of the ledger may need an older one. A line without an id is from before
ledgers had identities of their own; it counts for each of them.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ledger import sealing
from ledger.durable_files import make_directory, sync_directory, write_durably, write_once_durably
from ledger.errors import LedgerDamagedError, OneCtlError
from ledger.file_lock import FileLock

if TYPE_CHECKING:
    from ledger.checkpoint import SigningKey

_IDENTITY = "1CTL-IDENTITY-1"
_SHARED = "identity.key"  # of all ledgers, before each had a file of its own
_LOCK_SECONDS = 30.0


class KeyFileError(OneCtlError):
    """A key file cannot be read or made, or holds something else."""


class _Identity(NamedTuple):
    """One line of a file of identities; no ledger id means any ledger."""

    private: bytes
    ledger_id: str | None

    def serves(self, ledger_id: str) -> bool:
        """Whether it may open what is sealed for this ledger."""
        return self.ledger_id in (None, ledger_id)

    @property
    def public(self) -> str:
        return sealing.public_half(self.private)


class KeyFiles:
    """Where keys lie.

    Args:
        directory: Made on first use, mode 0700.
        identity: File of the effects identity if it is not in the directory (``ONECTL_IDENTITY``).
        signing: File of the signing key if it is not in the directory (``ONECTL_SIGNING_KEY``).
    """

    def __init__(self, directory: Path, *, identity: Path | None = None, signing: Path | None = None) -> None:
        self._directory = directory
        self._identity = identity
        self._signing = signing

    def identity_path(self, ledger_id: str) -> Path:
        """The file of a ledger's effects identity."""
        return self._identity or self._directory / f"{_name(ledger_id)}.identity.key"

    def identities(self, ledger_id: str) -> Sequence[str]:
        """The public halves, base64, of the identities that this machine holds for a ledger, the newest last.

        Raises:
            KeyFileError: The file cannot be read, or is not a file of identities.
        """
        return [each.public for each in self._held(ledger_id)]

    def own_identities(self, ledger_id: str) -> Sequence[str]:
        """Those of `identities` that were made for this ledger and serve no other.

        Raises:
            KeyFileError: The file cannot be read, or is not a file of identities.
        """
        return [each.public for each in self._held(ledger_id) if each.ledger_id == ledger_id]

    def identity_lines(self, ledger_id: str) -> Mapping[str, int]:
        """Which line of `identity_path`, from 1, each of `own_identities` that is there is on.

        Raises:
            KeyFileError: The file cannot be read, or is not a file of identities.
        """
        held = _numbered(self.identity_path(ledger_id))
        return {each.public: number for number, each in held if each.ledger_id == ledger_id}

    def identity_private(self, ledger_id: str, public: str) -> bytes | None:
        """The private half of an identity, 32 bytes, or None where this machine does not hold it.

        Raises:
            KeyFileError: The file cannot be read, or is not a file of identities.
        """
        return next((each.private for each in self._held(ledger_id) if each.public == public), None)

    def make_identity(self, ledger_id: str) -> str:
        """Make another identity for a ledger, beside those it has; its public half, base64.

        Raises:
            KeyFileError: The file cannot be written, or is not a file of identities.
        """
        with self.making_identity(ledger_id) as public:
            return public

    @contextmanager
    def making_identity(self, ledger_id: str) -> Iterator[str]:
        """`make_identity`, and a block during which no other process changes the file.

        Raises:
            KeyFileError: The file cannot be written, or is not a file of identities.
        """
        made = _Identity(sealing.generate()[0], ledger_id)
        path = self.identity_path(ledger_id).resolve()
        with _locked(path):
            _put(path, [*_identities(path), made])
            yield made.public

    def forget_identities(self, ledger_id: str, publics: Collection[str]) -> Sequence[str]:
        """Remove identities of a ledger from its file; those of them that are gone now.

        One that is kept for any ledger stays. May be repeated.

        Raises:
            KeyFileError: The file cannot be written, or is not a file of identities.
        """
        if not publics:
            return []
        path = self.identity_path(ledger_id).resolve()  # what a link leads to is replaced, not the link
        with _locked(path):
            held = _identities(path)
            going = [each for each in held if each.ledger_id == ledger_id and each.public in publics]
            if going:
                _put(path, [each for each in held if each not in going])
        return [each.public for each in going]

    def _held(self, ledger_id: str) -> Sequence[_Identity]:
        paths = [self._identity] if self._identity else [self._directory / _SHARED, self.identity_path(ledger_id)]
        return [each for path in paths for each in _identities(path) if each.serves(ledger_id)]

    def make_signing_key(self, ledger_id: str, origin: str) -> str:
        """Make the ledger's signing key, Ed25519, and return its C2SP verifier key ``origin+hash+base64``.

        A key that the named file holds already (``ONECTL_SIGNING_KEY``) is used: under its new origin it is another
        verifier key, and what nobody can sign with must not get into the ledger.

        Raises:
            KeyFileError: The file cannot be written, or what it holds cannot sign for a ledger.
        """
        from ledger.checkpoint import SigningKey  # noqa: PLC0415 - only a ledger's first write makes one

        path = self.signing_path(ledger_id)
        key = SigningKey.generate(origin)
        with _making(path):
            make_directory(path.parent)
            made = write_once_durably(path, key.to_text().encode())
        if not made:
            key = replace(_signing_key(path), name=origin)
        return str(key.verifier)

    def forget_signing_key(self, ledger_id: str) -> None:
        """Remove a signing key whose ledger did not come to be, unless its file was named: it may serve others."""
        if self._signing is not None:
            return
        with suppress(FileNotFoundError):
            self.signing_path(ledger_id).unlink()

    def signing_path(self, ledger_id: str) -> Path:
        """The file of a ledger's signing key."""
        return self._signing or self._directory / f"{_name(ledger_id)}.signing.key"


def _name(ledger_id: str) -> str:
    """The id, which comes from a ledger and becomes the name of a file."""
    if not re.fullmatch(r"[0-9A-Za-z-]+", ledger_id):
        raise LedgerDamagedError("the ledger's id is not a UUID")
    return ledger_id


def _identities(path: Path) -> Sequence[_Identity]:
    """The lines of a file of identities; none if there is no file."""
    return [each for _, each in _numbered(path)]


def _numbered(path: Path) -> Sequence[tuple[int, _Identity]]:
    """`_identities`, each with the number of its line."""
    text = _read(path)
    if text is None:
        return []
    lines = [(number, line.split()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines or any(words[0] != _IDENTITY for _, words in lines):
        raise KeyFileError(f"{path} is not an effects identity", hint="Name the right file.")
    return [(number, _identity(words[1:], path)) for number, words in lines]


def _identity(words: Sequence[str], path: Path) -> _Identity:
    private = _key_bytes(words[0] if words else "", path)
    if len(words) > 2:
        raise KeyFileError(f"the key in {path} is damaged", hint="Restore the file from a copy.")
    return _Identity(private, words[1] if len(words) == 2 else None)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """A block during which no other process changes the key files of a directory."""
    lock = FileLock(path.parent / ".lock")
    with _making(path):
        make_directory(path.parent)
        acquired = lock.acquire(_LOCK_SECONDS)
    if not acquired:
        raise KeyFileError(f"the key file {path} is locked by another process", hint="Try again when it is done.")
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _making(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise KeyFileError(f"the key file {path} cannot be made: {error.strerror}") from error


def _put(path: Path, identities: Sequence[_Identity]) -> None:
    """Write a file of identities while nobody else does, complete and on disk or not at all; without any, remove it."""
    words = ((_IDENTITY, b64encode(each.private).decode(), each.ledger_id) for each in identities)
    lines = "".join(" ".join(filter(None, line)) + "\n" for line in words)
    with _making(path):
        if lines:
            write_durably(path, lines.encode(), alone=True)
        else:
            path.unlink(missing_ok=True)
            sync_directory(path.parent)


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise KeyFileError(f"the key file {path} cannot be read: {error}") from error


def _key_bytes(text: str, path: Path) -> bytes:
    """The 32 bytes of a private key."""
    try:
        decoded = b64decode(text, validate=True)
    except ValueError:
        decoded = b""
    if len(decoded) != 32:
        # Without "from" and without the text: what was read may be a key.
        raise KeyFileError(f"the key in {path} is damaged", hint="Restore the file from a copy.")
    return decoded


def _signing_key(path: Path) -> SigningKey:
    """The key of a file that was there before its ledger."""
    from ledger.checkpoint import ED25519, CheckpointError, load_signing_key  # noqa: PLC0415

    hint = "Name the right file, or one that is not there yet."
    try:
        key = load_signing_key(path)
    except CheckpointError as error:
        raise KeyFileError(f"a ledger cannot be signed with {path}: {error.message}", hint=hint) from error
    if key.algorithm != ED25519:
        raise KeyFileError(f"a ledger cannot be signed with {path}: it is the key of a witness", hint=hint)
    return key
