"""The newest signed checkpoint of each ledger, and its epoch, as this machine last knew them; outside of the ledger.

They tell a ledger that was cut, changed or put back from one that grew, and keep the signing key from ever signing two
histories.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

from ledger.checkpoint import unverified
from ledger.durable_files import make_directory, sync_directory, write_durably
from ledger.errors import LedgerDamagedError, LedgerUnavailableError


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

    def keep(self, ledger_id: str, note: bytes) -> None:
        """Keep a checkpoint, unless a larger one is kept already."""
        kept = self.newest(ledger_id)
        if kept is None or unverified(kept).size < unverified(note).size:
            self._write(self.path(ledger_id), note)

    def set_aside(self, ledger_id: str, suffix: str) -> None:
        """Rename the kept checkpoint, since what it says was given up."""
        path = self.path(ledger_id)
        with _errors(path):
            if path.exists():
                path.rename(path.with_name(path.name + suffix))
                sync_directory(path.parent)

    def epoch(self, ledger_id: str) -> int:
        """The highest epoch that a restore gave the ledger here; 0 without any."""
        kept = _read(self._path(ledger_id, "epoch"))
        return int(kept) if kept is not None and kept.strip().isdigit() else 0

    def keep_epoch(self, ledger_id: str, epoch: int) -> None:
        """Keep the epoch of a restore, before it is used."""
        self._write(self._path(ledger_id, "epoch"), b"%d\n" % epoch)

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

    def _write(self, path: Path, content: bytes) -> None:
        with _errors(path):
            make_directory(path.parent)
            write_durably(path, content)


def _read(path: Path) -> bytes | None:
    with _errors(path):
        return path.read_bytes() if path.exists() else None


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LedgerUnavailableError(f"{path} cannot be kept: {error.strerror}") from error
