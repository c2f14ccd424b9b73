"""What a rollback can choose from, and what a restore brings back; found from the end of the history."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ledger import snapshots
from ledger.codec import recorded
from ledger.errors import LedgerDamagedError
from ledger.landmarks import newest_releases, release_lines, span
from ledger.rollback import PastRelease, default_target, past_release, past_releases

if TYPE_CHECKING:
    from ledger.app import App, Life
    from ledger.envelope import Recorded
    from ledger.landmarks import LifeSpan
    from ledger.reader import LedgerReader

WINDOWS = (8, 64, 512, None)
"""How many of the newest releases are looked at for one that was healthy; None for all."""

_SEE = "See what else is wrong: 1ctl audit verify"


def candidates(reader: LedgerReader, app: App, wanted: int | None, *, only: str = "all") -> Sequence[PastRelease]:
    """Releases of the app's open life, as far as a rollback to one of them has to know them; the newest is the last.

    Args:
        reader: The ledger.
        app: The app.
        wanted: The release to roll back to; None means whichever `default_target` is.
        only: What comes back; as for `default_target`.

    Raises:
        RefusedError: There is no such release.
    """
    assert app.life is not None
    if wanted is not None:
        return _wanted(reader, app, app.life, wanted)
    found: Sequence[PastRelease] = ()
    for found in _windows(reader, app, app.life):
        if default_target(found, only) is not None:
            break
    return found


def ended_life(reader: LedgerReader, app: App, deployment_id: str | None = None) -> Life | None:
    """A destroyed life as it last was; None if there is none.

    Args:
        reader: The ledger.
        app: The app as it is.
        deployment_id: The life; None means the newest that was destroyed.
    """
    where = span(reader.store, app.id, deployment_id or (app.life.deployment_id if app.life else None))
    if where is not None and deployment_id is None and app.life is not None:
        where = span(reader.store, app.id, None, upto=where.start - 1)
    destroyed = newest_releases(reader.store, where, 1).destroyed if where is not None else None
    return reader.app(app.id, upto=destroyed.position - 1).life if destroyed is not None else None


def _wanted(reader: LedgerReader, app: App, life: Life, wanted: int) -> Sequence[PastRelease]:
    where = _span_of(reader, app, life)
    (newest,) = _newest(reader, where, 1)
    asked, following = release_lines(reader.store, where, wanted)
    now = past_release(newest, life, life)
    if following is None:
        return (now,)
    then = reader.app(app.id, upto=following.position - 1).life
    if then is None:
        raise LedgerDamagedError(f"the events of release {wanted} are not found in their stream", hint=_SEE)
    return past_release(asked, then, life), now


def _windows(reader: LedgerReader, app: App, life: Life) -> Iterator[Sequence[PastRelease]]:
    """The newest releases, more and more of them until they are all."""
    where = _span_of(reader, app, life)
    for count in WINDOWS:
        newest_first = _newest(reader, where, count)
        before = reader.app(app.id, upto=newest_first[-1].position - 1)
        history = map(recorded, snapshots.app_lines(reader.store, before, upto=app.head))
        yield past_releases(history, before, life.deployment_id)
        if count is None or len(newest_first) < count:
            return


def _span_of(reader: LedgerReader, app: App, life: Life) -> LifeSpan:
    """Where an open life lies: the table of lives has it, unless somebody changed that."""
    where = span(reader.store, app.id, life.deployment_id)
    if where is None:
        raise LedgerDamagedError(f"the table of lives does not say where the life {life.deployment_id} lies", hint=_SEE)
    return where


def _newest(reader: LedgerReader, where: LifeSpan, count: int | None) -> Sequence[Recorded]:
    """The newest releases of an open life, which has at least one."""
    found = newest_releases(reader.store, where, count).newest_first
    if not found:
        raise LedgerDamagedError(f"no release of the life {where.deployment_id} is found", hint=_SEE)
    return found
