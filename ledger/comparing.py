"""Asking the ledger itself whether it still begins with what an older checkpoint says, and if not, where it differs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ledger import checkpoint as notes
from ledger.checkpoint import Checkpoint, CheckpointError, VerifierKey
from ledger.errors import OneCtlError
from ledger.leaf import leaf_of
from ledger.ledger_key import ledger_key
from ledger.merkle import HASH_SIZE, Frontier
from ledger.redaction import redactions
from ledger.store import Store
from ledger.stored_leaves import EntryOf, entries_of, pages_of, rows_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Blame:
    """Where a ledger first differs from the one that was signed.

    Attributes:
        position: The first position that differs.
        how: How it is known, as a clause.
    """

    position: int
    how: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The ledger beside an older checkpoint.

    Attributes:
        verdict: ``consistent``: it begins with everything the checkpoint covers, unchanged; ``rolled back``: it is
            shorter, so it was cut or an older copy was put back; ``forked``: something the checkpoint covers is
            different, missing in the middle, or from another ledger.
        checkpoint: The older checkpoint.
        size: How many lines of the ledger were compared: those from 1 on without a gap, at most the checkpoint's.
        blame: The first difference, if it can be located.
        redacted: Positions among them whose bytes were redacted since they were recorded, as later events say. Their
            place, time and kind are compared; what is left of their content cannot be.
        detail: One or two sentences for a person.
    """

    verdict: Literal["consistent", "rolled back", "forked"]
    checkpoint: Checkpoint
    size: int
    blame: Blame | None
    redacted: tuple[int, ...]
    detail: str


def verify_against(store: Store, note: bytes, key: VerifierKey | None = None) -> Comparison:
    """Whether the ledger still begins with what a checkpoint kept elsewhere says.

    This finds what `verify_chain` cannot: an administrator who edits an event and recomputes every later hash, or who
    puts an older copy of the ledger back.

    Args:
        store: The ledger.
        note: The checkpoint that was kept.
        key: The ledger's key; default: the one that it names itself. A forger may have replaced that one as well, so a
            checkpoint that it does not open says ``forked``: then only who knows the key can tell which of them is forged.

    Raises:
        CheckpointError: The checkpoint is none, or is not signed by the key that was given: nothing can be said.
        LedgerDamagedError: No key was given, and the ledger names none.
    """
    if key is None:
        key = ledger_key(store)
        if (disowned := _disowned(note, key)) is not None:
            return disowned
    old = notes.open_note(note, key)
    redacted = redactions(store, key)
    entry_of = entries_of(redacted)
    frontier = Frontier()
    stopped = _walk(store, old.size, entry_of, frontier)
    size = frontier.size
    blanked = tuple(sorted(position for position in redacted if position <= size))
    if size == old.size and frontier.root() == old.root:
        detail = f"positions 1 to {size} are unchanged since the checkpoint"
        if blanked:
            detail += f", but for redacted content at {', '.join(map(str, blanked))}"
        return Comparison(verdict="consistent", checkpoint=old, size=size, blame=None, redacted=blanked, detail=detail)
    blame = stopped or _other_ledger(store, old) or _blame(store, old, entry_of, size)
    verdict: Literal["rolled back", "forked"] = "forked"
    detail = f"positions 1 to {old.size} are not those that were signed: {_where(blame)}"
    if stopped is None and size < old.size:
        verdict = "rolled back"
        detail = (
            f"the ledger ends at position {size}, the checkpoint at {old.size}: it was cut or replaced by an older copy"
        )
        if blame is not None:
            detail += f"; besides, {_where(blame)}"
    return Comparison(verdict=verdict, checkpoint=old, size=size, blame=blame, redacted=blanked, detail=detail)


def emptied(note: bytes) -> Comparison:
    """An empty ledger beside a checkpoint: everything is gone, and the checkpoint's signature cannot be checked.

    Raises:
        CheckpointError: It is not a checkpoint.
    """
    old = notes.unverified(note)
    detail = (
        f"the ledger is empty, but the checkpoint (nobody can check its signature any more) ends at position {old.size}"
    )
    return Comparison(verdict="rolled back", checkpoint=old, size=0, blame=None, redacted=(), detail=detail)


def _disowned(note: bytes, own: VerifierKey) -> Comparison | None:
    """What a checkpoint says that the ledger's own key does not open."""
    try:
        notes.open_note(note, own)
    except CheckpointError:
        old = notes.unverified(note)
    else:
        return None
    how = "the key that it names did not sign the checkpoint as it is"
    if own.name != old.origin:
        how = f"it names the ledger {own.name}, the checkpoint is about {old.origin}"
    blame = Blame(position=1, how=how)
    detail = f"position 1 is not the one that was signed, or the checkpoint is not this ledger's: {how}"
    return Comparison(verdict="forked", checkpoint=old, size=0, blame=blame, redacted=(), detail=detail)


def _walk(store: Store, size: int, entry_of: EntryOf, frontier: Frontier) -> Blame | None:
    """Hash the lines up to a size; what stopped it, if it was not the end of the ledger."""
    for rows in pages_of(store, 0, size):
        leaves: list[bytes] = []
        for expected, row in enumerate(rows, start=frontier.size + 1):
            entry = entry_of(row) if row.position == expected else None
            if entry is None:
                how = "it holds what no event can hold" if row.position == expected else "it is missing"
                frontier.extend(leaves)
                return Blame(position=expected, how=how)
            leaves.append(leaf_of(entry))
        frontier.extend(leaves)
    return None


# -- Locating a difference -----------------------------------------------------------------------------------------


def _other_ledger(store: Store, old: Checkpoint) -> Blame | None:
    try:
        origin = ledger_key(store).name
    except OneCtlError:
        return None
    if origin == old.origin:
        return None
    return Blame(position=1, how=f"it names the ledger {origin}, the checkpoint is about {old.origin}")


def _blame(store: Store, old: Checkpoint, entry_of: EntryOf, size: int) -> Blame | None:
    """The stored leaf hashes locate an edit exactly if they were left alone: then they have the signed root."""
    frontier, edited = Frontier(), 0
    for row in rows_of(store, 0, old.size) if size == old.size else ():
        if not _is_hash(row.leaf):
            return None
        frontier.append(row.leaf)
        if not edited and leaf_of(entry_of(row) or b"") != row.leaf:
            edited = row.position
    if not edited or frontier.root() != old.root:
        return None
    return Blame(position=edited, how="its stored leaf hash is the one that was signed, its bytes are not")


def _is_hash(stored: object) -> bool:
    return isinstance(stored, bytes) and len(stored) == HASH_SIZE


def _where(blame: Blame | None) -> str:
    if blame is None:
        return "something was changed and every later hash recomputed; the checkpoint alone cannot tell where"
    return f"the first difference is at position {blame.position}: {blame.how}"
