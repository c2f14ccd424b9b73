"""Leaves of the ledger's Merkle tree, hashed again from what is stored: the stored leaf hashes are compared, not used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import chain

from ledger.checkpoint import Checkpoint
from ledger.errors import LedgerDamagedError
from ledger.leaf import entry as entry_bytes
from ledger.leaf import leaf_of
from ledger.merkle import ReadLeaves, Tree
from ledger.redaction import Remains, redactions
from ledger.store import Row, Store, is_well_formed

PAGE = 2000

EntryOf = Callable[[Row], bytes | None]
"""The entry of a stored line, from its bytes; None if they cannot be those of any line."""


def ledger_tree(store: Store) -> Tree:
    """An empty tree that grows from a ledger; keep it to prove often."""
    return Tree(ledger_leaves(store))


def ledger_leaves(store: Store) -> ReadLeaves:
    """What a `Tree` of this ledger reads, for instance one that was kept with `Tree.to_bytes`.

    Reading raises `LedgerDamagedError` where a line is missing or its bytes do not have the stored leaf hash.
    """
    return lambda start, stop: _checked(store, start, stop)


def begins_with(tree: Tree, size: int, old: Checkpoint) -> bool:
    """Whether the first `size` leaves of a tree begin with those of a checkpoint."""
    return old.size <= size and tree.root(old.size) == old.root


def entries_of(redacted: Mapping[int, Remains]) -> EntryOf:
    """Entries from stored bytes; with the original digest where a later event says that they were redacted."""

    def entry_of(row: Row) -> bytes | None:
        if not is_well_formed(row):
            return None
        position, stream, version, topic, state, recorded_us, _, _ = row
        digest = sha256(state).digest()
        if position in redacted:
            digest = redacted[position].as_recorded(digest)
        return entry_bytes(position, stream, version, recorded_us, topic, digest)

    return entry_of


def pages_of(store: Store, start: int, stop: int) -> Iterator[Sequence[Row]]:
    """Lines by index from `start` up to `stop`, as far as there are any; a gap shows in the positions."""
    position = start + 1
    while position <= stop and (rows := store.positions(position, stop, limit=PAGE)):
        yield rows
        position = rows[-1].position + 1


def rows_of(store: Store, start: int, stop: int) -> Iterator[Row]:
    """Like `pages_of`, one line after the other."""
    return chain.from_iterable(pages_of(store, start, stop))


def is_as_recorded(store: Store, position: int) -> bool:
    """Whether the line at a position has the leaf hash that is stored with it."""
    entry_of = entries_of(redactions(store))
    return any(_leaf(row, entry_of) is not None for row in store.positions(position, position, limit=1))


def _checked(store: Store, start: int, stop: int) -> Iterator[bytes]:
    """Leaf hashes from the stored bytes; a ledger that contradicts itself is neither signed nor proved."""
    redacted = redactions(store)
    entry_of = entries_of(redacted)
    expected = start
    for read in rows_of(store, start, stop):
        expected += 1
        if read.position != expected:
            raise _missing(expected)
        leaf = _leaf(read, entry_of)
        while leaf is None and (newer := redactions(store)) != redacted:  # somebody redacts meanwhile
            redacted, entry_of = newer, entries_of(newer)
            leaf = next((_leaf(row, entry_of) for row in store.positions(expected, expected, limit=1)), None)
        if leaf is None:
            raise changed_error(expected)
        yield leaf
    if expected < stop:
        raise _missing(expected + 1)


def _leaf(row: Row, entry_of: EntryOf) -> bytes | None:
    """The line's leaf, if its bytes have the one that is stored."""
    entry = entry_of(row)
    leaf = leaf_of(entry) if entry is not None else None
    return leaf if leaf == row.leaf else None


def _missing(position: int) -> LedgerDamagedError:
    return LedgerDamagedError(f"there is no event at position {position}", hint="See: 1ctl audit verify")


def changed_error(position: int) -> LedgerDamagedError:
    """A line is not what was hashed when it was recorded."""
    return LedgerDamagedError(f"the event at position {position} was changed", hint="See: 1ctl audit verify")
