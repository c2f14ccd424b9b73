"""`1ctl ledger backup|restore|copy`: the ledger goes elsewhere, and never continues in two places."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import origin
from cli.answers import declined
from cli.audit_proofs import kept_checkpoints, sign_and_keep
from cli.exit_codes import UsageError
from cli.inputs import read_input
from cli.ledger_loss import aside_suffix, go_on
from cli.options import INVOCATION, ReasonOption, YesOption
from cli.profiles import lasting_address, shown_address
from cli.progress import progress
from cli.rights import require_worker
from cli.session import Session
from ledger import checkpoint as notes
from ledger.backup import back_up, checkpoint_path
from ledger.checkpoint import KeyMissingError
from ledger.errors import LedgerDeniedError, LedgerUnavailableError, RefusedError
from ledger.events import LedgerMoved, LedgerRestored
from ledger.ledger import Ledger
from ledger.ledger_key import ledger_key
from ledger.restoring import Backup, Found, find, put_back, read_backup, refuse_loss, refuse_other
from ledger.sqlite_files import alone_at
from ledger.sqlite_store import SqliteStore
from ledger.store import Beside
from ledger.stores import open_store

if TYPE_CHECKING:
    from ledger.instance import Instance
    from ledger.request import Request
    from ledger.store import ModelStore


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; an older backup is replaced.")],
) -> None:
    """Write the whole ledger to one file.

    Others may go on working meanwhile. Sealed secrets and wrapped keys are in it, the identity that opens them is not.

    Where the ledger's signing key is, a signed checkpoint is put beside it: FILE.checkpoint.

    Example:  1ctl ledger backup /mnt/backup/ledger.db
    """
    session = Session.for_questions()
    try:
        done = back_up(session.store, file, sign=lambda copy: _sign(session, copy), progress=progress)
    except LedgerDeniedError as error:
        raise LedgerDeniedError(
            error.message,
            hint="A backup holds sealed values and wrapped keys: run it as a login of onectl_worker, or as the owner.",
        ) from error
    session.terminal.success(f"Backed up {done.head.position} events to {file}")
    if session.terminal.json:
        session.terminal.document(
            {
                "ledger_id": session.reader.ledger_id(),
                "file": str(file),
                "events": done.head.position,
                "head": done.head.chain.hex(),
                "checkpoint": str(checkpoint_path(file)) if done.checkpoint is not None else None,
            }
        )


def restore(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="The backup.", show_default=False)] = None,
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option("--checkpoint", metavar="FILE", help="A checkpoint that was kept elsewhere; repeatable."),
    ] = None,
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="Even if the ledger is known to have gone further.")
    ] = False,
    accept_change: Annotated[
        bool, typer.Option("--accept-change", help="Without FILE: even if signed lines differ now.")
    ] = False,
    new_ledger: Annotated[
        bool, typer.Option("--new-ledger", help="Even if this machine knows other ledgers only, not this one.")
    ] = False,
    yes: YesOption = False,
    reason: ReasonOption = None,
) -> None:
    """Put the ledger back from a backup.

    Into the profile's ledger, or the one named with --ledger; a ledger file that is there is kept aside.

    The backup is verified, and compared with FILE.checkpoint and the newest checkpoint signed here. What was recorded
    after it is lost; the ledger says so from then on. A ledger that this machine does not know, where it knows others, is
    refused.

    Without FILE and with --accept-loss the ledger goes on as it is, after its database lost lines in a fail-over, or an
    older copy was put back by hand.

    Example:  1ctl ledger restore /mnt/backup/ledger.db --reason "disk failed"
    """
    session = Session()
    request = origin.request(reason=reason)
    if accept_change if file is not None else new_ledger:
        raise UsageError(
            "--accept-change is about the ledger that is there, without FILE; --new-ledger about a backup, with FILE"
        )
    if file is None:
        if not accept_loss:
            raise UsageError(
                "name the backup to restore",
                hint="To go on with the ledger as it is, although it lost lines: --accept-loss",
            )
        go_on(session, request, checkpoint or [], changed=accept_change, yes=yes)
        return
    _refuse_itself(session, file)
    with _private_directory(session) as directory:
        checked = read_backup(file, directory, accept_loss=accept_loss, progress=progress)
        refuse_other(checked, _kept(session, file, checkpoint or [], checked.ledger_id), accept_loss=accept_loss)
        found = find(session.store, checked)
        if not found.is_same and not new_ledger:
            _refuse_unknown(session, checked.ledger_id)
        if not accept_loss:
            refuse_loss(checked, found)
        if not yes and not _confirmed(session, checked, found):
            declined(session, {"restored": False})
            return
        epoch = _mark(session, checked, found, request)
        aside = put_back(session.store, checked, found, suffix=aside_suffix(), progress=progress)
    _forget_lost_checkpoint(session, checked)
    session.terminal.success(
        f"Restored {checked.head.position} events into {shown_address(session.place.ledger)}, epoch {epoch},"
        f" of ledger {checked.ledger_id}"
    )
    if aside is not None:
        session.terminal.info(f"The ledger that was there is kept as {aside}")
    _warn_of_missing_keys(session)
    if INVOCATION.ledger and not found.is_same:
        _tell_of_shared_keys(session, checked.ledger_id)
    if session.terminal.json:
        session.terminal.document(
            {
                "restored": True,
                "ledger_id": checked.ledger_id,
                "through": checked.head.position,
                "epoch": epoch,
                "kept": str(aside) if aside is not None else None,
            }
        )


def _refuse_itself(session: Session, file: Path) -> None:
    """A file is not put back from itself, whatever its other name is."""
    place = session.store.path if isinstance(session.store, SqliteStore) else None
    if place is None:
        return
    with suppress(OSError):  # one of them is not there
        if place.samefile(file):
            raise RefusedError(
                f"{file} is the file that would be replaced: {place}",
                hint="Name the backup as FILE, and where to put it with --ledger (default: the profile's ledger).",
            )


def _warn_of_missing_keys(session: Session) -> None:
    """Say so if the secrets that were put back cannot be opened here: their identity may have been replaced since."""
    from cli.identities import lives  # noqa: PLC0415
    from ledger.rotation import standing  # noqa: PLC0415

    found = standing(session.reader, session.keys)
    if found is not None and found.missing:
        path = session.keys.identity_path(found.ledger_id)
        session.terminal.warn(
            f"Secrets of {lives(sum(found.missing.values()))} are sealed to an identity that is not on this machine."
            f" Add the lines of the file that was kept with the backup to {path}"
        )


def _tell_of_shared_keys(session: Session, ledger_id: str) -> None:
    """Say, where the ledger's keys were here before it, that this is not the only copy that they open."""
    path = session.keys.identity_path(ledger_id)
    if path.exists():
        session.terminal.notice(f"Any other copy of this ledger that is used from here has the same keys: {path}")


