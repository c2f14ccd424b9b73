"""What is not history stays where it is: who leads now, and folded states that can be folded again."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ledger.codec import decode, encode
from ledger.redaction import redacted, texts
from ledger.store import Beside, Blanking, NewRow
from tests.moves.support import User, files_holding, opened
from tests.postgres_support import administer

TABLES = ("worker_leases", "app_snapshots")
LEASE = "INSERT INTO worker_leases VALUES ('c', 'holder-canary', 3, 1, 9000000000000000, 1, 7, 'host-canary')"
SNAPSHOT = "INSERT INTO app_snapshots VALUES ({stream}, 7, 1, {state})"
CANARY = "snapshot-canary"


def run(address: str, *statements: str) -> Sequence[tuple[Any, ...]]:
    if "://" in address:
        return administer(address, *statements)
    with closing(sqlite3.connect(address)) as connection, connection:
        found = [connection.execute(statement).fetchall() for statement in statements]
    return found[-1]


def octets(address: str, text: str) -> str:
    """Bytes as this kind of database writes them."""
    return f"'\\x{text.encode().hex()}'" if "://" in address else f"X'{text.encode().hex()}'"


def put_beside_history(address: str) -> None:
    """A lease and a snapshot, as a worker leaves them."""
    with closing(opened(address)) as store:
        store.prepare()
    stream, state = octets(address, "0123456789abcdef"), octets(address, CANARY * 1000)
    run(address, LEASE, SNAPSHOT.format(stream=stream, state=state))


def counts(address: str) -> list[int]:
    return [int(run(address, f"SELECT count(*) FROM {table}")[0][0]) for table in TABLES]


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, user: User) -> str:
    """Address of the story's ledger in each kind of store, with a lease and a snapshot."""
    address = str(user.ledger)
    if request.param == "postgresql":
        address = str(request.getfixturevalue("database"))
        user.run("ledger", "copy", "--to", address).done()
    put_beside_history(address)
    return address


def test_a_backup_holds_neither_nor_a_trace_of_them(user: User, place: str, tmp_path: Path) -> None:
    file = tmp_path / "backups" / "backup.db"
    file.parent.mkdir()
    user.run("ledger", "backup", str(file), ledger=place).done()
    assert counts(str(file)) == [0, 0]
    assert [files_holding(file.parent, word) for word in (CANARY, "holder-canary", "host-canary")] == [[], [], []]
    assert counts(place) == [1, 1]


def test_a_restored_ledger_has_neither_and_nor_has_the_one_put_aside(user: User, tmp_path: Path) -> None:
    file = tmp_path / "backup.db"
    put_beside_history(str(user.ledger))
    user.run("ledger", "backup", str(file)).done()
    user.run("ledger", "restore", str(file), "--reason", "test", "-y").done()
    (aside,) = user.ledger.parent.glob("*.before-*")
    assert counts(str(user.ledger)) == counts(str(aside)) == [0, 0]


def test_a_file_that_was_never_made_a_backup_is_restored_without_them(user: User, tmp_path: Path) -> None:
    put_beside_history(str(user.ledger))
    plain = tmp_path / "plain.db"
    user.ledger.rename(plain)
    user.run("ledger", "restore", str(plain), "--reason", "test", "-y").done()
    assert counts(str(user.ledger)) == [0, 0]


def test_a_copy_has_neither(user: User, place: str, tmp_path: Path) -> None:
    target = str(tmp_path / "target.db")
    user.run("ledger", "copy", "--to", target, ledger=place).done()
    assert counts(target) == [0, 0]


def test_an_import_has_neither(user: User, place: str, tmp_path: Path) -> None:
    export, replica = tmp_path / "export.jsonl", tmp_path / "replica.db"
    user.run("audit", "export", "--file", str(export), ledger=place).done()
    user.run("audit", "import", str(export), ledger=replica).done()
    assert counts(str(replica)) == [0, 0]


def test_a_redaction_takes_every_snapshot_along_since_one_may_hold_what_was_blanked(place: str) -> None:
    with closing(opened(place)) as store:
        line = next(row for row in store.positions(1, limit=100) if texts(row))
        event, blank = redacted(line, next(iter(texts(line))))
        said = NewRow(b"some other words", 1, "Redacted", encode(event, decode(line.topic, line.state)[1]))
        store.append([said], clock_us=0, beside=Beside(redact=Blanking(line.position, line.state, blank)))
    assert counts(place) == [1, 0]
