"""The sandbox's file: tables, objects under rising versions, and what is left of those that are gone.

Every function works in the caller's transaction.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import orjson

from effects.cluster import LEDGER_LABEL, Change, ExpiredError, Ref, Seen, ref_of
from effects.sandbox_fields import FieldPath, Manager, Stored, owners_in
from effects.sandbox_rollout import SimulatedPod, State

TOMBSTONES = 1000
"""How many objects that are gone are remembered, so that watches are told."""

SCHEMAS = (
    """
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
""",
    # What watches need, and who edited what.
    """
ALTER TABLE objects ADD COLUMN edits TEXT NOT NULL DEFAULT '{}';
ALTER TABLE deployments ADD COLUMN status TEXT NOT NULL DEFAULT '';
ALTER TABLE deployments ADD COLUMN due REAL;
ALTER TABLE deployments ADD COLUMN rolls INTEGER NOT NULL DEFAULT 1;
CREATE TABLE gone (
  version INTEGER PRIMARY KEY,
  kind TEXT NOT NULL,
  namespace TEXT NOT NULL,
  name TEXT NOT NULL,
  ledger TEXT,
  seen TEXT NOT NULL
);
INSERT INTO meta VALUES ('compacted', 0);
""",
)
"""Each turns a file of one version (first an empty one) into one of the next."""

SCHEMA_VERSION = len(SCHEMAS)


def make_tables(tx: sqlite3.Connection) -> None:
    """Make the tables, or those that a file of an earlier version lacks.

    Raises:
        sqlite3.DatabaseError: It is something else, or of a later version.
    """
    version = tx.execute("PRAGMA user_version").fetchone()[0]
    if version == SCHEMA_VERSION:
        return
    if version > SCHEMA_VERSION or (version == 0 and tx.execute("SELECT 1 FROM sqlite_master").fetchone()):
        raise sqlite3.DatabaseError(f"it is not a sandbox of version {SCHEMA_VERSION}")
    for schema in SCHEMAS[version:]:
        for statement in schema.split(";"):
            tx.execute(statement)
    if version == 0:
        meta = [("key", os.urandom(32)), ("resource_version", 0), ("addresses", 0)]
        tx.executemany("INSERT INTO meta (key, value) VALUES (?, ?)", meta)
    tx.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def meta(tx: sqlite3.Connection, key: str) -> Any:
    """What the file says about itself."""
    return tx.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()[0]


def count(tx: sqlite3.Connection, counter: str) -> int:
    """The next number of a counter."""
    tx.execute("UPDATE meta SET value = value + 1 WHERE key = ?", (counter,))
    value: int = meta(tx, counter)
    return value


SELECT_OBJECT = "SELECT uid, resource_version, generation, created_at, owners, edits, manifest FROM objects"


def _stored(row: tuple[str, int, int, float, str, str, str]) -> Stored:
    uid, resource_version, generation, created_at, owners, edits, manifest = row
    return Stored(
        uid=uid,
        resource_version=resource_version,
        generation=generation,
        created_at=created_at,
        owners={
            **{Manager(name, "Apply"): _paths(paths) for name, paths in orjson.loads(owners).items()},
            **{Manager(name, "Update"): _paths(paths) for name, paths in orjson.loads(edits).items()},
        },
        manifest=orjson.loads(manifest),
    )


def _paths(paths: list[list[str]]) -> frozenset[FieldPath]:
    return frozenset(tuple(path) for path in paths)


def _owners(stored: Stored, operation: str) -> str:
    owned = {owner.name: sorted(paths) for owner, paths in stored.owners.items() if owner.operation == operation}
    return orjson.dumps(owned).decode()


def load(tx: sqlite3.Connection, ref: Ref) -> Stored | None:
    """The object, or None where there is none."""
    where = "WHERE kind = ? AND namespace = ? AND name = ?"
    row = tx.execute(f"{SELECT_OBJECT} {where}", (ref.kind, ref.namespace, ref.name)).fetchone()
    return None if row is None else _stored(row)


def load_all(tx: sqlite3.Connection, namespace: str, kind: str | None = None) -> list[Stored]:
    """Every object of a namespace, or of one kind in it, by kind and name."""
    where = "WHERE namespace = ? AND kind = coalesce(?, kind) ORDER BY kind, name"
    return [_stored(row) for row in tx.execute(f"{SELECT_OBJECT} {where}", (namespace, kind)).fetchall()]


class ListedRow(NamedTuple):
    """One object of a list; `metadata` as JSON, less what no list says: a list is held until its last page was taken."""

    name: str
    uid: str
    resource_version: int
    generation: int
    metadata: str


def list_of(tx: sqlite3.Connection, kind: str, namespace: str, ledger_id: str) -> list[ListedRow]:
    """A ledger's objects of a kind, by name; of the rest of each nothing is kept."""
    found = []
    columns = "SELECT name, uid, resource_version, generation, manifest FROM objects"
    rows = tx.execute(f"{columns} WHERE kind = ? AND namespace = ? ORDER BY name", (kind, namespace))
    for name, uid, version, generation, manifest in rows:
        metadata = orjson.loads(manifest)["metadata"]
        labels = metadata.get("labels", {})
        if labels.get(LEDGER_LABEL) == ledger_id:
            # As text: what orjson returns itself takes 4 KiB, however short it is.
            said = [labels, metadata.get("annotations", {}), owners_in(metadata), "deletionTimestamp" in metadata]
            kept = orjson.dumps(said).decode()
            found.append(ListedRow(name, uid, version, generation, kept))
    return found