def copy(
    to: Annotated[str, typer.Option("--to", metavar="URL|FILE", help="A new file, or an empty database.")],
    reason: ReasonOption = None,
) -> None:
    """Move the ledger to another file or database.

    It goes on there, and ends here: this is recorded first; then everything, secrets included, is copied and verified.
    If it is interrupted, run it again.

    Example:  1ctl ledger copy --to postgresql://ledger@db.example.com/ledger
    """
    from ledger.copying import copy_ledger  # noqa: PLC0415

    session = Session()
    address = lasting_address(to)
    there, here = shown_address(address) or "", shown_address(lasting_address(str(session.place.ledger))) or ""
    require_worker(
        session.store, "A copy holds sealed values and wrapped keys: use a login of onectl_worker, or be the owner."
    )
    request = origin.request(reason=reason)

    def end(target: Instance) -> None:
        moved = Beside(moved=(target.instance, there))
        session.ledger.mark(LedgerMoved(target=target.instance), request, beside=moved)

    with closing(open_store(address)) as target:
        done = copy_ledger(session.store, target, end=end, origin=here, progress=progress)
        if done.state == "moved":
            _sign(session, target)  # so that no backup from before is restored here unawares
    if done.state == "before":
        session.terminal.success(f"The ledger was moved before: it goes on at {there}")
    else:
        session.terminal.success(f"Copied {done.head.position} events: the ledger goes on at {there}")
    session.terminal.notice("Name it from now on: --ledger, ONECTL_LEDGER, or a profile with --ledger.")
    if "://" in address and done.state == "moved":
        session.terminal.notice("Only its owner may use it so far: run the script of 1ctl ledger roles there.")
    if session.terminal.json:
        session.terminal.document(
            {
                "ledger_id": session.reader.ledger_id(),
                "to": there,
                "instance": done.instance,
                "events": done.head.position,
                "head": done.head.chain.hex(),
            }
        )


