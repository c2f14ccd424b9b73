"""What an app's two streams add up to: the state that decisions are taken on and that effects make true.

`evolve` is total: it takes any recorded event and never raises, never decides. The state is small whatever the
history, so that folding is the only cost. The history itself (releases, who, why) is in `projections`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from typing import TYPE_CHECKING, Literal, assert_never, get_args

from ledger.errors import AppNotFoundError
from ledger.events import (
    AppliedObject,
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
    FieldDrift,
    LedgerCreated,
    LedgerMoved,
    LedgerRestored,
    ObjectAdopted,
    ObservedEvent,
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
from ledger.spec import AppId, Configuration, SecretVersion, Spec
from ledger.streams import app_stream, observed_stream
from ledger.text import Lines
from ledger.value import Value, short_value, value

if TYPE_CHECKING:
    from uuid import UUID

    from ledger.envelope import Recorded

KEPT_ROLLS = 10
"""How many rolls after the last good one are remembered; the pods of older ones are long gone."""

KEPT_HEALS = 3
"""How many of the newest times a field was set back are remembered."""

_DIGITS = 19
"""Of the largest number that stores can hold."""

_OBSERVED = get_args(ObservedEvent)

RolloutState = Literal["pending", "completed", "failed"]


@value
class Roll(Value):
    """One generation of pods: a deploy, a restart or a rollback asked for it.

    Attributes:
        position: Ledger position of the event that asked.
        release: The release the pods run.
        request: Correlation id of the request; what the same request sets reaches these pods too.
        configuration: What the pods read, whatever is set later.
    """

    position: int
    release: int
    request: str
    configuration: Configuration


@value
class Parked(Value):
    """The cluster refused what the ledger asks for.

    Attributes:
        through: Position of the newest event that was tried.
        reason: The cluster's machine-readable reason.
        message: The cluster's own sentence.
    """

    through: int
    reason: str
    message: str


@short_value
class Changed(Value):
    """When something was set for the first time in a life, and when it last changed; microseconds UTC."""

    first_us: int
    last_us: int


@value
class Life(Value):
    """An app from its first deploy to its destroy.

    Attributes:
        deployment_id: UUID text, minted with release 1.
        opened_us: When release 1 was recorded.
        updated_us: When the newest event asked for was recorded.
        changed: Position of the newest event asked for; what effects have to catch up with.
        release: Newest release number.
        spec: What the newest release runs, scaling included.
        life_key: X25519 public key, base64, that secrets are sealed to.
        domain: Host name, once assigned.
        env: Environment as set; pods may still have an older one.
        secrets: Secrets as set, likewise.
        env_changed: When the environment was first set and last changed; None before.
        secrets_changed: The same of secrets.
        secret_versions: By key, the highest version ever sealed, including unset ones.
        purged: By key, the highest version whose sealed value was deleted; so were those of all versions before.
        roll: The newest generation of pods asked for.
        fingerprinted: By key, the highest version whose fingerprint is known.
        kept: The last roll known to be good, if any, and those after it, oldest first.
        rollout: What is known about the newest roll.
        rollout_failure: Its reason and message if it failed.
        applied_through: Position up to which the cluster was made equal; 0 before the first time.
        objects: The cluster's objects at that position.
        parked: Why the cluster refuses, or None.
        drift: By ``Kind/name``, the fields known to differ from what is asked for.
        heals: By ``Kind/name`` and then by field, when it was last set back (microseconds UTC, oldest first), since
            something was asked for.
        bad: Releases that are marked as bad, with the reason given.
        destroyed: Position of `Destroyed`, or None while the life is open.
    """

    deployment_id: str
    opened_us: int
    updated_us: int
    changed: int
    release: int
    spec: Spec
    life_key: str | None
    roll: Roll
    domain: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, SecretVersion] = field(default_factory=dict)
    env_changed: Changed | None = None
    secrets_changed: Changed | None = None
    secret_versions: Mapping[str, int] = field(default_factory=dict)
    purged: Mapping[str, int] = field(default_factory=dict)
    fingerprinted: Mapping[str, int] = field(default_factory=dict)
    kept: tuple[Roll, ...] = ()
    rollout: RolloutState = "pending"
    rollout_failure: tuple[str, str] | None = None
    applied_through: int = 0
    objects: tuple[AppliedObject, ...] = ()
    parked: Parked | None = None
    drift: Mapping[str, tuple[FieldDrift, ...]] = field(default_factory=dict)
    heals: Mapping[str, Mapping[str, tuple[int, ...]]] = field(default_factory=dict)
    bad: Mapping[int, str] = field(default_factory=dict)
    destroyed: int | None = None

    @property
    def dirty(self) -> bool:
        """Whether the cluster has not caught up with what was asked for."""
        return self.applied_through < self.changed

    @property
    def configuration(self) -> Configuration:
        """What is set now: the next roll's pods will read it."""
        return Configuration(self.env, self.secrets)

    def lacks(self, configuration: Configuration) -> bool:
        """Whether a secret value that is read with it was purged."""
        return any(secret.version <= self.purged.get(key, 0) for key, secret in configuration.secrets.items())


