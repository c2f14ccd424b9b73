"""All that is known about each release: configuration, outcome, what changed, and whether one can go back to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ledger import snapshots
from ledger.app import App, Life, evolve
from ledger.codec import recorded
from ledger.errors import LedgerDamagedError
from ledger.events import Deployed, RolledBack
from ledger.landmarks import release_lines
from ledger.rollback import PastRelease, past_releases
from projections.changes import in_words
from projections.fingerprints import Fingerprints
from projections.releases import Completion, Failure, Release
from projections.settings import compared, run_settings

if TYPE_CHECKING:
    from ledger.envelope import Recorded
    from ledger.landmarks import LifeSpan
    from ledger.reader import LedgerReader
    from ledger.spec import Configuration
    from projections.release_page import ReleasePage
    from projections.settings import Change


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
        rolled_back = f"rolled back to release {self.past.target}" if self.past.target is not None else ""
        return "; ".join(filter(None, (rolled_back, in_words(self.changes, self.same_as)))) or "same again"

    @property
    def outcome(self) -> str:
        """What became of its pods, in words."""
        if self.past.failed:
            found = self.release.outcome
            return f"failed: {found.reason}: {found.message}" if isinstance(found, Failure) else "failed"
        if not self.past.healthy:
            return "unknown"
        return "healthy" if self.ready_us is None else f"seen healthy after {self.ready_us / 1_000_000:.1f} s"

    @property
    def image_digest(self) -> str | None:
        """``sha256:...`` of the image, where the cluster said it."""
        found = self.release.outcome
        return found.image_digest if isinstance(found, Completion) else None

    @property
    def in_pods(self) -> str:
        """The configuration that its pods last ran with: values, and of secrets the versions."""
        ran = self.past.configuration
        words = [f"{key}={value}" for key, value in sorted(ran.env.items())]
        return ", ".join(words + [f"{key}@{secret.version}" for key, secret in sorted(ran.secrets.items())])

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


def page_details(
    reader: LedgerReader, life: LifeSpan, page: ReleasePage, known: Fingerprints, *, upto: int | None = None
) -> Sequence[ReleaseDetails]:
    """All that is known about the releases of a page, in their order; reads what was recorded since the oldest of them.

    Args:
        reader: The ledger.
        life: The life.
        page: Some of its releases.
        known: The fingerprints of its secrets.
        upto: As for `release_page`.
    """
    if not page.newest_first:
        return ()
    oldest, _ = release_lines(reader.store, life, max(1, page.older))  # the one before, to compare the oldest with
    before = reader.app(life.app, upto=oldest.position - 1)
    upto = min(life.stop, reader.store.head().position if upto is None else upto)
    history = [recorded(row) for row in snapshots.app_lines(reader.store, before, upto=upto)]
    return release_details(before, history, page.newest_first, known)


def release_details(
    app: App, history: Sequence[Recorded], releases: Sequence[Release], known: Fingerprints
) -> Sequence[ReleaseDetails]:
    """The details of one life's releases, in the order given.

    Values of secrets are compared with those of releases that begin in the history, not with older ones.

    Args:
        app: The app before the history.
        history: Its events in rising position, from the release before the oldest of these on to the end.
        releases: Releases of one life.
        known: The fingerprints of the life's secrets.

    Raises:
        LedgerDamagedError: The history lacks one of them.
    """
    if not releases:
        return ()
    deployment_id = releases[0].deployment_id
    pasts = {past.release: past for past in past_releases(history, app, deployment_id)}
    lives = _lives_at_their_end(app, history, deployment_id)
    asked = {
        event.release: line
        for line in history
        if isinstance(event := line.event, Deployed | RolledBack) and _life_of(line) == deployment_id
    }
    for release in releases:
        if not all(release.number in found for found in (pasts, lives, asked)):
            raise LedgerDamagedError(
                f"the events of release {release.number} are not within what the head of the ledger says there is",
                hint="See: 1ctl audit verify",
            )
    same_as = _same_as(pasts, known)
    return [
        _details(release, pasts, lives[release.number], asked[release.number], same_as[release.number])
        for release in releases
    ]


def _details(
    release: Release, pasts: Mapping[int, PastRelease], life: Life, asked: Recorded, same_as: Mapping[str, int]
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
        same_as=same_as,
    )


def _same_as(pasts: Mapping[int, PastRelease], known: Fingerprints) -> Mapping[int, Mapping[str, int]]:
    """By release and secret key, the newest release before it whose pods had the very same value."""
    found: dict[int, dict[str, int]] = {}
    newest_with: dict[tuple[str, str], int] = {}
    for number in sorted(pasts):
        found[number] = {}
        for key, secret in pasts[number].configuration.secrets.items():
            mark = known.get(key, {}).get(str(secret.version))
            if mark is None:
                continue
            if (key, mark) in newest_with:
                found[number][key] = newest_with[key, mark]
            newest_with[key, mark] = number
    return found


def _lives_at_their_end(app: App, history: Sequence[Recorded], deployment_id: str) -> Mapping[int, Life]:
    """By release, the life as it last was while that release was the newest."""
    found = {}
    for line in history:
        app = evolve(app, line)
        if app.life is not None and app.life.deployment_id == deployment_id:
            found[app.life.release] = app.life
    return found


def _life_of(line: Recorded) -> str | None:
    subject = line.envelope.subject
    return subject.deployment_id if subject else None


def _changes(before: PastRelease | None, after: PastRelease) -> Sequence[Change]:
    if before is None:
        return ()
    # Scaling between two releases is its own event, not a part of the later release.
    old = run_settings(replace(before.spec, replicas=after.spec.replicas), before.configuration)
    return compared(old, run_settings(after.spec, after.configuration))


def _configuration_json(configuration: Configuration, fingerprints: Fingerprints) -> dict[str, object]:
    return {
        "env": dict(sorted(configuration.env.items())),
        "secrets": {
            key: {"version": secret.version, "fingerprint": fingerprints.get(key, {}).get(str(secret.version))}
            for key, secret in sorted(configuration.secrets.items())
        },
    }
