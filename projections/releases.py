"""The releases of an app: what ran, who asked for it and why, and how it ended. The history that survives a destroy.

Which release is active is a question about everything that came after it, so a status is given only at the end:

* ``failed``: the newest word about the release is that its own pods will not become ready.
* ``active``: the newest release of an open life that is not failed. When release 3 fails, release 2 is active again.
* ``superseded``: all others, those of ended lives included.

A failed restart does not fail the release, whose own pods were fine before. A completed one does heal it: pods of a
release that become ready, in whichever roll, show that the release runs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, NamedTuple, assert_never
from uuid import UUID, uuid5

from ledger.clock import iso
from ledger.events import (
    ApplyRefused,
    Deployed,
    Destroyed,
    DomainAssigned,
    DomainClaimed,
    DomainReleased,
    EnvSet,
    EnvUnset,
    LedgerCreated,
    ResourcesApplied,
    ResourcesRemoved,
    Restarted,
    RolloutCompleted,
    RolloutFailed,
    Scaled,
    SecretSet,
    SecretUnset,
    WorkerIdentitySet,
)

if TYPE_CHECKING:
    from ledger.envelope import Recorded

ReleaseStatus = Literal["active", "superseded", "failed"]


class Completion(NamedTuple):
    """The release's pods became ready: when (microseconds UTC), and the digest that the cluster resolved the image to."""

    at_us: int
    image_digest: str | None


class Failure(NamedTuple):
    """The release's pods will not become ready: since when (microseconds UTC), and why, in the cluster's words."""

    at_us: int
    reason: str
    message: str


class Release(NamedTuple):
    """A numbered deploy.

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
        status: As of the end of the history.
        outcome: The newest word about its pods, or None.
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
            **_outcome_json(self.outcome),
        }
        return {key: value for key, value in document.items() if value is not None}


class LifeReleases(NamedTuple):
    """A life and its releases.

    Attributes:
        deployment_id: UUID text.
        opened_us: When release 1 was recorded, microseconds since 1970-01-01 UTC.
        destroyed_us: When the life ended, likewise, or None.
        releases: Oldest first.
    """

    deployment_id: str
    opened_us: int
    destroyed_us: int | None
    releases: tuple[Release, ...]

    @property
    def active(self) -> Release | None:
        """The active release; None if the life has ended or all its releases failed."""
        return next((release for release in reversed(self.releases) if release.status == "active"), None)


def releases(history: Iterable[Recorded]) -> tuple[LifeReleases, ...]:
    """All lives of an app with their releases, oldest first.

    Args:
        history: The events of the app's two streams, in rising position. Those of several apps may be mixed.
    """
    lives: dict[str, _Life] = {}
    for recorded in history:
        _fold(lives, recorded)
    return tuple(_life_releases(deployment_id, life) for deployment_id, life in lives.items())


class _Life:
    """A life being folded; changed in place, so that an event costs the same after any number of releases."""

    def __init__(self) -> None:
        self.deployed: dict[int, tuple[Recorded, Deployed]] = {}
        self.outcomes: dict[int, Completion | Failure] = {}
        self.destroyed_us: int | None = None


def _fold(lives: dict[str, _Life], recorded: Recorded) -> None:  # noqa: C901 - one arm per event, in one place
    event, subject = recorded.event, recorded.envelope.subject
    if subject is None:
        return
    if isinstance(event, Deployed):
        lives.setdefault(subject.deployment_id, _Life())
    life = lives.get(subject.deployment_id)
    if life is None:
        return
    match event:
        case Deployed():
            life.deployed[event.release] = (recorded, event)
        case RolloutCompleted():
            life.outcomes[event.release] = Completion(recorded.recorded_us, event.image_digest)
        case RolloutFailed():
            if _is_own_roll(life, event):
                life.outcomes[event.release] = Failure(recorded.recorded_us, event.reason, event.message)
        case Destroyed():
            life.destroyed_us = recorded.recorded_us
        case DomainAssigned() | EnvSet() | EnvUnset() | SecretSet() | SecretUnset() | Scaled() | Restarted():
            pass  # not releases
        case ResourcesApplied() | ApplyRefused() | ResourcesRemoved():
            pass  # objects, not pods
        case LedgerCreated() | WorkerIdentitySet() | DomainClaimed() | DomainReleased():
            pass  # of other streams
        case _:
            assert_never(event)


def _is_own_roll(life: _Life, event: RolloutFailed) -> bool:
    release = life.deployed.get(event.release)
    return release is not None and release[0].position == event.roll


def _life_releases(deployment_id: str, life: _Life) -> LifeReleases:
    return LifeReleases(
        deployment_id=deployment_id,
        opened_us=next(iter(life.deployed.values()))[0].recorded_us,
        destroyed_us=life.destroyed_us,
        releases=tuple(reversed([*_newest_first(deployment_id, life)])),
    )


def _newest_first(deployment_id: str, life: _Life) -> Iterable[Release]:
    decided = life.destroyed_us is not None
    for number, (recorded, event) in reversed(life.deployed.items()):
        outcome = life.outcomes.get(number)
        status: ReleaseStatus = "superseded" if decided else "active"
        if isinstance(outcome, Failure):
            status = "failed"
        decided = decided or status == "active"
        yield Release(
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
            status=status,
            outcome=outcome,
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