@value
class App(Value):
    """One app at some position of the ledger.

    Attributes:
        id: The app's lasting name.
        version: Version of the app's own stream; what a decision is taken at.
        observed_version: Version of its second stream.
        head: Position of the newest event folded; 0 for none.
        lives: How many lives were opened.
        life: The open life, or None.
        unremoved: Destroyed lives whose objects are not known to be gone, oldest first.
        adopted: By ``Kind/name``, the uid of an object that was somebody else's and may be taken over.
    """

    id: AppId
    version: int = 0
    observed_version: int = 0
    head: int = 0
    lives: int = 0
    life: Life | None = None
    unremoved: tuple[Life, ...] = ()
    adopted: Mapping[str, str] = field(default_factory=dict)

    @property
    def stream(self) -> UUID:
        """Identity of the app's own stream."""
        return app_stream(self.id)

    @property
    def observed(self) -> UUID:
        """Identity of its second stream."""
        return observed_stream(self.stream)

    @property
    def leaving(self) -> Life | None:
        """The newest destroyed life whose objects are not known to be gone; None if there is none."""
        return self.unremoved[-1] if self.unremoved else None

    def is_leaving(self, deployment_id: str) -> bool:
        """Whether that life was destroyed, and its objects are not known to be gone."""
        return any(life.deployment_id == deployment_id for life in self.unremoved)

    @property
    def dirty(self) -> bool:
        """Whether the cluster has not caught up with what was asked for."""
        return self.leaving is not None or (self.life is not None and self.life.dirty)

    @property
    def deployment_id(self) -> str | None:
        """Of the open life; None if there is none."""
        return self.life.deployment_id if self.life is not None else None


def open_life(app: App, deployment_id: str | None = None) -> Life:
    """The app's open life.

    Args:
        app: The app.
        deployment_id: Of the life that is meant; None means whichever is open.

    Raises:
        AppNotFoundError: There is none: it was never deployed, or it was destroyed; or it is not the one that is meant.
    """
    if deployment_id is not None and app.deployment_id != deployment_id:
        raise destroyed_error(app.id, deployment_id)
    if app.life is None and app.lives:
        raise AppNotFoundError(
            f'app "{app.id.name}" not found in namespace {app.id.namespace}: it was destroyed',
            hint=Lines(
                "Deploy it again as it last was: 1ctl deploy restore",
                "Its history is still there: 1ctl deploy releases   (and with --at-release N most commands tell what was)",
            ),
        )
    if app.life is None:
        raise AppNotFoundError(
            f'app "{app.id.name}" not found in namespace {app.id.namespace}',
            hint="Run '1ctl deploy' first or pass --deployment-id",
        )
    return app.life


def destroyed_error(app_id: AppId, deployment_id: str) -> AppNotFoundError:
    """The error for a deployment id whose life has ended."""
    return AppNotFoundError(
        f'deployment "{deployment_id}" of app "{app_id.name}" was destroyed',
        hint=f"Its history is still there: 1ctl deploy releases --deployment-id {deployment_id}",
    )


def fold(app: App, history: Iterable[Recorded]) -> App:
    """The app after all of these events, which must be of its two streams and in rising position."""
    for recorded in history:
        app = evolve(app, recorded)
    return app


def evolve(app: App, recorded: Recorded) -> App:
    """The app after one more event. Total; one about a life that is neither open nor leaving changes only counters."""
    event = recorded.event
    if isinstance(event, _OBSERVED):
        app = replace(app, observed_version=recorded.version, head=recorded.position)
    else:
        app = replace(app, version=recorded.version, head=recorded.position)
    match event:
        case Deployed():
            return _deployed(app, recorded, event)
        case ObjectAdopted():
            return _adopted(app, recorded, event)
        case ResourcesRemoved() | ApplyRetried() | ApplyRefused() if any(
            _about(life, recorded) for life in app.unremoved
        ):
            after = ((_evolve_leaving(life, recorded) if _about(life, recorded) else life) for life in app.unremoved)
            return replace(app, unremoved=tuple(life for life in after if life is not None))
        case _ if app.life is None or not _about(app.life, recorded):
            return app
        case Destroyed():
            life = replace(app.life, destroyed=recorded.position, changed=recorded.position, parked=None)
            life = replace(life, updated_us=recorded.recorded_us)
            return replace(app, life=None, unremoved=(*app.unremoved, life))
        case _:
            return replace(app, life=_evolve_life(app.life, recorded))


