"""Lines of the ledger by position, none of them missing: whoever reads on over a gap tells a false history.

Code that looks for damage reads lines by itself (`ledger.verify`, `ledger.stored_leaves`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from ledger.errors import LedgerDamagedError
from ledger.typed_rows import sound

if TYPE_CHECKING:
    from ledger.store import Row, Store

PAGE = 1000
"""Lines read at a time: few enough to stay in the processor's cache."""


def page(store: Store, start: int, stop: int | None = None, *, limit: int = PAGE) -> Sequence[Row]:
    """Lines from a position on that the ledger has: at least one, and at most `limit`.

    Args:
        store: The ledger's storage.
        start: The first position.
        stop: The last one; None for as far as there are any.
        limit: How many at most.

    Raises:
        LedgerDamagedError: A line is missing.
    """
    rows = store.positions(start, stop, limit=limit)
    if not rows or rows[-1].position != start + len(rows) - 1:
        there = {row.position for row in rows}
        raise missing(next(position for position in range(start, start + len(rows) + 1) if position not in there))
    return rows


def pages(store: Store, start: int, stop: int | None = None, *, limit: int = PAGE) -> Iterator[Sequence[Row]]:
    """All lines from one position to another, both included, a page at a time; without another, to the end.

    Raises:
        LedgerDamagedError: A line is missing.
    """
    while start <= (store.head().position if stop is None else stop):
        rows = page(store, start, stop, limit=limit)
        yield rows
        start = rows[-1].position + 1


def lines(store: Store, start: int, stop: int | None = None) -> Iterator[Row]:
    """Like `pages`, one line after the other."""
    return chain.from_iterable(pages(store, start, stop))


def line_at(store: Store, position: int) -> Row:
    """The line at a position that the ledger has.

    Raises:
        LedgerDamagedError: It is missing, or holds what no event has.
    """
    return sound(page(store, position, position, limit=1)[0])


def missing(position: int) -> LedgerDamagedError:
    """A line is not there, though later ones are, or the head says that it was recorded."""
    return LedgerDamagedError(f"there is no event at position {position}", hint="See: 1ctl audit verify")
