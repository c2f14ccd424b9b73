"""The releases of an app: what ran, who asked for it and why, and how it ended. The history that survives a destroy.

Which release is active is a question about everything that came after it, so a status is given only at the end:

* ``failed``: the newest fact about the release is that its own pods will not become ready.
* ``active``: the newest release of an open life that is not failed. When release 3 fails, release 2 is active again.
* ``rolled_back``: it was active when a rollback came, and was not what the rollback restored.
* ``superseded``: all others.

The first of these that is true is said; no release of an ended life is active. `ledger.standing` says what a restart has
to do with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, NamedTuple, assert_never
from uuid import UUID, uuid5

from ledger.clock import iso
from ledger.events import (
    ApplyRefused,
    ApplyRetried,
    Deployed,
    Destroyed,
    DomainAssigned,
    DomainClaimed,
    DomainReleased,
    DriftDetected,
    DriftHealed,
    EnvSet,
    EnvUnset,
    LedgerCreated,
    LedgerMoved,
    LedgerRestored,
    ObjectAdopted,
    Redacted,
    ReleaseMarkedBad,
    ReleaseUnmarked,
    ResourcesApplied,
    ResourcesRemoved,
    Restarted,
    RolledBack,
    RolloutCompleted,
    RolloutFailed,
    Scaled,
    SecretPurged,
    SecretSet,
    SecretsFingerprinted,
    SecretUnset,
    WorkerDisabled,
    WorkerEnabled,
    WorkerIdentitySet,
)
from ledger.standing import ReleaseStanding
from projections.lives import that_count

if TYPE_CHECKING:
    from ledger.envelope import Recorded

ReleaseStatus = Literal["active", "superseded", "rolled_back", "failed"]


class Completion(NamedTuple):
    """The release's pods became ready: first when (microseconds UTC), and the digest that the newest of them run."""

    at_us: int
    image_digest: str | None


class Failure(NamedTuple):
    """The release's pods will not become ready: since when (microseconds UTC), and why, in the cluster's words."""

    at_us: int
    reason: str
    message: str


class Release(NamedTuple):
    """A numbered deploy or rollback.

    Attributes:
        deployment_id: UUID text of its life.
        number: Counts from 1 in each life.
        image: Image reference, as given.
        cpu: Kubernetes quantity.
        memory: Kubernetes quantity.
        replicas: Number of pods asked for with it; later scaling is not a part of it.
        position: Place in the ledger.
        deployed_us: When it was recorded, microseconds since 1970-01-01 UTC.
        actor: Who asked, as claimed.
        reason: Why, or None.
        restores: For a rollback: the number of the release it restores, else None.
        marked_bad: Why nobody shall roll back to it, or None.
        status: As of the end of the history.
        outcome: The newest fact about its pods, or None.
    """

    deployment_id: str
    number: int
    image: str
    cpu: str
    memory: str
    replicas: int
    position: int
    deployed_us: int
    actor: str
    reason: str | None
    restores: int | None
    marked_bad: str | None
    status: ReleaseStatus
    outcome: Completion | Failure | None

    def to_json(self) -> dict[str, object]:
        """Keys and values for JSON; times RFC 3339 in UTC; what is None is left out."""
        document: dict[str, object] = {
            "version_id": str(uuid5(UUID(self.deployment_id), f"release/{self.number}")),
            "deployment_id": self.deployment_id,
            "version_number": self.number,
            "image": self.image,
            "cpu": self.cpu,
            "memory": self.memory,
            "replicas": self.replicas,
            "deployed_at": iso(self.deployed_us),
            "status": self.status,
            "actor": self.actor,
            "reason": self.reason,
            "position": self.position,
            "restores": self.restores,
            "marked_bad": self.marked_bad,
            **_outcome_json(self.outcome),
        }
        return {key: value for key, value in document.items() if value is not None}


class LifeReleases(NamedTuple):
    """A life and its releases.

    Attributes:
        deployment_id: UUID text.
        destroyed_us: When the life ended, microseconds since 1970-01-01 UTC, or None.
        releases: Oldest first.
    """

    deployment_id: str
    destroyed_us: int | None
    releases: tuple[Release, ...]


def releases(history: Iterable[Recorded]) -> tuple[LifeReleases, ...]:
    """All lives of an app with their releases, oldest first.

    What is said about a release follows from its own first event and from what came after. So a history may begin with any
    release: that and all later ones come out as they would from the whole. Of the lines, only those count that
    `projections.lives` says.

    Args:
        history: The events of the app's two streams, in rising position. Those of several apps may be mixed.
    """
    lives: dict[str, _Life] = {}
    for recorded in that_count(history):
        _fold(lives, recorded)
    return tuple(_life_releases(deployment_id, life) for deployment_id, life in lives.items())


