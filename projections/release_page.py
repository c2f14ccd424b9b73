"""The newest releases of a life, without reading those before them.

All that is said about a release came after it: its pods, its failure, the rollback that left it. So the landmarks from the
oldest release that is wanted up to the end tell as much about the wanted ones as the whole history does (`releases`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ledger.codec import recorded
from ledger.landmarks import newest_releases
from ledger.streams import app_stream, observed_stream
from projections.releases import Release, releases

if TYPE_CHECKING:
    from ledger.landmarks import LifeSpan
    from ledger.reader import LedgerReader


class ReleasePage(NamedTuple):
    """The newest releases of a life.

    Attributes:
        newest_first: As many as were asked for.
        destroyed_us: When the life ended, microseconds since 1970-01-01 UTC, or None.
    """

    newest_first: tuple[Release, ...]
    destroyed_us: int | None

    @property
    def older(self) -> int:
        """How many releases of the life are older than these."""
        return self.newest_first[-1].number - 1 if self.newest_first else 0


def release_page(reader: LedgerReader, life: LifeSpan, count: int | None, *, upto: int | None = None) -> ReleasePage:
    """The newest releases of a life, each as the whole history would tell it.

    Args:
        reader: The ledger.
        life: The life.
        count: How many at most; None for all.
        upto: The position as of which to answer; None for now.
    """
    wanted = newest_releases(reader.store, life, count)
    if not wanted.newest_first:
        return ReleasePage((), None)
    oldest = wanted.newest_first[-1].position
    observed = observed_stream(app_stream(life.app)).bytes
    stop = life.stop if upto is None else min(life.stop, upto)  # nothing is told of a life once the next one is open
    told = [recorded(row) for row in reader.store.landmarks(observed, start=oldest, stop=stop)]
    asked = [*reversed(wanted.newest_first), *([wanted.destroyed] if wanted.destroyed else [])]
    history = sorted([*asked, *told], key=lambda line: line.position)
    (found,) = (each for each in releases(history) if each.deployment_id == life.deployment_id)
    state = reader.app(life.app, upto=wanted.destroyed.position - 1 if wanted.destroyed else upto).life
    bad = state.bad if state else {}
    newest_first = tuple(each._replace(marked_bad=bad.get(each.number)) for each in reversed(found.releases))
    return ReleasePage(newest_first, found.destroyed_us)
