"""All that is known about each release: configuration, outcome, what changed, and whether one can go back to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ledger.app import App, Life, evolve
from ledger.events import Deployed, RolledBack
from ledger.rollback import PastRelease, past_releases
from projections.fingerprints import Fingerprints, fingerprints
from projections.releases import Completion, Release
from projections.settings import Change, configuration_settings, spec_settings

if TYPE_CHECKING:
    from ledger.envelope import Recorded
    from ledger.spec import AppId, Configuration


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseDetails:
    """A release with everything that is known about it.

    Attributes:
        release: The release itself.
        past: What it ran, as it last was while it was the newest.
        set_then: The configuration as set at that moment; its pods may have read an older one.
        domain: The life's host name then.
        commit: Git commit that it was asked for from, with ``+`` if files differed, or None.
        ci: Address of the CI run, or None.
        ready_us: Microseconds from the request until its pods were ready, or None.
        changes: What differs from the release before it, by setting.
        same_as: By secret key that changed, the earlier release whose pods had the very same value, if one had.
    """

    release: Release
    past: PastRelease
    set_then: Configuration
    domain: str | None
    commit: str | None
    ci: str | None
    ready_us: int | None
    changes: Sequence[Change]
    same_as: Mapping[str, int]

    @property
    def sentence(self) -> str:
        """What changed from the release before, in words."""
        if self.release.number == 1:
            return "first release"
        words = [_words(change, self.same_as) for change in self.changes]
        if self.past.target is not None:
            words.insert(0, f"rolled back to release {self.past.target}")
        return "; ".join(words) or "same again"

    def to_json(self, fingerprints: Fingerprints) -> dict[str, object]:
        """The release's JSON with all that is known; times RFC 3339 in UTC; secrets by version and fingerprint."""
        return {
            **self.release.to_json(),
            "domain": f"https://{self.domain}" if self.domain else None,
            "commit": self.commit,
            "ci": self.ci,
            "changes": self.sentence,
            "configuration": {
                "set": _configuration_json(self.set_then, fingerprints),
                "in_pods": _configuration_json(self.past.configuration, fingerprints),
            },
            "outcome": "failed" if self.past.failed else "healthy" if self.past.healthy else "unknown",
            "seconds_to_ready": None if self.ready_us is None else self.ready_us / 1_000_000,
            "rollback": {"possible": self.past.obstacle is None, "obstacle": self.past.obstacle},
        }


def release_details(
    app_id: AppId, history: Sequence[Recorded], releases: Sequence[Release]
) -> Sequence[ReleaseDetails]:
    """The details of one life's releases, in the order given.

    Args:
        app_id: The app's lasting name.
        history: Its events in rising position.
        releases: Releases of one life.
    """
    if not releases:
        return ()
    deployment_id = releases[0].deployment_id
    pasts = {past.release: past for past in past_releases(history, App(id=app_id), deployment_id)}
    lives = _lives_at_their_end(app_id, history, deployment_id)
    asked = {
        event.release: recorded
        for recorded in history
        if isinstance(event := recorded.event, Deployed | RolledBack) and _life_of(recorded) == deployment_id
    }
    known = fingerprints(history, deployment_id)
    return [_details(release, pasts, lives[release.number], asked[release.number], known) for release in releases]


def _details(
    release: Release, pasts: Mapping[int, PastRelease], life: Life, asked: Recorded, known: Fingerprints
) -> ReleaseDetails:
    source = asked.envelope.source
    outcome = release.outcome
    return ReleaseDetails(
        release=release,
        past=pasts[release.number],
        set_then=life.configuration,
        domain=life.domain,
        commit=source.commit + ("+" if source.dirty else "") if source.commit else None,
        ci=source.ci,
        ready_us=outcome.at_us - release.deployed_us if isinstance(outcome, Completion) else None,
        changes=_changes(pasts.get(release.number - 1), pasts[release.number]),
        same_as=_same_as(release.number, pasts, known),
    )


def _same_as(number: int, pasts: Mapping[int, PastRelease], known: Fingerprints) -> Mapping[str, int]:
    """By secret key, the newest release before the last one that had the value which this one has."""

    def mark(past: PastRelease, key: str) -> str | None:
        secret = past.configuration.secrets.get(key)
        return known.get(key, {}).get(str(secret.version)) if secret else None

    found = {}
    for key in pasts[number].configuration.secrets:
        value = mark(pasts[number], key)
        earlier = [each for each in range(1, number) if value is not None and mark(pasts[each], key) == value]
        if earlier:
            found[key] = earlier[-1]
    return found


def _lives_at_their_end(app_id: AppId, history: Sequence[Recorded], deployment_id: str) -> Mapping[int, Life]:
    """By release, the life as it last was while that release was the newest."""
    app, found = App(id=app_id), {}
    for recorded in history:
        app = evolve(app, recorded)
        if app.life is not None and app.life.deployment_id == deployment_id:
            found[app.life.release] = app.life
    return found


def _life_of(recorded: Recorded) -> str | None:
    subject = recorded.envelope.subject
    return subject.deployment_id if subject else None


def _changes(before: PastRelease | None, after: PastRelease) -> Sequence[Change]:
    if before is None:
        return ()
    # Scaling between two releases is its own event, not a part of the later release.
    old = spec_settings(replace(before.spec, replicas=after.spec.replicas)) | configuration_settings(
        before.configuration
    )
    new = spec_settings(after.spec) | configuration_settings(after.configuration)
    return [
        Change(name, old.get(name), new.get(name)) for name in sorted({*old, *new}) if old.get(name) != new.get(name)
    ]


def _words(change: Change, same_as: Mapping[str, int]) -> str:
    kind, _, key = change.setting.partition(".")
    if not key:
        return f"{kind} {change.before or 'none'} → {change.after or 'none'}"
    name = f"{'secret' if kind == 'secrets' else kind} {key}"
    if change.after is None:
        return f"{name} removed"
    again = f" (the value of release {same_as[key]})" if kind == "secrets" and key in same_as else ""
    return f"{name} {'added' if change.before is None else 'changed'}{again}"


def _configuration_json(configuration: Configuration, fingerprints: Fingerprints) -> dict[str, object]:
    return {
        "env": dict(sorted(configuration.env.items())),
        "secrets": {
            key: {"version": secret.version, "fingerprint": fingerprints.get(key, {}).get(str(secret.version))}
            for key, secret in sorted(configuration.secrets.items())
        },
    }
