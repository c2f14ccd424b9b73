"""What must hold of a ledger and a cluster, whatever went wrong: each check answers with the violations, as sentences.

They use nothing but a ledger and the `Cluster` protocol, so they judge the sandbox and a real API server alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import get_args

from effects.cluster import (
    API_VERSIONS,
    DIGEST_ANNOTATION,
    LEDGER_LABEL,
    LIFE_LABEL,
    POSITION_ANNOTATION,
    Cluster,
    ExpiredError,
    Ref,
    Seen,
)
from effects.desired import DesiredObject, Surroundings, desired, named_objects
from effects.drift import differences
from ledger.app import App
from ledger.codec import recorded
from ledger.events import (
    ApplyRefused,
    Deployed,
    ObservedEvent,
    ResourcesApplied,
    ResourcesRemoved,
    Restarted,
    RolledBack,
    RolloutCompleted,
    RolloutFailed,
)
from ledger.reader import LedgerReader
from ledger.spec import AppId
from ledger.verify import verify_chain

REVISION_ANNOTATION = "deployment.kubernetes.io/revision"
LISTED = sorted(API_VERSIONS.keys() - {"Secret"})
ROLLS = (Deployed, RolledBack, Restarted)
OBSERVED = get_args(ObservedEvent)


def violations(ledger: LedgerReader, cluster: Cluster, *, gateway: str) -> list[str]:
    """Everything that is wrong once faults have stopped and every app was reconciled.

    Positions that went back are not among it: they show only to who looks all the time (`Positions`).
    """
    return [
        *damaged(ledger),
        *misnumbered(ledger),
        *not_recorded(ledger),
        *recorded_again(ledger),
        *unequal(ledger, cluster, gateway=gateway),
        *left_over(ledger, cluster, gateway=gateway),
        *rolled_too_often(ledger, cluster),
    ]


def apps_of(ledger: LedgerReader) -> list[AppId]:
    """Every app that ever was, in the order of their first events."""
    rows = ledger.store.positions(1, None, limit=ledger.store.head().position)
    subjects = (recorded(row).envelope.subject for row in rows)
    return list(dict.fromkeys(subject.app_id for subject in subjects if subject is not None))


def damaged(ledger: LedgerReader) -> list[str]:
    """Lines that are not as they were written, or that a gap separates."""
    damage = verify_chain(ledger.store).damage
    return [] if damage is None else [f"the ledger is damaged at position {damage.position}: {damage.detail}"]


def not_recorded(ledger: LedgerReader) -> list[str]:
    """Apps of which the ledger does not know that the cluster has what was asked for."""
    found = []
    for app in map(ledger.app, apps_of(ledger)):
        if app.leaving is not None:
            found.append(f"{app.id.name}: its objects are not recorded as removed")
        if app.life is not None and app.life.dirty:
            found.append(f"{app.id.name}: nothing is recorded as applied since position {app.life.applied_through}")
        if app.life is not None and app.life.parked is not None:
            found.append(f"{app.id.name}: it is parked: {app.life.parked.message}")
    return found


def recorded_again(ledger: LedgerReader) -> list[str]:
    """Facts that were recorded twice although nothing happened in between."""
    found = []
    for app_id in apps_of(ledger):
        last: dict[type, object] = {}
        for line in ledger.history(app_id):
            event = line.event
            if isinstance(event, (ResourcesApplied, ResourcesRemoved, RolloutCompleted, RolloutFailed)):
                if last.get(type(event)) == event:
                    found.append(f"{app_id.name}: {type(event).__name__} at position {line.position} says it again")
                last[type(event)] = event
            elif isinstance(event, ApplyRefused) or not isinstance(event, OBSERVED):
                last = {}
    return found


def misnumbered(ledger: LedgerReader) -> list[str]:
    """Releases whose numbers do not count from 1 in their life."""
    found = []
    for app_id in apps_of(ledger):
        numbers: dict[str, int] = {}
        for line in ledger.history(app_id):
            if isinstance(line.event, (Deployed, RolledBack)) and line.envelope.subject is not None:
                life = line.envelope.subject.deployment_id
                numbers[life] = numbers.get(life, 0) + 1
                if line.event.release != numbers[life]:
                    found.append(f"{app_id.name}: release {line.event.release} is number {numbers[life]} of its life")
    return found


def unequal(ledger: LedgerReader, cluster: Cluster, *, gateway: str) -> list[str]:
    """Objects that are missing, or not as the ledger asks."""
    found: list[str] = []
    for app in map(ledger.app, apps_of(ledger)):
        for entry in _wanted(ledger, app, gateway):
            found += (f"{app.id.name}: {said}" for said in _unequal(ledger, cluster, app, entry))
    return found


def _unequal(ledger: LedgerReader, cluster: Cluster, app: App, entry: DesiredObject) -> Iterator[str]:
    seen = cluster.look(entry.ref, ledger_id=ledger.ledger_id() or "")
    if seen is None:
        yield f"{entry.ref} is missing"
        return
    assert app.life is not None
    if seen.labels.get(LIFE_LABEL) != app.life.deployment_id:
        yield f"{entry.ref} is of the life {seen.labels.get(LIFE_LABEL)}"
    if seen.annotations.get(DIGEST_ANNOTATION) != entry.digest:
        yield f"{entry.ref} has the digest {seen.annotations.get(DIGEST_ANNOTATION)}, not {entry.digest}"
    known = {(each.kind, each.name): each.uid for each in app.life.objects}
    if known.get((entry.ref.kind, entry.ref.name)) != seen.uid:
        yield f"{entry.ref} is not the object that was recorded"
    if entry.ref.kind != "Secret":
        for difference in differences(entry.manifest, cluster.read(entry.ref)):
            yield f"{entry.ref} has {difference.found!r} in {difference.field}, not {difference.wanted!r}"


def left_over(ledger: LedgerReader, cluster: Cluster, *, gateway: str) -> list[str]:
    """Objects of this ledger that nobody asks for: by label, and of Secrets every name that they ever had."""
    ledger_id = ledger.ledger_id() or ""
    apps = [ledger.app(app_id) for app_id in apps_of(ledger)]
    wanted = {entry.ref for app in apps for entry in _wanted(ledger, app, gateway)}
    present = {
        each.ref
        for namespace in {app.id.namespace for app in apps}
        for kind in LISTED
        for page in cluster.pages(kind, namespace, ledger_id=ledger_id)
        for each in page.objects
    }
    for ref in {ref for app in apps for ref in _secrets_of(ledger, app.id)} - wanted:
        seen = cluster.look(ref, ledger_id=ledger_id)
        if seen is not None and seen.labels.get(LEDGER_LABEL) == ledger_id:
            present.add(ref)
    return [f"{ref} is left over" for ref in sorted(present - wanted)]


def _secrets_of(ledger: LedgerReader, app_id: AppId) -> Iterator[Ref]:
    yield from (ref for ref in named_objects(app_id.name, app_id.namespace) if ref.kind == "Secret")
    for line in ledger.history(app_id):
        if isinstance(line.event, ResourcesApplied):
            yield from (
                Ref(each.kind, app_id.namespace, each.name) for each in line.event.objects if each.kind == "Secret"
            )


def _wanted(ledger: LedgerReader, app: App, gateway: str) -> Sequence[DesiredObject]:
    around = Surroundings(ledger_id=ledger.ledger_id() or "", gateway=gateway)
    return [] if app.life is None else desired(app, app.life, around)


def rolled_too_often(ledger: LedgerReader, cluster: Cluster, *, by_others: int = 0) -> list[str]:
    """Deployments whose pod template became another one more often than their life was asked to roll.

    Args:
        ledger: What was asked for.
        cluster: Where its controllers count.
        by_others: How often somebody else changed a template.
    """
    found = []
    for app in map(ledger.app, apps_of(ledger)):
        live = None if app.life is None else cluster.read(Ref("Deployment", app.id.namespace, app.id.name))
        if app.life is None or live is None:
            continue
        asked = sum(
            isinstance(line.event, ROLLS) and line.envelope.subject is not None
            and line.envelope.subject.deployment_id == app.life.deployment_id
            for line in ledger.history(app.id)
        )  # fmt: skip
        rolled = int(live["metadata"].get("annotations", {}).get(REVISION_ANNOTATION, 0))
        if rolled > asked + by_others:
            found.append(f"{app.id.name}: its pods were rolled {rolled} times, but {asked} rolls were asked for")
    return found


class Positions:
    """Remembers how far each object of a ledger ever reflected it, and finds those that go back.

    A real API server tells every change since the last look; the sandbox only the last one of each object.
    """

    def __init__(self, cluster: Cluster, namespace: str, *, ledger_id: str, late: bool = False) -> None:
        """Looks for the first time.

        Args:
            cluster: The cluster, on a way that is sound.
            namespace: Where to look.
            ledger_id: Whose objects.
            late: Whether a write that was on its way for long may make an object that is gone anew. That it goes again
                is for `violations` to see; here, it is another object.
        """
        self._late = late
        self._cluster = cluster
        self._namespace = namespace
        self._ledger_id = ledger_id
        self._highest: dict[tuple[Ref, str], tuple[int, int]] = {}
        self._since: dict[str, str] = {}
        self._violations: list[str] = []
        for kind in LISTED:
            self._list(kind)

    def observe(self) -> list[str]:
        """Look at what happened since the last time; every violation so far."""
        with ThreadPoolExecutor(len(LISTED)) as pool:
            list(pool.map(self._follow, LISTED))
        return list(self._violations)

    def _list(self, kind: str) -> None:
        for page in self._cluster.pages(kind, self._namespace, ledger_id=self._ledger_id):
            for each in page.objects:
                self._judge(each.ref, each.seen)
            self._since[kind] = page.version

    def _follow(self, kind: str) -> None:
        since = self._since[kind]
        try:
            with self._cluster.watch(kind, self._namespace, ledger_id=self._ledger_id, since=since) as watch:
                for change in watch:
                    self._since[kind] = change.version
                    if change.kind == "present" and change.ref is not None and change.seen is not None:
                        self._judge(change.ref, change.seen)
        except ExpiredError:
            self._list(kind)

    def _judge(self, ref: Ref, seen: Seen) -> None:
        annotation = seen.annotations.get(POSITION_ANNOTATION, "0.0")
        epoch, _, position = annotation.partition(".")
        which = (ref, seen.uid if self._late else "")
        now, before = (int(epoch), int(position)), self._highest.get(which, (0, 0))
        if now < before:
            self._violations.append(f"{ref} went back from position {before[0]}.{before[1]} to {annotation}")
        self._highest[which] = max(now, before)