def load_mentioning(tx: sqlite3.Connection, uid: str) -> list[Stored]:
    """The objects in whose manifest that uid stands, by kind and name."""
    where = "WHERE instr(manifest, ?) ORDER BY kind, name"
    return [_stored(row) for row in tx.execute(f"{SELECT_OBJECT} {where}", (uid,)).fetchall()]


def exists(tx: sqlite3.Connection, uid: str) -> bool:
    """Whether there is an object with that uid."""
    return tx.execute("SELECT 1 FROM objects WHERE uid = ?", (uid,)).fetchone() is not None


def load_due(tx: sqlite3.Connection, now: float) -> list[Stored]:
    """The Deployments of which something is due to happen by itself."""
    where = "WHERE uid IN (SELECT uid FROM deployments WHERE due <= ?)"
    return [_stored(row) for row in tx.execute(f"{SELECT_OBJECT} {where}", (now,)).fetchall()]


def is_due(tx: sqlite3.Connection, now: float) -> bool:
    """Whether there is any."""
    return tx.execute("SELECT 1 FROM deployments WHERE due <= ?", (now,)).fetchone() is not None


def write(tx: sqlite3.Connection, stored: Stored) -> Stored:
    """Keep the object under its next resource version; one that loses a ledger's label is gone for that ledger."""
    stored = replace(stored, resource_version=count(tx, "resource_version"))
    ref = ref_of(stored.manifest)
    before = load(tx, ref)
    if before is not None and _ledger(before) not in {None, _ledger(stored)}:
        _bury(tx, before, stored.resource_version)
    tx.execute(
        "INSERT INTO objects (uid, kind, namespace, name, resource_version, generation, created_at, owners, edits,"
        " manifest) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (uid) DO UPDATE SET"
        " resource_version = excluded.resource_version, generation = excluded.generation,"
        " owners = excluded.owners, edits = excluded.edits, manifest = excluded.manifest",
        (
            stored.uid,
            ref.kind,
            ref.namespace,
            ref.name,
            stored.resource_version,
            stored.generation,
            stored.created_at,
            _owners(stored, "Apply"),
            _owners(stored, "Update"),
            orjson.dumps(stored.manifest).decode(),
        ),
    )
    return stored


def delete(tx: sqlite3.Connection, stored: Stored) -> None:
    """Remove the object, and remember that it was there."""
    _bury(tx, stored, count(tx, "resource_version"))
    tx.execute("DELETE FROM objects WHERE uid = ?", (stored.uid,))


def _bury(tx: sqlite3.Connection, stored: Stored, version: int) -> None:
    ref, seen = ref_of(stored.manifest), stored.seen
    kept = [seen.uid, seen.labels, seen.annotations, seen.generation, seen.owners]
    tx.execute(
        "INSERT INTO gone VALUES (?, ?, ?, ?, ?, ?)",
        (version, ref.kind, ref.namespace, ref.name, _ledger(stored), orjson.dumps(kept).decode()),
    )
    last = tx.execute("SELECT version FROM gone ORDER BY version DESC LIMIT 1 OFFSET ?", (TOMBSTONES,)).fetchone()
    if last is not None:
        tx.execute("DELETE FROM gone WHERE version <= ?", last)
        tx.execute("UPDATE meta SET value = ? WHERE key = 'compacted'", last)


