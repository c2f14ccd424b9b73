"""Answers are found by tables and indexes that no hash covers; verification finds where these mislead."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ledger.commands import Deploy, Destroy, SetEnv
from ledger.envelope import Source
from ledger.keys import KeyFiles
from ledger.landmarks import LANDMARKS
from ledger.ledger import Ledger
from ledger.request import Request
from ledger.spec import AppId
from ledger.sqlite_store import SqliteStore
from ledger.store import ModelStore, NewRow
from ledger.stores import open_store
from ledger.verify import Damage, verify_chain
from tests.postgres_support import administer

SHOP, BLOG = AppId("sandbox", "default", "shop"), AppId("sandbox", "default", "blog")
INDEX = "stored_events_landmarks"

Change = Callable[..., None]


def release(image: str) -> Deploy:
    return Deploy(image=image)


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A ledger with three lives of two apps, and seven releases."""
    sqlite = request.param == "sqlite"
    address = str(tmp_path / "ledger.db") if sqlite else str(request.getfixturevalue("database"))
    numbers = iter(range(100))
    with closing(open_store(address)) as store:
        ledger = Ledger(store, KeyFiles(tmp_path / "keys"), mint_domain=lambda: f"a-{next(numbers)}.example.com")

        def ask(app: AppId, command: Deploy | Destroy | SetEnv) -> None:
            source = Source(program="test", host="h")
            ledger.execute(app, command, Request(request_id=str(next(numbers)), actor="ann", source=source))

        for image in ("nginx:1", "nginx:2"):
            for app in (SHOP, BLOG):
                ask(app, release(image))
        ask(SHOP, SetEnv(values={"A": "1"}))
        ask(SHOP, Destroy())
        for image in ("nginx:3", "nginx:4", "nginx:5"):
            ask(SHOP, release(image))
    return address


@pytest.fixture
def change(address: str) -> Change:
    """Changes what is stored, as somebody does who knows SQL."""

    def run(*statements: str) -> None:
        if "://" in address:
            administer(address, *statements)
            return
        with closing(sqlite3.connect(address)) as connection, connection:
            for statement in statements:
                connection.execute(statement)

    return run


@pytest.fixture
def store(address: str) -> Iterator[ModelStore]:
    with closing(open_store(address)) as opened:
        yield opened


def damage(store: ModelStore) -> Damage | None:
    return verify_chain(store).damage


def test_what_was_recorded_is_intact(store: ModelStore) -> None:
    assert damage(store) is None
    assert store.life_count(2**62) == 3
    landmarks = [row.position for row in store.positions(1, limit=1000) if row.topic in LANDMARKS]
    assert store.landmark_totals(2**62) == (len(landmarks), sum(landmarks)) == (8, sum(landmarks))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE lives SET opened = opened + 1 WHERE opened = 1",
        "UPDATE lives SET opened = opened - 1 WHERE opened > 9",
        "UPDATE lives SET opened = opened + 2 WHERE opened > 9",
        "UPDATE lives SET app = 'other' WHERE opened = 1",
        "UPDATE lives SET namespace = 'other' WHERE opened = 1",
        "UPDATE lives SET cluster = 'other' WHERE opened = 1",
        "UPDATE lives SET deployment_id = 'other' WHERE opened = 1",
        "DELETE FROM lives WHERE opened = 1",
        "DELETE FROM lives",
        "INSERT INTO lives VALUES ('made up', 'sandbox', 'default', 'shop', 5)",
        "INSERT INTO lives SELECT 'made up', cluster, namespace, app, opened FROM lives WHERE opened = 1",
    ],
)
def test_a_table_of_lives_that_says_something_else_is_found(store: ModelStore, change: Change, statement: str) -> None:
    change(statement)
    found = damage(store)
    assert found is not None
    assert found.fault == "unfindable"
    assert "lives" in found.detail


# PostgreSQL answers by an index only where the question implies its condition, so there none can lie like this.
@pytest.mark.parametrize("address", ["sqlite"], indirect=True)
@pytest.mark.parametrize("lost", [0, 2, -1])
def test_an_index_that_leaves_out_a_release_is_found(
    address: str, store: ModelStore, change: Change, lost: int
) -> None:
    position = [row.position for row in store.positions(1, limit=1000) if row.topic == "Deployed"][lost]
    topics = ", ".join(f"'{topic}'" for topic in LANDMARKS)
    honest = f"CREATE INDEX {INDEX} ON stored_events (originator_id, notification_id, topic) WHERE topic IN ({topics})"
    quoted = honest.replace("'", "''")
    change(f"DROP INDEX {INDEX}", f"{honest} AND notification_id <> {position}")
    change("PRAGMA writable_schema = ON", f"UPDATE sqlite_schema SET sql = '{quoted}' WHERE name = '{INDEX}'")
    with closing(SqliteStore(Path(address))) as misled:
        assert misled.landmark_totals(2**62)[0] == 7, "the index answers, not the table"
        found = damage(misled)
    assert found is not None
    assert (found.position, found.fault) == (position, "unfindable")


def test_a_head_with_another_time_is_found(store: ModelStore, change: Change) -> None:
    change("UPDATE ledger_head SET recorded_us = recorded_us + 1000000")
    found = damage(store)
    assert found is not None
    assert (found.position, found.fault) == (store.head().position, "edited")


@pytest.mark.parametrize("state", [b'"life_key":"', b'{"life_key":"x"}', b'{"data":{"life_key":"x"},"meta":[]}'])
def test_what_opens_a_life_and_cannot_be_read_is_found_where_it_is(store: ModelStore, state: bytes) -> None:
    (line,) = store.append([NewRow(b"s" * 16, 1, "Deployed", state)], clock_us=1)
    found = damage(store)
    assert found is not None
    assert (found.position, found.fault) == (line.position, "unfindable")
