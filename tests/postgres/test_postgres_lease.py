"""Leadership by a row and a session's lock: what the server, the network and a pooler do to it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ledger.clock import elapsed
from ledger.errors import LedgerUnavailableError
from ledger.postgres_address import Address
from ledger.postgres_connection import Database
from ledger.postgres_lease import PostgresLeasePlace
from ledger.postgres_migrate import migrate
from ledger.postgres_names import LEASE_LOCKS
from ledger.postgres_store import PostgresStore
from tests.candidates import CLUSTER, election, until
from tests.postgres.between import between
from tests.postgres.conftest import OpenStore
from tests.postgres_support import administer, name_of

STORES = Path(__file__).parents[1] / "golden" / "stores"
SLOW = 30.0
DAY = 86_400.0
_OURS = f"FROM pg_locks WHERE locktype = 'advisory' AND classid = {LEASE_LOCKS}"
LOCKS = f"SELECT count(*) {_OURS}"
END_SESSIONS = f"SELECT pg_terminate_backend(pid) {_OURS}"


@pytest.fixture
def open_database() -> Iterator[Callable[[str], Database]]:
    """Opens databases as a store does, and closes them after the test."""
    opened: list[Database] = []

    def one_more(url: str) -> Database:
        opened.append(Database(Address(url), lock_timeout=30))
        return opened[-1]

    yield one_more
    for database in opened:
        database.close()


@pytest.mark.crash
def test_a_candidates_own_clock_does_not_matter(database: str, tmp_path: Path) -> None:
    seconds = 1.5
    with election(database, tmp_path / "diaries", seconds=seconds, candidates=1) as held:
        for offset in (DAY, -DAY):
            held.join(clock_offset=offset)
        first = held.leader()
        time.sleep(2 * seconds)
        assert held.leader() is first
        assert list(held.spans()) == [1], "who is ahead or behind took nothing from it"
        since = time.monotonic()
        first.signal(signal.SIGSTOP)
        took = held.taken_over(since, first)
        assert seconds / 2 < took <= seconds + 1
        first.signal(signal.SIGCONT)
        since = time.monotonic()
        second = held.leader(other_than=first)
        second.kill()
        held.taken_over(since, second)
        assert held.overlap() < 0


def test_whether_a_lease_is_valid_is_told_by_the_servers_clock(
    database: str, store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(database)
    lease = store.lease(CLUSTER, holder="one", note="", seconds=SLOW)
    assert lease.acquire()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + DAY)
    row = store.lease_row(CLUSTER)
    assert row is not None
    assert row.valid
    assert row.age < SLOW
    lease.release()


def test_workers_lead_and_everybody_sees_it(roles: dict[str, str], open_postgres: OpenStore) -> None:
    worker, reader, writer = (open_postgres(roles[role]) for role in ("worker", "reader", "writer"))
    lease = worker.lease(CLUSTER, holder="one", note="here", seconds=SLOW)
    assert (lease.acquire(), lease.renew(3)) == (True, True)
    for store in (reader, writer):
        row = store.lease_row(CLUSTER)
        assert row is not None
        assert (row.holder, row.valid, row.position) == ("one", True, 3)
        other = store.lease("other", holder="two", note="", seconds=SLOW)
        with pytest.raises(LedgerUnavailableError, match="does not allow"):
            other.acquire()
        other.release()
    lease.release()


def test_a_database_of_version_1_has_no_leader_and_says_how_to_get_one(database: str, store: PostgresStore) -> None:
    administer(database, (STORES / "postgresql.v1.sql").read_text())
    assert store.lease_row(CLUSTER) is None
    lease = store.lease(CLUSTER, holder="one", note="", seconds=SLOW)
    with pytest.raises(LedgerUnavailableError) as caught:
        lease.acquire()
    assert "1ctl ledger migrate" in str(caught.value.hint)
    migrate(database)
    assert lease.acquire()
    lease.release()


def test_a_database_that_cannot_be_written_has_no_leader(database: str, open_postgres: OpenStore) -> None:
    migrate(database)
    administer(database, f"ALTER DATABASE {name_of(database)} SET default_transaction_read_only = on")
    lease = open_postgres(database).lease(CLUSTER, holder="one", note="", seconds=SLOW)
    with pytest.raises(LedgerUnavailableError, match="cannot be written"):
        lease.acquire()
    lease.release()


def test_nothing_is_left_in_the_server_by_who_released_or_did_not_get_it(
    database: str, store: PostgresStore, open_postgres: OpenStore
) -> None:
    migrate(database)
    one = store.lease(CLUSTER, holder="one", note="", seconds=SLOW)
    two = open_postgres(database).lease(CLUSTER, holder="two", note="", seconds=SLOW)
    assert (one.acquire(), two.acquire()) == (True, False)
    assert administer(database, LOCKS) == [(1,)]
    one.release()
    two.release()
    until(lambda: administer(database, LOCKS) == [(0,)])


def test_a_leader_whose_session_the_server_ended_knows_it_before_it_is_asked(
    database: str, store: PostgresStore, open_postgres: OpenStore
) -> None:
    migrate(database)
    one = store.lease(CLUSTER, holder="one", note="", seconds=SLOW)
    two = open_postgres(database).lease(CLUSTER, holder="two", note="", seconds=SLOW)
    assert one.acquire()
    administer(database, END_SESSIONS)
    until(lambda: not one.held, 1)
    assert (two.acquire(), two.epoch) == (True, 2), "it need not wait until the row expires"
    assert (one.renew(1), one.acquire()) == (False, False)
    for lease in (one, two):
        lease.release()


def test_a_leader_whose_session_was_ended_goes_on_if_nobody_was_quicker(database: str, store: PostgresStore) -> None:
    migrate(database)
    lease = store.lease(CLUSTER, holder="one", note="", seconds=SLOW)
    assert lease.acquire()
    administer(database, END_SESSIONS)
    until(lambda: not lease.held, 1)
    assert lease.renew(1)
    assert (lease.held, lease.epoch) == (True, 1)
    assert administer(database, LOCKS) == [(1,)]
    lease.release()


def test_a_session_that_was_opened_again_proves_nothing_before_the_row_was_written(
    database: str, open_database: Callable[[str], Database]
) -> None:
    migrate(database)
    place = PostgresLeasePlace(open_database(database), CLUSTER, holder="one", note="", seconds=SLOW)
    epoch = place.take(locked=place.lock())
    assert (epoch, place.stands()) == (1, True)
    administer(database, END_SESSIONS)
    until(lambda: not place.stands(), 1)
    assert place.lock()
    assert not place.stands()
    assert place.renew(1, 0, locked=True)
    assert place.stands()
    place.close()


def test_two_lead_for_no_longer_than_the_lease_when_the_network_breaks_in_silence(
    database: str, open_postgres: OpenStore
) -> None:
    migrate(database)
    seconds = 1.0
    with between(database, like="cable") as cable:
        one = open_postgres(cable.address).lease(CLUSTER, holder="one", note="", seconds=seconds)
        two = open_postgres(database).lease(CLUSTER, holder="two", note="", seconds=SLOW)
        assert one.acquire()
        over = elapsed() + seconds
        cable.is_silent.set()
        administer(database, END_SESSIONS)
        until(two.acquire)
        until(lambda: elapsed() > over)
        assert not one.held
        two.release()
    with pytest.raises(LedgerUnavailableError):
        one.release()


@pytest.mark.crash
def test_behind_a_pooler_the_row_alone_decides(database: str, tmp_path: Path) -> None:
    seconds = 1.5
    diaries = tmp_path / "diaries"
    with between(database, like="pooler") as pooler, election(pooler.address, diaries, seconds=seconds) as held:
        assert administer(database, LOCKS) == [(0,)]
        assert administer(database, "SELECT locked FROM worker_leases") == [(0,)]
        leader = held.leader()
        since = time.monotonic()
        leader.kill()
        assert seconds / 2 < held.taken_over(since, leader) <= seconds + 1
        assert held.overlap() < 0


def test_a_store_that_was_closed_leads_no_more(database: str) -> None:
    migrate(database)
    with closing(PostgresStore(database)) as store:
        lease = store.lease(CLUSTER, holder="one", note="", seconds=SLOW)
    with pytest.raises(LedgerUnavailableError, match="closed"):
        lease.acquire()
