"""Signing what the ledger holds now, and making the proofs that others check without it (`ledger.proof`)."""

from __future__ import annotations

from ledger import checkpoint as notes
from ledger.checkpoint import Checkpoint, SigningKey
from ledger.errors import LedgerDamagedError
from ledger.leaf import leaf_of
from ledger.ledger_key import ledger_key, own_key
from ledger.merkle import Tree, verify_inclusion
from ledger.proof import Extension, Proof, ProofError
from ledger.redaction import redactions
from ledger.store import Store
from ledger.stored_leaves import begins_with, changed_error, entries_of, ledger_tree


def checkpoint_now(
    store: Store, key: SigningKey, *, previous: Checkpoint | None = None, tree: Tree | None = None
) -> bytes:
    """A signed checkpoint of all that is in the ledger now, each line hashed again from its bytes.

    Args:
        store: The ledger.
        key: Its signing key.
        previous: The newest checkpoint that was signed before, as far as is known: a log never signs two that
            contradict each other (C2SP tlog-checkpoint, "Signatures").
        tree: One from `ledger_tree` that this process has kept; only lines it has not seen are then read, so it
            vouches for the older ones. Never one that was read from a file.

    Raises:
        RefusedError: The ledger is empty.
        CheckpointError: The key is not its own.
        LedgerDamagedError: It does not continue `previous`; a line is missing or is not what was hashed.
    """
    key = own_key(store, key)
    size = store.head().position
    tree = ledger_tree(store) if tree is None else tree
    tree.grow(size)
    if tree.size > size:
        raise LedgerDamagedError(
            f"the ledger had {tree.size} positions and has {size} now: it was cut; nothing was signed"
        )
    if previous is not None and not begins_with(tree, size, previous):
        raise LedgerDamagedError(
            f"the ledger does not continue the checkpoint of size {previous.size} that was signed before; "
            "nothing was signed",
            hint="It was changed or cut, or an older copy was put back.",
        )
    return notes.sign(Checkpoint(key.name, size, tree.root(size)), key)


def prove_position(store: Store, position: int, note: bytes, *, tree: Tree | None = None) -> bytes:
    """The proof file of one position, in the tree of a checkpoint that was signed with the ledger's key.

    Args:
        store: The ledger.
        position: Which line.
        note: A checkpoint at or after it, from `checkpoint_now` or kept elsewhere. No signing key is needed.
        tree: One from `ledger_tree`, or from a file: what it says is compared with the checkpoint's root.

    Raises:
        ProofError: The checkpoint does not cover the position, or the ledger is not what it was then.
        CheckpointError: The checkpoint is not one of this ledger.
        LedgerDamagedError: A line is missing or is not what was hashed when it was recorded.
    """
    signed = notes.open_note(note, ledger_key(store))
    if not 1 <= position <= signed.size:
        raise ProofError(f"the checkpoint covers positions 1 to {signed.size}, not {position}")
    tree = _grown(signed, ledger_tree(store) if tree is None else tree)
    path = tuple(tree.inclusion_proof(position - 1, signed.size))
    rows = store.positions(position, position, limit=1)
    entry = entries_of(redactions(store))(rows[0]) if rows else None
    if entry is None or not verify_inclusion(leaf_of(entry), position - 1, signed.size, path, signed.root):
        raise changed_error(position)
    return Proof(entry=entry, index=position - 1, path=path, note=note).to_bytes()


def prove_since(store: Store, old: Checkpoint, note: bytes, *, tree: Tree | None = None) -> bytes:
    """The proof that one checkpoint of this ledger continues another (see `Extension`).

    Args:
        store: The ledger.
        old: The older checkpoint.
        note: The newer one, signed.
        tree: As for `prove_position`.

    Raises:
        ProofError: It does not continue it, so there is no such proof; `verify_against` says more.
        CheckpointError: The newer checkpoint is not one of this ledger.
        LedgerDamagedError: A line is missing or is not what was hashed when it was recorded.
    """
    signed = notes.open_note(note, ledger_key(store))
    if old.origin != signed.origin:
        raise ProofError(f"the older checkpoint is of another ledger, {old.origin}")
    tree = _grown(signed, ledger_tree(store) if tree is None else tree)
    if not begins_with(tree, signed.size, old):
        raise ProofError(
            f"the ledger does not continue the checkpoint of size {old.size}",
            hint="It was changed or cut, or an older copy was put back: 1ctl audit verify --against FILE",
        )
    path = tuple(tree.consistency_proof(old.size, signed.size))
    return Extension(old_size=old.size, path=path, note=note).to_bytes()


def _grown(signed: Checkpoint, tree: Tree) -> Tree:
    tree.grow(signed.size)
    if tree.root(signed.size) != signed.root:
        raise ProofError(
            f"the ledger is not what it was when the checkpoint of size {signed.size} was signed",
            hint="See where: 1ctl audit verify --against FILE",
        )
    return tree