def _sign(session: Session, copy: ModelStore) -> bytes | None:
    """A signed checkpoint of a backup; None, after saying why, if the key is not here."""
    ours, why = ledger_key(copy), "the signing key that is here is another ledger's"
    try:
        key = notes.load_signing_key(session.keys.signing_path(session.reader.ledger_id() or ""))
        if replace(key, name=ours.name).verifier == ours:
            return sign_and_keep(session, copy, key, unkept=lambda error: _warn_unkept(session, error))
    except KeyMissingError as error:
        why = error.message
    session.terminal.notice(f"No checkpoint was signed: {why}")
    return None


def _warn_unkept(session: Session, error: LedgerUnavailableError) -> None:
    """Say that the checkpoint was not kept here: such a backup is still better than none."""
    session.terminal.warn(
        f"{error.message}. A restore on this machine does not know how far the ledger had gone: keep FILE.checkpoint"
        " elsewhere, and name it with --checkpoint."
    )


@contextmanager
def _private_directory(session: Session) -> Iterator[Path]:
    """Beside the ledger's file, so that there is room for it; in the home for a database."""
    place, directory = session.home / "restore", session.home / ".restore"
    if isinstance(session.store, SqliteStore):
        place = session.store.path
        directory = place.with_name(f".{place.name}.restore")
    with alone_at(place):
        shutil.rmtree(directory, ignore_errors=True)  # of a restore that was killed
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)


def _kept(session: Session, file: Path, named: list[Path], ledger_id: str) -> list[tuple[str, bytes]]:
    """All checkpoints that are known of: by where they lie, and as they are."""
    beside, newest = checkpoint_path(file), kept_checkpoints(session).path(ledger_id)
    found = [*named, *(path for path in (beside, newest) if path.exists())]
    return [(str(path), read_input(path)) for path in found]


def _refuse_unknown(session: Session, ledger_id: str) -> None:
    """A backup names its own ledger and key, so one that was put in its place looks just as sound."""
    kept = [*(session.home / "keys").glob("*-*.key"), *(session.home / "checkpoints").glob("*.checkpoint")]
    known = {path.name.partition(".")[0] for path in kept}
    if known and ledger_id not in known:
        raise RefusedError(
            f"the backup is of ledger {ledger_id}; this machine has keys and checkpoints of others, and none of that one",
            hint="Did another ledger take the place of the backup? If this is the one to restore: --new-ledger",
        )


def _confirmed(session: Session, backup: Backup, found: Found) -> bool:
    if found.head is not None and found.head.position == 0:
        return True
    events = f"with {found.head.position} events" if found.head is not None else "that cannot be read"
    question = (
        f"Replace the ledger {shown_address(session.place.ledger)} {events} "
        f"by the backup with {backup.head.position}, of ledger {backup.ledger_id}? It is kept aside."
    )
    return session.terminal.confirm(question)


def _mark(session: Session, backup: Backup, found: Found, request: Request) -> int:
    """Record in the restored ledger that it was put back; its epoch, which no restore known here has had."""
    epoch = kept_checkpoints(session).next_epoch(backup.ledger_id, max(backup.epoch, found.epoch))
    with closing(SqliteStore(backup.path)) as store:
        ledger = Ledger(store, session.keys, mint_domain=_no_domain)
        ledger.mark(LedgerRestored(through=backup.head.position, epoch=epoch), request)
    return epoch


def _no_domain() -> str:
    raise LedgerUnavailableError("a restore makes no host names")


def _forget_lost_checkpoint(session: Session, backup: Backup) -> None:
    """A kept checkpoint of what was given up would forbid every later one."""
    kept = kept_checkpoints(session)
    newest = kept.newest(backup.ledger_id)
    if newest is not None and notes.unverified(newest).size > backup.head.position:
        kept.set_aside(backup.ledger_id, aside_suffix())
