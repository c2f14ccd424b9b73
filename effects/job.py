"""One object to be made as it is desired, and what is known about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from effects.cluster import Ref, Seen
from effects.desired import DesiredObject
from effects.healing import key_of
from effects.marks import lost_marks
from effects.secret_values import LazyValues
from ledger.app import App, Life
from ledger.events import AppliedObject, FieldDrift


@dataclass(frozen=True, slots=True)
class Job:
    """One object to be made as desired.

    Attributes:
        app: The app as it was read.
        life: Its open life.
        entry: The object.
        owner_uid: Uid of the object that owns it; None for that one itself.
        values: The life's secret values.
        made: With uids, what was found or written so far.
    """

    app: App
    life: Life
    entry: DesiredObject
    owner_uid: str | None
    values: LazyValues
    made: dict[Ref, str]

    @property
    def known(self) -> AppliedObject | None:
        """The object as it was recorded when it was left, if nothing else was asked of it since."""
        return self.before if self.before is not None and self.before.digest == self.entry.digest else None

    @property
    def before(self) -> AppliedObject | None:
        """The object as it was recorded when it was left, whatever is asked of it now."""
        name = (self.entry.ref.kind, self.entry.ref.name)
        return next((each for each in self.life.objects if (each.kind, each.name) == name), None)

    @property
    def differs(self) -> bool:
        """Whether the object is known not to be as it was asked for."""
        return bool(self.life.drift.get(key_of(self.entry.ref)))

    def lost(self, seen: Seen) -> Sequence[FieldDrift]:
        """Which of our marks it lacks, and a Secret of its keys."""
        return tuple(lost_marks(self.entry, seen, self.owner_uid))

    def left_as(self, seen: Seen) -> AppliedObject:
        """The object, which was not written: what is known about the state that it was left in stays known."""
        if self.known is not None and self.known.uid == seen.uid:
            return self.known
        ref = self.entry.ref
        return AppliedObject(kind=ref.kind, name=ref.name, uid=seen.uid, digest=self.entry.digest)

    def written(self, seen: Seen) -> AppliedObject:
        """The object, which was written just now."""
        ref = self.entry.ref
        return AppliedObject(kind=ref.kind, name=ref.name, uid=seen.uid, digest=self.entry.digest, state=seen.state)
