"""Valid histories for tests: by hand with `Script`, at random with `steps` and `perform`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Literal, NamedTuple, get_args
from uuid import UUID, uuid5

from hypothesis import strategies as st

from ledger.codec import encode
from ledger.envelope import Envelope, Recorded, Source, Subject
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
    Event,
    FieldDrift,
    LedgerCreated,
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
    SecretsFingerprinted,
    SecretUnset,
    WorkerIdentitySet,
)
from ledger.spec import AppId, SecretVersion, Spec
from ledger.store import NOTHING_BESIDE, Beside, LifeRow, NewRow, Store
from ledger.streams import LEDGER_STREAM, app_stream, domain_stream, observed_stream

START_US = 1_767_225_600_000_000
"""2026-01-01T00:00:00Z."""

SECOND = 1_000_000

APPS = (
    AppId("prod", "shop", "orders"),
    AppId("prod", "shop", "users"),
    AppId("prod", "blog", "orders"),
    AppId("staging", "shop", "orders"),
)
KEYS = ("A", "B", "C")

Verb = Literal[
    "deploy",
    "roll_back",
    "mark_bad",
    "unmark",
    "env_set",
    "env_unset",
    "secret_set",
    "secret_unset",
    "purge",
    "scale",
    "restart",
    "retry",
    "adopt",
    "drift",
    "destroy",
    "applied",
    "refused",
    "completed",
    "failed",
    "removed",
    "fingerprinted",
    "late",
    "retry_removal",
    "overtake",
    "lost",
]


class Ended(NamedTuple):
    """A life that was destroyed.

    Attributes:
        deployment_id: UUID text.
        destroyed: Position of its end.
        rolls: Position and release of each of its rolls.
        changed: Position of the newest event asked for before its end.
    """

    deployment_id: str
    destroyed: int
    rolls: Sequence[tuple[int, int]]
    changed: int


class Step(NamedTuple):
    """Something happens to an app, if it can; `chance` picks among the ways it can."""

    app: AppId
    verb: Verb
    chance: int


@dataclass
class _Open:
    """What has to be remembered about an app for its next step to be valid."""

    deployment_id: str = ""
    lives: int = 0
    release: int = 0
    changed: int = 0
    rolls: list[tuple[int, int]] = field(default_factory=list)
    env: set[str] = field(default_factory=set)
    secrets: set[str] = field(default_factory=set)
    sealed: dict[str, int] = field(default_factory=dict)
    ended: list[Ended] = field(default_factory=list)
    tried: int = 0


@dataclass
class Script:
    """Records what is asked for and seen, one second apart; `lines` is the ledger so far."""

    lines: list[Recorded] = field(default_factory=list)
    _versions: dict[UUID, int] = field(default_factory=dict)
    _apps: dict[AppId, _Open] = field(default_factory=dict)
    _moments: int = 0

    def __post_init__(self) -> None:
        self._tick()
        self._record(LEDGER_STREAM, LedgerCreated(ledger_id="l", origin="o", verification_key="k"), None)
        self._record(LEDGER_STREAM, WorkerIdentitySet(public_key="p"), None)

    def deploy(self, app: AppId, spec: Spec | None = None, *, env: dict[str, str] | None = None) -> Recorded:
        """A release; the first of a life with its domain."""
        state = self._tick(app)
        opens = not state.deployment_id
        if opens:
            state.lives += 1
            state.deployment_id = str(uuid5(app_stream(app), f"life {state.lives}"))
        state.release += 1
        spec = spec or Spec(image=f"{app.name}:{state.release}", machines=("m1", "m2")[: state.release % 3])
        key = "public" if opens else None
        deployed = self._ask(
            app, Deployed(deployment_id=state.deployment_id, release=state.release, spec=spec, life_key=key)
        )
        state.rolls.append((deployed.position, state.release))
        if opens:
            self._ask(app, DomainAssigned(domain=_domain(state)))
            self._claim(app, DomainClaimed(domain=_domain(state)))
        if env:
            self._set(app, env)
        return deployed

    def roll_back(self, app: AppId, target: int, *, only: str = "all", env: dict[str, str] | None = None) -> Recorded:
        """An earlier release comes back; unless only its code does, so does the environment given, without secrets."""
        state = self._tick(app)
        state.release += 1
        if only != "code":
            state.env, state.secrets = {*(env or {})}, set()
        rolled_back = self._ask(
            app,
            RolledBack(
                release=state.release,
                target=target,
                only=only,
                spec=Spec(image=f"{app.name}:{target}", replicas=2),
                env=env or {} if only != "code" else dict.fromkeys(sorted(state.env), "kept"),
                secrets={key: SecretVersion(state.sealed[key], "d" * 64) for key in sorted(state.secrets)},
            ),
        )
        state.rolls.append((rolled_back.position, state.release))
        return rolled_back

    def mark_bad(self, app: AppId, release: int) -> Recorded:
        """Nobody shall roll back to it."""
        self._tick(app)
        subject = _subject(app, self._apps[app].deployment_id)
        return self._record(app_stream(app), ReleaseMarkedBad(release=release), subject)

    def unmark(self, app: AppId, release: int) -> Recorded:
        """Whoever wants may roll back to it again."""
        self._tick(app)
        subject = _subject(app, self._apps[app].deployment_id)
        return self._record(app_stream(app), ReleaseUnmarked(release=release), subject)

    def purge(self, app: AppId, key: str) -> Recorded:
        """A secret goes, and its past."""
        self._tick(app).secrets -= {key}
        return self._ask(app, SecretPurged(key=key))

    def env_set(self, app: AppId, values: dict[str, str]) -> Recorded:
        """Environment values."""
        self._tick(app)
        return self._set(app, values)

    def _set(self, app: AppId, values: dict[str, str]) -> Recorded:
        self._apps[app].env |= values.keys()
        return self._ask(app, EnvSet(values=values))

    def env_unset(self, app: AppId, *keys: str) -> Recorded:
        """Environment keys go."""
        self._tick(app).env -= {*keys}
        return self._ask(app, EnvUnset(keys=keys))

    def secret_set(self, app: AppId, *keys: str) -> Recorded:
        """Secrets, each in its next version."""
        state = self._tick(app)
        state.secrets |= {*keys}
        state.sealed |= {key: state.sealed.get(key, 0) + 1 for key in keys}
        digest = "d" * 64
        return self._ask(app, SecretSet(secrets={key: SecretVersion(state.sealed[key], digest) for key in keys}))

    def secret_unset(self, app: AppId, *keys: str) -> Recorded:
        """Secrets go."""
        self._tick(app).secrets -= {*keys}
        return self._ask(app, SecretUnset(keys=keys))

    def scale(self, app: AppId, replicas: int) -> Recorded:
        """Another number of pods."""
        self._tick(app)
        return self._ask(app, Scaled(replicas=replicas))

    def restart(self, app: AppId) -> Recorded:
        """New pods."""
        state = self._tick(app)
        restarted = self._ask(app, Restarted())
        state.rolls.append((restarted.position, state.release))
        return restarted

    def retry(self, app: AppId) -> Recorded:
        """What was refused is tried again."""
        self._tick(app)
        return self._ask(app, ApplyRetried())

    def adopt(self, app: AppId, number: int) -> Recorded:
        """An object of somebody else is taken over."""
        self._tick(app)
        return self._ask(app, ObjectAdopted(kind="Service", name=app.name, uid=f"u-{number}"))

    def drift(self, app: AppId, number: int) -> Recorded:
        """An object was seen to differ in so many fields, or was set back."""
        self._tick(app)
        if number % 3 == 2:
            return self._see(app, DriftHealed(kind="Deployment", name=app.name, fields=("spec.replicas",)))
        field = FieldDrift(field="spec.replicas", wanted="1", found=str(number), manager="kubectl-edit")
        return self._see(app, DriftDetected(kind="Deployment", name=app.name, fields=(field,) * (number % 3)))

    def destroy(self, app: AppId) -> Recorded:
        """The life ends."""
        state = self._tick(app)
        changed = state.changed
        destroyed = self._ask(app, Destroyed())
        self._claim(app, DomainReleased(domain=_domain(state)))
        ended = Ended(state.deployment_id, destroyed.position, state.rolls, changed)
        self._apps[app] = _Open(lives=state.lives, ended=[*state.ended, ended], tried=destroyed.position)
        return destroyed

    def applied(self, app: AppId, through: int | None = None) -> Recorded:
        """The cluster acknowledged everything up to a position, by default the newest change."""
        state = self._tick(app)
        objects = (AppliedObject(kind="Deployment", name=app.name, uid="u", digest="d"),)
        return self._see(
            app,
            ResourcesApplied(
                release=state.release, through=state.changed if through is None else through, objects=objects
            ),
        )

    def refused(self, app: AppId, through: int | None = None) -> Recorded:
        """The cluster said no, by default to the newest change."""
        state = self._tick(app)
        return self._see(
            app,
            ApplyRefused(
                release=state.release,
                through=state.changed if through is None else through,
                reason="Forbidden",
                message="exceeded quota",
            ),
        )

    def completed(self, app: AppId, roll: int | None = None) -> Recorded:
        """Pods of a roll are ready, by default of the newest."""
        position, release = self._roll(app, roll)
        return self._see(
            app, RolloutCompleted(release=release, roll=position, replicas=1, image_digest=f"sha256:{position}")
        )

    def failed(self, app: AppId, roll: int | None = None) -> Recorded:
        """Pods of a roll will not become ready, by default of the newest."""
        position, release = self._roll(app, roll)
        return self._see(
            app, RolloutFailed(release=release, roll=position, reason="ImagePullBackOff", message="no such image")
        )

    def fingerprinted(self, app: AppId, marks: dict[str, dict[str, str]]) -> Recorded:
        """Values of secrets are told apart."""
        self._tick(app)
        return self._see(app, SecretsFingerprinted(fingerprints=marks))

    def late(self, app: AppId, event: Event, *, life: int = -1) -> Recorded:
        """A fact about a life that ended, by default the last, seen before but recorded after its end."""
        ended = self._tick(app).ended[life]
        return self._record(observed_stream(app_stream(app)), event, _subject(app, ended.deployment_id))

    def retry_removal(self, app: AppId) -> Recorded:
        """Removing the objects of the life that ended last is tried again."""
        state = self._tick(app)
        retried = self._record(app_stream(app), ApplyRetried(), _subject(app, state.ended[-1].deployment_id))
        state.tried = retried.position
        return retried

    def removed(self, app: AppId) -> Recorded:
        """The objects of the life that ended last are gone."""
        return self.late(app, ResourcesRemoved(through=self.state(app).ended[-1].destroyed))

    def state(self, app: AppId) -> _Open:
        """What the app's next step must fit."""
        return self._apps.setdefault(app, _Open())

    def _roll(self, app: AppId, roll: int | None) -> tuple[int, int]:
        rolls = self._tick(app).rolls
        return rolls[-1] if roll is None else next(entry for entry in rolls if entry[0] == roll)

    def _tick(self, app: AppId | None = None) -> _Open:
        self._moments += 1
        return self.state(app) if app else _Open()

    def _ask(self, app: AppId, event: Event) -> Recorded:
        state = self._apps[app]
        recorded = self._record(app_stream(app), event, _subject(app, state.deployment_id))
        state.changed = recorded.position
        return recorded

    def _see(self, app: AppId, event: Event) -> Recorded:
        subject = _subject(app, self._apps[app].deployment_id)
        return self._record(observed_stream(app_stream(app)), event, subject)

    def _claim(self, app: AppId, event: DomainClaimed | DomainReleased) -> Recorded:
        return self._record(domain_stream(event.domain), event, _subject(app, self._apps[app].deployment_id))

    def _record(self, stream: UUID, event: Event, subject: Subject | None) -> Recorded:
        self._versions[stream] = self._versions.get(stream, 0) + 1
        position = len(self.lines) + 1
        recorded = Recorded(
            position, stream, self._versions[stream], START_US + self._moments * SECOND, self._envelope(subject), event
        )
        self.lines.append(recorded)
        return recorded

    def _envelope(self, subject: Subject | None) -> Envelope:
        return Envelope(
            actor=f"actor {self._moments % 3}",
            reason=f"reason {self._moments}" if self._moments % 2 else None,
            request_id=f"request {self._moments}",
            source=Source(program="1ctl 0.1.0", host="laptop"),
            subject=subject,
            correlation_id=f"request {self._moments}",
            causation=None,
            clock="2026-01-01T00:00:00.000000Z",
            salt="00" * 16,
        )


