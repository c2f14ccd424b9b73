"""Going on with a ledger as it is after it lost its newest lines in a fail-over, or an older copy was put back."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from cli.answers import declined
from cli.audit_proofs import kept_checkpoints
from cli.inputs import read_input
from cli.progress import progress
from cli.rights import require_worker
from cli.session import Session
from ledger.comparing import verify_against
from ledger.errors import LedgerDamagedError, RefusedError
from ledger.events import LedgerRestored
from ledger.ledger_key import ledger_key
from ledger.request import Request
from ledger.transfer import verified


def go_on(session: Session, request: Request, checkpoints: list[Path], *, changed: bool, yes: bool) -> None:
    """Show what is lost as far as it is known here and, if that is accepted, begin an epoch.

    Args:
        session: Of this run.
        request: On whose behalf it is recorded.
        checkpoints: Files of checkpoints that were kept elsewhere.
        changed: Whether it is accepted, too, that there are other lines in place of signed ones.
        yes: Not to ask.

    Raises:
        LedgerDamagedError: What is there is not a whole ledger, or lines are not those that were signed.
        RefusedError: There is no ledger, a file cannot be read, or something was recorded meanwhile.
        CheckpointError: A checkpoint is not one of this ledger.
        LedgerDeniedError: The database does not allow its user to begin an epoch.
    """
    require_worker(session.store, "An epoch concerns the whole ledger: use a login of onectl_worker, or be the owner.")
    with progress("Verifying") as told:
        head = verified(session.store, told, what="the ledger")
    ledger_id = session.reader.ledger_id()
    if ledger_id is None:
        raise RefusedError("there is no ledger here", hint="Name the backup to restore.")
    kept = kept_checkpoints(session)
    newest = kept.newest(ledger_id)
    notes = [read_input(path) for path in checkpoints] + ([newest] if newest is not None else [])
    found = [verify_against(session.store, note, ledger_key(session.store)) for note in notes]
    lost = [result.detail for result in found if result.verdict != "consistent"]
    if not changed and (other := next((each.detail for each in found if each.verdict == "forked"), None)):
        raise LedgerDamagedError(
            f"this is not the ledger that was signed: {other}",
            hint="Somebody changed it, or others recorded after a fail-over. Only in the latter case: --accept-change",
        )
    for detail in dict.fromkeys(lost):
        session.terminal.warn(f"{detail[0].upper()}{detail[1:]}")
    if not lost:
        session.terminal.notice("No checkpoint that is known here shows that anything is lost.")
    question = f"Give up what is lost, and go on with the {head.position} events that are there?"
    if not yes and not session.terminal.confirm(question):
        declined(session, {"restored": False})
        return
    if session.store.head() != head:
        raise RefusedError("something was recorded meanwhile", hint="Run it again.")
    epoch = kept.next_epoch(ledger_id, session.reader.epoch())
    session.ledger.mark(LedgerRestored(through=head.position, epoch=epoch), request)
    if newest is not None and found[-1].verdict != "consistent":
        # A kept checkpoint of what is given up would forbid every later one.
        suffix = aside_suffix()
        kept.set_aside(ledger_id, suffix)
        session.terminal.notice(f"The checkpoint that says otherwise is kept as {kept.path(ledger_id)}{suffix}")
    session.terminal.success(f"The ledger goes on with its {head.position} events, epoch {epoch}")
    session.terminal.notice("Whether a request is still there: 1ctl audit log --request-id ID")
    if session.terminal.json:
        session.terminal.document(
            {"restored": True, "ledger_id": ledger_id, "through": head.position, "epoch": epoch, "kept": None}
        )


def aside_suffix() -> str:
    """What is added to the name of a file that is kept aside."""
    return f".before-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
