"""The cluster as its leader sees it: looks are answered from what lists, watches and our own writes have said.

Nothing here is trusted blindly: a write names the state that is known here, and if that is no longer the object's, the
cluster says so and the object is looked at again.

* Lists and watches tell of objects with our label only. That such an object is not there is known from them; whether
  somebody else has an object of that name shows when ours is made, which fails then.
* What is being deleted is asked about until it is gone: whoever waits for that may be nobody that is told.
* Secrets are in no list. Of them only our own looks and writes are known.
* What is known never goes back: a list, a watch and our own writes tell of the same object, each with a delay of its own.
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
"""Kinds that old servers merge into instead of making them: these are always looked at first."""


class Known(NamedTuple):
    """One object as it was last seen; only our labels and annotations, empty where there is none."""

    uid: str
    resource_version: str
    generation: int | None
    ledger: str
    life: str
    app: str
    position: str
    digest: str
    owners: str
    secret_keys: tuple[str, ...] | None
    terminating: bool
    unclaimed: bool

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
            owners=tuple(self.owners.split()),
            secret_keys=self.secret_keys,
            terminating=self.terminating,
            unclaimed=self.unclaimed,
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
        owners=sys.intern(" ".join(seen.owners)),  # usually one, which owns all other objects of its app
        secret_keys=seen.secret_keys,
        terminating=seen.terminating,
        unclaimed=seen.unclaimed,
    )


def _is_before(one: str, other: str) -> bool:
    """Whether a version is earlier, as far as that can be told; within one kind, Kubernetes says so from 1.35 on."""
    return one.isdecimal() and other.isdecimal() and int(one) < int(other)


class Inventory:
    """A `Cluster` for one process that leads. Safe for many threads.

    Args:
        cluster: The cluster itself.
        may_write: Called before each write; raises if this process no longer leads.
        remembers_absence: Whether what was looked for and not found is not looked for again; for a process that is
            soon over, and makes what it looked for.
    """

    def __init__(self, cluster: Cluster, may_write: Callable[[], None], *, remembers_absence: bool = False) -> None:
        self.kind: ClusterKind = cluster.kind
        self.name = cluster.name
        self._cluster = cluster
        self._may_write = may_write
        self._remembers_absence = remembers_absence
        self._lock = threading.Lock()
        self._known: dict[Ref, Known] = {}
        self._refs: dict[tuple[str, str], tuple[Ref, ...]] = {}  # of what is known, by namespace and app
        self._of: dict[tuple[str, str], set[Ref]] = {}  # of what is known, by kind and namespace
        self._homes: dict[Ref, tuple[str, str]] = {}  # life and app of objects that somebody's label puts elsewhere
        self._told: set[tuple[str, str]] = set()  # kind and namespace of which somebody tells us everything
        self._absent: set[Ref] = set()  # what was looked for and not found, and what nobody would tell us of
        self._ask: set[Ref] = set()  # what we no longer know
        self._going: dict[Ref, str | None] = {}  # what was deleted and may linger, with the uid: each look asks

    # -- What lists and watches say --------------------------------------------------------------------------------

    def listed(self, objects: Iterable[Listed]) -> set[str]:
        """Take some objects of a list.

        Returns:
            The apps of objects for which this is news.
        """
        news = set()
        for each in objects:
            now = known(each.seen)
            with self._lock:
                if self._is_news(each.ref, now):
                    self._keep(each.ref, now)
                    news.add(self._home(each.ref, now))
        return news

    def listed_all(self, kind: str, namespace: str, names: set[str], version: str) -> set[str]:
        """Take a list of one kind, all of whose objects were given to `listed`, as what there was at a version.

        Returns:
            The apps of objects that are gone.
        """
        with self._lock:
            gone = {
                ref
                for ref in self._of.get((kind, namespace), ())
                if ref.name not in names
                and not _is_before(version, self._known[ref].resource_version)  # else it was made after the list
            }
            self._told.add((kind, namespace))
            for ref in [ref for ref in self._going if (ref.kind, ref.namespace) == (kind, namespace)]:
                if ref.name not in names and (ref not in self._known or ref in gone):
                    del self._going[ref]
            return {self._home(ref, self._forget(ref)) for ref in gone}

    def untold(self, kind: str, namespace: str) -> None:
        """Nobody tells us about this kind for now: what is not known may be there."""
        with self._lock:
            self._told.discard((kind, namespace))

    def changed(self, change: Change) -> str | None:
        """Take what a watch says about one object; its app if that is news, else None."""
        assert change.ref is not None
        with self._lock:
            before = self._known.get(change.ref)
            self._heard(change)
            if change.kind == "gone" or change.seen is None:
                if before is None or (change.seen is not None and change.seen.uid != before.uid):
                    return None
                return self._home(change.ref, self._forget(change.ref))
            now = known(change.seen)
            if not self._is_news(change.ref, now):
                return None
            self._keep(change.ref, now)
            return self._home(change.ref, now)

    def _heard(self, change: Change) -> None:
        """What was deleted is gone, or another object has its name: a look at it need not ask the cluster any more."""
        assert change.ref is not None
        same = change.seen is None or change.seen.uid == self._going.get(change.ref)
        if same == (change.kind == "gone"):
            self._going.pop(change.ref, None)

    def forget_secrets(self) -> None:
        """Look at each Secret again when it is next needed; nobody tells us about them."""
        with self._lock:
            self._absent.clear()
            for ref in [ref for ref in self._known if ref.kind == "Secret"]:
                self._forget(ref)
            # A look asks about what is not known in any case.
            self._ask = {ref for ref in self._ask if ref.kind != "Secret"}
            self._going = {ref: uid for ref, uid in self._going.items() if ref.kind != "Secret"}

    def forget_secrets_of(self, namespace: str, app: str) -> None:
        """Look at each Secret of an app again when it is next needed: somebody asks for something, and counts on it."""
        with self._lock:
            for ref in [ref for ref in self._refs.get((namespace, app), ()) if ref.kind == "Secret"]:
                self._forget(ref)

    def get(self, ref: Ref) -> Known | None:
        """What is known of one object."""
        with self._lock:
            return self._known.get(ref)

    def of_app(self, namespace: str, app: str) -> Mapping[Ref, Known]:
        """All objects that are known to carry an app's label, or to be of one of its lives."""
        with self._lock:
            return {ref: self._known[ref] for ref in self._refs.get((namespace, app), ())}

    def apps(self) -> set[tuple[str, str]]:
        """The apps that anything is known of, each with its namespace before it."""
        with self._lock:
            return set(self._refs)

    def belongs(self, ref: Ref, life: str, app: str) -> None:
        """From now on, count an object as one of that app, whatever app its label names, while it is of that life."""
        with self._lock:
            known = self._forget(ref) if ref in self._known else None
            self._homes[ref] = life, app
            if known is not None:
                self._keep(ref, known)

    @property
    def size(self) -> int:
        """How many objects are known. Not `__len__`: an inventory that knows none yet must not be falsy."""
        return len(self._known)

    def _is_news(self, ref: Ref, now: Known) -> bool:
        before = self._known.get(ref)
        return before is None or (now != before and not _is_before(now.resource_version, before.resource_version))

    def _home(self, ref: Ref, each: Known) -> str:
        """The app that it is known under; where no label names one, a name made from its life that no app can have."""
        life, app = self._homes.get(ref, ("", ""))
        return app if app and life == each.life else each.app or f"?{each.life}"

    def _keep(self, ref: Ref, now: Known) -> None:
        before = self._known.get(ref)
        if before is None or self._home(ref, before) != self._home(ref, now):
            if before is not None:
                self._forget(ref)
            key = (ref.namespace, self._home(ref, now))
            self._refs[key] = (*self._refs.get(key, ()), ref)
            self._of.setdefault((ref.kind, ref.namespace), set()).add(ref)
        self._known[ref] = now

    def _forget(self, ref: Ref) -> Known:
        before = self._known.pop(ref)
        key = (ref.namespace, self._home(ref, before))
        left = tuple(each for each in self._refs[key] if each != ref)
        if left:
            self._refs[key] = left
        else:
            del self._refs[key]
        of = self._of[ref.kind, ref.namespace]
        of.remove(ref)
        if not of:
            del self._of[ref.kind, ref.namespace]
        return before

    # -- The cluster -----------------------------------------------------------------------------------------------

    def look(self, ref: Ref, *, ledger_id: str) -> Seen | None:
        """Like `Cluster.look`; without a request where the answer is known."""
        with self._lock:
            found = self._known.get(ref)
            asks = ref in self._ask or ref in self._going or (found is not None and found.terminating)
            if found is not None and found.ledger == ledger_id and not asks:
                return found.seen()
            if found is None and not asks and self._is_known_absent(ref):
                return None
        seen = self._cluster.look(ref, ledger_id=ledger_id)
        with self._lock:
            if self._known.get(ref) is not found:
                self._ask.add(ref)  # something was told about it meanwhile, and nobody knows which is newer
                return seen
            self._ask.discard(ref)
            if seen is None or seen.uid != self._going.get(ref):
                self._going.pop(ref, None)
            if seen is not None and seen.labels.get(LEDGER_LABEL) == ledger_id:
                self._keep(ref, known(seen))
                return seen
            if found is not None:
                self._forget(ref)
            if seen is None and (ref.kind == "Secret" or self._remembers_absence):
                self._absent.add(ref)
        return seen

    def _is_known_absent(self, ref: Ref) -> bool:
        if ref.kind == "Secret" or ref in self._absent:
            return ref in self._absent
        return ref.kind not in MERGED_INTO and (ref.kind, ref.namespace) in self._told

    def read(self, ref: Ref) -> Manifest | None:
        """Like `Cluster.read`."""
        live = self._cluster.read(ref)
        if (live is None) == (self.get(ref) is not None):
            self._doubt(ref)  # one that lost our label is there, and nobody tells us of it
        return live

    def apply(self, manifest: Manifest, *, manager: str, expect: Seen | None, force: bool = False) -> Seen:
        """Like `Cluster.apply`, by the leader only; the result is known from then on."""
        return self._write(
            ref_of(manifest), lambda: self._cluster.apply(manifest, manager=manager, expect=expect, force=force)
        )

    def replace_parts(self, ref: Ref, patch: Manifest, *, manager: str, expect: Seen) -> Seen:
        """Like `Cluster.replace_parts`, by the leader only; the result is known from then on."""
        return self._write(ref, lambda: self._cluster.replace_parts(ref, patch, manager=manager, expect=expect))

    def _write(self, ref: Ref, write: Callable[[], Seen]) -> Seen:
        self._may_write()
        try:
            seen = write()
        except BaseException:
            self._doubt(ref)  # even if nobody knows whether it happened
            raise
        with self._lock:
            if self._is_news(ref, known(seen)):
                self._keep(ref, known(seen))
            self._ask.discard(ref)
            self._going.pop(ref, None)
            self._absent.discard(ref)
        return seen

    def delete(self, ref: Ref, *, uid: str | None) -> None:
        """Like `Cluster.delete`, by the leader only; the object is asked about until it is known to be gone."""
        self._may_write()
        with self._lock:
            self._going[ref] = uid  # before: nobody may know whether it happened
        self._cluster.delete(ref, uid=uid)

    def _doubt(self, ref: Ref) -> None:
        with self._lock:
            self._ask.add(ref)

    def namespace_exists(self, namespace: str) -> bool:
        """Like `Cluster.namespace_exists`."""
        return self._cluster.namespace_exists(namespace)

    def rollout(self, ref: Ref) -> Rollout | None:
        """Like `Cluster.rollout`."""
        return self._cluster.rollout(ref)

    def logs(self, namespace: str, pod: str, *, lines: int) -> Sequence[str]:
        """Like `Cluster.logs`."""
        return self._cluster.logs(namespace, pod, lines=lines)

    def pages(self, kind: str, namespace: str, *, ledger_id: str, limit: int = 500) -> Iterator[Page]:
        """Like `Cluster.pages`."""
        return self._cluster.pages(kind, namespace, ledger_id=ledger_id, limit=limit)

    def watch(self, kind: str, namespace: str, *, ledger_id: str, since: str) -> Watch:
        """Like `Cluster.watch`."""
        return self._cluster.watch(kind, namespace, ledger_id=ledger_id, since=since)

    def close(self) -> None:
        """Forget everything now, instead of when a term's garbage is collected; the cluster stays open."""
        with self._lock:
            for kept in (self._known, self._refs, self._of, self._homes, self._told):
                kept.clear()
            for asked in (self._absent, self._ask, self._going):
                asked.clear()
