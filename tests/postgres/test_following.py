"""Following a ledger in PostgreSQL by its notifications: lost, doubled, early, or never passed on."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from ledger.errors import LedgerUnavailableError
from ledger.follow import Follower
from ledger.postgres_migrate import migrate
from ledger.postgres_names import CHANNEL
from ledger.postgres_store import PostgresStore
from ledger.store import NewRow
from tests.candidates import until
from tests.postgres.between import between
from tests.postgres_support import Server, administer

_LISTENS = f"query = 'LISTEN {CHANNEL}' AND datname = current_database()"
LISTENERS = f"SELECT count(*) FROM pg_stat_activity WHERE {_LISTENS}"
END_LISTENERS = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {_LISTENS}"


@pytest.fixture
def follower(database: str, store: PostgresStore) -> Iterator[Follower]:
    """One that has waited before, so that it listens."""
    migrate(database)
    with closing(Follower(store, 0)) as made:
        assert not made.wait(0)
        assert administer(database, LISTENERS) == [(1,)]
        yield made


def append(store: PostgresStore, version: int) -> None:
    store.append([NewRow(b"f" * 16, version, "Noted", b"{}")], clock_us=1)


def test_a_notification_ends_a_wait_long_before_polling_would(
    follower: Follower, store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ledger.postgres_growth.LOOK_SECONDS", 60)
    for version in range(1, 12):
        timer = threading.Timer(0.05, append, (store, version))
        began = time.monotonic()
        timer.start()
        assert follower.wait(30)
        assert time.monotonic() - began < 15
        timer.join()
        follower.read(10)


def test_a_notification_that_was_lost_costs_a_second(follower: Follower, store: PostgresStore, database: str) -> None:
    def unheard() -> None:
        administer(database, END_LISTENERS)
        append(store, 1)

    timer = threading.Timer(0.2, unheard)
    timer.start()
    began = time.monotonic()
    assert follower.wait(30)
    assert time.monotonic() - began < 3
    timer.join()
    follower.read(10)
    until(lambda: not follower.wait(0) and administer(database, LISTENERS) == [(1,)])  # it was opened again


def test_notifications_without_an_event_end_no_wait(follower: Follower, database: str) -> None:
    noise = [f"NOTIFY {CHANNEL}, '{position}'" for position in range(1, 60)]
    timer = threading.Timer(0.1, lambda: administer(database, *noise))
    timer.start()
    assert not follower.wait(0.6)
    timer.join()
    assert not follower.wait(0)


def test_a_notification_before_its_event_can_be_seen_is_asked_about_again(
    follower: Follower, store: PostgresStore, database: str
) -> None:
    blocked = threading.Event()

    def early() -> None:
        administer(database, f"NOTIFY {CHANNEL}, '1'")
        blocked.wait(10)
        append(store, 1)

    thread = threading.Thread(target=early)
    thread.start()
    assert not follower.wait(0.3)
    blocked.set()
    assert follower.wait(30)
    assert [row.position for row in follower.read(10)] == [1]
    thread.join()


def test_a_server_that_went_away_is_an_error_and_is_followed_again_when_it_is_back(postgres: Server) -> None:
    url = postgres.new_database()
    with closing(PostgresStore(url)) as store, closing(Follower(store, 0)) as follower:
        append(store, 1)
        follower.read(10)
        killing = threading.Timer(0.2, postgres.kill)
        killing.start()
        with pytest.raises(LedgerUnavailableError):
            follower.wait(30)
        killing.join()
        with pytest.raises(LedgerUnavailableError):
            follower.wait(30)
        postgres.start_again()
        append(store, 2)
        assert follower.wait(30)
        assert [row.position for row in follower.read(10)] == [2]
        assert administer(url, LISTENERS) == [(1,)]


def test_behind_a_pooler_it_looks_every_second(database: str, store: PostgresStore) -> None:
    migrate(database)
    with (
        between(database, like="pooler") as pooler,
        closing(PostgresStore(pooler.address)) as pooled,
        closing(Follower(pooled, 0)) as follower,
    ):
        timer = threading.Timer(0.2, append, (store, 1))
        timer.start()
        began = time.monotonic()
        assert follower.wait(30)
        assert 0.2 < time.monotonic() - began < 3
        assert administer(database, LISTENERS) == [(0,)]
        timer.join()