def _subject(app: AppId, deployment_id: str) -> Subject:
    return Subject(cluster=app.cluster, namespace=app.namespace, app=app.name, deployment_id=deployment_id)


def _domain(state: _Open) -> str:
    return f"{state.deployment_id[:8]}.example.com"


def write(store: Store, lines: Iterable[Recorded]) -> None:
    """Append the lines as they are, those of one moment together."""
    for recorded_us, group in groupby(lines, key=lambda line: line.recorded_us):
        told = list(group)
        rows = [NewRow(line.stream.bytes, line.version, line.kind, encode(line.event, line.envelope)) for line in told]
        opened = [
            _life(line.envelope.subject) for line in told if isinstance(line.event, Deployed) and line.event.life_key
        ]
        store.append(rows, clock_us=recorded_us, beside=Beside(life=opened[0]) if opened else NOTHING_BESIDE)


def _life(subject: Subject | None) -> LifeRow:
    assert subject is not None
    return LifeRow(subject.deployment_id, subject.cluster, subject.namespace, subject.app, 0)


def about(lines: Iterable[Recorded], app: AppId) -> list[Recorded]:
    """The lines of the app's two streams."""
    streams = {app_stream(app), observed_stream(app_stream(app))}
    return [line for line in lines if line.stream in streams]


