"""A simulated cluster in one SQLite file, for a machine with no Kubernetes.

Nothing runs: this is the API server's bookkeeping (objects, field ownership, preconditions, garbage collection), and
`effects.sandbox_rollout` plays the controllers. Every call first brings the simulation up to the present.

Invariants:

* A Secret's values never reach the file: under each key there is only an HMAC-SHA256, whose random key was made with
  the file. Who can read the file can therefore test guesses of a value, but not read one.
* Every call is one transaction, so processes may share the file and be killed at any time. A power cut may damage it.

Simplified against Kubernetes:

* There is one namespace, `default`, and one identity that may do everything.
* Server-side apply is never forced, merges maps by key and takes every list, containers and ports included, as one
  value. Only `apply` writes fields, so only managers that apply own any.
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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from effects.cluster import (
    LEDGER_LABEL,
    ChangedMeanwhileError,
    ClusterKind,
    ClusterUnreachableError,
    FieldConflictError,
    LogsUnavailableError,
    Manifest,
    Pod,
    Ref,
    Rollout,
    Seen,
    ref_of,
    refuse_secret,
)
from effects.sandbox_rollout import (
    Plan,
    SimulatedPod,
    State,
    advance,
    log_of,
    plan_of,
    rollout_of,
    uid_from,
    view,
)
from effects.sandbox_rules import NAMESPACE, check_place, check_rules, invalid, value_at

SCHEMA_VERSION = 1
BUSY_TIMEOUT = 10.0
"""Seconds to wait for another process' transaction."""

SCHEMA = """
CREATE TABLE meta (
  key TEXT PRIMARY KEY,
  value
) WITHOUT ROWID;
CREATE TABLE objects (
  uid TEXT PRIMARY KEY,
  kind TEXT NOT NULL,
  namespace TEXT NOT NULL,
  name TEXT NOT NULL,
  resource_version INTEGER NOT NULL,
  generation INTEGER NOT NULL,
  created_at REAL NOT NULL,
  owners TEXT NOT NULL,
  manifest TEXT NOT NULL,
  UNIQUE (kind, namespace, name)
) WITHOUT ROWID;
CREATE TABLE deployments (
  uid TEXT PRIMARY KEY REFERENCES objects ON DELETE CASCADE,
  at REAL NOT NULL,
  progressed_at REAL NOT NULL,
  template TEXT NOT NULL,
  good TEXT NOT NULL,
  made INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE pods (
  deployment TEXT NOT NULL REFERENCES deployments ON DELETE CASCADE,
  number INTEGER NOT NULL,
  uid TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL,
  template TEXT NOT NULL,
  image TEXT NOT NULL,
  node TEXT NOT NULL,
  created_at REAL NOT NULL,
  PRIMARY KEY (deployment, number)
) WITHOUT ROWID;
"""

FieldPath = tuple[str, ...]
"""Where a field is in a manifest: the keys from the top."""

IDENTITY: frozenset[FieldPath] = frozenset(
    {("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace")},
)
"""Fields that name the object; nobody owns them."""

SERVER_METADATA = frozenset({"uid", "resourceVersion", "generation", "creationTimestamp", "managedFields"})

# Two threads that make the same file: closing a descriptor would drop the other's SQLite locks.
_OPENING = threading.Lock()


@dataclass(frozen=True, slots=True)
class _Stored:
    """An object as it is kept. ``owners`` says which manager owns which fields; ``created_at`` is Unix time."""

    uid: str
    resource_version: int
    generation: int
    created_at: float
    owners: Mapping[str, frozenset[FieldPath]]
    manifest: dict[str, Any]

    @property
    def seen(self) -> Seen:
        metadata = self.manifest["metadata"]
        return Seen(
            uid=self.uid,
            resource_version=str(self.resource_version),
            labels=metadata.get("labels", {}),
            annotations=metadata.get("annotations", {}),
        )


