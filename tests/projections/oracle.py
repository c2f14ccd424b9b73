"""What the read models must say, worked out a second way: no fold, every question is a search through all lines.

Imports the vocabulary only, so that it shares no mistake with what it judges.
"""

from __future__ import annotations

from collections.abc import Sequence

from ledger.envelope import Recorded, Subject
from ledger.events import (
    ApplyRefused,
    ApplyRetried,
    Deployed,
    Destroyed,
    EnvSet,
    EnvUnset,
    ObjectAdopted,
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
    SecretUnset,
)

Lines = Sequence[Recorded]

_RELEASES = (Deployed, RolledBack)
_CHANGES = (
    *_RELEASES, EnvSet, EnvUnset, SecretSet, SecretUnset, SecretPurged, Scaled, Restarted, ApplyRetried, ObjectAdopted,
    Destroyed,
)  # fmt: skip


def lives(lines: Lines) -> list[Subject]:
    """Who ever lived, in the order of their first release."""
    return [_subject(line) for line in lines if isinstance(line.event, Deployed) and line.event.release == 1]


def listed(lines: Lines) -> list[dict[str, object]]:
    """What `deploy list` must know about each life."""
    return [_listed([line for line in lines if line.envelope.subject == life], life) for life in lives(lines)]


def released(lines: Lines) -> list[list[dict[str, object]]]:
    """What `deploy releases` must know about each life: nothing that is recorded once the app's next one is open."""
    return [_released([line for line in _before_next(lines, life) if line.subject == life]) for life in lives(lines)]


def _before_next(lines: Lines, life: Subject) -> Lines:
    """The lines up to the app's next life."""
    openings = [line for line in lines if isinstance(line.event, Deployed) and line.event.release == 1]
    (own,) = (line.position for line in openings if line.subject == life)
    later = [line.position for line in openings if _subject(line).app_id == life.app_id and line.position > own]
    return [line for line in lines if not later or line.position < later[0]]


def _listed(told: Lines, life: Subject) -> dict[str, object]:
    deploys = _of(told, *_RELEASES)
    newest = deploys[-1].event
    assert isinstance(newest, Deployed | RolledBack)
    spec = newest.spec
    scaled = [line.event for line in _of(told, Scaled) if line.position > deploys[-1].position]
    ended = _of(told, Destroyed)
    changes = [line for line in _of(told, *_CHANGES) if not ended or line.position <= ended[0].position]
    return {
        "deployment_id": life.deployment_id,
        "cluster": life.cluster,
        "namespace": life.namespace,
        "app": life.app,
        "hostnames": spec.machines,
        "image": spec.image,
        "replicas": scaled[-1].replicas if scaled and isinstance(scaled[-1], Scaled) else spec.replicas,
        "port": spec.port,
        "cpu": spec.cpu,
        "memory": spec.memory,
        "health_path": spec.health_path,
        "image_pull_secret": spec.image_pull_secret,
        "env": _keys_set(told, "env", EnvSet, EnvUnset),
        "secrets": _keys_set(told, "secrets", SecretSet, SecretUnset, SecretPurged),
        "release": newest.release,
        "status": _status_ended(told) if ended else _status(told, changes[-1].position),
        "opened": deploys[0].position,
        "opened_us": deploys[0].recorded_us,
        "updated_us": changes[-1].recorded_us,
        "destroyed_us": ended[0].recorded_us if ended else None,
        "destroyed": ended[0].position if ended else None,
    }


def _status_ended(told: Lines) -> str:
    if _of(told, ResourcesRemoved):
        return "destroyed"
    return "failed" if _refusals(told, _of(told, Destroyed, ApplyRetried)[-1].position) else "pending"


def _status(told: Lines, change: int) -> str:
    acknowledged = [
        line for line in _of(told, ResourcesApplied) if _through(line) < line.position
    ]  # else of a lost line
    refusals = _refusals(told, change)
    if refusals and not (acknowledged and acknowledged[-1].position > refusals[-1].position):
        return "failed"
    return "completed" if acknowledged and _through(acknowledged[-1]) >= change else "pending"


