"""Making the cluster equal to the ledger, for one app at a time.

Level-triggered: what to do follows from the newest state and from what is there, never from which event woke us. So a
reconcile may be interrupted anywhere and repeated at any time, by anybody, and there is no "in progress" to clear up.

Invariants:

* Nothing is applied over an object that is not ours (`NotOursError`) and was not adopted, or that reflects a later
  position.
* Every write names the very object and state it was decided on; a write that lost a race is decided again.
* What was done is recorded once (`ResourcesApplied`, `ResourcesRemoved`), what was refused too (`ApplyRefused`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from effects.cluster import (
    LEDGER_LABEL,
    LIFE_LABEL,
    ChangedMeanwhileError,
    Cluster,
    ClusterError,
    ClusterRefusedError,
    FieldConflictError,
    NotOursError,
    Ref,
    Seen,
)
from effects.crash_points import crash_point
from effects.desired import DesiredObject, Surroundings, asked_for, desired, named_objects, owner
from effects.healing import CONTENDED, ContendedError, Healer
from effects.job import Job
from effects.placing import Placer, is_adopted, not_ours
from effects.redacted import RedactedError, refuse_redacted
from effects.removal import STILL_THERE, StillThereError, delete, wait_until_gone
from effects.secret_values import LazyValues
from ledger.app import App, Life
from ledger.errors import AppNotFoundError, ConflictError, SealedError
from ledger.events import (
    AppliedObject,
    ApplyRefused,
    ObservedEvent,
    ResourcesApplied,
    ResourcesRemoved,
    SecretsFingerprinted,
)
from ledger.fact_writer import FactWriter
from ledger.request import Request
from ledger.spec import AppId, SecretVersion

ATTEMPTS = 30
"""How often a reconcile begins again because something changed under it."""

REMOVAL_SECONDS = 60.0
"""How long a removal waits for the cluster to let go of an object."""

Progress = Callable[[Ref], None]
"""Called with each desired object once the cluster has it as desired."""


class ParkedError(ClusterError):
    """The cluster said no, and the ledger now says so too. Tried again with the next command on the app.

    A worker also tries it again at each resync, unless a field is fought over.

    Attributes:
        reason: The cluster's machine-readable reason.
    """

    def __init__(self, message: str, *, reason: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciler:
    """Applies what one ledger asks for to one cluster.

    Attributes:
        ledger: What is asked for, and where facts are recorded.
        cluster: Where it is made true.
        gateway: ``namespace/name`` of the Gateway for routes.
        request: On whose behalf facts are recorded.
        epoch: Fencing epoch.
        healer: Records what was edited by hand, and whether it is set back; None: a conflict is a refusal.
        removal_seconds: How long a removal waits for the cluster to let go of an object.
    """

    ledger: FactWriter
    cluster: Cluster
    gateway: str
    request: Request
    epoch: int = 0
    healer: Healer | None = None
    removal_seconds: float = REMOVAL_SECONDS

    def refuse_foreign_objects(self, app_id: AppId) -> None:
        """Look, before a life begins, whether someone else's objects are in the way.

        Raises:
            NotOursError: One is, and was not adopted.
        """
        ledger_id = self.ledger.ledger_id() or ""
        app = self.ledger.app(app_id)
        for ref in named_objects(app_id.name, app_id.namespace):
            seen = self.cluster.look(ref, ledger_id=ledger_id)
            if seen is not None and not ledger_id and (ledger_id := self.ledger.ledger_id() or ""):
                seen = self.cluster.look(ref, ledger_id=ledger_id)  # its first command was made just now, and this
            foreign = seen is not None and (not ledger_id or seen.labels.get(LEDGER_LABEL) != ledger_id)
            if seen is not None and foreign and not is_adopted(app, ref, seen):
                raise not_ours(ref, seen)

    def reconcile(
        self,
        app_id: AppId,
        progress: Progress | None = None,
        *,
        made: dict[Ref, str] | None = None,
        known: App | None = None,
    ) -> App:
        """Make the cluster equal to the ledger for this app and record it; returns the app as it then is.

        Args:
            app_id: The app.
            progress: Called with each object once it is as desired.
            made: Objects of this app, with their uids, that go unless they are desired. What is written is added, for
                others may decide meanwhile that it goes.
            known: The app, if it was read just now.

        Raises:
            ParkedError: The cluster refuses; recorded.
            ClusterUnreachableError: Nothing more is known; repeat later.
            SealedError: Secret values are needed that this machine cannot open.
        """
        made = {} if made is None else made
        for _ in range(ATTEMPTS):
            app, known = known or self.ledger.app(app_id), None
            try:
                while app.leaving is not None:
                    app = self._remove(app, app.leaving)
                if app.life is not None:
                    return self._apply(app, app.life, made, progress or _silent)
                delete(self.cluster, made)
            except ChangedMeanwhileError:
                continue
            except SealedError:
                # The life may have ended meanwhile, which shreds its secrets.
                if app.life is None or not _is_overtaken(self.ledger.app(app_id), app.life):
                    raise
            except (ClusterRefusedError, FieldConflictError, NotOursError, ContendedError, RedactedError) as error:
                self._park(app, _reason(error), error.message)
                raise ParkedError(error.message, reason=_reason(error), hint=error.hint) from error
            except StillThereError as error:
                self._park(app, STILL_THERE, error.message)
                raise
            else:
                return app
        raise ConflictError(
            f'app "{app_id.name}" changes faster than it can be applied', hint="Wait until it is quiet."
        )

    def unasked(self, app_id: AppId, objects: Mapping[Ref, str]) -> Mapping[Ref, str]:
        """Those of some objects of an app that its newest state does not ask for."""
        app = self.ledger.app(app_id)
        if app.life is None:
            return objects
        wanted, kept = asked_for(app, app.life, Surroundings(ledger_id=self._ledger_id(), gateway=self.gateway))
        refs = {*(entry.ref for entry in wanted), *(ref for ref, _ in kept)}
        return {ref: uid for ref, uid in objects.items() if ref not in refs}

    def _placer(self, ledger_id: str) -> Placer:
        return Placer(
            ledger=self.ledger,
            ledger_id=ledger_id,
            cluster=self.cluster,
            epoch=self.epoch,
            healer=self.healer,
            removal_seconds=self.removal_seconds,
        )

    # -- Applying --------------------------------------------------------------------------------------------------

    def _apply(self, app: App, life: Life, made: dict[Ref, str], progress: Progress) -> App:
        refuse_redacted(app, life)
        ledger_id = self._ledger_id()
        wanted, kept = asked_for(app, life, Surroundings(ledger_id=ledger_id, gateway=self.gateway))
        values = LazyValues(self.ledger, life)
        applied: list[AppliedObject] = []
        try:
            for entry, left in self._placed(app, life, wanted, values, made):
                applied.append(left)
                crash_point(f"applied {entry.ref.kind}")
                progress(entry.ref)
        except ChangedMeanwhileError:
            self._record_fingerprints(app, life, values)  # what is in place is not opened by the next attempt
            raise
        refs = {entry.ref for entry in wanted}
        for ref, left in kept:
            refs.add(ref)
            if self._look_for(ref, life) is not None:
                applied.append(left)
        self._delete_unwanted(app, life, made, refs)
        self._record_fingerprints(app, life, values)
        crash_point("before ResourcesApplied")
        now = self._record_applied(app, life, tuple(sorted(applied, key=lambda each: (each.kind, each.name))))
        if _is_overtaken(now, life):
            raise _overtaken(app)
        return now

    def _placed(
        self, app: App, life: Life, wanted: Sequence[DesiredObject], values: LazyValues, made: dict[Ref, str]
    ) -> Iterator[tuple[DesiredObject, AppliedObject]]:
        """Each object, once it is as desired, the owner of the rest first."""
        placer = self._placer(self._ledger_id())
        owner_uid: str | None = None
        for entry in wanted:
            job = Job(app, life, entry, owner_uid, values, made)
            left = self._find_lost(job) if entry.lost else placer.place(job)
            if left is not None:
                owner_uid = owner_uid or left.uid
                yield entry, left

    def _find_lost(self, job: Job) -> AppliedObject | None:
        """An object whose values are purged, if it is still there; nobody can make it, or write it, again."""
        seen = self._look_for(job.entry.ref, job.life)
        return job.left_as(seen) if seen is not None else None

    def _delete_unwanted(self, app: App, life: Life, made: dict[Ref, str], wanted: set[Ref]) -> None:
        """Delete what is of this life and not desired any more, even if its maker died before recording it."""
        present = {Ref(each.kind, app.id.namespace, each.name): each.uid for each in life.objects} | made
        for ref in named_objects(app.id.name, app.id.namespace):
            if ref.kind == "Secret" and not life.secret_versions:
                continue  # nobody ever had anything to put into one, and looking at each would make restarts slow
            if ref not in wanted and (seen := self._look_for(ref, life)) is not None:
                present[ref] = seen.uid
        unwanted = {ref: uid for ref, uid in present.items() if ref not in wanted}
        if unwanted and _is_overtaken(self.ledger.app(app.id), life):
            raise _overtaken(app)  # what was asked for meanwhile may need the very same objects
        delete(self.cluster, unwanted)

    def _record_applied(self, app: App, life: Life, objects: tuple[AppliedObject, ...]) -> App:
        event = ResourcesApplied(release=life.release, through=life.changed, objects=objects)

        def make(now: App) -> tuple[str, ObservedEvent, int] | None:
            current = now.life
            if current is None or not _continues(current, life):
                return None
            known = current.applied_through >= event.through and current.objects == objects and not current.parked
            return (
                None if known or current.applied_through > event.through else (life.deployment_id, event, event.through)
            )

        if make(app) is None:
            return app  # as it was before: to read it again would cost more than all that was looked at
        return self.ledger.observe(app.id, self.request, make)

    def _record_fingerprints(self, app: App, life: Life, values: LazyValues) -> None:
        """Record whether the values that were opened are new, without saying what they are."""
        fresh = {name: each for name, each in values.opened.items() if _is_news(life, name, each[0])}
        if not fresh:
            return
        made = self.ledger.fingerprints(life, {name: value for name, (_, value) in fresh.items()})

        def make(now: App) -> tuple[str, ObservedEvent, int] | None:
            current = now.life
            if current is None or not _continues(current, life):
                return None
            news = {name: secret for name, (secret, _) in sorted(fresh.items()) if _is_news(current, name, secret)}
            event = SecretsFingerprinted(
                fingerprints={name: {str(secret.version): made[name]} for name, secret in news.items()}
            )
            return (life.deployment_id, event, life.changed) if news else None

        self.ledger.observe(app.id, self.request, make)

    # -- Removing --------------------------------------------------------------------------------------------------

    def _remove(self, app: App, life: Life) -> App:
        """Delete every object of a destroyed life, wait until each is gone, and record that."""
        refs = self._objects_of(app, life)
        for ref, uid in refs.items():
            crash_point(f"before delete {ref.kind}")
            self.cluster.delete(ref, uid=uid)
        wait_until_gone(self.cluster, refs, ledger_id=self._ledger_id(), seconds=self.removal_seconds)
        crash_point("before ResourcesRemoved")
        assert life.destroyed is not None
        event = ResourcesRemoved(through=life.destroyed)

        def make(now: App) -> tuple[str, ObservedEvent, int] | None:
            return (life.deployment_id, event, event.through) if now.is_leaving(life.deployment_id) else None

        return self.ledger.observe(app.id, self.request, make)

    def _objects_of(self, app: App, life: Life) -> Mapping[Ref, str]:
        """The life's objects that are there, with their uids; the owner last, so that an interrupted removal shows."""
        around = Surroundings(ledger_id=self._ledger_id(), gateway=self.gateway)
        refs = [entry.ref for entry in desired(app, life, around)]
        refs += named_objects(app.id.name, app.id.namespace)
        refs += [Ref(each.kind, app.id.namespace, each.name) for each in life.objects]
        first = owner(app.id.name, app.id.namespace)
        found = {}
        for ref in [*(ref for ref in dict.fromkeys(refs) if ref != first), first]:
            if (seen := self._look_for(ref, life)) is not None:
                found[ref] = seen.uid
        return found

    def _look_for(self, ref: Ref, life: Life) -> Seen | None:
        """The object if it is there and of this life."""
        seen = self.cluster.look(ref, ledger_id=self._ledger_id())
        return seen if seen is not None and seen.labels.get(LIFE_LABEL) == life.deployment_id else None

    # -- Refusals --------------------------------------------------------------------------------------------------

    def refuse(self, app_id: AppId, reason: str, message: str) -> None:
        """Record that this app cannot be applied as things are, for a reason that is not the cluster's."""
        self._park(self.ledger.app(app_id), reason, message)

    def _park(self, app: App, reason: str, message: str) -> None:
        life = app.leaving or app.life
        if life is None:
            return
        crash_point("before ApplyRefused")
        event = ApplyRefused(release=life.release, through=life.changed, reason=reason, message=message[:1000])

        def make(now: App) -> tuple[str, ObservedEvent, int] | None:
            current = now.leaving or now.life
            if current is None or current.deployment_id != life.deployment_id or current.changed != event.through:
                return None
            parked = current.parked
            known = parked is not None and (parked.reason, parked.message) == (event.reason, event.message)
            return None if known else (life.deployment_id, event, event.through)

        self.ledger.observe(app.id, self.request, make)

    def _ledger_id(self) -> str:
        ledger_id = self.ledger.ledger_id()
        if ledger_id is None:
            raise AppNotFoundError("the ledger is empty", hint="Run '1ctl deploy --image IMAGE' first")
        return ledger_id


