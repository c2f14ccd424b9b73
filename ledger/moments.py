"""Positions in the past: which line of the ledger was the newest at a time, or while a release was the newest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ledger.clock import from_micros
from ledger.errors import RefusedError
from ledger.landmarks import release_lines
from ledger.pages import line_at

if TYPE_CHECKING:
    from ledger.landmarks import LifeSpan
    from ledger.store import Store


@dataclass(frozen=True, slots=True)
class Moment:
    """A place in the ledger that a question about the past is answered at.

    Attributes:
        position: The newest line that the answer knows of.
        at_us: The instant that ages are relative to, microseconds since 1970-01-01 UTC.
    """

    position: int
    at_us: int


def at_position(store: Store, position: int) -> Moment:
    """The moment at which that line was recorded.

    Raises:
        RefusedError: There is no such position.
        LedgerDamagedError: There was, and its line is missing.
    """
    head = store.head()
    if not 1 <= position <= head.position:
        raise RefusedError(
            f"there is no position {position}; the ledger has {head.position}", hint="See them: 1ctl audit log"
        )
    return Moment(position, _recorded_us(store, position))


def as_of(store: Store, at_us: int) -> Moment:
    """The newest line recorded at or before that instant; reads about log2(n) lines.

    Raises:
        RefusedError: The ledger was empty then.
        LedgerDamagedError: A line is missing.
    """
    head = store.head()
    first_us = _recorded_us(store, 1) if head.position else None
    if first_us is None or first_us > at_us:
        since = "Nothing is recorded yet." if first_us is None else f"The first event is of {_local(first_us, at_us)}."
        raise RefusedError("nothing was recorded by then", hint=since)
    low, high = 1, head.position  # position `low` was recorded by then, those after `high` were not
    while low < high:
        middle = (low + high + 1) // 2
        if _recorded_us(store, middle) <= at_us:
            low = middle
        else:
            high = middle - 1
    return Moment(low, at_us)


def at_release(store: Store, life: LifeSpan, release: int, now_us: int) -> Moment:
    """The last moment at which a release was the newest of its life: just before the next one, or before its end.

    Args:
        store: The ledger.
        life: The life.
        release: Number of the release.
        now_us: The present, which is the answer's instant if the release still is the newest.

    Raises:
        NoSuchReleaseError: The life has no such release.
    """
    _, following = release_lines(store, life, release)
    if following is None:
        return Moment(store.head().position, now_us)
    return Moment(following.position - 1, _recorded_us(store, following.position - 1))


def _recorded_us(store: Store, position: int) -> int:
    return line_at(store, position).recorded_us


def _local(at_us: int, asked_us: int) -> str:
    """As commands show times, to the second; exactly, where that would not tell it from the time that was asked about."""
    is_told_apart = at_us // 1_000_000 != asked_us // 1_000_000
    return from_micros(at_us).astimezone().isoformat(sep=" ", timespec="seconds" if is_told_apart else "microseconds")
