"""A SQLite file may hold anything anywhere: what is no row of ours is told as damage, with its place, wherever it is read."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from ledger.errors import LedgerDamagedError, LedgerIncompleteError
from ledger.sqlite_database import STORE_VERSION
from ledger.sqlite_guard import missing_tables, schema_of
from ledger.sqlite_store import SqliteStore
from ledger.store import Beside, LifeKeyRow, LifeRow, RequestRow, SealedRow
from ledger.verify import verify_chain
from tests.cli_support import DROP_GUARDS
from tests.ledger.support import line

STREAM = line(1).stream

BESIDE = Beside(
    request=RequestRow("r", b"s" * 16, b"d" * 32, 0, 0),
    life=LifeRow("life", "c", "n", "a", 0),
    life_key=LifeKeyRow("life", "aWRlbnRpdHk=", b"wrapped"),
    sealed=(SealedRow("life", "KEY", 1, b"sealed"),),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with closing(SqliteStore(tmp_path / "ledger.db")) as store:
        store.append([line(1), line(2)], clock_us=1, beside=BESIDE)
    return tmp_path / "ledger.db"


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for (drop,) in connection.execute(DROP_GUARDS).fetchall():
            connection.execute(drop)
        for statement in statements:
            connection.execute(statement)


ODD: dict[str, tuple[str, Callable[[SqliteStore], object]]] = {
    "topic": ("UPDATE stored_events SET topic = x'ff'", lambda store: store.stream(STREAM)),
    "time": ("UPDATE stored_events SET recorded_us = 'x'", lambda store: store.stream(STREAM)),
    "late": (f"UPDATE stored_events SET recorded_us = {2**63 - 1}", lambda store: store.stream(STREAM)),
    "leaf": ("UPDATE stored_events SET leaf = 'x'", lambda store: store.two_streams(STREAM, b"o" * 16)),
    "request": ("UPDATE requests SET first_position = 'abc'", lambda store: store.request("r")),
    "salt": ("UPDATE requests SET salt = 'x'", lambda store: store.request("r")),
    "life": ("UPDATE lives SET opened = 'x'", lambda store: store.life("life")),
    "key": ("UPDATE life_keys SET wrapped = 'text'", lambda store: store.life_key("life")),
    "keys": ("UPDATE life_keys SET wrapped = 'text'", lambda store: store.life_keys_except("", after="", limit=1)),
    "sealed": ("UPDATE sealed_values SET ciphertext = 'text'", lambda store: store.sealed("life")),
    "name": ("UPDATE lives SET app = x'ff'", lambda store: store.apps("c")),
    "later life": (
        "UPDATE lives SET opened = 'x'",
        lambda store: store.next_life(LifeRow("life", "c", "n", "a", 1)),
    ),
    "version": (
        "UPDATE stored_events SET originator_version = 'x' WHERE notification_id = 1",
        lambda store: store.stream_version(STREAM),
    ),
    "version, appending": (
        "UPDATE stored_events SET originator_version = 'x' WHERE notification_id = 1",
        lambda store: store.append([line(3)], clock_us=2),
    ),
    "version that cannot grow, appending": (
        f"UPDATE stored_events SET originator_version = {2**63 - 1} WHERE notification_id = 1",
        lambda store: store.append([line(3)], clock_us=2),
    ),
    "version that was decided by": (
        "UPDATE stored_events SET originator_version = 'x' WHERE notification_id = 1",
        lambda store: store.append([line(1, stream="t")], clock_us=2, beside=Beside(unchanged=(STREAM, 2))),
    ),
    "writer": ("UPDATE ledger_instance SET writer = x'ff'", lambda store: store.instance()),
    "no instance": ("DELETE FROM ledger_instance", lambda store: store.instance()),
    "writer, appending": (
        "UPDATE ledger_instance SET writer = x'ff'",
        lambda store: store.append([line(3)], clock_us=2),
    ),
}


@pytest.mark.parametrize("odd", ODD)
def test_what_is_no_row_of_ours_is_damage(path: Path, odd: str) -> None:
    statement, ask = ODD[odd]
    change(path, statement)
    with closing(SqliteStore(path)) as store, pytest.raises(LedgerDamagedError) as caught:
        ask(store)
    assert caught.value.hint is not None


LEASE = "INSERT INTO worker_leases VALUES ('c', 'h', 1, 0, 0, 0, 0, 'note')"


@pytest.mark.parametrize("odd", ["note = x'ff'", "holder = x'ff'", "position = 'x'", "epoch = 'x'", "renewed_us = 'x'"])
def test_a_lease_that_no_worker_wrote_is_damage_and_says_how_to_get_rid_of_it(path: Path, odd: str) -> None:
    change(path, LEASE, f"UPDATE worker_leases SET {odd}")
    with closing(SqliteStore(path)) as store:
        if odd == "renewed_us = 'x'":
            assert store.lease_row("c") is not None, "SQLite counts with it as with a 0"
            return
        with pytest.raises(LedgerDamagedError) as caught:
            store.lease_row("c")
    assert "DELETE FROM worker_leases" in str(caught.value.hint)


def test_an_epoch_that_cannot_grow_is_damage(path: Path) -> None:
    change(path, LEASE, f"UPDATE worker_leases SET epoch = {2**63 - 1}")
    with closing(SqliteStore(path)) as store:
        lease = store.lease("c", holder="me", note="", seconds=1)
        with pytest.raises(LedgerDamagedError):
            lease.acquire()


TABLES = "app_snapshots ledger_head ledger_instance life_keys lives requests sealed_values stored_events worker_leases".split()


@pytest.mark.parametrize("table", TABLES)
def test_a_table_that_is_gone_is_named_by_whatever_opens_the_file(path: Path, table: str) -> None:
    change(path, f"DROP TABLE {table}")
    asked: tuple[Callable[[SqliteStore], object], ...] = (
        lambda store: store.head(),
        lambda store: store.append([line(3)], clock_us=2),
    )
    for ask in asked:
        with (
            closing(SqliteStore(path)) as store,
            pytest.raises(LedgerIncompleteError, match=f"has lost its table {table}"),
        ):
            ask(store)
    with closing(SqliteStore(path)) as store:
        assert verify_chain(store).damage is not None


def test_an_older_file_lacks_only_what_its_version_did_not_have(path: Path) -> None:
    change(path, "DROP TABLE app_snapshots", "DROP TABLE worker_leases", "PRAGMA user_version = 1")
    with closing(sqlite3.connect(path)) as connection:
        assert missing_tables(schema_of(connection), 1) == []
        assert missing_tables(schema_of(connection), 2) == ["app_snapshots", "worker_leases"]
    with closing(SqliteStore(path)) as store:
        assert store.head().position == 2


def test_a_column_that_is_gone_is_damage(path: Path) -> None:
    change(path, "ALTER TABLE stored_events RENAME COLUMN leaf TO leaf2")
    with closing(SqliteStore(path)) as store:
        with pytest.raises(LedgerIncompleteError, match="leaf"):
            store.positions(1, limit=1)
        with pytest.raises(LedgerIncompleteError, match="leaf"):
            store.append([line(3)], clock_us=2)


@pytest.mark.parametrize("version", [0, -1])
@pytest.mark.parametrize("mark", ["id and tables", "tables", "id"])
def test_a_ledger_without_a_version_is_damaged_not_empty(path: Path, version: int, mark: str) -> None:
    change(path, f"PRAGMA user_version = {version}")
    if mark == "tables":
        change(path, "PRAGMA application_id = 0")
    if mark == "id":
        change(path, "DROP TABLE ledger_instance", "DROP TABLE ledger_head")
    asked: tuple[Callable[[SqliteStore], object], ...] = (
        lambda store: store.head(),
        lambda store: store.append([line(3)], clock_us=2),
    )
    for ask in asked:
        with (
            closing(SqliteStore(path)) as store,
            pytest.raises(LedgerDamagedError, match=f"user_version is {version}") as caught,
        ):
            ask(store)
        assert f"PRAGMA user_version={STORE_VERSION}" in str(caught.value.hint)


def test_a_version_that_is_taken_away_while_the_file_is_open_is_noticed_by_the_next_write(path: Path) -> None:
    with closing(SqliteStore(path)) as store:
        store.head()
        change(path, "PRAGMA user_version = 0")
        with pytest.raises(LedgerDamagedError, match="user_version is 0"):
            store.append([line(3)], clock_us=2)


@pytest.mark.parametrize("version", range(1, STORE_VERSION))
def test_a_version_that_is_too_low_is_put_right_by_the_next_write(path: Path, version: int) -> None:
    change(path, f"PRAGMA user_version = {version}")
    with closing(SqliteStore(path)) as store:
        assert store.append([line(3)], clock_us=2)[0].position == 3
        assert store.tables_version() == STORE_VERSION
