"""A witness: keeps the newest checkpoint of each ledger, and accepts only what continues it (C2SP tlog-witness).

A witness is only worth something where the ledger's administrator cannot write: on another machine, under another
account, on a disk that is only appended to. It needs no ledger, only what `ledger.proving.prove_since` gives: it can be
fed by mail. For a ledger's origin, of which the file names hold the SHA-256 in hex, its directory holds:

* ``HASH.checkpoint``: the newest accepted checkpoint; replaced in one step, on disk before it is acknowledged.
* ``HASH.history``: one JSON object a line, only ever appended to: when, what came of it, and the signed checkpoint.
  Refused ones are kept if they were signed: two signed checkpoints that contradict each other convict the signer.
* ``HASH.lock``, and what belongs to it: so that two requests are not both checked against the same older checkpoint.

Whoever runs the ledger may name that directory although others write it, so none of these files is opened through a link.

The first checkpoint of a ledger is accepted as it is, even without a proof: what it covers was not witnessed before.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

from ledger import checkpoint as notes
from ledger.checkpoint import Checkpoint, SigningKey, VerifierKey
from ledger.clock import Clock, SystemClock, iso
from ledger.durable_files import open_plain, replace_durably, sync_directory
from ledger.errors import OneCtlError
from ledger.file_lock import FileLock
from ledger.merkle import EMPTY_ROOT, verify_consistency
from ledger.proof import Extension

Refusal = Literal["smaller", "forked", "other size", "unproved", "other key"]


class WitnessError(OneCtlError):
    """The witness did not accept a checkpoint, or cannot keep one.

    Attributes:
        refusal: Why a signed checkpoint was not accepted, or None if it did not come to that. ``smaller``: an older
            tree than the one kept; ``forked``: another root at the kept size; ``other size``: the proof begins
            elsewhere than at the kept size; ``unproved``: the proof does not show that it continues the kept one;
            ``other key``: the kept one is not signed by the ledger's key, so one of them was exchanged.
    """

    def __init__(self, message: str, *, hint: str | None = None, refusal: Refusal | None = None) -> None:
        super().__init__(message, hint=hint)
        self.refusal = refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryLine:
    """One checkpoint that a witness was shown.

    Attributes:
        at: When, ISO 8601 in UTC.
        result: ``accepted``, or why it was refused.
        note: The signed checkpoint.
    """

    at: str
    result: str
    note: bytes


class Witness:
    """Newest checkpoints in a directory. Safe for many processes at once.

    Args:
        directory: Must exist: one that is not there may be a disk that is not mounted.
        cosigner: The witness's own key, if what it accepts is to carry its signature (C2SP tlog-cosignature).
        clock: Tells the time.
        lock_timeout: Seconds to wait for another process.
    """

    def __init__(
        self,
        directory: Path,
        *,
        cosigner: SigningKey | None = None,
        clock: Clock | None = None,
        lock_timeout: float = 30.0,
    ) -> None:
        self._directory = directory
        self._cosigner = cosigner
        self._clock = clock or SystemClock()
        self._timeout = lock_timeout

    def newest(self, origin: str) -> bytes | None:
        """The newest accepted checkpoint of a ledger, signed; None if there is none."""
        with _files(self._directory):
            return _read(self._path(origin, "checkpoint"), notes.MAX_NOTE + 1)

    def kept(self, key: VerifierKey) -> Checkpoint | None:
        """The newest accepted checkpoint of this key's ledger; None if there is none.

        Raises:
            WitnessError: It is not one that the key signed: somebody changed it here.
        """
        note = self.newest(key.name)
        try:
            return None if note is None else notes.open_note(note, key)
        except notes.CheckpointError as error:
            raise WitnessError(
                f"the checkpoint that was kept, {self._path(key.name, 'checkpoint')}, is not good itself: {error.message}",
                hint=f"It was changed, or the ledger's key was: compare {self._path(key.name, 'history')}",
                refusal="other key" if note is not None and _is_note(note) else None,
            ) from error

    def knows_others(self, origin: str) -> bool:
        """Whether checkpoints of other ledgers were accepted."""
        with _files(self._directory):
            return any(path != self._path(origin, "checkpoint") for path in self._directory.glob("*.checkpoint"))

    def history(self, origin: str) -> list[HistoryLine]:
        """All that the witness was shown about a ledger, oldest first; a line cut off by a crash is left out."""
        with _files(self._directory):
            lines = (_read(self._path(origin, "history")) or b"").splitlines()
        return [line for line in map(_history_line, lines) if line is not None]

    def accept(self, sent: bytes, key: VerifierKey) -> bytes:
        """Keep a checkpoint that continues the kept one. The same one may be sent again.

        Args:
            sent: The consistency proof with the signed checkpoint, as `ledger.proof.Extension` writes it, from the kept
                size; or a signed checkpoint alone, as the first one, or the very one that is kept.
            key: The ledger's key, which the witness must know from elsewhere.

        Returns:
            The checkpoint that is kept now, cosigned if the witness has a key.

        Raises:
            WitnessError: It does not continue the kept one, or it cannot be kept.
            ProofError, CheckpointError: The text is malformed or not signed by the key; it was not looked at further.
        """
        request = _request(sent)
        signed = notes.open_note(request.note, key)
        with _files(self._directory), self._locked(signed.origin):
            kept = self.kept(key)
            try:
                _check(kept, signed, request, at=self._path(signed.origin, "checkpoint"))
            except WitnessError as refused:
                self._record(signed.origin, request.note, str(refused.refusal))
                raise
            return self._keep(signed, request.note, is_new=kept is None or signed.size > kept.size)

    def _keep(self, signed: Checkpoint, note: bytes, *, is_new: bool) -> bytes:
        if self._cosigner is not None:
            note = notes.cosign(note, self._cosigner, seconds=self._clock.now_us() // 1_000_000)
        elif not is_new:
            return self.newest(signed.origin) or note
        if is_new:
            self._record(signed.origin, note, "accepted")
        replace_durably(self._path(signed.origin, "checkpoint"), note)  # the lock is held
        return note

    def _record(self, origin: str, note: bytes, result: str) -> None:
        line = json.dumps({"at": iso(self._clock.now_us()), "result": result, "checkpoint": note.decode()})
        # The line end comes first, so that a line cut off by a crash does not swallow the next one.
        _append(self._path(origin, "history"), f"\n{line}".encode())

    @contextmanager
    def _locked(self, origin: str) -> Iterator[None]:
        lock = FileLock(self._path(origin, "lock"))
        if not lock.acquire(self._timeout):
            raise WitnessError("another process is using the witness's files", hint="Try again.")
        try:
            yield
        finally:
            lock.release()

    def _path(self, origin: str, suffix: str) -> Path:
        return self._directory / f"{sha256(origin.encode()).hexdigest()}.{suffix}"


def _is_note(kept: bytes) -> bool:
    try:
        notes.unverified(kept)
    except notes.CheckpointError:
        return False
    return True


def _request(sent: bytes) -> Extension:
    """What was sent, a checkpoint alone as one that continues an empty ledger."""
    return Extension.parse(sent) if sent.startswith(b"old ") else Extension(old_size=0, path=(), note=sent)


def _check(kept: Checkpoint | None, signed: Checkpoint, request: Extension, *, at: Path) -> None:
    """Refuse what is not a continuation of the kept one, which is at a path."""
    old = kept or Checkpoint(signed.origin, 0, EMPTY_ROOT)
    if signed.size < old.size:
        raise WitnessError(
            f"the checkpoint has size {signed.size}, but one of size {old.size} was accepted before",
            hint="Either the file is old, or the ledger was cut or an older copy put back.",
            refusal="smaller",
        )
    if signed.size == old.size and signed.root != old.root:
        raise WitnessError(
            f"two different ledgers of size {signed.size} were signed by the same key",
            hint="The ledger was rewritten. Both signed checkpoints are in the witness's history.",
            refusal="forked",
        )
    if signed.size == old.size:
        return
    if request.old_size != old.size:
        raise WitnessError(_begins_elsewhere(kept, request), hint=_from_kept(kept, at), refusal="other size")
    if not verify_consistency(old.size, signed.size, old.root, signed.root, request.path):
        raise WitnessError(
            f"the checkpoint of size {signed.size} is not shown to continue the one of size {old.size}",
            hint="The ledger was rewritten, or the proof was damaged.",
            refusal="unproved",
        )


def _begins_elsewhere(kept: Checkpoint | None, request: Extension) -> str:
    if kept is None:
        return f"the proof begins at size {request.old_size}, but no checkpoint of this ledger was kept here"
    if request.old_size == 0:
        return f"the checkpoint comes without a proof that it continues the one that was kept, of size {kept.size}"
    return f"the proof begins at size {request.old_size}, the checkpoint that was kept has size {kept.size}"


def _from_kept(kept: Checkpoint | None, at: Path) -> str:
    if kept is None:
        return "Begin with a checkpoint, made where the ledger is: 1ctl audit checkpoint --file FILE"
    return f"Make it where the ledger is, from a copy of {at}: 1ctl audit prove --since COPY --file FILE"


def _history_line(line: bytes) -> HistoryLine | None:
    try:
        kept = json.loads(line)
        return HistoryLine(at=kept["at"], result=kept["result"], note=kept["checkpoint"].encode())
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _read(path: Path, limit: int = -1) -> bytes | None:
    """What a file holds, up to a limit; None if there is none."""
    try:
        descriptor = open_plain(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        return file.read(limit)


def _append(path: Path, line: bytes) -> None:
    with os.fdopen(open_plain(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "wb") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())
    sync_directory(path.parent)


@contextmanager
def _files(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WitnessError(f"the witness's directory {directory} cannot be used: {error.strerror}") from error
