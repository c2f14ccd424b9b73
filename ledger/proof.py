"""Proofs about the ledger that are checked without it, and checking the ledger against a checkpoint kept elsewhere.

* A proof file (C2SP tlog-proof) shows that one event is in the tree of a signed checkpoint. Its ``extra`` line holds
  the entry (`ledger.leaf.entry`), from which the verifier makes the leaf: nothing in the file is taken on trust.
* An extension (the request body of C2SP tlog-witness ``add-checkpoint``) shows that a signed checkpoint continues an
  older one: nothing before it was changed, removed or put in between.
* `verify_against` asks the ledger itself: does it still begin with what an older checkpoint says?

Whatever is read from a store is hashed again from the stored bytes; the stored leaf hashes are compared, not used.
"""

from __future__ import annotations

import struct
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import chain
from typing import Literal, Self
from uuid import UUID

from ledger import checkpoint as notes
from ledger.checkpoint import Checkpoint, CheckpointError, SigningKey, VerifierKey
from ledger.clock import iso
from ledger.codec import decode
from ledger.errors import LedgerDamagedError, OneCtlError
from ledger.events import LedgerCreated
from ledger.leaf import entry as entry_bytes
from ledger.leaf import leaf_of
from ledger.merkle import HASH_SIZE, Frontier, ReadLeaves, Tree, verify_consistency, verify_inclusion
from ledger.redaction import Remains, redactions
from ledger.store import Row, Store, is_well_formed

PAGE = 2000
MAX_PROOF = 2 << 20
MAX_PATH = 63
"""The most hashes that a proof about fewer than 2**63 leaves needs (C2SP tlog-witness)."""

_HEADER = b"c2sp.org/tlog-proof@v1"
_HEAD = struct.Struct(">Q16sQqH")

EntryOf = Callable[[Row], bytes | None]
"""The entry of a stored line, from its bytes; None if they cannot be those of any line."""


