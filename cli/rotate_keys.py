"""`1ctl secret rotate-keys`: a new effects identity for the ledger's secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli import origin
from cli.answers import declined
from cli.audit_proofs import kept_checkpoints
from cli.identities import identity_rows, lives
from cli.options import Change, YesOption
from cli.progress import progress
from cli.recording import notice_repeated
from cli.rights import require_worker
from cli.session import Session
from effects.crash_points import crash_point
from ledger.commands import RotateKeys
from ledger.rotation import IdentityStanding, Rotated, before_rotation, rotate
from ledger.sealing import identity_fingerprint

if TYPE_CHECKING:
    from cli.terminal import Terminal

AcceptLossOption = Annotated[
    bool, typer.Option("--accept-loss", help="Even if keys are missing here; what they seal stays unreadable.")
]


def rotate_keys(
    yes: YesOption = False,
    accept_loss: AcceptLossOption = False,
    *,
    change: Change,
) -> None:
    """Make a new key that opens the ledger's secrets.

    The keys of all open lives are wrapped for it, then the old one is removed from its file, unless the ledger was ever
    restored, or moved after that key was made: another copy may need it. Pods notice nothing. If it is interrupted, run it
    again.

    Other machines that open secrets need the new file. Backups made until now need the old key: keep a copy with them.

    Example:  1ctl secret rotate-keys --reason "ben left the team"
    """
    session = Session()
    terminal = session.terminal
    request = origin.request(request_id=change.request_id, reason=change.reason)
    found = before_rotation(session.ledger, session.keys, accept_loss=accept_loss)
    repeated = session.ledger.answered(RotateKeys(), request) is not None
    if change.dry_run:
        if repeated:
            notice_repeated(session, request)
        _show(terminal, found, repeated=repeated)
        return
    require_worker(
        session.store, "The keys of lives are opened and wrapped: use a login of onectl_worker, or be the owner."
    )
    path = session.keys.identity_path(found.ledger_id)

    def epoch() -> int:
        return max(session.reader.epoch(), kept_checkpoints(session).epoch(found.ledger_id))

    restored = epoch() > 0
    if not repeated and not yes and not terminal.confirm(_question(found, str(path), restored=restored)):
        declined(session, {"rotated": False, "request_id": request.request_id, "repeated": False})
        return
    with progress("Rewrapping") as told:
        done = rotate(
            session.ledger,
            session.keys,
            request,
            epoch=epoch,
            accept_loss=accept_loss,
            reached=crash_point,
            told=told,
        )
    if done.repeated:
        notice_repeated(session, request)
    _tell(terminal, done, str(path))
    if terminal.json:
        terminal.document(
            {
                "rotated": True,
                "identity": identity_fingerprint(done.identity),
                "public_key": done.identity,
                "position": done.line.position,
                "rewrapped": done.rewrapped,
                "left": done.left,
                "removed": done.removed,
                "kept": [
                    {"identity": identity_fingerprint(each.identity), "file": str(path), "line": each.line}
                    for each in done.kept
                ],
                "request_id": request.request_id,
                "repeated": done.repeated,
            }
        )


def _question(found: IdentityStanding, path: str, *, restored: bool) -> str:
    becomes = f"is then removed from {path}"
    if restored or found.was_left_with(found.current.public_key):
        becomes = f"stays in {path}, since the ledger was {'restored' if restored else 'moved'}"
    return (
        f"Make a new identity and wrap the keys of {lives(sum(found.lives.values()))} for it? The old key {becomes},"
        " and backups made until now need it."
    )


def _tell(terminal: Terminal, done: Rotated, path: str) -> None:
    terminal.success(
        f"The identity is now {identity_fingerprint(done.identity)}; keys of {lives(done.rewrapped)} rewrapped"
    )
    for life in done.damaged:
        terminal.warn(
            f"The key of {life} is not what was stored: what it seals is lost. Destroy the app and deploy it again."
        )
    if done.left > len(done.damaged):
        terminal.warn(f"Keys of {lives(done.left - len(done.damaged))} stay wrapped for identities that are not here.")
    if done.removed:
        terminal.notice(f"The old key is removed from {path}; backups made until now need a copy of it.")
    for each in done.kept:
        why = (
            f"the ledger was {'restored' if done.restored else 'moved'}, and another copy of it may need the key"
            if each.named
            else "this ledger's history does not name it, and another copy of it may need the key"
        )
        terminal.notice(
            f"The key {identity_fingerprint(each.identity)} stays on line {each.line} of {path}: {why}. Remove that line by"
            " hand once no other copy and no backup needs it."
        )
    if done.shared:
        terminal.notice("The old key stays where it is, since it may serve other ledgers: it does not name its own.")
    terminal.notice(f"Other machines that open secrets need {path}")


def _show(terminal: Terminal, found: IdentityStanding, *, repeated: bool) -> None:
    """What a rotation would do; one whose request was recorded before wraps what is left."""
    rewrapped = found.rewrappable
    if repeated and (newest := found.current.public_key) in found.held:
        rewrapped -= found.lives.get(newest, 0)
    if terminal.json:
        terminal.document(
            {
                "dry_run": True,
                "events": [] if repeated else [{"kind": "WorkerIdentitySet", "data": {"public_key": "(new key)"}}],
                "objects": [],
                "rewrapped": rewrapped,
                "left": sum(found.missing.values()),
                "identities": identity_rows(found),
            }
        )
        return
    terminal.notice("Dry run: nothing is recorded, nothing is changed.")
    if not repeated:
        terminal.line("Would record: WorkerIdentitySet")
    terminal.line(f"Would rewrap: keys of {lives(rewrapped)}")
    terminal.table(
        ["IDENTITY", "NEWEST", "KEY HERE", "LIVES"],
        [
            [row["identity"], "yes" if row["newest"] else "no", "yes" if row["held"] else "no", str(row["lives"])]
            for row in identity_rows(found)
        ],
    )