_LIKELY: Sequence[Verb] = ("deploy", "roll_back", "applied", "refused", "completed", "failed", "overtake")


def steps(*, min_size: int, max_size: int) -> st.SearchStrategy[list[Step]]:
    """Random steps, most of them about few apps; each does something only where it is possible."""
    verbs: Sequence[Verb] = get_args(Verb)
    step = st.builds(
        Step,
        st.one_of(st.just(APPS[0]), st.sampled_from(APPS[:2]), st.sampled_from(APPS)),
        st.one_of(st.sampled_from(_LIKELY), st.sampled_from(verbs)),
        st.integers(0, 39),
    )
    return st.lists(step, min_size=min_size, max_size=max_size)


def script(plan: Iterable[Step]) -> Script:
    """The ledger after these steps."""
    result = Script()
    for step in plan:
        perform(result, step)
    return result


def perform(ledger: Script, step: Step) -> None:
    """Take one step, if the app is in a state for it."""
    app, verb, chance = step
    state = ledger.state(app)
    key = KEYS[chance % len(KEYS)]
    pair = {key: str(chance), KEYS[chance % 2]: "x"}
    roll = state.rolls[-1 - chance % min(3, len(state.rolls))][0] if state.rolls else 0
    through = state.changed - (chance % 4 == 0)
    match verb:
        case "deploy":
            ledger.deploy(app, env=pair if chance % 5 == 0 else None)
        case "removed":
            if state.ended:
                ledger.removed(app)
        case "late":
            if state.ended:
                _tell_late(ledger, app, chance)
        case "retry_removal":
            if state.ended:
                ledger.retry_removal(app)
        case _ if not state.deployment_id:
            return
        case "roll_back":
            only = ("all", "code", "config")[chance % 3]
            ledger.roll_back(app, 1 + chance % state.release, only=only, env=pair if chance % 2 else None)
        case "mark_bad":
            ledger.mark_bad(app, 1 + chance % state.release)
        case "unmark":
            ledger.unmark(app, 1 + chance % state.release)
        case "purge":
            if key in state.sealed:
                ledger.purge(app, key)
        case "env_set":
            ledger.env_set(app, pair)
        case "env_unset":
            if key in state.env:
                ledger.env_unset(app, key)
        case "secret_set":
            ledger.secret_set(app, *pair)
        case "fingerprinted":
            if key in state.sealed:
                ledger.fingerprinted(app, {key: {str(state.sealed[key]): str(chance % 2)}})
        case "secret_unset":
            if key in state.secrets:
                ledger.secret_unset(app, key)
        case "scale":
            ledger.scale(app, chance)
        case "restart":
            ledger.restart(app)
        case "retry":
            ledger.retry(app)
        case "adopt":
            ledger.adopt(app, chance)
        case "drift":
            ledger.drift(app, chance)
        case "destroy":
            ledger.destroy(app)
        case "overtake":  # the life ends, and maybe the next one opens, while somebody looks
            ledger.destroy(app)
            if chance % 3:
                ledger.deploy(app)
            _tell_late(ledger, app, chance)
        case "applied":
            ledger.applied(app, through)
        case "lost":  # it was applied, and then the ledger was put back to before it was asked for
            ledger.applied(app, len(ledger.lines) + 1 + chance % 4)
        case "refused":
            ledger.refused(app, through)
        case "completed":
            ledger.completed(app, roll)
        case "failed":
            ledger.failed(app, roll)