def _evolve_leaving(life: Life, recorded: Recorded) -> Life | None:
    """A destroyed life after news of its removal; None once it is gone."""
    match recorded.event:
        case ResourcesRemoved() as event:
            return None if life.destroyed is not None and event.through >= life.destroyed else life
        case ApplyRetried():
            return replace(life, changed=recorded.position, parked=None)
        case ApplyRefused() as event:
            return _parked(life, event)
        case _:
            return life


def _adopted(app: App, recorded: Recorded, event: ObjectAdopted) -> App:
    """The object may be taken over now; an app that was parked because of it is tried again."""
    app = replace(app, adopted={**app.adopted, f"{event.kind}/{event.name}": event.uid})
    return replace(app, life=_asked(app.life, recorded)) if app.life is not None else app


def _about(life: Life, recorded: Recorded) -> bool:
    subject = recorded.envelope.subject
    return subject is not None and subject.deployment_id == life.deployment_id


def _deployed(app: App, recorded: Recorded, event: Deployed) -> App:
    life = app.life
    request = recorded.envelope.correlation_id
    if life is None:
        roll = Roll(position=recorded.position, release=event.release, request=request, configuration=Configuration())
        life = Life(
            deployment_id=event.deployment_id,
            opened_us=recorded.recorded_us,
            updated_us=recorded.recorded_us,
            changed=recorded.position,
            release=event.release,
            spec=event.spec,
            life_key=event.life_key,
            roll=roll,
            kept=(roll,),
        )
        return replace(app, lives=app.lives + 1, life=life)
    life = replace(life, release=event.release, spec=event.spec)
    return replace(app, life=_rolled(life, recorded))


def _rolled(life: Life, recorded: Recorded) -> Life:
    """A new generation of pods, with the configuration set by now."""
    roll = Roll(
        position=recorded.position,
        release=life.release,
        request=recorded.envelope.correlation_id,
        configuration=life.configuration,
    )
    kept = (*life.kept, roll)
    if len(kept) > KEPT_ROLLS + 1:
        kept = (kept[0], *kept[-KEPT_ROLLS:])
    life = replace(life, roll=roll, kept=kept, rollout="pending", rollout_failure=None)
    return _asked(life, recorded)


def _asked(life: Life, recorded: Recorded) -> Life:
    """Something was asked for: the cluster has to catch up, and a parked app is tried again."""
    return replace(life, changed=recorded.position, updated_us=recorded.recorded_us, parked=None, heals={})


def _rolled_back(life: Life, recorded: Recorded, event: RolledBack) -> Life:
    """What an earlier release ran comes back; unless only its code does, this counts as a change of what is set."""
    if event.only != "code":
        env_changed = _changed(life.env_changed, recorded) if life.env_changed or event.env else None
        secrets_changed = _changed(life.secrets_changed, recorded) if life.secrets_changed or event.secrets else None
        life = replace(life, env_changed=env_changed, secrets_changed=secrets_changed)
    life = replace(life, release=event.release, spec=event.spec, env=dict(event.env), secrets=dict(event.secrets))
    return _rolled(life, recorded)


def _env_set(life: Life, recorded: Recorded, env: Mapping[str, str]) -> Life:
    return _configured(replace(life, env=env, env_changed=_changed(life.env_changed, recorded)), recorded)


def _secrets_set(life: Life, recorded: Recorded, secrets: Mapping[str, SecretVersion]) -> Life:
    changed = _changed(life.secrets_changed, recorded)
    return _configured(replace(life, secrets=secrets, secrets_changed=changed), recorded)


def _changed(before: Changed | None, recorded: Recorded) -> Changed:
    return Changed(before.first_us if before else recorded.recorded_us, recorded.recorded_us)


def _configured(life: Life, recorded: Recorded) -> Life:
    """The configuration changed; pods of the same request's roll read it, older ones do not."""
    life = _asked(life, recorded)
    if life.roll.request != recorded.envelope.correlation_id:
        return life
    roll = replace(life.roll, configuration=life.configuration)
    return replace(life, roll=roll, kept=(*life.kept[:-1], roll))


