"""The newest signed checkpoint of each ledger, and its epoch, as this machine last knew them; outside of the ledger.

They tell a ledger that was cut, changed or put back from one that grew, and keep the signing key from ever signing two
histories.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

from ledger.checkpoint import unverified
from ledger.durable_files import make_directory, sync_directory, write_durably
from ledger.errors import LedgerBusyError, LedgerDamagedError, LedgerUnavailableError
from ledger.file_lock import FileLock

_LOCK_SECONDS = 30.0
_EPOCH = re.compile(rb"[0-9]{1,18}\n?")


class KeptCheckpoints:
    """Where they lie.

    Args:
        directory: Made on first use, mode 0700.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def path(self, ledger_id: str) -> Path:
        """The file of a ledger's checkpoint."""
        return self._path(ledger_id, "checkpoint")

    def newest(self, ledger_id: str) -> bytes | None:
        """The newest signed checkpoint; None if none was kept."""
        return _read(self.path(ledger_id))

    def keep_next(
        self, ledger_id: str, sign: Callable[[bytes | None], bytes]
    ) -> tuple[bytes, LedgerUnavailableError | None]:
        """Sign a checkpoint after the newest one, and keep it unless that one is larger; no other process signs meanwhile.

        Args:
            ledger_id: Whose.
            sign: Makes it, signed, from the newest one; what it raises is passed on, and nothing is kept.

        Returns:
            The checkpoint, and why it could not be kept, if so.

        Raises:
            LedgerBusyError: Another process is signing.
            LedgerUnavailableError: The newest one cannot be read.
        """
        lock, path = FileLock(self._directory / ".lock"), self.path(ledger_id)
        try:
            make_directory(self._directory)
            acquired = lock.acquire(_LOCK_SECONDS)
        except OSError as error:  # no other process can keep one either
            newest = self.newest(ledger_id)
            note = sign(newest)
            return note, _unkept(path, error) if _is_newer(note, newest) else None
        if not acquired:
            raise LedgerBusyError("another process is signing or restoring on this machine", hint="Try again.")
        try:
            newest = self.newest(ledger_id)
            note = sign(newest)
            return note, self._failed(path, note) if _is_newer(note, newest) else None
        finally:
            lock.release()

    def set_aside(self, ledger_id: str, suffix: str) -> None:
        """Rename the kept checkpoint, since what it says was given up."""
        path = self.path(ledger_id)
        with _errors(path):
            if path.exists():
                path.rename(path.with_name(path.name + suffix))
                sync_directory(path.parent)

    def epoch(self, ledger_id: str) -> int:
        """The highest epoch that a restore gave the ledger here; 0 without any.

        Raises:
            LedgerUnavailableError: What is kept cannot be read, or is no number: an epoch might be given twice, and then
                fences nothing off.
        """
        path = self._path(ledger_id, "epoch")
        kept = _read(path)
        if kept is None:
            return 0
        if not _EPOCH.fullmatch(kept):
            raise LedgerUnavailableError(
                f"{path} holds no epoch: it was damaged",
                hint="Write the highest epoch into it that 'ledger restore' has named for this ledger, as a number.",
            )
        return int(kept)

    def next_epoch(self, ledger_id: str, known: int) -> int:
        """An epoch for a restore: after `known` and after all that restores have had here, and given only once.

        Raises:
            LedgerBusyError: Another process holds the lock.
            LedgerUnavailableError: The one before cannot be read, or this one cannot be kept.
        """
        path, lock = self._path(ledger_id, "epoch"), FileLock(self._directory / ".lock")
        with _errors(path):
            make_directory(self._directory)
            acquired = lock.acquire(_LOCK_SECONDS)
        if not acquired:
            raise LedgerBusyError("another process is signing or restoring on this machine", hint="Try again.")
        try:
            epoch = max(known, self.epoch(ledger_id)) + 1
            self._write(path, b"%d\n" % epoch)
            return epoch
        finally:
            lock.release()

    def tree(self, ledger_id: str) -> bytes | None:
        """The tree of hashes that proofs were last made from (`Tree.to_bytes`); None if none was kept."""
        return _read(self._path(ledger_id, "tree"))

    def keep_tree(self, ledger_id: str, tree: bytes) -> None:
        """Keep that tree. It is a cache, and may be removed at any time."""
        self._write(self._path(ledger_id, "tree"), tree)

    def _path(self, ledger_id: str, kind: str) -> Path:
        try:
            name = str(UUID(ledger_id))
        except ValueError:  # it comes from a ledger, and becomes the name of a file
            raise LedgerDamagedError("the ledger's id is not a UUID") from None
        return self._directory / f"{name}.{kind}"

    def _failed(self, path: Path, note: bytes) -> LedgerUnavailableError | None:
        """Why a checkpoint could not be kept, if so."""
        try:
            self._write(path, note)
        except LedgerUnavailableError as error:
            return error
        return None

    def _write(self, path: Path, content: bytes) -> None:
        with _errors(path):
            make_directory(path.parent)
            write_durably(path, content)


def _is_newer(note: bytes, kept: bytes | None) -> bool:
    return kept is None or unverified(kept).size < unverified(note).size


def _read(path: Path) -> bytes | None:
    with _errors(path):
        return path.read_bytes() if path.exists() else None


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _unkept(path, error) from error


def _unkept(path: Path, error: OSError) -> LedgerUnavailableError:
    return LedgerUnavailableError(f"{path} cannot be kept: {error.strerror}")