def _tell_late(ledger: Script, app: AppId, chance: int) -> None:
    state = ledger.state(app)
    rest, what = divmod(chance, 10)
    life = -1 - rest % min(2, len(state.ended))
    ledger.late(app, _late_facts(app, state.ended[life], state.tried, rest // 2)[what], life=life)


def _late_facts(app: AppId, ended: Ended, tried: int, chance: int) -> Sequence[Event]:
    """The ten kinds of what an observer saw of a life before its end, or of its removal, and may record only now."""
    roll, release = ended.rolls[-1 - chance % min(2, len(ended.rolls))]
    drift = FieldDrift(field="spec.replicas", wanted="1", found=str(chance), manager="kubectl-edit")
    return (
        ResourcesApplied(release=release, through=ended.changed, objects=()),
        ApplyRefused(release=release, through=ended.changed, reason="Forbidden", message="exceeded quota"),
        ApplyRefused(release=release, through=ended.destroyed, reason="NotFound", message="no such namespace"),
        ApplyRefused(release=release, through=tried, reason="NotFound", message="no such namespace"),
        RolloutCompleted(release=release, roll=roll, replicas=1),
        RolloutFailed(release=release, roll=roll, reason="ImagePullBackOff", message="no such image"),
        SecretsFingerprinted(fingerprints={key: {"1": f"late {chance}"} for key in KEYS}),
        DriftDetected(kind="Deployment", name=app.name, fields=(drift,)),
        DriftHealed(kind="Deployment", name=app.name, fields=("spec.replicas",)),
        ResourcesRemoved(through=ended.destroyed),
    )
