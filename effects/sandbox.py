"""A simulated cluster in one SQLite file, for a machine with no Kubernetes.

Nothing runs: this is the API server's bookkeeping (objects, field ownership, preconditions, garbage collection), and
`effects.sandbox_rollout` plays the controllers. Every call first brings the simulation up to the present.

Invariants:

* A Secret's values never reach the file: under each key there is only an HMAC-SHA256, whose random key was made with
  the file. Whoever can read the file can therefore test guesses of a value, but not read one.
* Every call is one transaction, so processes may share the file and be killed at any time. A power cut may damage it.

Simplified against Kubernetes:

* There is one namespace, `default`, and one identity that may do everything.
* Fields are owned as `effects.sandbox_fields` says: server-side apply takes most lists as one value.
* A watch looks at the file again and again; of quick changes to one object it sees the last one.
* Defaults are not filled in, but for a Service's clusterIP. Of a manifest's rules only the common ones are checked.
* Garbage is collected at once instead of in the background.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from effects.cluster import (
    LEDGER_LABEL,
    Change,
    ChangedMeanwhileError,
    ClusterKind,
    ClusterRefusedError,
    ClusterUnreachableError,
    Listed,
    LogsUnavailableError,
    Manifest,
    Page,
    Pod,
    Ref,
    Rollout,
    Seen,
    ref_of,
    refuse_secret,
    refuse_secrets,
)
from effects.replacing import REPLACEABLE
from effects.sandbox_fields import (
    SERVER_METADATA,
    WITH_GENERATION,
    Manager,
    Stored,
    claimed,
    edit,
    managed_fields,
    merge,
)
from effects.sandbox_patches import merge_patched, strategic_patched
from effects.sandbox_rollout import (
    Plan,
    SimulatedPod,
    advance,
    due_at,
    log_of,
    plan_of,
    rollout_of,
    status_of,
    uid_from,
    view,
)
from effects.sandbox_rules import NAMESPACE, check_place, check_rules, invalid
from effects.sandbox_store import (
    ListedRow,
    changes,
    count,
    delete,
    exists,
    is_due,
    list_of,
    load,
    load_all,
    load_due,
    load_mentioning,
    load_state,
    load_status,
    make_tables,
    meta,
    write,
    write_state,
)
from effects.sandbox_watch import SandboxWatch

BUSY_TIMEOUT = 10.0
"""Seconds to wait for another process' transaction."""

REVISION_ANNOTATION = "deployment.kubernetes.io/revision"
"""Annotation that counts changes of a Deployment's pod template, as its controller writes it. Only in whole objects."""

# Two threads that make the same file: closing a descriptor would drop the other's SQLite locks.
_OPENING = threading.Lock()