class _Life:
    """A life being folded; changed in place, so that an event costs the same after any number of releases."""

    def __init__(self) -> None:
        self.asked: dict[int, tuple[Recorded, Deployed | RolledBack]] = {}
        self.outcomes: dict[int, Completion | Failure] = {}
        self.rolled_back: set[int] = set()
        self.marked_bad: dict[int, str] = {}
        self.destroyed_us: int | None = None
        self._standing = ReleaseStanding()

    def ask(self, recorded: Recorded, event: Deployed | RolledBack) -> None:
        """A release begins."""
        self.asked[event.release] = (recorded, event)
        self._standing.ask(recorded, event)

    def roll_back(self, event: RolledBack) -> None:
        """A release is left, unless it is the one that comes back."""
        active = self._standing.active
        if active is not None and active != event.target:
            self.rolled_back.add(active)

    def complete(self, recorded: Recorded, event: RolloutCompleted) -> None:
        """A release runs."""
        if self._standing.complete(event):
            before = self.outcomes.get(event.release)
            # A restart rolls it again.
            first_us = before.at_us if isinstance(before, Completion) else recorded.recorded_us
            self.outcomes[event.release] = Completion(first_us, event.image_digest)

    def fail(self, recorded: Recorded, event: RolloutFailed) -> None:
        """A release fails, if the roll is its own."""
        if self._standing.fail(event):
            self.outcomes[event.release] = Failure(recorded.recorded_us, event.reason, event.message)

    def statuses(self) -> dict[int, ReleaseStatus]:
        """The status of every release, by its number."""
        active = self._standing.active if self.destroyed_us is None else None
        return {number: self._status(number, active) for number in self.asked}

    def _status(self, number: int, active: int | None) -> ReleaseStatus:
        if self._standing.failed(number):
            return "failed"
        if number == active:
            return "active"
        return "rolled_back" if number in self.rolled_back else "superseded"


def _fold(lives: dict[str, _Life], recorded: Recorded) -> None:
    assert recorded.subject is not None
    deployment_id = recorded.subject.deployment_id
    if isinstance(recorded.event, Deployed | RolledBack):
        lives.setdefault(deployment_id, _Life())
    if deployment_id in lives:
        _fold_life(lives[deployment_id], recorded)


def _fold_life(life: _Life, recorded: Recorded) -> None:  # noqa: C901, PLR0912 - one arm per event, in one place
    event = recorded.event
    match event:
        case Deployed():
            life.ask(recorded, event)
        case RolledBack():
            life.roll_back(event)
            life.ask(recorded, event)
        case ReleaseMarkedBad():
            life.marked_bad[event.release] = recorded.envelope.reason or "no reason given"
        case ReleaseUnmarked():
            life.marked_bad.pop(event.release, None)
        case RolloutCompleted():
            life.complete(recorded, event)
        case RolloutFailed():
            life.fail(recorded, event)
        case Destroyed():
            life.destroyed_us = recorded.recorded_us
        case DomainAssigned() | EnvSet() | EnvUnset() | SecretSet() | SecretUnset() | SecretPurged():
            pass  # not releases
        case Scaled() | Restarted() | ApplyRetried() | ObjectAdopted():
            pass  # not releases either
        case ResourcesApplied() | ApplyRefused() | ResourcesRemoved() | SecretsFingerprinted():
            pass  # objects and values, not pods
        case DriftDetected() | DriftHealed():
            pass  # likewise
        case LedgerCreated() | WorkerIdentitySet() | LedgerMoved() | LedgerRestored() | Redacted():
            pass  # of the ledger's own stream
        case WorkerEnabled() | WorkerDisabled():
            pass  # likewise
        case DomainClaimed() | DomainReleased():
            pass  # of claim streams
        case _:
            assert_never(event)


def _life_releases(deployment_id: str, life: _Life) -> LifeReleases:
    statuses = life.statuses()
    return LifeReleases(
        deployment_id=deployment_id,
        destroyed_us=life.destroyed_us,
        releases=tuple(_release(deployment_id, life, number, status) for number, status in statuses.items()),
    )


def _release(deployment_id: str, life: _Life, number: int, status: ReleaseStatus) -> Release:
    recorded, event = life.asked[number]
    return Release(
        deployment_id=deployment_id,
        number=number,
        image=event.spec.image,
        cpu=event.spec.cpu,
        memory=event.spec.memory,
        replicas=event.spec.replicas,
        position=recorded.position,
        deployed_us=recorded.recorded_us,
        actor=recorded.envelope.actor,
        reason=recorded.envelope.reason,
        restores=event.target if isinstance(event, RolledBack) else None,
        marked_bad=life.marked_bad.get(number),
        status=status,
        outcome=life.outcomes.get(number),
    )


def _outcome_json(outcome: Completion | Failure | None) -> dict[str, object]:
    match outcome:
        case Completion():
            return {"completed_at": iso(outcome.at_us), "image_digest": outcome.image_digest}
        case Failure():
            return {
                "failed_at": iso(outcome.at_us),
                "failure_reason": outcome.reason,
                "failure_message": outcome.message,
            }
        case None:
            return {}