class SandboxCluster:
    """The `Cluster` protocol over a simulation; may be shared between threads, not across a fork.

    Every method may raise `ClusterUnreachableError`: the file is damaged, or was locked for more than 10 seconds.
    """

    kind: ClusterKind = "sandbox"
    name: str = "sandbox"

    def __init__(self, db: sqlite3.Connection, *, now: Callable[[], float], startup_seconds: float) -> None:
        self._db = db
        self._now = now
        self._startup = startup_seconds
        self._lock = threading.Lock()
        with self._transaction() as (tx, _):
            _make_tables(tx)
            self._key: bytes = tx.execute("SELECT value FROM meta WHERE key = 'key'").fetchone()[0]

    @classmethod
    def open(cls, path: Path, *, now: Callable[[], float] = time.time, startup_seconds: float = 1.0) -> SandboxCluster:
        """Opens the simulation kept at ``path``; makes file (mode 0600) and directory where there are none.

        Args:
            path: The SQLite file.
            now: The clock, in Unix seconds.
            startup_seconds: How long after its creation a pod becomes ready.

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
            return cls(db, now=now, startup_seconds=startup_seconds)
        except ClusterUnreachableError:
            db.close()
            raise

    def close(self) -> None:
        """Closes the file. The simulation goes on by itself: it only depends on the time."""
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
            return None if stored is None else _with_server_metadata(stored)

    def apply(self, manifest: Manifest, *, manager: str, expect: Seen | None) -> Seen:
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
            after = _merge(before, wanted, manager)
            if after == stored:
                return after.seen
            check_rules(after.manifest, before=None if stored is None else stored.manifest)
            after = self._advanced(tx, _write(tx, after), now, replanned=True)
            _collect_garbage(tx)
            return after.seen

    def delete(self, ref: Ref, *, uid: str | None) -> None:
        """See `Cluster.delete`. Dependents are gone at once."""
        with self._transaction() as (tx, _):
            stored = _load(tx, ref)
            if stored is not None and uid in {None, stored.uid}:
                tx.execute("DELETE FROM objects WHERE uid = ?", (stored.uid,))
                _collect_garbage(tx)

    def rollout(self, ref: Ref) -> Rollout | None:
        """See `Cluster.rollout`. Always observed: the simulated controllers never lag behind."""
        with self._transaction() as (tx, now):
            stored = self._current(tx, ref, now)
            if stored is None or ref.kind != "Deployment":
                return None
            state = _load_state(tx, stored, now)
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
            for stored in _load_all(tx, namespace):
                self._advanced(tx, stored, now)
            return [_with_server_metadata(stored) for stored in _load_all(tx, namespace)]

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

    def _plan(self, stored: _Stored) -> Plan:
        return plan_of(stored.manifest, uid=stored.uid, startup=self._startup)

    def _current(self, tx: sqlite3.Connection, ref: Ref, now: float) -> _Stored | None:
        stored = _load(tx, ref)
        return None if stored is None else self._advanced(tx, stored, now)

    def _advanced(self, tx: sqlite3.Connection, stored: _Stored, now: float, *, replanned: bool = False) -> _Stored:
        """Brings the object's controllers to the present; a status that changed is a new resource version."""
        if stored.manifest["kind"] != "Deployment":
            return stored
        before = _load_state(tx, stored, now)
        if replanned:
            before = replace(before, at=max(before.at, now))
        after = advance(before, self._plan(stored), now=now)
        if after == before:
            return stored
        _write_state(tx, stored, after)
        return _write(tx, stored)

    def _pods(self, tx: sqlite3.Connection, namespace: str, now: float, app: str | None = None) -> list[SimulatedPod]:
        pods: list[SimulatedPod] = []
        for stored in _load_all(tx, namespace, kind="Deployment"):
            if app in {None, self._plan(stored).app}:
                self._advanced(tx, stored, now)
                pods += _load_state(tx, stored, now).pods
        return pods


