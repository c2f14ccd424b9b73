"""Real ledgers in SQLite files, and an administrator who rewrites them well."""

from __future__ import annotations

import sqlite3
from hashlib import sha256
from pathlib import Path
from shutil import copyfile

from ledger.checkpoint import SigningKey, VerifierKey, load_signing_key
from ledger.codec import encode
from ledger.envelope import Envelope, Source, Subject
from ledger.events import EnvSet, LedgerCreated
from ledger.keys import KeyFiles
from ledger.leaf import GENESIS, chain_hash, leaf_hash
from ledger.ledger_key import ledger_key
from ledger.sqlite_store import SqliteStore
from ledger.store import NewRow
from ledger.streams import LEDGER_STREAM, app_stream

LEDGER_ID = "5e2c8a54-6a3f-4f0e-9a55-0f6f2b8f9a01"
ORIGIN = f"1ctl.dev/ledger/{LEDGER_ID}"
SUBJECT = Subject(cluster="sandbox", namespace="default", app="many", deployment_id="")
APP = app_stream(SUBJECT.app_id)
START_US = 1_769_851_800_000_000


class RealLedger:
    """A ledger file with its signing key; position 1 names the key, later ones set environment keys."""

    def __init__(self, directory: Path, size: int, *, name: str = "ledger.db") -> None:
        keys = KeyFiles(directory / "keys")
        self.key_path = keys.signing_path(LEDGER_ID)
        self.store = SqliteStore(directory / name)
        vkey = keys.make_signing_key(LEDGER_ID, ORIGIN)
        created = LedgerCreated(ledger_id=LEDGER_ID, origin=ORIGIN, verification_key=vkey)
        first = NewRow(LEDGER_STREAM.bytes, 1, "LedgerCreated", encode(created, envelope(0)))
        self.store.append([first], clock_us=START_US)
        self.grow(size)

    def copy(self, directory: Path) -> RealLedger:
        """The same ledger in other files; without waiting for the disk, as tests make many."""
        other = object.__new__(RealLedger)
        other.key_path = directory / "signing.key"
        copyfile(self.key_path, other.key_path)
        self.store.close()  # what a journal holds beside the file goes into it
        copyfile(self.store.path, directory / "ledger.db")
        other.store = SqliteStore(directory / "ledger.db")
        return other

    def grow(self, size: int) -> None:
        start = self.store.head().position
        rows = [
            NewRow(APP.bytes, at, "EnvSet", encode(EnvSet(values={"N": str(at)}), envelope(at, SUBJECT)))
            for at in range(start, size)
        ]
        self.store.append(rows, clock_us=START_US + start * 1_000_000)

    @property
    def key(self) -> SigningKey:
        return load_signing_key(self.key_path)

    @property
    def verifier(self) -> VerifierKey:
        return ledger_key(self.store)


def envelope(number: int, subject: Subject | None = None) -> Envelope:
    return Envelope(
        actor="ann",
        reason=None,
        request_id=None,
        source=Source(program="test", host="h"),
        subject=subject,
        correlation_id="c",
        causation=None,
        clock="2026-01-31T09:30:00.000000Z",
        salt=sha256(b"%d" % number).hexdigest()[:32],
    )


def rewrite(path: Path, statement: str, *parameters: object, rehash: bool = True) -> None:
    """Change stored lines; with `rehash`, make every leaf, the chain and the head fit again."""
    connection = sqlite3.connect(path, isolation_level=None)
    triggers = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")]
    for trigger in triggers:
        connection.execute(f"DROP TRIGGER {trigger}")
    connection.execute("BEGIN")
    connection.execute(statement, parameters)
    if rehash:
        _rehash(connection)
    connection.execute("COMMIT")
    connection.close()


def _rehash(connection: sqlite3.Connection) -> None:
    chain, position, recorded_us = GENESIS, 0, 0
    rows = connection.execute(
        "SELECT notification_id, originator_id, originator_version, recorded_us, topic, state FROM stored_events "
        "ORDER BY notification_id"
    ).fetchall()
    for position, stream, version, recorded_us, topic, state in rows:
        leaf = leaf_hash(position, stream, version, recorded_us, topic, state)
        chain = chain_hash(chain, leaf)
        connection.execute(
            "UPDATE stored_events SET leaf = ?, chain = ? WHERE notification_id = ?", (leaf, chain, position)
        )
    connection.execute(
        "UPDATE ledger_head SET position = ?, recorded_us = ?, chain = ?", (position, recorded_us, chain)
    )
