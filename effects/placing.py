"""Making one object as it is desired: made, changed, set back, or left as it is.

Looks decide, and every write names what was seen. What is not ours is never touched, unless it was adopted; what
reflects a later position than was read is left until the ledger is read again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus

from effects.cluster import (
    DIGEST_ANNOTATION,
    LEDGER_LABEL,
    LIFE_LABEL,
    POSITION_ANNOTATION,
    ChangedMeanwhileError,
    Cluster,
    ClusterError,
    ClusterRefusedError,
    FieldConflictError,
    FrozenError,
    Manifest,
    NotOursError,
    Ref,
    Seen,
    state_of,
)
from effects.crash_points import crash_point
from effects.desired import owner
from effects.drift import differences
from effects.healing import GONE, Healer, conflicting, field_drifts
from effects.job import Job
from effects.managers import is_ours_alone, manager_of, owner_of
from effects.removal import delete, wait_until_gone
from effects.replacing import REPLACEABLE, Replacement, parts_to_replace, probes_left
from effects.sending import position_text, reflected, send
from ledger.app import App, Life
from ledger.events import AppliedObject, FieldDrift
from ledger.fact_writer import FactWriter
from ledger.text import Lines


class LedgerBehindError(ClusterError):
    """The cluster reflects events that this ledger does not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placer:
    """Places one object after the other, for one ledger in one cluster.

    Attributes:
        ledger: Whose objects.
        ledger_id: Its id.
        cluster: Where.
        epoch: Fencing epoch.
        healer: Records what was edited by hand, and whether it is set back; None: a conflict is a refusal.
        removal_seconds: How long to wait for the cluster to let go of an object that has to go first.
    """

    ledger: FactWriter
    ledger_id: str
    cluster: Cluster
    epoch: int
    healer: Healer | None
    removal_seconds: float

    def place(self, job: Job) -> AppliedObject:
        """The object as it is left; sent only if it is not as desired already.

        Raises:
            NotOursError: Somebody else has an object of that name, and it was not adopted.
            LedgerBehindError: It reflects what this ledger does not have.
            ChangedMeanwhileError: It is not as it was read; begin again.
            FieldConflictError: Somebody else owns a field of it, and there is no healer that takes it back.
            ContendedError: Somebody sets a field again each time it is set back.
            StillThereError: An object that is being deleted, or is of an earlier life, does not go.
            SealedError: Its values cannot be opened here.
        """
        app, life, entry = job.app, job.life, job.entry
        seen = self.cluster.look(entry.ref, ledger_id=self.ledger_id)
        if seen is None:
            return self._make(job)
        ours = self._is_ours(app, entry.ref, seen)
        other = seen.labels.get(LIFE_LABEL)
        if ours and other != life.deployment_id:
            if other is None or self.ledger.find(other) != app.id:
                raise not_ours(entry.ref, seen)  # of an app of this ledger that goes by another cluster name
            return self._make_again(job, seen)  # of an earlier life
        if seen.terminating:  # what is written to it now would go with it
            going = {entry.ref: seen.uid}
            wait_until_gone(self.cluster, going, ledger_id=self.ledger_id, seconds=self.removal_seconds)
            return self._make(job)
        if not ours:
            return self._overrule(job, seen, force=True)  # somebody else's, and adopted
        if self._asks_anew(job, seen) or _owner_changed(app, life, job.owner_uid):
            return self._update(job, seen)
        if self.healer is None or self.healer.is_as_left(life, entry.ref, seen, job.known, job.lost(seen)):
            return job.left_as(seen)
        return self._compare(job, seen)

    def _asks_anew(self, job: Job, seen: Seen) -> bool:
        """Whether something else is asked of the object than it says. If it says nothing any more, that is drift."""
        digest = seen.annotations.get(DIGEST_ANNOTATION)
        is_drift = digest is None and job.known is not None and self.healer is not None
        return digest != job.entry.digest and not is_drift

    def _make(self, job: Job) -> AppliedObject:
        """The object is not there. If it was left as it is desired now, somebody deleted it."""
        if job.known is None or self.healer is None:
            left = self._send(job, None)
            return self._confirm(job, left) if self.healer is not None and job.differs else left
        self._refuse_if_there(job.entry.ref)
        self.healer.found(job.app.id, job.life, job.entry.ref, GONE)
        if not self.healer.heals and not job.life.dirty:  # what is asked for needs all of it, above all the owner
            return job.known
        left = self._send(job, None)
        self.healer.healed(job.app.id, job.life, job.entry.ref, GONE)
        return left

    def _refuse_if_there(self, ref: Ref) -> None:
        """Lists and watches call gone what only lost our label; of Secrets they say nothing, and each look asks."""
        if ref.kind != "Secret" and self.cluster.read(ref) is not None:
            raise ChangedMeanwhileError(f"{ref} is there, though not by our label")

    def _update(self, job: Job, seen: Seen) -> AppliedObject:
        """Something else is asked of the object now. What others have set in it meanwhile is drift, too."""
        try:
            left = self._overrule(job, seen)
        except FieldConflictError as error:
            if self.healer is None or not self.healer.heals:
                raise
            return self._set_back(job, seen, conflicting(error))
        if self.healer is None:
            return left
        # What others have added beside our fields meets no conflict.
        as_left = self.healer.is_as_left(job.life, job.entry.ref, seen, job.before, job.lost(seen))
        return left if as_left and not job.differs else self._confirm(job, left)

    def _compare(self, job: Job, seen: Seen) -> AppliedObject:
        """The object says that it is as desired, but it was written since it was left; look what is different."""
        if job.entry.ref.kind == "Secret":
            return self._compare_secret(job, seen)
        live, found = self._read(job)
        known = {each.field for each in found}
        fields = [*found, *(each for each in job.lost(seen) if each.field not in known)]
        return self._settle(job, seen, fields, parts_to_replace(job.entry.manifest, live, additions=True))

    def _read(self, job: Job) -> tuple[Manifest, Sequence[FieldDrift]]:
        """The object as it is, and what is different."""
        live = self.cluster.read(job.entry.ref)
        if live is None:
            raise ChangedMeanwhileError(f"{job.entry.ref} is gone meanwhile")
        return live, field_drifts(differences(job.entry.manifest, live), live)

    def _compare_secret(self, job: Job, seen: Seen) -> AppliedObject:
        """Not read: an apply of the very same content changes nothing else, and names what others have changed."""
        assert self.healer is not None
        lost = job.lost(seen)
        if lost and not self.healer.heals:
            return self._settle(job, seen, lost)
        if lost:
            self.healer.found(job.app.id, job.life, job.entry.ref, lost)
        try:
            left = self._send(job, seen, position=seen.annotations.get(POSITION_ANNOTATION))
        except FieldConflictError as error:
            return self._settle(job, seen, [*lost, *conflicting(error)])
        except FrozenError:
            return self._settle(job, seen, [*lost, FieldDrift(field="data", wanted=None, found=None, manager=None)])
        if lost:
            crash_point("before DriftHealed")
        return self._confirm(job, left, lost)

    def _settle(
        self, job: Job, seen: Seen, fields: Sequence[FieldDrift], parts: Replacement | None = None
    ) -> AppliedObject:
        """Set back what differs, or only record it."""
        assert self.healer is not None
        if fields and self.healer.heals:
            return self._set_back(job, seen, fields, parts)
        self.healer.found(job.app.id, job.life, job.entry.ref, fields)
        self.healer.compared(job.entry.ref, seen, job.lost(seen))
        return job.left_as(seen)

    def _set_back(
        self, job: Job, seen: Seen, fields: Sequence[FieldDrift], parts: Replacement | None = None
    ) -> AppliedObject:
        assert self.healer is not None
        ref = job.entry.ref
        self.healer.found(job.app.id, job.life, ref, fields)
        if parts is None:
            left = self._overrule(job, seen, force=True)
            crash_point("before DriftHealed")
            return self._confirm(job, left, fields)
        seen = self.cluster.replace_parts(ref, parts.patch, manager=manager_of(self.ledger_id), expect=seen)
        crash_point("before DriftHealed")
        # Recorded before anything else is written: controllers write at once, and a look finds them gone.
        left = self._confirm(job, job.written(seen), [each for each in fields if parts.settles(each.field)])
        others = [each for each in fields if not parts.settles(each.field)]
        if not others:
            return left
        # Not by beginning again: where a webhook puts back what was just removed, the others' turn would never come.
        now = self.cluster.look(ref, ledger_id=self.ledger_id)
        if now is None or now.uid != seen.uid:
            raise ChangedMeanwhileError(f"{ref} is gone, or was made again, since parts of it were replaced")
        left = self._overrule(job, now, force=True)
        crash_point("before DriftHealed")
        return self._confirm(job, left, others)

    def _overrule(self, job: Job, seen: Seen, *, force: bool = False) -> AppliedObject:
        """Send the object. What makes the cluster refuse it because somebody put it in place of ours goes first."""
        ref = job.entry.ref
        try:
            return self._send(job, seen, force=force)
        except FrozenError:
            if not job.entry.manifest.get("immutable"):
                raise  # somebody froze it; others may hang on it
            return self._make_again(job, seen)
        except ClusterRefusedError as error:
            if error.status != HTTPStatus.UNPROCESSABLE_ENTITY or ref.kind not in REPLACEABLE:
                raise
            live = self.cluster.read(ref)
            if live is None or live["metadata"]["uid"] != seen.uid:
                raise ChangedMeanwhileError(f"{ref} is gone, or was made again, since it was refused") from error
            parts = parts_to_replace(job.entry.manifest, live, additions=False)
            patch = probes_left(job.entry.manifest, live, self.ledger_id) or (parts and parts.patch)
            if not patch:
                if live["metadata"]["resourceVersion"] != seen.resource_version:
                    raise ChangedMeanwhileError(f"{ref} is not any more what was refused") from error
                raise
        theirs = [each for each in (parts.fields if parts else ()) if not is_ours_alone(live, each, self.ledger_id)]
        fields = [FieldDrift(field=each, wanted=None, found=None, manager=owner_of(live, each)) for each in theirs]
        if self.healer is not None and fields:
            self.healer.found(job.app.id, job.life, ref, fields)
        seen = self.cluster.replace_parts(ref, patch, manager=manager_of(self.ledger_id), expect=seen)
        if self.healer is not None and fields:
            self.healer.healed(job.app.id, job.life, ref, fields)
        return self._send(job, seen, force=force)

    def _make_again(self, job: Job, seen: Seen) -> AppliedObject:
        """Delete the very object that was seen, and make ours."""
        found = {job.entry.ref: seen.uid}
        delete(self.cluster, found)
        wait_until_gone(self.cluster, found, ledger_id=self.ledger_id, seconds=self.removal_seconds)
        return self._send(job, None)

    def _confirm(self, job: Job, left: AppliedObject, fields: Sequence[FieldDrift] = ()) -> AppliedObject:
        """Record which of the fields that were set back are as asked for now, and whatever differs.

        A write may change less than it asks for, and the cluster may change it again at once.

        Returns:
            The object; how it was left is not called known if it differs.
        """
        assert self.healer is not None
        ref = job.entry.ref
        live, rest = (None, ()) if ref.kind == "Secret" else self._read(job)
        # Who wrote it since undid what was set back: they may be fought over.
        still = {each.field for each in rest} if live is None or state_of(live) == left.state else set[str]()
        if healed := [each for each in fields if each.field not in still]:
            self.healer.healed(job.app.id, job.life, ref, healed)
        if rest or job.differs:
            self.healer.found(job.app.id, job.life, ref, rest)
        if still and still <= {each.field for each in fields}:
            self.healer.compared(ref, left)  # not tried again in vain
        return replace(left, state=None) if rest else left

    def _send(
        self, job: Job, expect: Seen | None, *, force: bool = False, position: str | None = None
    ) -> AppliedObject:
        seen = send(
            self.cluster,
            job.entry,
            ledger_id=self.ledger_id,
            position=position or position_text(self.epoch, job.app.head),
            owner_uid=job.owner_uid,
            values=job.values,
            expect=expect,
            force=force,
        )
        job.made[job.entry.ref] = seen.uid
        return job.written(seen)

    def _is_ours(self, app: App, ref: Ref, seen: Seen) -> bool:
        """Whether the object carries our label already; one that was adopted may not yet."""
        if seen.labels.get(LEDGER_LABEL) != self.ledger_id:
            if not is_adopted(app, ref, seen):
                raise not_ours(ref, seen)
            return False
        position = reflected(seen)
        if position > (self.epoch, self.ledger.store.head().position):
            raise LedgerBehindError(
                f"{ref} reflects position {position[1]} of this ledger, which ends before it",
                hint=Lines(
                    "An older copy of the ledger was put back, or its database lost lines in a fail-over.",
                    "To go on with the ledger as it is: 1ctl ledger restore --accept-loss",
                ),
            )
        if position > (self.epoch, app.head):
            raise ChangedMeanwhileError(f"{ref} reflects a later position than was read")
        return True


def _owner_changed(app: App, life: Life, uid: str | None) -> bool:
    """Whether the first object was made again: the cluster will collect what still names the old one as its owner."""
    first = owner(app.id.name, app.id.namespace)
    known = (each.uid for each in life.objects if (each.kind, each.name) == (first.kind, first.name))
    return uid is not None and next(known, uid) != uid


def is_adopted(app: App, ref: Ref, seen: Seen) -> bool:
    """Whether this very object may be taken over."""
    return bool(seen.uid) and app.adopted.get(f"{ref.kind}/{ref.name}") == seen.uid


def not_ours(ref: Ref, seen: Seen) -> NotOursError:
    """Somebody else's object is in the way, and what can be done about it."""
    look = f"kubectl -n {ref.namespace} get {ref} --show-labels"
    if ref.kind == "Secret":  # it is not read, so nobody can tell which one it is
        return NotOursError(ref, hint=f"Remove it, or deploy under another name: {look}")
    return NotOursError(
        ref,
        uid=seen.uid,
        hint=Lines(
            f"Remove it, or deploy under another name: {look}",
            f"Or take it over: 1ctl deploy adopt {ref} --uid {seen.uid} --reason TEXT",
        ),
    )