class SandboxCluster:
    """The `Cluster` protocol over a simulation; may be shared between threads, not across a fork.

    Every method may raise `ClusterUnreachableError`: the file is damaged, or was locked for more than 10 seconds.
    """

    kind: ClusterKind = "sandbox"
    name: str = "sandbox"

    def __init__(
        self, db: sqlite3.Connection, *, now: Callable[[], float], startup_seconds: float, watch_seconds: float
    ) -> None:
        self._db = db
        self._watch_seconds = watch_seconds
        self._now = now
        self._startup = startup_seconds
        self._lock = threading.Lock()
        with self._transaction() as (tx, _):
            make_tables(tx)
            self._key: bytes = meta(tx, "key")

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        now: Callable[[], float] = time.time,
        startup_seconds: float = 1.0,
        watch_seconds: float = 30.0,
    ) -> SandboxCluster:
        """Opens the simulation kept at ``path``; makes file (mode 0600) and directory where there are none.

        Args:
            path: The SQLite file.
            now: The clock, in Unix seconds.
            startup_seconds: How long after its creation a pod becomes ready.
            watch_seconds: After how long a watch ends by itself, as an API server ends one.

        Raises:
            ClusterUnreachableError: The file cannot be made or opened, or it is not a sandbox.
        """
        try:
            with _OPENING:
                _make_file(path)
                db = _connect(path)
        except (OSError, sqlite3.Error) as error:
            raise _unreachable(error) from error
        try:
            return cls(db, now=now, startup_seconds=startup_seconds, watch_seconds=watch_seconds)
        except ClusterUnreachableError:
            db.close()
            raise

    def close(self) -> None:
        """Closes the file, once no thread is using it. The simulation goes on by itself: it only depends on the time.

        Whoever asks or writes later gets a `ClusterUnreachableError`.
        """
        with self._lock:  # SQLite crashes when a connection is closed under a statement of another thread
            self._db.close()

    def namespace_exists(self, namespace: str) -> bool:
        """Whether it is ``default``, the only one there is."""
        return namespace == NAMESPACE

    def look(self, ref: Ref, *, ledger_id: str) -> Seen | None:
        """See `Cluster.look`."""
        with self._transaction() as (tx, now):
            stored = self._current(tx, ref, now)
        if stored is None:
            return None
        if ref.kind == "Secret" and stored.seen.labels.get(LEDGER_LABEL) != ledger_id:
            return Seen(uid="", resource_version="", labels={}, annotations={})
        return stored.seen

    def read(self, ref: Ref) -> Manifest | None:
        """The whole object, or None where there is none; never a Secret."""
        refuse_secret(ref)
        with self._transaction() as (tx, now):
            stored = self._current(tx, ref, now)
            return None if stored is None else _as_read(tx, stored, now)

    def pages(self, kind: str, namespace: str, *, ledger_id: str, limit: int = 500) -> Iterator[Page]:
        """See `Cluster.pages`."""
        refuse_secrets(kind)
        return self._pages(kind, namespace, ledger_id, limit)

    def _pages(self, kind: str, namespace: str, ledger_id: str, limit: int) -> Iterator[Page]:
        with self._transaction() as (tx, now):
            for stored in load_due(tx, now):
                self._advanced(tx, stored, now)
            rest = list_of(tx, kind, namespace, ledger_id)
            version = str(meta(tx, "resource_version"))
        rest.reverse()
        while True:
            yield Page(
                [_listed(kind, namespace, rest.pop()) for _ in range(min(limit or len(rest), len(rest)))], version
            )
            if not rest:
                return

    def watch(self, kind: str, namespace: str, *, ledger_id: str, since: str) -> SandboxWatch:
        """See `Cluster.watch`. A version that this file never had is expired, too: it is of another file."""
        refuse_secrets(kind)
        if not since.isdecimal():
            raise ClusterRefusedError(f"{since!r} is not a resource version", status=400, reason="BadRequest")
        return SandboxWatch(
            lambda version: self._changes(kind, namespace, ledger_id, version),
            since=int(since),
            seconds=self._watch_seconds,
        )

    def _changes(self, kind: str, namespace: str, ledger_id: str, since: int) -> tuple[int, Sequence[Change]]:
        """The newest version, and what happened up to it."""
        with self._reading() as (tx, now):
            if meta(tx, "resource_version") == since and not is_due(tx, now):
                return since, ()
        with self._transaction() as (tx, now):
            for stored in load_due(tx, now):
                self._advanced(tx, stored, now)
            found = changes(tx, kind, namespace, ledger_id, since=since)
            return meta(tx, "resource_version"), found

    def apply(self, manifest: Manifest, *, manager: str, expect: Seen | None, force: bool = False) -> Seen:
        """See `Cluster.apply`. An apply that changes nothing leaves the resource version as it is.

        Raises:
            ChangedMeanwhileError: The object is not as expected any more.
            FieldConflictError: Another manager owns a field that differs.
            ClusterRefusedError: 404 for an unknown namespace or kind, 422 for a manifest that breaks a rule.
        """
        check_place(manifest)
        wanted = _plain(manifest)
        if wanted["kind"] == "Secret":
            wanted = _without_values(wanted, self._key)
        with self._transaction() as (tx, now):
            stored = self._current(tx, ref_of(wanted), now)
            _check_expected(ref_of(wanted), stored, expect)
            before = stored or _new_object(tx, wanted, now)
            before = claimed(before, manager) if wanted["kind"] in REPLACEABLE else before
            after = merge(before, wanted, manager, force=force)
            if after == stored:
                return after.seen
            check_rules(after.manifest, before=None if stored is None else stored.manifest)
            after = self._advanced(tx, write(tx, after), now, replanned=True)
            if _is_orphan(tx, after) or after.seen.terminating:
                _delete(tx, after, now)
            return after.seen

    def replace_parts(self, ref: Ref, patch: Manifest, *, manager: str, expect: Seen) -> Seen:
        """See `Cluster.replace_parts`."""
        with self._transaction() as (tx, now):
            stored = self._current(tx, ref, now)
            _check_expected(ref, stored, expect)
            assert stored is not None
            return self._edited(tx, stored, strategic_patched(stored.manifest, patch), Manager(manager, "Apply"), now)

    def delete(self, ref: Ref, *, uid: str | None) -> None:
        """See `Cluster.delete`. Dependents are gone at once; what has a finalizer lingers until that is removed."""
        with self._transaction() as (tx, now):
            stored = load(tx, ref)
            if stored is not None and uid in {None, stored.uid}:
                _delete(tx, stored, now)

    def edit(self, ref: Ref, patch: Mapping[str, Any], *, manager: str = "kubectl-edit") -> Seen:
        """Change an object by hand, past the ledger, as `kubectl edit` does (to remove one: `delete` without a uid).

        The manager takes the fields that change from whoever owned them, so `apply` then finds a conflict.

        Args:
            ref: The object.
            patch: A JSON merge patch (RFC 7386): None removes a field, a list replaces the whole list.
            manager: The field manager in whose name it is changed.

        Raises:
            ClusterRefusedError: 404, there is no such object; 422, the result breaks a rule.
        """
        patch = {key: value for key, value in patch.items() if key != "status"}
        if ref.kind == "Secret":
            patch = _patch_without_values(patch, self._key)
        with self._transaction() as (tx, now):
            stored = self._current(tx, ref, now)
            if stored is None:
                raise ClusterRefusedError(f"there is no {ref}", status=404, reason="NotFound")
            return self._edited(tx, stored, merge_patched(stored.manifest, patch), Manager(manager, "Update"), now)

    def _edited(
        self, tx: sqlite3.Connection, stored: Stored, manifest: dict[str, Any], editor: Manager, now: float
    ) -> Seen:
        after = edit(stored, manifest, editor)
        if after == stored:
            return after.seen
        check_rules(after.manifest, before=stored.manifest)
        after = self._advanced(tx, write(tx, after), now, replanned=True)
        if _is_orphan(tx, after) or after.seen.terminating:
            _delete(tx, after, now)
        return after.seen

    def rollout(self, ref: Ref) -> Rollout | None:
        """See `Cluster.rollout`. Observed unless it stands still: the simulated controllers never lag behind."""
        with self._transaction() as (tx, now):
            stored = self._current(tx, ref, now)
            if stored is None or ref.kind != "Deployment":
                return None
            state = load_state(tx, stored, now)
        return rollout_of(state, self._plan(stored), now=now)

    def logs(self, namespace: str, pod: str, *, lines: int) -> Sequence[str]:
        """See `Cluster.logs`. The lines are invented and say so.

        Raises:
            LogsUnavailableError: There is no such pod, or its container has not started.
        """
        with self._transaction() as (tx, now):
            kept = next((kept for kept in self._pods(tx, namespace, now) if kept.name == pod), None)
        if kept is None:
            raise LogsUnavailableError(f"there is no pod {pod} in namespace {namespace}")
        written = log_of(kept, now=now, startup=self._startup)
        if written is None:
            raise LogsUnavailableError(f"the container of pod {pod} has not started")
        return written[-lines:] if lines > 0 else []

    def objects(self, namespace: str) -> list[dict[str, Any]]:
        """Every object of the namespace by kind and name, as a manifest; a Secret's values are their digests."""
        with self._transaction() as (tx, now):
            for stored in load_all(tx, namespace):
                self._advanced(tx, stored, now)
            return [_as_read(tx, stored, now) for stored in load_all(tx, namespace)]

    def pods(self, namespace: str, app: str | None = None) -> list[Pod]:
        """The pods of the namespace, or of one app in it, by name."""
        with self._transaction() as (tx, now):
            kept = self._pods(tx, namespace, now, app)
        return [view(pod, now=now, startup=self._startup) for pod in sorted(kept, key=lambda pod: pod.name)]

    @contextmanager
    def _transaction(self) -> Iterator[tuple[sqlite3.Connection, float]]:
        """One transaction, and the moment that it happens at: after everything that was committed before it."""
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield self._db, self._now()
                    self._db.execute("COMMIT")
                finally:
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")
            except sqlite3.Error as error:
                raise _unreachable(error) from error

    @contextmanager
    def _reading(self) -> Iterator[tuple[sqlite3.Connection, float]]:
        """Like `_transaction`, for questions that keep nobody from writing."""
        with self._lock:
            try:
                yield self._db, self._now()
            except sqlite3.Error as error:
                raise _unreachable(error) from error

    def _plan(self, stored: Stored) -> Plan:
        return plan_of(stored.manifest, uid=stored.uid, startup=self._startup)

    def _current(self, tx: sqlite3.Connection, ref: Ref, now: float) -> Stored | None:
        stored = load(tx, ref)
        return None if stored is None else self._advanced(tx, stored, now)

    def _advanced(self, tx: sqlite3.Connection, stored: Stored, now: float, *, replanned: bool = False) -> Stored:
        """Brings the object's controllers to the present; a status that changed is a new resource version."""
        if stored.manifest["kind"] != "Deployment":
            return stored
        before, plan = load_state(tx, stored, now), self._plan(stored)
        if replanned:
            before = replace(before, at=max(before.at, now))
        after = advance(before, plan, now=now)
        status = status_of(after, plan, now=now)
        changed = after != before or status != load_status(tx, stored)
        if changed or replanned:
            write_state(tx, stored, after, status=status, due=due_at(after, plan, now=now))
        return write(tx, stored) if changed else stored

    def _pods(self, tx: sqlite3.Connection, namespace: str, now: float, app: str | None = None) -> list[SimulatedPod]:
        pods: list[SimulatedPod] = []
        for stored in load_all(tx, namespace, kind="Deployment"):
            if app in {None, self._plan(stored).app}:
                self._advanced(tx, stored, now)
                pods += load_state(tx, stored, now).pods
        return pods