def _refusals(told: Lines, change: int) -> Lines:
    """Those of the newest change: what is said about an older one is no news."""
    return [line for line in _of(told, ApplyRefused) if _through(line) >= change]


def _keys_set(told: Lines, what: str, add: type, *drop: type) -> set[str]:
    """The keys that the last rollback brought and nobody dropped since, or whose last mention is that they were set."""
    rollbacks = _of(told, RolledBack)
    brought = set(getattr(rollbacks[-1].event, what)) if rollbacks else set()
    later = [line for line in told if not rollbacks or line.position > rollbacks[-1].position]
    mentions = [(key, line.event) for line in _of(later, add, *drop) for key in _named(line)]
    mentioned = {key for key, _ in mentions}
    last = {key: [event for k, event in mentions if k == key][-1] for key in mentioned}
    return (brought - mentioned) | {key for key in mentioned if isinstance(last[key], add)}


def _named(line: Recorded) -> tuple[str, ...]:
    match line.event:
        case EnvSet(values=values):
            return tuple(values)
        case SecretSet(secrets=secrets):
            return tuple(secrets)
        case SecretPurged(key=key):
            return (key,)
        case EnvUnset(keys=keys) | SecretUnset(keys=keys):
            return keys
        case _:
            raise AssertionError(line)


def _released(told: Lines) -> list[dict[str, object]]:
    ended = bool(_of(told, Destroyed))
    return [
        {**_deploy(line), "marked_bad": _marked_bad(told, line), "status": _release_status(told, line, ended=ended)}
        for line in _of(told, *_RELEASES)
    ]


def _release_status(told: Lines, line: Recorded, *, ended: bool) -> str:
    if _has_failed(told, line):
        return "failed"
    if not ended and line == _active(told):
        return "active"
    for rollback in _of(told, RolledBack):
        before = [earlier for earlier in told if earlier.position < rollback.position]
        assert isinstance(rollback.event, RolledBack)
        if line == _active(before) and rollback.event.target != _number(line):
            return "rolled_back"
    return "superseded"


def _active(told: Lines) -> Recorded | None:
    standing = [line for line in _of(told, *_RELEASES) if not _has_failed(told, line)]
    return standing[-1] if standing else None


def _marked_bad(told: Lines, line: Recorded) -> str | None:
    marks = [mark for mark in _of(told, ReleaseMarkedBad, ReleaseUnmarked) if _number(mark) == _number(line)]
    if not marks or isinstance(marks[-1].event, ReleaseUnmarked):
        return None
    return marks[-1].envelope.reason or "no reason given"


def _number(line: Recorded) -> int:
    assert isinstance(line.event, Deployed | RolledBack | ReleaseMarkedBad | ReleaseUnmarked)
    return line.event.release


def _deploy(line: Recorded) -> dict[str, object]:
    event = line.event
    assert isinstance(event, Deployed | RolledBack)
    return {
        "deployment_id": _subject(line).deployment_id,
        "number": event.release,
        "image": event.spec.image,
        "cpu": event.spec.cpu,
        "memory": event.spec.memory,
        "replicas": event.spec.replicas,
        "position": line.position,
        "deployed_us": line.recorded_us,
        "actor": line.envelope.actor,
        "reason": line.envelope.reason,
        "restores": event.target if isinstance(event, RolledBack) else None,
    }


def _has_failed(told: Lines, release: Recorded) -> bool:
    """Whether the last word about the release is a failure of its own roll."""
    words = [
        line.event
        for line in told
        if (isinstance(line.event, RolloutCompleted) and line.event.release == _number(release))
        or (isinstance(line.event, RolloutFailed) and line.event.roll == release.position)
    ]
    return bool(words) and isinstance(words[-1], RolloutFailed)


def _of(told: Lines, *kinds: type) -> list[Recorded]:
    return [line for line in told if isinstance(line.event, kinds)]


def _through(line: Recorded) -> int:
    assert isinstance(line.event, ResourcesApplied | ApplyRefused | ResourcesRemoved)
    return line.event.through


def _subject(line: Recorded) -> Subject:
    assert line.envelope.subject is not None
    return line.envelope.subject
