"""Where a release begins and ends in the ledger, found by an index instead of by reading all that lies between.

An app's own stream has a landmark at the first line of each release and at the end of each life; its second stream has one
wherever a release's pods or the values of secrets were told about (`Store.landmarks`). Within a life, releases are numbered
as their landmarks follow each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ledger.codec import recorded
from ledger.errors import NoSuchReleaseError
from ledger.events import Deployed, Destroyed, RolledBack, RolloutCompleted, RolloutFailed
from ledger.streams import app_stream, observed_stream

if TYPE_CHECKING:
    from ledger.envelope import Recorded
    from ledger.spec import AppId
    from ledger.store import Store


LANDMARKS = ("Deployed", "RolledBack", "Destroyed", "RolloutCompleted", "RolloutFailed", "SecretsFingerprinted")
"""Topics of the lines that questions about releases are answered from: in an app's own stream those at which a release
begins or ends, in its second stream those about a release's pods or a secret's value."""

NEWEST = 2**63 - 1
"""A position that no line will ever have."""


class LifeSpan(NamedTuple):
    """The part of the ledger that a life's own lines lie in.

    Attributes:
        app: Whose life it is.
        deployment_id: UUID text.
        start: The position at which it opened, or one shortly before.
        stop: The position before the app's next life, or else the newest that is asked about; `NEWEST` for now.
    """

    app: AppId
    deployment_id: str
    start: int
    stop: int


class ReleaseLines(NamedTuple):
    """Releases of a life.

    Attributes:
        newest_first: The line of each release.
        destroyed: The line that ended the life; None if it is open.
    """

    newest_first: Sequence[Recorded]
    destroyed: Recorded | None

    @property
    def newest(self) -> int:
        """Number of the newest of them; 0 for none."""
        return number(self.newest_first[0]) if self.newest_first else 0


def span(store: Store, app_id: AppId, deployment_id: str | None, *, upto: int | None = None) -> LifeSpan | None:
    """Where a life lies.

    Args:
        store: The ledger's storage.
        app_id: The app.
        deployment_id: The life; None means the newest that was opened up to then.
        upto: The position at which that is asked.

    Returns:
        None if there was no such life of this app.
    """
    stop = NEWEST if upto is None else upto
    following = None
    if deployment_id is None:
        newest = store.landmarks(app_stream(app_id).bytes, stop=stop, descending=True, limit=1)
        if not newest:
            return None
        subject = recorded(newest[0]).envelope.subject
        assert subject is not None
        life = store.life(subject.deployment_id)
    else:
        life = store.life(deployment_id)
        following = store.next_life(life) if life is not None else None
    if life is None or life.opened > stop or (life.cluster, life.namespace, life.app) != _names(app_id):
        return None
    return LifeSpan(app_id, life.deployment_id, life.opened, stop if following is None else min(stop, following - 1))


def newest_releases(store: Store, life: LifeSpan, count: int | None = None) -> ReleaseLines:
    """The newest releases of a life, or all."""
    limit = None if count is None else count + 1  # the first may be the end of the life
    rows = store.landmarks(app_stream(life.app).bytes, start=life.start, stop=life.stop, descending=True, limit=limit)
    found = [recorded(row) for row in rows]
    destroyed = found.pop(0) if found and isinstance(found[0].event, Destroyed) else None
    return ReleaseLines(found[:count], destroyed)


def release_lines(store: Store, life: LifeSpan, release: int) -> tuple[Recorded, Recorded | None]:
    """The line of a release, and the one that ended its being the newest: the next release's, or the life's end.

    Raises:
        NoSuchReleaseError: The life has no such release.
    """
    rows = (
        store.landmarks(app_stream(life.app).bytes, start=life.start, stop=life.stop, skip=release - 1, limit=2)
        if release > 0
        else ()
    )
    found = [recorded(row) for row in rows]
    if not found or isinstance(found[0].event, Destroyed):
        raise NoSuchReleaseError(release, newest_releases(store, life, 1).newest)
    return found[0], found[1] if len(found) > 1 else None


def roll_verdict(store: Store, life: LifeSpan, roll: int) -> RolloutCompleted | RolloutFailed | None:
    """The newest word about the pods of one roll, before the first about those of a later one; None if there is none.

    Args:
        store: The ledger's storage.
        life: The life.
        roll: Position of its event that asked for these pods.
    """
    found = None
    for event in _verdicts(store, life, roll):
        if event.roll > roll:
            break
        found = event if event.roll == roll else found
    return found


def release_failure(store: Store, life: LifeSpan, asked: Recorded, following: Recorded | None) -> RolloutFailed | None:
    """What was said of a release's own pods that failed, unless pods of it became ready since (`ledger.standing`).

    None if nothing was before the first word about what came after it.

    Args:
        store: The ledger's storage.
        life: The life.
        asked: The line of the release, as of `release_lines`.
        following: The line that ended its being the newest; None if it is.
    """
    found = None
    for event in _verdicts(store, life, asked.position):
        if following is not None and event.roll >= following.position:
            break
        if event.roll == asked.position and isinstance(event, RolloutFailed):
            found = event
        elif event.roll >= asked.position and isinstance(event, RolloutCompleted):
            found = None
    return found


def _verdicts(store: Store, life: LifeSpan, start: int) -> Iterator[RolloutCompleted | RolloutFailed]:
    """What was said about a life's pods from a position on, in order."""
    stream, read = observed_stream(app_stream(life.app)).bytes, 0
    while rows := store.landmarks(stream, start=start, stop=life.stop, skip=read, limit=_TOLD):
        read += len(rows)
        for event in (recorded(row).event for row in rows):
            if isinstance(event, RolloutCompleted | RolloutFailed):
                yield event


_TOLD = 20
"""Lines read at once: few are told about one roll before the next one is asked for."""


def number(line: Recorded) -> int:
    """The number of the release that begins with a line."""
    assert isinstance(line.event, Deployed | RolledBack)
    return line.event.release


def _names(app_id: AppId) -> tuple[str, str, str]:
    return app_id.cluster, app_id.namespace, app_id.name
