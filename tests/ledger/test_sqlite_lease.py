"""Leadership on a file: its lock beside it, the machine's clock, and what a candidate does not hold up."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from shutil import copy

import pytest

from ledger.errors import LedgerDamagedError, LedgerUnavailableError
from ledger.lease import RowLease
from ledger.sqlite_lease import SqliteLeasePlace, file_name
from ledger.sqlite_store import SqliteStore
from tests.ledger.support import holder, write

CLUSTER = "prod"
SLOW = 30.0
V1 = Path(__file__).parents[1] / "golden" / "stores" / "sqlite.v1.db"


class SetClock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.us = 1_800_000_000_000_000

    def now_us(self) -> int:
        return self.us


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    with closing(SqliteStore(path)) as opened:
        yield opened


def sql(path: Path, statement: str) -> list[tuple[object, ...]]:
    """What somebody else sees in the file."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(statement).fetchall()


def candidate(path: Path, name: str, clock: SetClock, seconds: float = SLOW) -> RowLease:
    """One that goes by a clock that is set."""
    place = SqliteLeasePlace(SqliteStore(path), CLUSTER, holder=name, note="", seconds=seconds, clock=clock)
    return RowLease(place, seconds=seconds)


def test_a_machine_whose_clock_is_set_forward_never_has_two_leaders(path: Path, store: SqliteStore) -> None:
    write(store, 1)
    clock = SetClock()
    one, two = candidate(path, "one", clock), candidate(path, "two", clock)
    assert (one.acquire(), two.acquire(), one.held) == (True, False, True)
    clock.us += 3600 * 1_000_000
    assert not one.held, "before anybody could take it"
    assert (two.acquire(), two.held, one.held, one.renew(1)) == (True, True, False, False)
    one.release()
    two.release()


def test_a_machine_whose_clock_is_set_back_keeps_its_leader(path: Path, store: SqliteStore) -> None:
    write(store, 1)
    clock = SetClock()
    one, two = candidate(path, "one", clock), candidate(path, "two", clock)
    assert one.acquire()
    clock.us -= 3600 * 1_000_000
    assert (one.held, two.acquire(), one.renew(1), two.acquire()) == (True, False, True, False)
    one.release()
    assert two.acquire()
    two.release()


def test_a_candidate_that_waits_holds_up_no_writer_and_waits_for_none(path: Path, store: SqliteStore) -> None:
    write(store, 1)
    leader = store.lease(CLUSTER, holder="one", note="", seconds=SLOW)
    assert leader.acquire()
    other = SqliteStore(path, lock_timeout=20)
    with closing(other), holder(path):
        began = time.monotonic()
        assert not other.lease(CLUSTER, holder="two", note="", seconds=SLOW).acquire()
        assert time.monotonic() - began < 5
    leader.release()


def test_a_lock_file_that_somebody_removed_is_locked_anew(path: Path, store: SqliteStore) -> None:
    write(store, 1)
    lease = store.lease(CLUSTER, holder="one", note="", seconds=SLOW)
    assert lease.acquire()
    lock = path.with_name("ledger.db.worker-prod.lock")
    lock.unlink()
    assert lease.renew(1)
    assert lock.exists()
    with closing(SqliteStore(path)) as other:
        assert not other.lease(CLUSTER, holder="two", note="", seconds=SLOW).acquire()
    assert lease.held
    lease.release()


def test_asking_who_leads_makes_no_ledger(path: Path, store: SqliteStore) -> None:
    assert store.lease_row(CLUSTER) is None
    assert list(path.parent.iterdir()) == []


def test_a_file_of_version_1_is_brought_up_to_date_by_its_first_leader(path: Path) -> None:
    copy(V1, path)
    before = path.read_bytes()
    with closing(SqliteStore(path)) as store:
        head = store.head()
        assert store.lease_row(CLUSTER) is None
        assert path.read_bytes() == before
        lease = store.lease(CLUSTER, holder="one", note="", seconds=SLOW)
        assert lease.acquire()
        row = store.lease_row(CLUSTER)
        assert row is not None
        assert row.holder == "one"
        assert store.head() == head
        lease.release()


def test_a_file_that_is_no_ledger_has_no_leader(path: Path, store: SqliteStore) -> None:
    path.write_text("these are my notes\n" * 100)
    lease = store.lease(CLUSTER, holder="one", note="", seconds=SLOW)
    with pytest.raises(LedgerDamagedError):
        lease.acquire()
    assert not lease.held


def test_where_no_lock_can_be_made_the_error_says_which(path: Path) -> None:
    path.write_text("a file, where a directory is needed")
    with closing(SqliteStore(path / "ledger.db")) as store:
        lease = store.lease(CLUSTER, holder="one", note="", seconds=SLOW)
        with pytest.raises(LedgerUnavailableError, match=r"ledger\.db\.worker-prod\.lock") as caught:
            lease.acquire()
    assert caught.value.hint is not None


@pytest.mark.parametrize(
    ("cluster", "name"),
    [("prod", "prod"), ("eu-1.prod_x", "eu-1.prod_x"), ("a/b", "a%2Fb"), ("a%2Fb", "a%252Fb"), ("ß", "%C3%9F")],
)
def test_a_clusters_file_is_named_so_that_people_recognise_it(cluster: str, name: str) -> None:
    assert file_name(cluster) == name


def test_long_names_stay_apart_and_within_what_file_systems_allow() -> None:
    names = {file_name("漢" * 300 + end) for end in ("", "a", "b")}
    assert len(names) == 3
    assert max(map(len, names)) < 150


def test_a_free_row_is_left_to_who_has_the_lock_and_taken_from_one_that_does_nothing(
    path: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(store, 1)
    one = store.lease(CLUSTER, holder="one", note="", seconds=SLOW)
    with closing(SqliteStore(path)) as other:
        idle = SqliteLeasePlace(other, CLUSTER, holder="two", note="", seconds=SLOW, clock=SetClock())
        assert idle.lock()
        with monkeypatch.context() as changed:
            changed.setattr("ledger.lease._LOCK_SECONDS", SLOW)
            changed.setattr(time, "sleep", lambda _: idle.unlock())
            assert one.acquire()
        assert sql(path, "SELECT locked FROM worker_leases") == [(1,)], "it waited for the lock"
        one.release()
        assert idle.lock()
        began = time.monotonic()
        assert one.acquire()
        assert sql(path, "SELECT locked FROM worker_leases") == [(0,)], "not for long"
        assert time.monotonic() - began < 5
        one.release()
        idle.close()


def test_asking_whether_it_is_held_costs_next_to_nothing(store: SqliteStore) -> None:
    write(store, 1)
    lease = store.lease(CLUSTER, holder="one", note="", seconds=SLOW)
    assert lease.acquire()
    before = time.process_time()
    assert all(lease.held for _ in range(2000))
    assert time.process_time() - before < 0.2, "100 µs each; it takes about two"
    lease.release()