def _unreachable(error: OSError | sqlite3.Error) -> ClusterUnreachableError:
    return ClusterUnreachableError(
        f"the sandbox cluster's file cannot be used: {error}",
        hint="If it is damaged, remove the file: the sandbox then starts empty.",
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


def _make_tables(tx: sqlite3.Connection) -> None:
    version = tx.execute("PRAGMA user_version").fetchone()[0]
    if version == SCHEMA_VERSION:
        return
    if version != 0 or tx.execute("SELECT 1 FROM sqlite_master").fetchone():
        raise sqlite3.DatabaseError(f"it is not a sandbox of version {SCHEMA_VERSION}")
    for statement in SCHEMA.split(";"):
        tx.execute(statement)
    meta = [("key", os.urandom(32)), ("resource_version", 0), ("addresses", 0)]
    tx.executemany("INSERT INTO meta (key, value) VALUES (?, ?)", meta)
    tx.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _count(tx: sqlite3.Connection, counter: str) -> int:
    tx.execute("UPDATE meta SET value = value + 1 WHERE key = ?", (counter,))
    value: int = tx.execute("SELECT value FROM meta WHERE key = ?", (counter,)).fetchone()[0]
    return value


SELECT_OBJECT = "SELECT uid, resource_version, generation, created_at, owners, manifest FROM objects"


def _stored(row: tuple[str, int, int, float, str, str]) -> _Stored:
    uid, resource_version, generation, created_at, owners, manifest = row
    return _Stored(
        uid=uid,
        resource_version=resource_version,
        generation=generation,
        created_at=created_at,
        owners={manager: frozenset(tuple(path) for path in paths) for manager, paths in orjson.loads(owners).items()},
        manifest=orjson.loads(manifest),
    )


def _load(tx: sqlite3.Connection, ref: Ref) -> _Stored | None:
    where = "WHERE kind = ? AND namespace = ? AND name = ?"
    row = tx.execute(f"{SELECT_OBJECT} {where}", (ref.kind, ref.namespace, ref.name)).fetchone()
    return None if row is None else _stored(row)


def _load_all(tx: sqlite3.Connection, namespace: str, kind: str | None = None) -> list[_Stored]:
    where = "WHERE namespace = ? AND kind = coalesce(?, kind) ORDER BY kind, name"
    return [_stored(row) for row in tx.execute(f"{SELECT_OBJECT} {where}", (namespace, kind)).fetchall()]


def _write(tx: sqlite3.Connection, stored: _Stored) -> _Stored:
    """Keeps the object under its next resource version."""
    stored = replace(stored, resource_version=_count(tx, "resource_version"))
    ref = ref_of(stored.manifest)
    tx.execute(
        "INSERT INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (uid) DO UPDATE SET"
        " resource_version = excluded.resource_version, generation = excluded.generation,"
        " owners = excluded.owners, manifest = excluded.manifest",
        (
            stored.uid,
            ref.kind,
            ref.namespace,
            ref.name,
            stored.resource_version,
            stored.generation,
            stored.created_at,
            orjson.dumps({manager: sorted(paths) for manager, paths in stored.owners.items()}).decode(),
            orjson.dumps(stored.manifest).decode(),
        ),
    )
    return stored


def _load_state(tx: sqlite3.Connection, stored: _Stored, now: float) -> State:
    row = tx.execute(
        "SELECT at, progressed_at, template, good, made FROM deployments WHERE uid = ?", (stored.uid,)
    ).fetchone()
    if row is None:
        return State(at=now, progressed_at=now)
    pods = tx.execute(
        "SELECT number, uid, name, template, image, node, created_at FROM pods WHERE deployment = ? ORDER BY number",
        (stored.uid,),
    ).fetchall()
    at, progressed_at, template, good, made = row
    return State(at, progressed_at, template, good, made, tuple(SimulatedPod(*pod) for pod in pods))


def _write_state(tx: sqlite3.Connection, stored: _Stored, state: State) -> None:
    tx.execute(
        "INSERT INTO deployments VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (uid) DO UPDATE SET at = excluded.at,"
        " progressed_at = excluded.progressed_at, template = excluded.template, good = excluded.good,"
        " made = excluded.made",
        (stored.uid, state.at, state.progressed_at, state.template, state.good, state.made),
    )
    tx.execute("DELETE FROM pods WHERE deployment = ?", (stored.uid,))
    tx.executemany(
        "INSERT INTO pods VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (stored.uid, pod.number, pod.uid, pod.name, pod.template, pod.image, pod.node, pod.created_at)
            for pod in state.pods
        ],
    )


def _with_server_metadata(stored: _Stored) -> dict[str, Any]:
    made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(stored.created_at))
    metadata = stored.manifest["metadata"] | {
        "uid": stored.uid,
        "resourceVersion": str(stored.resource_version),
        "generation": stored.generation,
        "creationTimestamp": made,
    }
    return stored.manifest | {"metadata": metadata}


def _new_object(tx: sqlite3.Connection, wanted: Mapping[str, Any], now: float) -> _Stored:
    """The object before its first fields: what names it, and what the server gives it."""
    ref = ref_of(wanted)
    manifest: dict[str, Any] = {
        "apiVersion": wanted["apiVersion"],
        "kind": ref.kind,
        "metadata": {"name": ref.name, "namespace": ref.namespace},
    }
    if ref.kind == "Service" and "clusterIP" not in wanted.get("spec", {}):
        high, low = divmod(_count(tx, "addresses"), 250)
        manifest["spec"] = {"clusterIP": f"10.96.{high % 250}.{low + 1}"}
    return _Stored(
        uid=uid_from(os.urandom(16)), resource_version=0, generation=0, created_at=now, owners={}, manifest=manifest
    )


