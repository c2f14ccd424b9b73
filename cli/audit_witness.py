"""`1ctl audit witness|witness-key`: keeps checkpoints of this ledger, or of one elsewhere, out of its reach; cosigns them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.audit_proofs import KeyOption, signed_fields, signed_now, verifier_key, write_output
from cli.exit_codes import CommandError, ExitCode, UsageError
from cli.inputs import read_input
from cli.options import INVOCATION
from cli.session import Session
from cli.terminal import Terminal
from ledger import checkpoint as notes
from ledger.checkpoint import COSIGNATURE, Checkpoint, CheckpointError, KeyMissingError, SigningKey, VerifierKey
from ledger.durable_files import write_once_durably
from ledger.errors import RefusedError
from ledger.ledger_key import ledger_key
from ledger.proof import ProofError
from ledger.proving import prove_since
from ledger.witness import Witness, WitnessError


def witness(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where the witness keeps what it accepted; it must exist.")
    ],
    accept: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="What was sent: a consistency proof, or a first checkpoint."),
    ] = None,
    key: KeyOption = None,
    new_ledger: Annotated[
        bool, typer.Option("--new-ledger", help="Keep this ledger, too, where others were witnessed.")
    ] = False,
    cosign: Annotated[
        Path | None,
        typer.Option(metavar="KEYFILE", help="With --accept: also sign it, with this key."),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE", help="Where to write the checkpoint that is kept now.")
    ] = None,
) -> None:
    """Keep a checkpoint outside of the ledger.

    It is kept if it continues the one kept before, and refused if the ledger was changed, cut or rolled back.

    Run it where the ledger's administrator has no say: on another machine with --accept and --key, or on a mount.

    With --cosign, proofs made with the checkpoint in --file show others, too, what this witness has seen.

    Example:  1ctl audit witness /mnt/auditors/1ctl
    """
    if cosign is not None and accept is None:
        raise UsageError("--cosign needs --accept: the witness's key does not belong on the machine of the ledger")
    if accept is not None and key is None:
        raise UsageError("--accept needs --key: a witness must not take the key from the party it watches")
    _refuse_missing(directory)
    cosigner = _cosigner(cosign) if cosign is not None else None
    kept = Witness(directory, cosigner=cosigner)
    try:
        if accept is not None and key is not None:
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
        accepted = kept.accept(sent, verifier)
        signed = notes.unverified(accepted)
    except WitnessError as error:
        if error.refusal is None:
            raise
        code = ExitCode.REFUSED if error.refusal == "other size" else ExitCode.DAMAGED
        raise CommandError(error.message, code=code, hint=error.hint) from error
    first = "; the first of this ledger here: nothing before it was witnessed" if is_first else ""
    terminal.success(f"Witnessed: {signed.origin} at position {signed.size}{first}")
    if cosigner is not None:
        terminal.success(f"Cosigned as {cosigner.name}")
    if file is not None:
        write_output(terminal, accepted, file)
    if terminal.json:
        terminal.document(
            {
                "witnessed": True,
                "first": is_first,
                **signed_fields(signed),
                "cosigned_as": cosigner.name if cosigner is not None else None,
                "checkpoint": accepted.decode(),
            }
        )


def witness_key(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The key's file; made if it is not there.")],
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="Of a new key: whose it is, like a URL without https://."),
    ] = None,
) -> None:
    """Make the key that a witness cosigns with.

    It shows the verifier key, which those who check proofs need; asked again, the same one.

    Example:  1ctl audit witness-key witness.key --name witness.example.com/ben
    """
    terminal = Terminal(json=INVOCATION.json)
    if name is not None and not file.exists():
        _make_key(file, name)
    key = _cosigner(file)
    if name not in (None, key.name):
        raise RefusedError(f"{file} is the key of {key.name}", hint="One key has one name: name another file.")
    if terminal.json:
        terminal.document({"name": key.name, "key": str(key.verifier)})
    else:
        terminal.bytes([f"{key.verifier}\n".encode()])


def _make_key(file: Path, name: str) -> None:
    key = SigningKey.generate(name, COSIGNATURE)
    try:
        VerifierKey.parse(str(key.verifier))
    except CheckpointError as error:
        raise RefusedError(
            f'"{name}" cannot be the name of a key', hint="It holds neither spaces nor +, as in witness.example.com/ben"
        ) from error
    try:
        write_once_durably(file, key.to_text().encode())
    except OSError as error:
        raise RefusedError(f"{file} cannot be written: {error.strerror}", hint="Name another file.") from error


def _cosigner(file: Path) -> SigningKey:
    """The key in a file, if it is a witness's."""
    try:
        key = notes.load_signing_key(file)
    except KeyMissingError as error:
        raise RefusedError(
            f"there is no key {file}", hint="Make one: 1ctl audit witness-key FILE --name NAME"
        ) from error
    if key.algorithm != COSIGNATURE:
        raise RefusedError(
            f"{file} is the key of a ledger: a witness signs with a key of its own",
            hint="Make one: 1ctl audit witness-key FILE --name NAME",
        )
    return key


def _since(session: Session, newest: Checkpoint, note: bytes) -> bytes:
    """What shows that the ledger continues the kept checkpoint; that nothing does is no fault of the command line."""
    try:
        return prove_since(session.store, newest, note)
    except ProofError as error:
        raise CommandError(error.message, code=ExitCode.DAMAGED, hint=error.hint) from error


def _refuse_missing(directory: Path) -> None:
    """A witness whose directory is not there has lost what it knew, or its disk is not mounted; it never begins anew."""
    try:
        directory.stat()
    except FileNotFoundError as error:
        raise RefusedError(
            f"there is no directory {directory}: is it mounted?",
            hint="For a new witness, make the directory first.",
        ) from error
    except OSError:
        return  # told of when its files are opened


def _refuse_another(kept: Witness, directory: Path, verifier: VerifierKey) -> None:
    """The watched ledger names its own key, so another one in its place would begin a history of its own here."""
    if kept.knows_others(verifier.name):
        raise RefusedError(
            f"{directory} holds checkpoints of other ledgers, and none of {verifier.name}",
            hint="Did another ledger take the place of the one that is watched? To witness this one, too: --new-ledger",
        )