def _evolve_life(life: Life, recorded: Recorded) -> Life:  # noqa: C901, PLR0911, PLR0912 - one arm per event, in one place
    event = recorded.event
    match event:
        case DomainAssigned():
            return _asked(replace(life, domain=event.domain), recorded)
        case EnvSet():
            return _env_set(life, recorded, {**life.env, **event.values})
        case EnvUnset():
            return _env_set(life, recorded, {key: value for key, value in life.env.items() if key not in event.keys})
        case SecretSet():
            versions = {key: secret.version for key, secret in event.secrets.items()}
            life = replace(life, secret_versions={**life.secret_versions, **versions})
            return _secrets_set(life, recorded, {**life.secrets, **event.secrets})
        case SecretPurged():
            life = replace(life, purged={**life.purged, event.key: life.secret_versions.get(event.key, 0)})
            kept = {key: secret for key, secret in life.secrets.items() if key != event.key}
            return _secrets_set(life, recorded, kept)
        case RolledBack():
            return _rolled_back(life, recorded, event)
        case ReleaseMarkedBad():
            return replace(life, bad={**life.bad, event.release: recorded.envelope.reason or "no reason given"})
        case ReleaseUnmarked():
            return replace(life, bad={number: why for number, why in life.bad.items() if number != event.release})
        case SecretUnset():
            kept = {key: secret for key, secret in life.secrets.items() if key not in event.keys}
            return _secrets_set(life, recorded, kept)
        case Scaled():
            return _asked(replace(life, spec=replace(life.spec, replicas=event.replicas)), recorded)
        case Restarted():
            return _rolled(life, recorded)
        case ApplyRetried():
            return _asked(life, recorded)
        case DriftDetected():
            known = {key: fields for key, fields in life.drift.items() if key != f"{event.kind}/{event.name}"}
            return replace(life, drift={**known, f"{event.kind}/{event.name}": event.fields} if event.fields else known)
        case DriftHealed():
            return _healed(life, recorded, event)
        case ResourcesApplied():
            if event.through >= recorded.position:
                return life  # of a line that the ledger lost; another one has come, or will come, to its position
            return replace(life, applied_through=event.through, objects=event.objects, parked=None)
        case ApplyRefused():
            return _parked(life, event)
        case RolloutCompleted():
            return _completed(life, event)
        case RolloutFailed():
            if event.roll != life.roll.position:
                return life
            return replace(life, rollout="failed", rollout_failure=(event.reason, event.message))
        case Deployed() | Destroyed() | ResourcesRemoved() | ObjectAdopted():
            return life  # handled where the app is known
        case SecretsFingerprinted():
            numbers = {key: [int(text) for text in of if _is_number(text)] for key, of in event.fingerprints.items()}
            newest = {key: max(versions) for key, versions in numbers.items() if versions}
            return replace(life, fingerprinted={**life.fingerprinted, **newest})
        case LedgerCreated() | WorkerIdentitySet() | LedgerMoved() | LedgerRestored() | Redacted():
            return life  # of the ledger's own stream
        case WorkerEnabled() | WorkerDisabled():
            return life  # likewise
        case DomainClaimed() | DomainReleased():
            return life  # of claim streams
        case _:
            assert_never(event)


def _is_number(text: str) -> bool:
    """Whether a text is the number of a version; of one with thousands of digits, Python makes none."""
    return text.isdecimal() and len(text) <= _DIGITS


def _parked(life: Life, event: ApplyRefused) -> Life:
    """What the cluster refused waits, unless something else was asked for before that could be recorded."""
    if event.through < life.changed:
        return life
    return replace(life, parked=Parked(through=event.through, reason=event.reason, message=event.message))


def _healed(life: Life, recorded: Recorded, event: DriftHealed) -> Life:
    """The object is as asked for again; the times of setting its fields back show whether somebody fights over it."""
    key = f"{event.kind}/{event.name}"
    before = life.heals.get(key, {})
    now = {path: (*before.get(path, ()), recorded.recorded_us)[-KEPT_HEALS:] for path in event.fields}
    drift = {other: fields for other, fields in life.drift.items() if other != key}
    return replace(life, drift=drift, heals={**life.heals, key: {**before, **now}})


def _completed(life: Life, event: RolloutCompleted) -> Life:
    """Pods of this roll are good: nothing older is needed any more."""
    kept = tuple(roll for roll in life.kept if roll.position >= event.roll)
    life = replace(life, kept=kept or life.kept)
    if event.roll != life.roll.position:
        return life
    return replace(life, rollout="completed", rollout_failure=None)