def _ledger(stored: Stored) -> str | None:
    label: str | None = stored.manifest["metadata"].get("labels", {}).get(LEDGER_LABEL)
    return label


def changes(tx: sqlite3.Connection, kind: str, namespace: str, ledger_id: str, *, since: int) -> list[Change]:
    """What happened to a ledger's objects after a version, oldest first; of each object's states only the last.

    Raises:
        ExpiredError: Not everything since then is remembered, or there was no such version.
    """
    if not meta(tx, "compacted") <= since <= meta(tx, "resource_version"):
        raise ExpiredError(f"the sandbox cluster does not remember everything since version {since}")
    return sorted(
        [*_present(tx, kind, namespace, ledger_id, since), *_gone(tx, kind, namespace, ledger_id, since)],
        key=lambda change: int(change.version),
    )


def _present(tx: sqlite3.Connection, kind: str, namespace: str, ledger_id: str, since: int) -> Iterator[Change]:
    where = "WHERE kind = ? AND namespace = ? AND resource_version > ?"
    for row in tx.execute(f"{SELECT_OBJECT} {where}", (kind, namespace, since)).fetchall():
        stored = _stored(row)
        if _ledger(stored) == ledger_id:
            yield Change("present", ref_of(stored.manifest), stored.seen, stored.seen.resource_version)


def _gone(tx: sqlite3.Connection, kind: str, namespace: str, ledger_id: str, since: int) -> Iterator[Change]:
    rows = tx.execute(
        "SELECT version, name, seen FROM gone WHERE kind = ? AND namespace = ? AND ledger = ? AND version > ?",
        (kind, namespace, ledger_id, since),
    ).fetchall()
    for version, name, kept in rows:
        uid, labels, annotations, generation, *owners = orjson.loads(kept)  # an older file says nothing of owners
        seen = Seen(uid, str(version), labels, annotations, generation, tuple(*owners))
        yield Change("gone", Ref(kind, namespace, name), seen, str(version))


def load_state(tx: sqlite3.Connection, stored: Stored, now: float) -> State:
    """Where the Deployment's controllers are; those of a new one begin now."""
    row = tx.execute(
        "SELECT at, progressed_at, template, good, made, rolls FROM deployments WHERE uid = ?", (stored.uid,)
    ).fetchone()
    if row is None:
        return State(at=now, progressed_at=now)
    pods = tx.execute(
        "SELECT number, uid, name, template, image, node, created_at FROM pods WHERE deployment = ? ORDER BY number",
        (stored.uid,),
    ).fetchall()
    at, progressed_at, template, good, made, rolls = row
    return State(at, progressed_at, template, good, made, rolls, tuple(SimulatedPod(*pod) for pod in pods))


def load_status(tx: sqlite3.Connection, stored: Stored) -> str:
    """The Deployment's status as it was last written; empty before."""
    row = tx.execute("SELECT status FROM deployments WHERE uid = ?", (stored.uid,)).fetchone()
    return "" if row is None else str(row[0])


def write_state(tx: sqlite3.Connection, stored: Stored, state: State, *, status: str, due: float | None) -> None:
    """Keep where the Deployment's controllers are, and when the next thing happens by itself."""
    tx.execute(
        "INSERT INTO deployments (uid, at, progressed_at, template, good, made, rolls, status, due)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (uid) DO UPDATE SET at = excluded.at,"
        " progressed_at = excluded.progressed_at, template = excluded.template, good = excluded.good,"
        " made = excluded.made, rolls = excluded.rolls, status = excluded.status, due = excluded.due",
        (stored.uid, state.at, state.progressed_at, state.template, state.good, state.made, state.rolls, status, due),
    )
    tx.execute("DELETE FROM pods WHERE deployment = ?", (stored.uid,))
    tx.executemany(
        "INSERT INTO pods VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (stored.uid, pod.number, pod.uid, pod.name, pod.template, pod.image, pod.node, pod.created_at)
            for pod in state.pods
        ],
    )
