"""`1ctl audit checkpoint|prove|verify-proof`: proofs that outsiders can check without us."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.exit_codes import UsageError
from cli.inputs import read_input
from cli.options import INVOCATION, Which, countable, offer
from cli.proof_tree import keep_tree, with_kept_tree
from cli.session import Session
from ledger import checkpoint as notes
from ledger import proof as proofs
from ledger.checkpoint import Checkpoint, CheckpointError, KeyMissingError, SigningKey, VerifierKey
from ledger.clock import iso
from ledger.comparing import Comparison, emptied, verify_against
from ledger.errors import LedgerDamagedError, LedgerUnavailableError, RefusedError
from ledger.founding import id_of
from ledger.kept_checkpoints import KeptCheckpoints
from ledger.ledger_key import ledger_key, own_key
from ledger.merkle import Tree
from ledger.moments import at_position
from ledger.proving import checkpoint_now, prove_position, prove_since
from ledger.stored_leaves import ledger_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cli.terminal import Terminal
    from ledger.store import ModelStore

FileOption = Annotated[Path | None, typer.Option("--file", metavar="FILE", help="Where to; default: stdout.")]
KeyOption = Annotated[
    str | None, typer.Option("--key", metavar="KEY", help="The ledger's verifier key, or a file of it.")
]


def checkpoint(file: FileOption = None) -> None:
    """Sign what is in the ledger now (C2SP tlog-checkpoint). Keep it where this ledger's administrator cannot reach it.

    Example:  1ctl audit checkpoint --file today.checkpoint
    """
    session = Session.for_questions()
    note = signed_now(session)
    _give(session.terminal, note, file, {"checkpoint": note.decode(), **signed_fields(notes.unverified(note))})


def prove(
    release: Annotated[
        int | None,
        typer.Option(
            "--release",
            metavar="N",
            callback=countable,
            autocompletion=offer("releases"),
            help="That this release was recorded.",
        ),
    ] = None,
    position: Annotated[
        int | None, typer.Option("--position", metavar="P", callback=countable, help="That this event was recorded.")
    ] = None,
    since: Annotated[
        Path | None, typer.Option("--since", metavar="CHECKPOINT", help="That the ledger only grew since then.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", metavar="FILE", help="In this checkpoint; default: sign one now.")
    ] = None,
    file: FileOption = None,
    *,
    which: Which,
) -> None:
    """Prove to an outsider what is in the ledger.

    That an event is in it, or that nothing before a checkpoint was changed.

    Example:  1ctl audit prove --release 1 --file release-1.tlog-proof
    """
    if [release, position, since].count(None) != 2:
        raise UsageError("name one of --release, --position and --since")
    if release is None and any(which):
        raise UsageError("only a --release is one of an app; leave out which app")
    session = Session()
    session.require_named_ledger()
    if release is not None:
        position = _position_of(session, release, which)
    elif position is not None:
        at_position(session.store, position)
    old = notes.open_note(read_input(since), ledger_key(session.store)) if since is not None else None
    kept = kept_checkpoints(session)

    def make(tree: Tree) -> bytes:
        if old is not None:
            return prove_since(session.store, old, note, tree=tree)
        assert position is not None
        return prove_position(session.store, position, note, tree=tree)

    if checkpoint is not None:
        note = read_input(checkpoint)
        proof = with_kept_tree(session, kept, make)
    else:
        tree = ledger_tree(session.store)  # what is signed is hashed, not remembered
        try:
            note = signed_now(session, tree)
        except KeyMissingError as error:
            raise KeyMissingError(
                error.message, hint="Prove it in a checkpoint that was signed where that key is: --checkpoint FILE"
            ) from error
        proof = make(tree)
        keep_tree(session, kept, tree)
    _give(session.terminal, proof, file, {"proof": proof.decode(), "position": position})


def verify_proof(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The proof; with --old, one of audit prove --since.")],
    key: Annotated[str, typer.Option("--key", metavar="KEY", help="The ledger's verifier key, or a file of it.")],
    witness: Annotated[
        list[str] | None,
        typer.Option("--witness", metavar="KEY", help="Likewise of a witness, who must have cosigned; repeatable."),
    ] = None,
    event: Annotated[Path | None, typer.Option(metavar="FILE", help="The event's bytes, to compare.")] = None,
    old: Annotated[Path | None, typer.Option(metavar="CHECKPOINT", help="The earlier checkpoint of --since.")] = None,
) -> None:
    """Check a proof. No ledger is needed, only the file and the ledger's key.

    With --witness, also that somebody who watches the ledger has seen no other one of its name.

    Example:  1ctl audit verify-proof release-1.tlog-proof --key ledger.key
    """
    from cli.terminal import Terminal  # noqa: PLC0415 - no session: there need be no ledger here

    if event is not None and old is not None:
        raise UsageError("--event and --old exclude each other")
    terminal = Terminal(json=INVOCATION.json)
    verifier, witnesses = verifier_key(key), [verifier_key(each) for each in witness or ()]
    text = read_input(file)
    _refuse_other_kind(text, file, old)
    if old is not None:
        signed = proofs.verify_extension(text, notes.open_note(read_input(old), verifier), verifier)
        note = proofs.Extension.parse(text).note
        witnessed = notes.witnessed(note, witnesses)
        terminal.success(f"The ledger only grew: position {signed.size} continues what the older checkpoint says")
        _tell_witnessed(terminal, witnessed, notes.unknown_signatures(note, [verifier, *witnesses]))
        if terminal.json:
            terminal.document({"proved": "consistency", **signed_fields(signed), "cosigned": _cosigned(witnessed)})
        return
    proven = proofs.verify_proof(text, verifier, state=read_input(event) if event else None, witnesses=witnesses)
    entry = proven.entry
    terminal.success(
        f"{entry.topic} was recorded at position {entry.position} on {entry.recorded_at}, "
        f"in the ledger {proven.checkpoint.origin}"
    )
    _tell_witnessed(terminal, proven.witnessed, proven.unknown)
    if not proven.state_checked:
        terminal.notice(f"SHA-256 of the event: {entry.state_digest.hex()}   (--event FILE compares it)")
    if terminal.json:
        terminal.document(
            {
                "proved": "inclusion",
                "position": entry.position,
                "kind": entry.topic,
                "recorded_at": entry.recorded_at,
                "stream": str(entry.stream_id),
                "version": entry.version,
                "state_sha256": entry.state_digest.hex(),
                "state_checked": proven.state_checked,
                **signed_fields(proven.checkpoint),
                "cosigned": _cosigned(proven.witnessed),
            }
        )


def _refuse_other_kind(text: bytes, file: Path, old: Path | None) -> None:
    """A good proof that is asked the wrong way is not called a bad one: that would accuse somebody."""
    if old is None and proofs.Extension.is_begun_by(text):
        raise UsageError(
            f"{file} is a consistency proof", hint="Name the checkpoint that it continues: --old CHECKPOINT"
        )
    if old is not None and proofs.Proof.is_begun_by(text):
        raise UsageError(f"{file} is the proof of one event, which continues no checkpoint", hint="Leave --old out.")


def _tell_witnessed(terminal: Terminal, witnessed: Sequence[tuple[str, int]], unknown: int) -> None:
    for each in _cosigned(witnessed):
        terminal.success(f"{each['witness']} cosigned it at {each['at']}, and had seen no other ledger of that name")
    if unknown:
        terminal.notice(f"Signatures by keys that were not named: {unknown}   (--witness KEY checks them)")


def _cosigned(witnessed: Sequence[tuple[str, int]]) -> list[dict[str, str]]:
    return [{"witness": name, "at": iso(seconds * 1_000_000)} for name, seconds in witnessed]


def compare(session: Session, against: Path, key: str | None) -> Comparison:
    """The ledger beside a checkpoint that was kept elsewhere."""
    note = read_input(against)
    try:
        notes.unverified(note)
    except CheckpointError as error:
        raise RefusedError(
            f"{against} is no checkpoint: {error.message}", hint="Name a file that 'audit checkpoint' wrote."
        ) from error
    if not key and session.store.head().position == 0:
        return emptied(note)  # the key that its lines name is gone with them
    return verify_against(session.store, note, verifier_key(key) if key else None)


def signed_now(session: Session, tree: Tree | None = None) -> bytes:
    """A checkpoint of the ledger as it is now; kept here, so that no other history is signed later.

    Args:
        session: Whose ledger.
        tree: An empty one, which has grown to the checkpoint's size afterwards.

    Raises:
        RefusedError: The ledger is empty.
        CheckpointError: Its signing key is not here.
        LedgerDamagedError: It does not continue the kept checkpoint.
    """
    ledger_key(session.store)  # an empty ledger has none, and no id to look for the signing key by
    ledger_id = session.reader.ledger_id() or ""
    key = notes.load_signing_key(session.keys.signing_path(ledger_id))
    return sign_and_keep(session, session.store, key, tree)


def sign_and_keep(
    session: Session,
    store: ModelStore,
    key: SigningKey,
    tree: Tree | None = None,
    *,
    unkept: Callable[[LedgerUnavailableError], None] | None = None,
) -> bytes:
    """A checkpoint of this ledger as it is in a store: the session's, or a backup of it; `tree` as for `signed_now`.

    Args:
        session: Whose ledger.
        store: Where it is.
        key: Its signing key.
        tree: See `signed_now`.
        unkept: Told why it cannot be kept here, if it is of use all the same; None: then that is an error.

    Raises:
        LedgerUnavailableError: It cannot be kept, and nobody is to be told.
        LedgerBusyError: Another process is signing one.
        RefusedError: It is empty.
        CheckpointError: The key is not its own.
        LedgerDamagedError: It does not continue the kept checkpoint.
    """
    ours, kept = own_key(store, key).verifier, kept_checkpoints(session)
    tree = ledger_tree(store) if tree is None else tree
    tree.grow(store.head().position)  # so that others need not wait while all of it is read

    def sign(newest: bytes | None) -> bytes:
        previous = notes.open_note(newest, ours) if newest is not None else None
        if newest is not None and previous is not None and previous.size > tree.size and store != session.store:
            # Signed while the backup was made: the ledger itself has to continue it.
            _refuse_other_history(session, newest)
            previous = None
        return checkpoint_now(store, key, previous=previous, tree=tree)

    note, failure = kept.keep_next(id_of(ours.name), sign)
    if failure is not None:
        if unkept is None:
            raise failure
        unkept(failure)
    return note


def _refuse_other_history(session: Session, note: bytes) -> None:
    result = verify_against(session.store, note)
    if result.verdict != "consistent":
        raise LedgerDamagedError(f"the ledger does not continue the newest checkpoint signed here: {result.detail}")


def kept_checkpoints(session: Session) -> KeptCheckpoints:
    """The newest checkpoints that were signed here."""
    return KeptCheckpoints(session.home / "checkpoints")


def _position_of(session: Session, release: int, which: Which) -> int:
    from cli.moment import life_of  # noqa: PLC0415
    from cli.target import target  # noqa: PLC0415
    from ledger.landmarks import release_lines  # noqa: PLC0415

    app_id = target(session, which, ended=True)
    asked, _ = release_lines(session.store, life_of(session, app_id, which.deployment_id), release)
    return asked.position


def verifier_key(text: str) -> VerifierKey:
    """A verifier key, given as text or as the name of a file that holds it.

    What is a key is never taken as a file's name: whoever sends a forged proof could send a file of that name with it.

    Raises:
        CheckpointError: It is not a key.
        RefusedError: The file cannot be read.
    """
    try:
        return VerifierKey.parse(text.strip())
    except CheckpointError:
        path = Path(text)
        if "+" in text and not path.is_file():
            raise
    return VerifierKey.parse(read_input(path).decode(errors="replace").strip())


def _give(terminal: Terminal, content: bytes, file: Path | None, document: dict[str, object]) -> None:
    if file is not None:
        write_output(terminal, content, file)
    elif not terminal.json:
        terminal.bytes([content])
    if terminal.json:
        terminal.document(document)


def write_output(terminal: Terminal, content: bytes, file: Path) -> None:
    """Write what was made to the file that the user named, and say so.

    Raises:
        RefusedError: It cannot be written.
    """
    try:
        file.write_bytes(content)
    except OSError as error:
        raise RefusedError(f"{file} cannot be written: {error.strerror}", hint="Name another file.") from error
    terminal.success(f"Written to {file}")


def signed_fields(signed: Checkpoint) -> dict[str, object]:
    """What JSON shows of a checkpoint."""
    return {"origin": signed.origin, "size": signed.size, "root": signed.root.hex()}