class ProofError(OneCtlError):
    """A proof does not show what it should, or cannot be made."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What one leaf stands for (`ledger.leaf.entry`), field by field.

    Attributes:
        position: Place in the ledger, from 1.
        stream: Id of the stream, 16 bytes.
        version: Place in the stream, from 1.
        recorded_us: When, in microseconds since 1970-01-01 UTC.
        topic: What kind of event.
        state_digest: SHA-256 of the event's bytes.
    """

    position: int
    stream: bytes
    version: int
    recorded_us: int
    topic: str
    state_digest: bytes

    @classmethod
    def parse(cls, entry: bytes) -> Self:
        """The fields of an entry.

        Raises:
            ProofError: The bytes are no entry.
        """
        try:
            position, stream, version, recorded_us, length = _HEAD.unpack_from(entry)
            topic = entry[_HEAD.size : -HASH_SIZE].decode()
            iso(recorded_us)
        except (struct.error, UnicodeDecodeError, OverflowError, ValueError):
            raise ProofError("the proof's entry is not one of a 1ctl ledger") from None
        if len(entry) != _HEAD.size + length + HASH_SIZE or not topic:
            raise ProofError("the proof's entry is not one of a 1ctl ledger")
        return cls(position, stream, version, recorded_us, topic, entry[-HASH_SIZE:])

    @property
    def stream_id(self) -> UUID:
        """The stream's id as it is usually written."""
        return UUID(bytes=self.stream)

    @property
    def recorded_at(self) -> str:
        """When, as ISO 8601 in UTC."""
        return iso(self.recorded_us)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """A proof file as it was read; nothing in it is verified.

    Attributes:
        entry: The bytes on the ``extra`` line.
        index: Index of the leaf; the position is one more.
        path: The inclusion proof.
        note: The signed checkpoint, verbatim.
    """

    entry: bytes
    index: int
    path: tuple[bytes, ...]
    note: bytes

    def to_bytes(self) -> bytes:
        """The proof file."""
        head = (_HEADER, b"extra " + b64encode(self.entry), b"index %d" % self.index)
        return _lines(*head, *map(b64encode, self.path)) + b"\n" + self.note

    @classmethod
    def parse(cls, text: bytes) -> Self:
        """The parts of a proof file.

        Raises:
            ProofError, CheckpointError: It is malformed.
        """
        lines, note = _head(text, "proof")
        if lines[0] != _HEADER:
            raise ProofError("this is not a proof", hint=f"The first line of a proof reads {_HEADER.decode()}.")
        if len(lines) < 3 or not lines[1].startswith(b"extra ") or not lines[2].startswith(b"index "):
            raise ProofError("the proof lacks its extra or its index line; it is not one of a 1ctl ledger")
        return cls(
            entry=notes.parse_base64(lines[1].removeprefix(b"extra "), "the extra line"),
            index=notes.parse_decimal(lines[2].removeprefix(b"index "), "the index"),
            path=_path(lines[3:]),
            note=note,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """What a proof file has shown.

    Attributes:
        entry: The event's line in the ledger.
        checkpoint: The signed tree that it is in.
        state_checked: Whether given event bytes were compared with the entry's digest, and fitted.
        witnessed: Which of the given witnesses signed the checkpoint, with the second since 1970-01-01 UTC.
    """

    entry: Entry
    checkpoint: Checkpoint
    state_checked: bool
    witnessed: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """A consistency proof with the checkpoint that it leads to (C2SP tlog-witness, ``add-checkpoint``).

    Attributes:
        old_size: Size of the tree that is continued.
        path: The consistency proof.
        note: The newer signed checkpoint, verbatim.
    """

    old_size: int
    path: tuple[bytes, ...]
    note: bytes

    def to_bytes(self) -> bytes:
        """The text form."""
        return _lines(b"old %d" % self.old_size, *map(b64encode, self.path)) + b"\n" + self.note

    @classmethod
    def parse(cls, text: bytes) -> Self:
        """The parts of the text form.

        Raises:
            ProofError, CheckpointError: It is malformed.
        """
        lines, note = _head(text, "consistency proof")
        if not lines[0].startswith(b"old "):
            raise ProofError("this is not a consistency proof", hint='Its first line reads "old SIZE".')
        old_size = notes.parse_decimal(lines[0].removeprefix(b"old "), "the old size")
        return cls(old_size=old_size, path=_path(lines[1:]), note=note)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blame:
    """Where a ledger first differs from the one that was signed.

    Attributes:
        first: The first position that may differ.
        last: The last position that may be the first to differ; equal to `first` if it is known exactly.
        how: How it is known, as a sentence.
    """

    first: int
    last: int
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
        redacted: Positions among them whose bytes were blanked since they were recorded, as later events say. Their
            place, time and kind are compared; what is left of their content cannot be.
        detail: One or two sentences for a person.
    """

    verdict: Literal["consistent", "rolled back", "forked"]
    checkpoint: Checkpoint
    size: int
    blame: Blame | None
    redacted: tuple[int, ...]
    detail: str


# -- Offline -------------------------------------------------------------------------------------------------------


def verify_proof(
    text: bytes, key: VerifierKey, *, state: bytes | None = None, witnesses: Sequence[VerifierKey] = ()
) -> Proven:
    """Check a proof file without the ledger: entry, leaf, path, root, signature, in this order.

    Args:
        text: The file.
        key: The ledger's key, from somewhere other than the file.
        state: The bytes of the event; compared with the digest in the entry.
        witnesses: Keys of witnesses whose cosignatures are looked for.

    Raises:
        ProofError, CheckpointError: It does not prove anything, and why.
    """
    proof = Proof.parse(text)
    entry = Entry.parse(proof.entry)
    if entry.position != proof.index + 1:
        raise ProofError(f"the proof is for index {proof.index}, its entry for position {entry.position}")
    signed = notes.open_note(proof.note, key)
    if not verify_inclusion(leaf_of(proof.entry), proof.index, signed.size, proof.path, signed.root):
        raise ProofError(f"the entry is not at position {entry.position} of the tree in the checkpoint")
    if state is not None and sha256(state).digest() != entry.state_digest:
        raise ProofError(
            f"these are not the bytes of the event at position {entry.position}",
            hint="Bytes are compared exactly: a newline at the end counts. A redacted event no longer fits.",
        )
    times = ((witness.name, notes.cosigned_at(proof.note, witness)) for witness in witnesses)
    witnessed = tuple((name, seconds) for name, seconds in times if seconds is not None)
    return Proven(entry=entry, checkpoint=signed, state_checked=state is not None, witnessed=witnessed)


def verify_extension(text: bytes, old: Checkpoint, key: VerifierKey) -> Checkpoint:
    """The newer checkpoint of a consistency proof, once it is shown to continue the older one.

    Raises:
        ProofError, CheckpointError: It does not, and why.
    """
    extension = Extension.parse(text)
    signed = notes.open_note(extension.note, key)
    if signed.origin != old.origin:
        raise ProofError(f"the checkpoints are of two ledgers, {old.origin} and {signed.origin}")
    if extension.old_size != old.size:
        raise ProofError(f"the proof begins at size {extension.old_size}, the older checkpoint has {old.size}")
    if not verify_consistency(old.size, signed.size, old.root, signed.root, extension.path):
        raise ProofError(f"the ledger at size {signed.size} is not a continuation of what it was at size {old.size}")
    return signed


# -- From a ledger -------------------------------------------------------------------------------------------------


def ledger_tree(store: Store) -> Tree:
    """An empty tree that grows from a ledger; keep it to prove often."""
    return Tree(ledger_leaves(store))


def ledger_leaves(store: Store) -> ReadLeaves:
    """What a `Tree` of this ledger reads, for instance one that was kept with `Tree.to_bytes`.

    Reading raises `LedgerDamagedError` where a line is missing or its bytes do not have the stored leaf hash.
    """
    return lambda start, stop: _leaves(store, start, stop)


def ledger_key(store: Store) -> VerifierKey:
    """The key that position 1 of the ledger names. It says who ought to sign, not that the ledger is authentic.

    Raises:
        CheckpointError: The ledger is empty.
        LedgerDamagedError: It does not begin as a ledger does.
    """
    rows = store.positions(1, 1, limit=1)
    if not rows:
        raise CheckpointError("the ledger is empty: there is nothing to sign or to prove")
    event, _ = decode(rows[0].topic, rows[0].state)
    if not isinstance(event, LedgerCreated) or not isinstance(event.verification_key, str):
        raise LedgerDamagedError("position 1 of the ledger does not say whose ledger it is")
    return VerifierKey.parse(event.verification_key)


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
        CheckpointError: The ledger is empty, or the key is not its own.
        LedgerDamagedError: It does not continue `previous`; a line is missing or is not what was hashed.
    """
    ours = ledger_key(store)
    key = replace(key, name=ours.name)  # one key file may serve several ledgers, each under its own origin
    if key.verifier != ours:
        raise CheckpointError(
            f"the signing key is not the one that the ledger names at position 1 ({ours.name})",
            hint="Point ONECTL_SIGNING_KEY to the key file of this ledger.",
        )
    size = store.head().position
    tree = tree or ledger_tree(store)
    tree.grow(size)
    if tree.size > size:
        raise LedgerDamagedError(
            f"the ledger had {tree.size} positions and has {size} now: it was cut; nothing was signed"
        )
    if previous is not None and not _begins_with(tree, size, previous):
        raise LedgerDamagedError(
            f"the ledger does not continue the checkpoint of size {previous.size} that was signed before; "
            "nothing was signed",
            hint="It was changed, cut, or an older copy was put back.",
        )
    return notes.sign(Checkpoint(ours.name, size, tree.root(size)), key)


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
    tree = _grown(signed, tree or ledger_tree(store))
    path = tuple(tree.inclusion_proof(position - 1, signed.size))
    rows = store.positions(position, position, limit=1)
    entry = _entries(_redactions(store))(rows[0]) if rows else None
    if entry is None or not verify_inclusion(leaf_of(entry), position - 1, signed.size, path, signed.root):
        raise _changed(position)
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
    tree = _grown(signed, tree or ledger_tree(store))
    if not _begins_with(tree, signed.size, old):
        raise ProofError(
            f"the ledger does not continue the checkpoint of size {old.size}",
            hint="It was changed, cut, or an older copy was put back: 1ctl audit verify --against FILE",
        )
    path = tuple(tree.consistency_proof(old.size, signed.size))
    return Extension(old_size=old.size, path=path, note=note).to_bytes()


def verify_against(store: Store, note: bytes, key: VerifierKey, *, known: Tree | None = None) -> Comparison:
    """Whether the ledger still begins with what a checkpoint kept elsewhere says.

    This finds what `verify_chain` cannot: an administrator who edits an event and recomputes every later hash, or who
    puts an older copy of the ledger back.

    Args:
        store: The ledger.
        note: The checkpoint that was kept.
        key: The ledger's key. `ledger_key` will do: a forged ledger that names another one refuses the checkpoint.
        known: A tree of the ledger as it was (of a backup, or kept by whoever kept the checkpoint), to locate a
            difference. It is used only if it has the checkpoint's root.

    Raises:
        CheckpointError: The checkpoint is not signed by the key: nothing can be said.
    """
    old = notes.open_note(note, key)
    redacted = _redactions(store)
    entry_of = _entries(redacted)
    frontier = Frontier()
    stopped = _walk(store, old.size, entry_of, frontier)
    size = frontier.size
    blanked = tuple(sorted(position for position in redacted if position <= size))
    if size == old.size and frontier.root() == old.root:
        detail = f"positions 1 to {size} are unchanged since the checkpoint"
        if blanked:
            detail += f", but for redacted content at {', '.join(map(str, blanked))}"
        return Comparison(verdict="consistent", checkpoint=old, size=size, blame=None, redacted=blanked, detail=detail)
    blame = stopped or _other_ledger(store, old) or _blame(store, old, known, entry_of, size)
    verdict: Literal["rolled back", "forked"] = "forked"
    detail = f"positions 1 to {old.size} are not those that were signed: {_where(blame)}"
    if stopped is None and size < old.size:
        verdict = "rolled back"
        detail = (
            f"the ledger ends at position {size}, the checkpoint at {old.size}: it was cut, or an older copy put back"
        )
        if blame is not None:
            detail += f"; besides, {_where(blame)}"
    return Comparison(verdict=verdict, checkpoint=old, size=size, blame=blame, redacted=blanked, detail=detail)


# -- Reading -------------------------------------------------------------------------------------------------------


def _redactions(store: Store) -> Mapping[int, Remains]:
    try:
        return redactions(store)
    except (ValueError, TypeError):
        return {}  # a line that someone made up redacts nothing; what it stood for then shows as changed


def _entries(redacted: Mapping[int, Remains]) -> EntryOf:
    """Entries from stored bytes; the digest from before where a later event says that they were blanked."""

    def entry_of(row: Row) -> bytes | None:
        if not is_well_formed(row):
            return None
        position, stream, version, topic, state, recorded_us, _, _ = row
        digest = sha256(state).digest()
        remains = redacted.get(position)
        if remains is not None and remains.remaining == digest:
            digest = remains.original
        return entry_bytes(position, stream, version, recorded_us, topic, digest)

    return entry_of


def _pages(store: Store, start: int, stop: int) -> Iterator[Sequence[Row]]:
    """Lines by index from `start` up to `stop`, as far as there are any; a gap shows in the positions."""
    position = start + 1
    while position <= stop and (rows := store.positions(position, stop, limit=PAGE)):
        yield rows
        position = rows[-1].position + 1


def _rows(store: Store, start: int, stop: int) -> Iterator[Row]:
    return chain.from_iterable(_pages(store, start, stop))


def _leaves(store: Store, start: int, stop: int) -> Iterator[bytes]:
    """Leaf hashes from the stored bytes; a ledger that contradicts itself is neither signed nor proved."""
    entry_of = _entries(_redactions(store))
    expected = start
    for row in _rows(store, start, stop):
        expected += 1
        if row.position != expected:
            raise _missing(expected)
        entry = entry_of(row)
        leaf = leaf_of(entry) if entry is not None else None
        if leaf is None or leaf != row.leaf:
            raise _changed(expected)
        yield leaf
    if expected < stop:
        raise _missing(expected + 1)


def _missing(position: int) -> LedgerDamagedError:
    return LedgerDamagedError(f"there is no event at position {position}", hint="See: 1ctl audit verify")


def _changed(position: int) -> LedgerDamagedError:
    return LedgerDamagedError(f"the event at position {position} was changed", hint="See: 1ctl audit verify")


def _walk(store: Store, size: int, entry_of: EntryOf, frontier: Frontier) -> Blame | None:
    """Hash the lines up to a size; what stopped it, if it was not the end of the ledger."""
    for rows in _pages(store, 0, size):
        leaves: list[bytes] = []
        for expected, row in enumerate(rows, start=frontier.size + 1):
            entry = entry_of(row) if row.position == expected else None
            if entry is None:
                how = "it holds what no event can hold" if row.position == expected else "it is missing"
                frontier.extend(leaves)
                return Blame(first=expected, last=expected, how=how)
            leaves.append(leaf_of(entry))
        frontier.extend(leaves)
    return None


def _unchecked(store: Store, start: int, stop: int, entry_of: EntryOf) -> Iterator[bytes]:
    return (leaf_of(entry_of(row) or b"") for row in _rows(store, start, stop))


# -- Locating a difference -----------------------------------------------------------------------------------------


def _other_ledger(store: Store, old: Checkpoint) -> Blame | None:
    try:
        origin = ledger_key(store).name
    except OneCtlError:
        return None
    if origin == old.origin:
        return None
    return Blame(first=1, last=1, how=f"it names the ledger {origin}, the checkpoint is about {old.origin}")


def _blame(store: Store, old: Checkpoint, known: Tree | None, entry_of: EntryOf, size: int) -> Blame | None:
    """The first difference within the first `size` lines, by whatever is shown to be authentic by the signed root."""
    if size == old.size and (blame := _blame_by_column(store, old, entry_of)):
        return blame
    if known is None or not _is_of(known, old):
        return None
    now = Tree(lambda start, stop: _unchecked(store, start, stop, entry_of), level=known.level)
    now.grow(size)
    pairs = zip(known.blocks, now.blocks, strict=False)
    block = next((at for at, (then, here) in enumerate(pairs) if then != here), len(now.blocks))
    return _blame_in_block(known, now, block, certain=block < len(now.blocks) or size == old.size)


def _blame_by_column(store: Store, old: Checkpoint, entry_of: EntryOf) -> Blame | None:
    """The stored leaf hashes locate an edit exactly if they were left alone: then they have the signed root."""
    frontier, edited = Frontier(), 0
    for row in _rows(store, 0, old.size):
        if not _is_hash(row.leaf):
            return None
        frontier.append(row.leaf)
        if not edited and leaf_of(entry_of(row) or b"") != row.leaf:
            edited = row.position
    if not edited or frontier.root() != old.root:
        return None
    return Blame(first=edited, last=edited, how="its stored leaf hash is the one that was signed, its bytes are not")


def _is_hash(stored: object) -> bool:
    return isinstance(stored, bytes) and len(stored) == HASH_SIZE


def _blame_in_block(known: Tree, now: Tree, block: int, *, certain: bool) -> Blame | None:
    start = block * now.block_size
    here = now.leaves_of(block)
    try:
        then = known.leaves_of(block)
    except (OneCtlError, ValueError):
        how = "the older tree holds these lines as one hash"
        return Blame(first=start + 1, last=start + len(here), how=how) if certain else None
    pairs = enumerate(zip(then, here, strict=False), start=start + 1)
    first = next((position for position, (old_leaf, leaf) in pairs if old_leaf != leaf), None)
    return Blame(first=first, last=first, how="compared with the older tree, line by line") if first else None


def _where(blame: Blame | None) -> str:
    if blame is None:
        return "something was changed and every later hash recomputed; the checkpoint alone cannot tell where"
    if blame.first == blame.last:
        return f"the first difference is at position {blame.first}: {blame.how}"
    return f"the first difference is between positions {blame.first} and {blame.last}: {blame.how}"


def _grown(signed: Checkpoint, tree: Tree) -> Tree:
    tree.grow(signed.size)
    if tree.root(signed.size) != signed.root:
        raise ProofError(
            f"the ledger is not what it was when the checkpoint of size {signed.size} was signed",
            hint="See where: 1ctl audit verify --against FILE",
        )
    return tree


def _begins_with(tree: Tree, size: int, old: Checkpoint) -> bool:
    return old.size <= size and tree.root(old.size) == old.root


def _is_of(known: Tree, old: Checkpoint) -> bool:
    """Whether a tree from outside is the one that was signed, perhaps longer."""
    try:
        return _begins_with(known, known.size, old)
    except (OneCtlError, ValueError):
        return False


# -- Text ----------------------------------------------------------------------------------------------------------


def _lines(*lines: bytes) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def _head(text: bytes, what: str) -> tuple[list[bytes], bytes]:
    """The lines before the first blank one, and the note after it."""
    if len(text) > MAX_PROOF:
        raise ProofError(f"the {what} is larger than {MAX_PROOF} bytes")
    head, blank, note = text.partition(b"\n\n")
    if not blank:
        raise ProofError(f"this is not a {what}, or it was cut off: there is no blank line before the checkpoint")
    return head.split(b"\n"), note


def _path(lines: Sequence[bytes]) -> tuple[bytes, ...]:
    if len(lines) > MAX_PATH:
        raise ProofError(f"a proof has at most {MAX_PATH} hashes")
    return tuple(notes.parse_hash(line, "a hash of the proof") for line in lines)
