"""Walking the chain: whether what is stored is still what was recorded.

This finds any edit, gap, swap or cut that was not made by someone who also recomputed every later hash. Against such
an administrator only a checkpoint kept elsewhere helps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from struct import error as StructError  # noqa: N812 - a class, whatever its name
from typing import Literal

from ledger.clock import LATEST_US
from ledger.errors import LedgerDamagedError, LedgerIncompleteError, UnknownEventError
from ledger.leaf import GENESIS, chain_hash, entry, leaf_hash, leaf_of
from ledger.misled import Misled
from ledger.redaction import Remains, redactions, unsigned
from ledger.store import STREAM_SIZE, TOPIC_LIMIT, Head, ModelStore, Row, Store, is_well_formed
from ledger.telling import Told
from ledger.verify_beside import BesideCheck
from ledger.verify_indexes import IndexCheck, first_unfindable

PAGE = 500
"""Lines read at a time: few enough to stay in the processor's cache."""

Fault = Literal["missing", "edited", "reordered", "cut", "unexpected", "unfindable", "unreadable", "beside"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """The first place where the ledger contradicts itself.

    Attributes:
        position: The first bad position.
        fault: ``missing``: no line at that position; ``edited``: its bytes are not those that were hashed;
            ``reordered``: the line is intact, but belongs elsewhere or not behind its neighbour; ``cut``: lines at
            the end are gone; ``unexpected``: there are more lines than the head knows; ``unfindable``: the line is
            intact, but what should lead to it (an index, the table of lives) does not; ``unreadable``: the database
            does not return the line, or the head, or the line holds what no program writes; ``beside``: the line is
            intact, but what it says was stored beside it (its request, a sealed value, the key of a life) is not so.
        detail: One sentence for a person.
    """

    position: int
    fault: Fault
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """The result of walking the whole chain.

    Attributes:
        events: How many lines were checked.
        head: The newest line as far as it could be checked.
        damage: The first contradiction, or None.
        redacted: Positions whose bytes are not those that were recorded, as redactions signed by the ledger's key say;
            rising. Only that key vouches for what is left of their content.
        newer: Position of the first line that a newer program wrote, as far as lines were looked at; None if there is
            none. What lies beside such lines was not compared.
    """

    events: int
    head: Head
    damage: Damage | None
    redacted: tuple[int, ...] = ()
    newer: int | None = None


def verify_chain(
    store: ModelStore,
    *,
    progress: Told | None = None,
    following: bool = True,
    beside: bool = True,
    reading: bool = True,
    deep: bool = False,
) -> Verification:
    """Check every line of the ledger, in order; reads pages, so memory stays small.

    Args:
        store: The ledger.
        progress: Called after each page with the number of lines checked, and of all lines.
        following: Whether to go on with what others append meanwhile, or to end at the head as it is now.
        beside: Whether to compare what lies beside the log, too; not where it is yet to be written.
        reading: Whether a line that is intact, and holds nothing that a program writes, counts as damage.
        deep: Whether to decode every line to know; otherwise what is plainly none, and what something lies beside.

    Raises:
        UnknownEventError: A newer program made the tables.
    """
    intact = Head(0, 0, GENESIS)
    check = BesideCheck(store, reading=reading, deep=deep) if beside else None
    try:
        for reached, damage in _walk(store, check, progress, following=following):
            intact = reached
            if damage is not None:
                first = _misled(first_unfindable(store, damage.position - 1)) or damage
                return Verification(events=intact.position, head=intact, damage=_told(store, first))
    except UnknownEventError:
        raise
    except LedgerDamagedError as error:
        return _line_by_line(store, intact, error)
    return Verification(
        events=intact.position,
        head=intact,
        damage=None,
        redacted=tuple(sorted(redactions(store))),
        newer=check.newer if check is not None else None,
    )


def _told(store: Store, damage: Damage) -> Damage:
    """The damage, with what a redaction that is not believed says of it."""
    doubtful = unsigned(store, damage.position) if damage.fault == "edited" else None
    if doubtful is None:
        return damage
    detail = f"{damage.detail}; a redaction names it, but nobody knows who made it: the ledger's key did not sign it"
    return replace(damage, detail=detail)


def _walk(
    store: ModelStore, check: BesideCheck | None, progress: Told | None, *, following: bool
) -> Iterator[tuple[Head, Damage | None]]:
    """After each page, how far everything is intact, and what is wrong then, if anything: that ends it."""
    head = _newest(store)
    redacted = redactions(store)
    reached = Head(0, 0, GENESIS)
    indexes = IndexCheck(store)
    if strays := store.positions(-(2**63), 0, limit=1):
        yield reached, _stray(strays[0])
        return
    while rows := store.positions(reached.position + 1, None if following else head.position, limit=PAGE):
        count, reached = _quickly_checked(reached, rows)
        for read in rows[count:]:
            row, damage = read, _check(reached, read, redacted)
            while damage is not None and (newer := redactions(store)) != redacted:  # somebody redacts meanwhile
                redacted = newer
                row = next(iter(store.positions(row.position, row.position, limit=1)), row)
                damage = _check(reached, row, redacted)
            if damage is not None:
                yield reached, _reordered(store, row, redacted, head.position) or damage
                return
            reached = Head(row.position, row.recorded_us, row.chain)
        indexes.add(rows)
        yield reached, _misled(check.page(rows) if check else None)
        if reached.position > head.position:
            head = _newest(store)  # others append while we read
        if progress is not None:
            progress(reached.position, max(head.position, reached.position))
    yield reached, _check_end(head, reached) or _misled(indexes.end(reached.position))
    yield reached, _misled(check.end(reached.position) if check else None)


def _newest(store: Store) -> Head:
    """The head; that of nothing if it was lost, which `_check_end` tells behind the lines that are there."""
    try:
        return store.head()
    except LedgerIncompleteError:
        return Head(0, 0, GENESIS)


def _line_by_line(store: Store, intact: Head, error: LedgerDamagedError) -> Verification:
    """Where a ledger is damaged that the database itself cannot read: it is asked for one line after the other.

    Args:
        store: The ledger.
        intact: How far all is known to be intact.
        error: What the database said. If it then returns every line, something beside them cannot be read.
    """
    reached = intact
    redacted: Mapping[int, Remains] = {}
    with suppress(LedgerDamagedError):  # a line of the ledger's own stream that cannot be read is found below
        redacted = redactions(store)
    while True:
        rows, found = _one_line(store, reached, redacted)
        if not rows and found is None:
            found = Damage(position=max(reached.position, 1), fault="unreadable", detail=error.message)
        if found is not None:
            return Verification(events=reached.position, head=reached, damage=found)
        reached = Head(rows[0].position, rows[0].recorded_us, rows[0].chain)


def _one_line(store: Store, before: Head, redacted: Mapping[int, Remains]) -> tuple[Sequence[Row], Damage | None]:
    """The next line, if there is one, and what is wrong with it."""
    try:
        rows = store.positions(before.position + 1, limit=1)
        if not rows:
            return rows, None
        place = rows[0].position
        return rows, _check(before, rows[0], redacted) or _misled(first_unfindable(store, place, start=place))
    except LedgerDamagedError as error:
        return (), Damage(position=before.position + 1, fault="unreadable", detail=error.message)


def _stray(row: Row) -> Damage:
    detail = f"there is an event at position {row.position}, before the first"
    return Damage(position=row.position, fault="unexpected", detail=detail)


def _quickly_checked(before: Head, rows: Sequence[Row]) -> tuple[int, Head]:
    """How many of the lines are what was recorded beyond doubt, and the last of them.

    The rules are those of `_check`, which looks at the others: a hash of what is not as it should be does not fit.
    """
    position, newest, chain = before
    count = 0
    with suppress(TypeError, AttributeError, ValueError, StructError):
        for place, stream, version, topic, state, recorded_us, leaf, link in rows:
            expected = leaf_hash(place, stream, version, recorded_us, topic, state)
            follows = chain_hash(chain, expected)
            if (
                place != position + 1
                or leaf != expected
                or link != follows
                or not newest <= recorded_us <= LATEST_US
                or len(stream) != STREAM_SIZE
                or len(topic) >= TOPIC_LIMIT
            ):
                break
            position, newest, chain = place, recorded_us, link
            count += 1
    return count, Head(position, newest, chain)


def _check(before: Head, row: Row, redacted: Mapping[int, Remains]) -> Damage | None:
    position = before.position + 1
    if row.position != position:
        return Damage(position=position, fault="missing", detail=f"there is no event at position {position}")
    if not is_well_formed(row):
        return Damage(position=position, fault="edited", detail=f"position {position} holds no event any more")
    leaf = recomputed_leaf(row, redacted)
    if leaf != row.leaf:
        return Damage(position=position, fault="edited", detail=f"the event at position {position} was changed")
    if chain_hash(before.chain, leaf) != row.chain:
        return Damage(
            position=position,
            fault="reordered",
            detail=f"the event at position {position} does not follow its predecessor",
        )
    if row.recorded_us < before.recorded_us:
        return Damage(position=position, fault="edited", detail=f"position {position} is older than its predecessor")
    return None


def _reordered(store: Store, row: Row, redacted: Mapping[int, Remains], size: int) -> Damage | None:
    """Whether a line that is not what was hashed is so only for its place: it was moved from another one.

    Tries every position, which is done once, and only where something is wrong.
    """
    if not is_well_formed(row):
        return None
    places = (place for place in range(1, size + 1) if place != row.position)
    moved = (place for place in places if recomputed_leaf(row._replace(position=place), redacted) == row.leaf)
    place = next(moved, None)
    if place is None or any(there.leaf == row.leaf for there in store.positions(place, place, limit=1)):  # a copy
        return None
    detail = f"the event at position {row.position} belongs at position {place}"
    return Damage(position=row.position, fault="reordered", detail=detail)


def _misled(wrong: Misled | None) -> Damage | None:
    return None if wrong is None else Damage(position=wrong.position, fault=wrong.fault, detail=wrong.detail)


def recomputed_leaf(row: Row, redacted: Mapping[int, Remains]) -> bytes:
    """A line's leaf from its bytes, never from what is stored beside them; 32 bytes.

    Args:
        row: The line.
        redacted: The ledger's redactions.
    """
    digest = sha256(row.state).digest()
    if row.position in redacted:
        digest = redacted[row.position].as_recorded(digest)
    return leaf_of(entry(row.position, row.stream, row.version, row.recorded_us, row.topic, digest))


def _check_end(head: Head, reached: Head) -> Damage | None:
    if reached.position < head.position:
        first = reached.position + 1
        return Damage(position=first, fault="cut", detail=f"positions {first} to {head.position} are gone")
    if head.position == 0 and reached.position:
        detail = "the head row, which names the newest event, is gone or empty"
        return Damage(position=reached.position, fault="missing", detail=detail)
    if reached.position > head.position:
        first = head.position + 1
        return Damage(position=first, fault="unexpected", detail=f"the head does not know position {first} and later")
    if (reached.recorded_us, reached.chain) != (head.recorded_us, head.chain):
        return Damage(position=head.position, fault="edited", detail="the head does not match the newest event")
    return None
