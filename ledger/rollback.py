"""Which releases can be rolled back to, what they ran, and which one is meant when none is named. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ledger.app import App, Life, evolve
from ledger.events import Deployed, RolledBack, RolloutCompleted, RolloutFailed
from ledger.spec import Configuration, Spec
from ledger.standing import ReleaseStanding
from ledger.value import Value, value

if TYPE_CHECKING:
    from ledger.envelope import Recorded


@value
class PastRelease(Value):
    """A release of one life, as it last was while it was the newest.

    Attributes:
        release: Its number.
        target: For a rollback: the release it restored, else None.
        spec: What it ran, scaling included.
        configuration: What its pods last read.
        healthy: Whether its pods were ever all ready.
        failed: The cluster's reason if its own pods will not become ready, or None.
        rolled_away: Number of the rollback that left it, or left a release that restored it, or None.
        newest: Whether it is the life's newest release, which runs already.
        bad: Why it was marked as bad, or None.
        purged: Keys of its secrets whose values were purged since.
    """

    release: int
    target: int | None
    spec: Spec
    configuration: Configuration
    healthy: bool = False
    failed: str | None = None
    rolled_away: int | None = None
    newest: bool = False
    bad: str | None = None
    purged: tuple[str, ...] = ()

    @property
    def obstacle(self) -> str | None:
        """Why not all of it can come back, as a clause; None if it can."""
        return self.obstacle_to("all")

    def obstacle_to(self, only: str) -> str | None:
        """Why it cannot be rolled back to, as a clause; None if it can.

        Args:
            only: As of `ledger.commands.Rollback`; values that are gone count only where configuration comes back.
        """
        if self.newest:
            return "it is the newest"
        if self.bad is not None:
            return f"it was marked as bad: {self.bad}"
        if only == "code":
            return None
        if self.purged:
            return f"the value of its secret {self.purged[0]} was purged"
        if self.configuration.blanked:
            return f"the value of its environment variable {self.configuration.blanked[0]} was redacted"
        return None


def past_releases(history: Iterable[Recorded], app: App, deployment_id: str) -> Sequence[PastRelease]:
    """The releases of a life, oldest first: those that begin in the history.

    Args:
        history: The app's events in rising position, from any release on to the end.
        app: The app before all of them.
        deployment_id: The life.
    """
    records: dict[int, PastRelease] = {}
    standing = ReleaseStanding()
    life: Life | None = None
    for recorded in history:
        app = evolve(app, recorded)
        if life is not None and app.life is not None and app.life.deployment_id != deployment_id:
            break  # what is recorded of a life when the next one has begun does not count
        subject = recorded.envelope.subject
        if subject is None or subject.deployment_id != deployment_id:
            continue
        if app.life is not None:
            life = app.life
            _follow(records, life)
        _note(records, standing, recorded)
    return [_as_known_to(life, records[number]) for number in sorted(records)] if life else []


def past_release(asked: Recorded, then: Life, now: Life) -> PastRelease:
    """One release of a life, without looking for its outcome.

    Args:
        asked: The line at which it began.
        then: The life as it last was while the release was the newest.
        now: The life as it is.
    """
    target = asked.event.target if isinstance(asked.event, RolledBack) else None
    configuration = then.roll.configuration
    record = PastRelease(release=then.release, target=target, spec=then.spec, configuration=configuration)
    return _as_known_to(now, record)


def default_target(releases: Sequence[PastRelease], only: str = "all") -> PastRelease | None:
    """The newest earlier release that was healthy and is not a dead end; None if there is none.

    A release that was rolled away from, or that runs already, is not meant: two rollbacks in a row go further back
    instead of returning to what the first one left.

    Args:
        releases: The life's releases, oldest first, the newest one included.
        only: As for `PastRelease.obstacle_to`.
    """
    return next((past for past in _not_running(releases) if past.healthy and _dead_end(past, only) is None), None)


def why_no_target(releases: Sequence[PastRelease], only: str) -> str:
    """Why there is no `default_target`, as a clause: what stands against the newest release that was healthy."""
    past = next((past for past in _not_running(releases) if past.healthy), None)
    if past is None:
        return "no other was healthy"
    return f"release {past.release} was healthy, but {_dead_end(past, only)}"


def _not_running(releases: Sequence[PastRelease]) -> Iterator[PastRelease]:
    """Those that are not what runs now under another number, newest first."""
    current = releases[-1]
    running = {current.release, current.target}
    for past in reversed(releases[:-1]):
        if not ({past.release, past.target} - {None}) & running:
            yield past


def _dead_end(past: PastRelease, only: str) -> str | None:
    """Why a rollback that names none does not go there, as a clause; None if it would."""
    left = f"it was left by the rollback that is release {past.rolled_away}" if past.rolled_away is not None else None
    return past.obstacle_to(only) or left


def _as_known_to(life: Life, record: PastRelease) -> PastRelease:
    """The release with what stands against it now."""
    secrets = record.configuration.secrets
    return replace(
        record,
        bad=life.bad.get(record.release),
        newest=record.release == life.release,
        purged=tuple(key for key, secret in secrets.items() if secret.version <= life.purged.get(key, 0)),
    )


def _follow(records: dict[int, PastRelease], life: Life) -> None:
    """Keeps the newest release's picture up to date."""
    spec, configuration = life.spec, life.roll.configuration
    known = records.get(life.release)
    if known is None:
        known = PastRelease(release=life.release, target=None, spec=spec, configuration=configuration)
    records[life.release] = replace(known, spec=spec, configuration=configuration)


def _note(records: dict[int, PastRelease], standing: ReleaseStanding, recorded: Recorded) -> None:
    """Keeps what a rollback leaves, and outcomes."""
    event = recorded.event
    match event:
        case Deployed():
            standing.ask(recorded, event)
        case RolledBack():
            _leave(records, standing.active, event)
            standing.ask(recorded, event)
            records[event.release] = replace(records[event.release], target=event.target)
        case RolloutCompleted() if standing.complete(event):
            records[event.release] = replace(records[event.release], healthy=True, failed=None)
        case RolloutFailed() if standing.fail(event):
            records[event.release] = replace(records[event.release], failed=event.reason)
        case _:
            pass


def _leave(records: dict[int, PastRelease], active: int | None, event: RolledBack) -> None:
    """What a rollback leaves is left under every number it ran under, else the next one would return to it."""
    if active is None:
        return
    for number in (active, records[active].target):
        if number in records and number != event.target:
            records[number] = replace(records[number], rolled_away=event.release)
