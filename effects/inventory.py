"""The cluster as its leader sees it: looks are answered from what lists, watches and our own writes have said.

Nothing here is trusted blindly: a write names the state that is known here, and if that is no longer the object's, the
cluster says so and the object is looked at again.

* Lists and watches tell of objects with our label only. That such an object is not there is known from them; whether
  somebody else has an object of that name shows when ours is made, which fails then.
* Secrets are in no list. Of them only our own looks and writes are known.
* Kept small, since there are tens of thousands: per object one tuple of short texts.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from effects.cluster import (
    APP_LABEL,
    DIGEST_ANNOTATION,
    LEDGER_LABEL,
    LIFE_LABEL,
    POSITION_ANNOTATION,
    Change,
    Cluster,
    ClusterKind,
    Listed,
    Manifest,
    Page,
    Ref,
    Rollout,
    Seen,
    Watch,
    ref_of,
)

MERGED_INTO = frozenset({"Service"})
"""Kinds that old servers merge into when they should be made: here one always looks before."""


class Known(NamedTuple):
    """One object as it was last seen; of labels and annotations ours, empty where there is none."""

    uid: str
    resource_version: str
    generation: int | None
    ledger: str
    life: str
    app: str
    position: str
    digest: str

    def seen(self) -> Seen:
        """As a look would have found it."""
        labels = {LEDGER_LABEL: self.ledger, LIFE_LABEL: self.life, APP_LABEL: self.app}
        annotations = {POSITION_ANNOTATION: self.position, DIGEST_ANNOTATION: self.digest}
        return Seen(
            uid=self.uid,
            resource_version=self.resource_version,
            labels={key: value for key, value in labels.items() if value},
            annotations={key: value for key, value in annotations.items() if value},
            generation=self.generation,
        )


def known(seen: Seen) -> Known:
    """What is kept of a look."""
    labels, annotations = seen.labels, seen.annotations
    return Known(
        uid=seen.uid,
        resource_version=seen.resource_version,
        generation=seen.generation,
        ledger=sys.intern(labels.get(LEDGER_LABEL, "")),
        life=sys.intern(labels.get(LIFE_LABEL, "")),
        app=sys.intern(labels.get(APP_LABEL, "")),
        position=annotations.get(POSITION_ANNOTATION, ""),
        digest=annotations.get(DIGEST_ANNOTATION, ""),
    )


def _is_older(one: Known, other: Known) -> bool:
    """Whether it is an earlier state of the same object, as far as versions can be compared (Kubernetes 1.35 and on)."""
    texts = one.resource_version, other.resource_version
    return one.uid == other.uid and all(map(str.isdecimal, texts)) and int(texts[0]) < int(texts[1])


class Inventory:
    """A `Cluster` for one process that leads. Safe for many threads.

    Args:
        cluster: The cluster itself.
        may_write: Called before each write; raises if this process no longer leads.
    """

    def __init__(self, cluster: Cluster, may_write: Callable[[], None]) -> None:
        self.kind: ClusterKind = cluster.kind
        self.name = cluster.name
        self._cluster = cluster
        self._may_write = may_write
        self._lock = threading.Lock()
        self._known: dict[Ref, Known] = {}
        self._told: set[tuple[str, str]] = set()  # kind and namespace of which somebody tells us everything
        self._absent: set[Ref] = set()  # Secrets that were looked for and not found
        self._ask: set[Ref] = set()  # of which we know no more

    # -- What lists and watches say --------------------------------------------------------------------------------

    def listed(self, kind: str, namespace: str, objects: Iterable[Listed]) -> None:
        """Take a complete list of one kind as what there is."""
        fresh = {each.ref: known(each.seen) for each in objects}
        with self._lock:
            for ref in [ref for ref in self._known if (ref.kind, ref.namespace) == (kind, namespace)]:
                if ref not in fresh:
                    del self._known[ref]
            self._known.update(fresh)
            self._told.add((kind, namespace))

    def untold(self, kind: str, namespace: str) -> None:
        """Nobody tells us of this kind for now: what is not known may be there."""
        with self._lock:
            self._told.discard((kind, namespace))

    def changed(self, change: Change) -> bool:
        """Take what a watch says about one object; whether that is new."""
        assert change.ref is not None
        with self._lock:
            before = self._known.get(change.ref)
            if change.kind == "gone" or change.seen is None:
                if before is None or (change.seen is not None and change.seen.uid != before.uid):
                    return False
                del self._known[change.ref]
                return True
            now = known(change.seen)
            if before == now or (before is not None and _is_older(now, before)):
                return False
            self._known[change.ref] = now
            return True

    def forget_secrets(self) -> None:
        """Look at each Secret again when it is next needed; nobody tells us of them."""
        with self._lock:
            self._absent.clear()
            for ref in [ref for ref in self._known if ref.kind == "Secret"]:
                del self._known[ref]

    def get(self, ref: Ref) -> Known | None:
        """What is known of one object."""
        with self._lock:
            return self._known.get(ref)

    def by_app(self) -> Mapping[tuple[str, str], Sequence[Ref]]:
        """All objects that are known, by namespace and app label."""
        found: dict[tuple[str, str], list[Ref]] = {}
        with self._lock:
            for ref, each in self._known.items():
                found.setdefault((ref.namespace, each.app), []).append(ref)
        return found

    def __len__(self) -> int:
        """How many objects are known."""
        return len(self._known)

    # -- The cluster -----------------------------------------------------------------------------------------------

    def look(self, ref: Ref, *, ledger_id: str) -> Seen | None:
        """As `Cluster.look`; without a request where the answer is known."""
        with self._lock:
            found = self._known.get(ref)
            if found is not None and found.ledger == ledger_id and ref not in self._ask:
                return found.seen()
            if found is None and ref not in self._ask and self._is_known_absent(ref):
                return None
        seen = self._cluster.look(ref, ledger_id=ledger_id)
        with self._lock:
            self._ask.discard(ref)
            if seen is not None and seen.labels.get(LEDGER_LABEL) == ledger_id:
                self._known[ref] = known(seen)
                return seen
            self._known.pop(ref, None)
            if seen is None and ref.kind == "Secret":
                self._absent.add(ref)
        return seen

    def _is_known_absent(self, ref: Ref) -> bool:
        if ref.kind == "Secret":
            return ref in self._absent
        return ref.kind not in MERGED_INTO and (ref.kind, ref.namespace) in self._told

    def read(self, ref: Ref) -> Manifest | None:
        """As `Cluster.read`."""
        return self._cluster.read(ref)

    def apply(self, manifest: Manifest, *, manager: str, expect: Seen | None, force: bool = False) -> Seen:
        """As `Cluster.apply`, by the leader only; what came out is known from then on."""
        ref = ref_of(manifest)
        self._may_write()
        try:
            seen = self._cluster.apply(manifest, manager=manager, expect=expect, force=force)
        except BaseException:
            self._doubt(ref)  # also where nobody knows whether it happened
            raise
        with self._lock:
            self._known[ref] = known(seen)
            self._ask.discard(ref)
            self._absent.discard(ref)
        return seen

    def delete(self, ref: Ref, *, uid: str | None) -> None:
        """As `Cluster.delete`, by the leader only."""
        self._may_write()
        self._doubt(ref)
        self._cluster.delete(ref, uid=uid)

    def _doubt(self, ref: Ref) -> None:
        with self._lock:
            self._ask.add(ref)

    def namespace_exists(self, namespace: str) -> bool:
        """As `Cluster.namespace_exists`."""
        return self._cluster.namespace_exists(namespace)

    def rollout(self, ref: Ref) -> Rollout | None:
        """As `Cluster.rollout`."""
        return self._cluster.rollout(ref)

    def logs(self, namespace: str, pod: str, *, lines: int) -> Sequence[str]:
        """As `Cluster.logs`."""
        return self._cluster.logs(namespace, pod, lines=lines)

    def pages(self, kind: str, namespace: str, *, ledger_id: str, limit: int = 500) -> Iterator[Page]:
        """As `Cluster.pages`."""
        return self._cluster.pages(kind, namespace, ledger_id=ledger_id, limit=limit)

    def watch(self, kind: str, namespace: str, *, ledger_id: str, since: str) -> Watch:
        """As `Cluster.watch`."""
        return self._cluster.watch(kind, namespace, ledger_id=ledger_id, since=since)

    def close(self) -> None:
        """Nothing is open here; the cluster belongs to whoever opened it."""
