"""`1ctl audit witness`: keeps checkpoints of this ledger, or of one elsewhere, in a directory out of its reach."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.audit_proofs import KeyOption, signed_fields, signed_now, verifier_key
from cli.exit_codes import CommandError, ExitCode, UsageError
from cli.inputs import read_input
from cli.options import INVOCATION
from cli.session import Session
from cli.terminal import Terminal
from ledger import checkpoint as notes
from ledger.checkpoint import Checkpoint, VerifierKey
from ledger.errors import RefusedError
from ledger.ledger_key import ledger_key
from ledger.proof import ProofError
from ledger.proving import prove_since
from ledger.witness import Witness, WitnessError


def witness(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where the witness keeps what it accepted.")],
    accept: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="What was sent: a consistency proof, or a first checkpoint."),
    ] = None,
    key: KeyOption = None,
    new_ledger: Annotated[
        bool, typer.Option("--new-ledger", help="Keep this ledger, too, where others were witnessed.")
    ] = False,
) -> None:
    """Keep a checkpoint outside of the ledger.

    It is kept if it continues the one kept before, and refused if the ledger was changed, cut or rolled back.

    Run it where the ledger's administrator has no say: on another machine with --accept and --key, or on a mount.

    Example:  1ctl audit witness /mnt/auditors/1ctl
    """
    kept = Witness(directory)
    try:
        if accept is not None:
            if key is None:
                raise UsageError("--accept needs --key: a witness must not take the key from the party it watches")
            terminal, verifier, sent = Terminal(json=INVOCATION.json), verifier_key(key), read_input(accept)
            is_first = kept.kept(verifier) is None
        else:
            session = Session.for_questions()
            terminal, verifier = session.terminal, verifier_key(key) if key else ledger_key(session.store)
            newest = kept.kept(verifier)
            is_first = newest is None
            if is_first and key is None and not new_ledger:
                _refuse_another(kept, directory, verifier)
            note = signed_now(session)
            sent = note if newest is None else _since(session, newest, note)
        signed = notes.unverified(kept.accept(sent, verifier))
    except WitnessError as error:
        if error.refusal is None:
            raise
        code = ExitCode.REFUSED if error.refusal == "other size" else ExitCode.DAMAGED
        raise CommandError(error.message, code=code, hint=error.hint) from error
    first = "; the first of this ledger here: nothing before it was witnessed" if is_first else ""
    terminal.success(f"Witnessed: {signed.origin} at position {signed.size}{first}")
    if terminal.json:
        terminal.document({"witnessed": True, "first": is_first, **signed_fields(signed)})


def _since(session: Session, newest: Checkpoint, note: bytes) -> bytes:
    """What shows that the ledger continues the kept checkpoint; that nothing does is no fault of the command line."""
    try:
        return prove_since(session.store, newest, note)
    except ProofError as error:
        raise CommandError(error.message, code=ExitCode.DAMAGED, hint=error.hint) from error


def _refuse_another(kept: Witness, directory: Path, verifier: VerifierKey) -> None:
    """The watched ledger names its own key, so another one in its place would begin a history of its own here."""
    if kept.knows_others(verifier.name):
        raise RefusedError(
            f"{directory} holds checkpoints of other ledgers, and none of {verifier.name}",
            hint="Did another ledger take the place of the one that is watched? To witness this one, too: --new-ledger",
        )