def _unreachable(error: OSError | sqlite3.Error) -> ClusterUnreachableError:
    return ClusterUnreachableError(
        f"the sandbox cluster's file cannot be used: {error}",
        hint="If it is damaged, remove the file: the sandbox then starts empty."
        if getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
        else "ONECTL_HOME names the directory it is in: check that it is yours, can be written, and has room.",
    )


def _make_file(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        return


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA foreign_keys = ON")
    # A simulation may be lost with the machine's power; it must only survive its processes.
    db.execute("PRAGMA synchronous = OFF")
    return db


def _listed(kind: str, namespace: str, row: ListedRow) -> Listed:
    labels, annotations, owners, terminating = orjson.loads(row.metadata)
    seen = Seen(
        uid=row.uid,
        resource_version=str(row.resource_version),
        labels=labels,
        annotations=annotations,
        generation=row.generation if kind in WITH_GENERATION else None,
        owners=tuple(owners),
        terminating=terminating,
    )
    return Listed(Ref(kind, namespace, row.name), seen)


def _as_read(tx: sqlite3.Connection, stored: Stored, now: float) -> dict[str, Any]:
    """The object with what server and controllers add."""
    made = _written(stored.created_at)
    metadata = stored.manifest["metadata"] | {
        "uid": stored.uid,
        "resourceVersion": str(stored.resource_version),
        "creationTimestamp": made,
        "managedFields": managed_fields(stored),
    }
    if stored.manifest["kind"] in WITH_GENERATION:
        metadata["generation"] = stored.generation
    if stored.manifest["kind"] == "Deployment":
        rolls = load_state(tx, stored, now).rolls
        metadata["annotations"] = {**metadata.get("annotations", {}), REVISION_ANNOTATION: str(rolls)}
    return stored.manifest | {"metadata": metadata}


def _new_object(tx: sqlite3.Connection, wanted: Mapping[str, Any], now: float) -> Stored:
    """The object before its first fields: what names it, and what the server gives it."""
    ref = ref_of(wanted)
    manifest: dict[str, Any] = {
        "apiVersion": wanted["apiVersion"],
        "kind": ref.kind,
        "metadata": {"name": ref.name, "namespace": ref.namespace},
    }
    if ref.kind == "Service" and "clusterIP" not in wanted.get("spec", {}):
        high, low = divmod(count(tx, "addresses"), 250)
        manifest["spec"] = {"clusterIP": f"10.96.{high % 250}.{low + 1}"}
    return Stored(
        uid=uid_from(os.urandom(16)), resource_version=0, generation=0, created_at=now, owners={}, manifest=manifest
    )


def _delete(tx: sqlite3.Connection, stored: Stored, now: float) -> None:
    """Delete the object, and every other one all of whose owners are gone then; one with a finalizer is only marked."""
    metadata = stored.manifest["metadata"]
    if metadata.get("finalizers"):
        if "deletionTimestamp" not in metadata:
            marked = {**metadata, "deletionTimestamp": _written(now)}
            write(tx, replace(stored, manifest={**stored.manifest, "metadata": marked}))
        return
    delete(tx, stored)
    for dependent in load_mentioning(tx, stored.uid):
        if exists(tx, dependent.uid) and _is_orphan(tx, dependent):
            _delete(tx, dependent, now)


def _written(moment: float) -> str:
    """A moment as an API server writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


def _is_orphan(tx: sqlite3.Connection, stored: Stored) -> bool:
    owners = stored.seen.owners
    return bool(owners) and not any(exists(tx, uid) for uid in owners)


def _plain(manifest: Manifest) -> dict[str, Any]:
    """The manifest as plain JSON data, without what only the server writes."""
    wanted: dict[str, Any] = _plain_value(manifest)
    wanted.pop("status", None)
    metadata = {key: value for key, value in wanted["metadata"].items() if key not in SERVER_METADATA}
    return wanted | {"metadata": metadata}


def _plain_value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain_value(item) for key, item in value.items() if item is not None}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain_value(item) for item in value]
    return value


def _without_values(secret: dict[str, Any], key: bytes) -> dict[str, Any]:
    """The Secret with a keyed digest in place of each value; ``stringData`` wins over ``data``, as in Kubernetes."""
    encoded = secret.get("data", {})
    texts = secret.get("stringData", {})
    values = {name: _decoded(name, text) for name, text in encoded.items()}
    values |= {name: _text(name, text).encode() for name, text in texts.items()}
    rest = {field: value for field, value in secret.items() if field not in {"data", "stringData"}}
    if not values:
        return rest
    return rest | {
        "data": {
            name: "hmac-sha256:" + hmac.new(key, value, hashlib.sha256).hexdigest() for name, value in values.items()
        }
    }


def _patch_without_values(patch: Mapping[str, Any], key: bytes) -> dict[str, Any]:
    """A patch of a Secret with digests for its values; what it removes stays removed."""
    given = {part: patch.get(part) or {} for part in ("data", "stringData")}
    kept = {part: {k: v for k, v in values.items() if v is not None} for part, values in given.items()}
    removed = {k: None for values in given.values() for k, v in values.items() if v is None}
    digests = _without_values(kept, key).get("data", {})
    rest = {part: value for part, value in patch.items() if part not in given}
    return rest | ({"data": removed | digests} if removed or digests else {})


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise invalid(f"data.{name} is not a string")
    return value


def _decoded(name: str, text: Any) -> bytes:
    try:
        return base64.b64decode(_text(name, text), validate=True)
    except ValueError:
        # The cause would show the value.
        raise invalid(f"data.{name} is not base64") from None


def _check_expected(ref: Ref, stored: Stored | None, expect: Seen | None) -> None:
    if expect is None:
        if stored is not None:
            raise ChangedMeanwhileError(f"{ref} exists meanwhile")
    elif stored is None:
        raise ChangedMeanwhileError(f"{ref} is gone meanwhile")
    elif stored.uid != expect.uid:
        raise ChangedMeanwhileError(f"{ref} was replaced meanwhile")
    elif str(stored.resource_version) != expect.resource_version:
        raise ChangedMeanwhileError(f"{ref} was changed meanwhile")
