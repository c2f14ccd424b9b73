"""Objects that somebody edited or deleted by hand: what is recorded about it, and whether it is set back.

Invariants:

* What differs is recorded field by field, with the field manager that owns it, when it changes; not at every look.
* A field that is set back again and again is fought over; after `HEALS` times in `WINDOW_SECONDS` it is left alone and
  the app is parked, until somebody asks for something: a resync would only go on with the fight.
* Of a Secret only field names are known, never values; what looks like a credential is not recorded either, nor what
  somebody put into the rules of a route: a header may hold one, which looks like anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from effects.cluster import ClusterError, FieldConflictError, Manifest, Ref, Seen
from effects.crash_points import crash_point
from effects.drift import Difference
from effects.managers import owner_of
from ledger.app import KEPT_HEALS, App, Life
from ledger.credentials import looks_like_credential
from ledger.events import AppliedObject, DriftDetected, DriftHealed, FieldDrift, ObservedEvent
from ledger.fact_writer import FactWriter
from ledger.request import Request
from ledger.spec import AppId

CONTENDED = "Contended"
"""Why an app is parked of which a field is fought over."""

HEALS = KEPT_HEALS
"""How often a field is set back within `WINDOW_SECONDS`."""

WINDOW_SECONDS = 600.0

SHOWN_CHARACTERS = 200
"""How much of a value is recorded."""

PRESENT = '"present"'
"""How it is recorded that there is something, whatever it is."""

RULES = "spec.rules"
"""The rules of a route."""

GONE = (FieldDrift(field="", wanted=PRESENT, found=None, manager=None),)
"""The object itself is not there."""


Alike = tuple[str, str | None, tuple[FieldDrift, ...]]
"""An object as it was compared: its uid, its state, and what of our marks it lacked."""


class ContendedError(ClusterError):
    """Somebody sets a field again each time after it was set back."""


def _tell_nobody(_action: str, _app_id: AppId, _ref: Ref, _fields: Sequence[FieldDrift]) -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Healer:
    """Records drift of one ledger's objects, and decides whether it is set back.

    Attributes:
        ledger: Where it is recorded.
        request: On whose behalf.
        heals: Whether drift is set back; otherwise it is only recorded.
        now_us: The time, in microseconds since 1970-01-01 UTC.
        told: Called when drift was ``reported`` for the first time or ``healed``, with the object and its fields.
        seen_alike: By object, how it was when it was last found to differ in nothing new; shared by all threads.
    """

    ledger: FactWriter
    request: Request
    heals: bool
    now_us: Callable[[], int]
    told: Callable[[str, AppId, Ref, Sequence[FieldDrift]], None] = _tell_nobody
    seen_alike: dict[Ref, Alike] = field(default_factory=dict)

    def is_as_left(
        self, life: Life, ref: Ref, seen: Seen, left: AppliedObject | None, lost: Sequence[FieldDrift]
    ) -> bool:
        """Whether nobody has written the object since we left it as asked for, or since we last compared it.

        Args:
            life: Whose it is.
            ref: The object.
            seen: How it is.
            left: How we left it, if that is known.
            lost: Which of our marks it lacks.
        """
        if self.seen_alike.get(ref) == (seen.uid, seen.state, tuple(lost)):
            return True
        differs = lost or life.drift.get(key_of(ref))
        return not differs and left is not None and (left.uid, left.state) == (seen.uid, seen.state)

    def compared(self, ref: Ref, seen: Seen | AppliedObject, lost: Sequence[FieldDrift] = ()) -> None:
        """Remember that the object was compared in this state, and with these marks lost."""
        self.seen_alike[ref] = (seen.uid, seen.state, tuple(lost))

    def found(self, app_id: AppId, life: Life, ref: Ref, fields: Sequence[FieldDrift]) -> None:
        """Record how an object differs now, if that is news; no fields mean that it is as asked for.

        Raises:
            ContendedError: It would have to be set back once too often.
        """
        crash_point("before DriftDetected")
        event = DriftDetected(kind=ref.kind, name=ref.name, fields=tuple(sorted(fields, key=lambda each: each.field)))
        self._record(app_id, life, event, lambda now: now.drift.get(key_of(ref), ()) != event.fields)
        if fields and not self.heals and life.drift.get(key_of(ref), ()) != event.fields:
            self.told("reported", app_id, ref, event.fields)
        if self.heals and fields:
            self._refuse_to_fight(app_id, life, ref, fields)

    def healed(self, app_id: AppId, life: Life, ref: Ref, fields: Sequence[FieldDrift]) -> None:
        """Record that these fields are as asked for again."""
        event = DriftHealed(kind=ref.kind, name=ref.name, fields=tuple(sorted({each.field for each in fields})))
        self._record(app_id, life, event, lambda _: True)
        self.told("healed", app_id, ref, fields)

    def _refuse_to_fight(self, app_id: AppId, life: Life, ref: Ref, fields: Sequence[FieldDrift]) -> None:
        since = self.now_us() - int(WINDOW_SECONDS * 1_000_000)
        before = life.heals.get(key_of(ref), {})
        for each in fields:
            recent = [at for at in before.get(each.field, ()) if at >= since]
            if len(recent) >= HEALS:
                what = f"{each.field} of {ref}" if each.field else str(ref)
                by = f" by {each.manager}" if each.manager else ""
                raise ContendedError(
                    f"{what} was changed{by} again after it was set back {HEALS} times within "
                    f"{WINDOW_SECONDS / 60:g} minutes",
                    hint=f"Stop whoever changes it, then: 1ctl worker retry {app_id.name}",
                )

    def _record(
        self, app_id: AppId, life: Life, event: DriftDetected | DriftHealed, is_news: Callable[[Life], bool]
    ) -> None:
        texts = isinstance(event, DriftDetected) and bool(event.fields)

        def make(now: App) -> tuple[str, ObservedEvent, int] | None:
            current = now.life
            if current is None or current.deployment_id != life.deployment_id or not is_news(current):
                return None
            if texts and _blanks(current) - _blanks(life):  # or what was redacted since the comparison would be back
                return None
            return life.deployment_id, event, current.changed

        self.ledger.observe(app_id, self.request, make, texts=texts)


def _blanks(life: Life) -> frozenset[tuple[int, str]]:
    """Where values are blank: by the position of the roll that reads them, 0 for what is set, and by key."""
    read = ((roll.position, roll.configuration) for roll in (*life.kept, life.roll))
    return frozenset((position, key) for position, what in ((0, life.configuration), *read) for key in what.blanked)


def field_drifts(found: Iterable[Difference], live: Manifest) -> list[FieldDrift]:
    """Differences as they are recorded: JSON text, cut where it is long, and whose field it is."""
    return [
        FieldDrift(
            field=each.field,
            wanted=_shown(each.field, each.wanted),
            found=PRESENT if each.field == RULES and each.found is not None else _shown(each.field, each.found),
            manager=owner_of(live, each.field),
        )
        for each in found
    ]


def conflicting(error: FieldConflictError) -> list[FieldDrift]:
    """Fields that another manager owns, as they are recorded: no values are known."""
    return [
        FieldDrift(field=path.lstrip("."), wanted=None, found=None, manager=manager)
        for manager, paths in error.owners.items()
        for path in paths
    ]


def key_of(ref: Ref) -> str:
    """By which a life knows drift of an object."""
    return f"{ref.kind}/{ref.name}"


def _shown(field: str, value: object) -> str | None:
    if value is None or _holds_credential(field.rpartition(".")[2], value):
        return None
    text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"


def _holds_credential(name: str, value: object) -> bool:
    """Whether any text in a value looks like a credential, by itself or by the name of what it is the value of."""
    if isinstance(value, str):
        return looks_like_credential(name.replace("-", "_"), value) is not None
    if isinstance(value, Mapping):
        named = str(value.get("name", "value"))
        return any(_holds_credential(named if key == "value" else key, inner) for key, inner in value.items())
    return isinstance(value, Sequence) and any(_holds_credential(name, inner) for inner in value)