def _collect_garbage(tx: sqlite3.Connection) -> None:
    """Deletes every object all of whose owners are gone, until there is none."""
    while True:
        rows = [_stored(row) for row in tx.execute(SELECT_OBJECT).fetchall()]
        uids = {stored.uid for stored in rows}
        orphans = [stored.uid for stored in rows if _is_orphan(stored, uids)]
        if not orphans:
            return
        tx.executemany("DELETE FROM objects WHERE uid = ?", [(uid,) for uid in orphans])


def _is_orphan(stored: _Stored, uids: set[str]) -> bool:
    references = stored.manifest["metadata"].get("ownerReferences", [])
    return bool(references) and not any(reference.get("uid") in uids for reference in references)


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


def _leaves(node: Any, path: FieldPath = ()) -> Iterator[tuple[FieldPath, Any]]:
    """The fields of a manifest, lists and empty maps being fields themselves."""
    if isinstance(node, dict) and node:
        for key, value in node.items():
            yield from _leaves(value, (*path, key))
    else:
        yield path, node


def _merge(stored: _Stored, wanted: dict[str, Any], manager: str) -> _Stored:
    """Server-side apply: the object with the manager's fields set, and those that it no longer sets removed.

    Raises:
        FieldConflictError: See `_check_conflicts`.
    """
    fields = {path: value for path, value in _leaves(wanted) if path not in IDENTITY}
    others = {other: paths for other, paths in stored.owners.items() if other != manager}
    _check_conflicts(stored.manifest, others, fields)
    manifest = orjson.loads(orjson.dumps(stored.manifest))
    shared = frozenset[FieldPath]().union(*others.values())
    for path in stored.owners.get(manager, frozenset()) - fields.keys() - shared:
        _remove(manifest, path)
    for path, value in fields.items():
        _set(manifest, path, value)
    changed = manifest.get("spec") != stored.manifest.get("spec")
    return replace(
        stored,
        manifest=manifest,
        owners=others | {manager: frozenset(fields)},
        generation=stored.generation + 1 if changed or not stored.generation else stored.generation,
    )


def _check_conflicts(
    manifest: dict[str, Any],
    others: Mapping[str, frozenset[FieldPath]],
    fields: Mapping[FieldPath, Any],
) -> None:
    conflicts = [
        f"{other} owns {', '.join(sorted(clashing))}"
        for other, paths in sorted(others.items())
        if (
            clashing := {
                "." + ".".join(theirs)
                for theirs in paths
                for path, value in fields.items()
                if _clashes(manifest, theirs, path, value)
            }
        )
    ]
    if conflicts:
        raise FieldConflictError(
            f"another field manager owns fields of {ref_of(manifest)}: {'; '.join(conflicts)}",
            hint="Undo that manager's change, or delete the object.",
        )


def _clashes(manifest: dict[str, Any], theirs: FieldPath, path: FieldPath, value: Any) -> bool:
    """Whether setting the field would change theirs. Two managers may own a field that they agree about."""
    present = value_at(manifest, theirs)
    if theirs == path:
        return bool(present != value) and not (value == {} and isinstance(present, dict))
    if path[: len(theirs)] == theirs:
        return not isinstance(present, dict)
    return theirs[: len(path)] == path and value != {}


def _set(manifest: dict[str, Any], path: FieldPath, value: Any) -> None:
    *parents, last = path
    node = manifest
    for key in parents:
        if not isinstance(node.get(key), dict):
            node[key] = {}
        node = node[key]
    if value != {} or not isinstance(node.get(last), dict):
        node[last] = value


def _remove(node: dict[str, Any], path: FieldPath) -> None:
    """Removes a field and the maps that it leaves empty; a map that others have put something into stays."""
    head, *rest = path
    child = node.get(head)
    if rest and isinstance(child, dict):
        _remove(child, tuple(rest))
    if child == {} or not (rest or isinstance(child, dict)):
        node.pop(head, None)


def _check_expected(ref: Ref, stored: _Stored | None, expect: Seen | None) -> None:
    if expect is None:
        if stored is not None:
            raise ChangedMeanwhileError(f"{ref} exists meanwhile")
    elif stored is None:
        raise ChangedMeanwhileError(f"{ref} is gone meanwhile")
    elif stored.uid != expect.uid:
        raise ChangedMeanwhileError(f"{ref} was replaced meanwhile")
    elif str(stored.resource_version) != expect.resource_version:
        raise ChangedMeanwhileError(f"{ref} was changed meanwhile")