def _silent(_: Ref) -> None:
    pass


def _is_overtaken(now: App, life: Life) -> bool:
    """Whether more, or something else, was asked for than this life reflects."""
    return now.life is None or _newest(now.life) != _newest(life)


def _continues(current: Life, life: Life) -> bool:
    """Whether what this life reflects is still asked for, or was before what is asked for now.

    A ledger may be put back to what it was, or lose its newest lines in a fail-over, while they are applied. Others
    then get their positions, and what was seen of those that are lost says nothing about these.
    """
    same = current.deployment_id == life.deployment_id
    return same and (current.changed > life.changed or _newest(current) == _newest(life))


def _newest(life: Life) -> tuple[str, int, int]:
    """Tells the newest event asked for from all others, also from one that was at its position and is lost."""
    return life.deployment_id, life.changed, life.updated_us


def _is_news(life: Life, name: str, secret: SecretVersion) -> bool:
    """Whether this very value is set, or read by pods, and its fingerprint is not known."""
    held = (life.secrets, *(roll.configuration.secrets for roll in life.kept))
    return secret.version > life.fingerprinted.get(name, 0) and any(each.get(name) == secret for each in held)


def _overtaken(app: App) -> ChangedMeanwhileError:
    return ChangedMeanwhileError(f'more was asked of app "{app.id.name}" meanwhile')


def _reason(error: ClusterError) -> str:
    match error:
        case ClusterRefusedError():
            return error.reason
        case FieldConflictError():
            return "FieldConflict"
        case ContendedError():
            return CONTENDED
        case RedactedError():
            return "Redacted"
        case _:
            return "NotOurs"
