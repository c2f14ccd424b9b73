"""One leader for each ledger and cluster, with real processes that are killed, stopped, continued and ended."""

from __future__ import annotations

import random
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from statistics import median

import pytest

from ledger.errors import LedgerEndedError, OneCtlError
from ledger.lease import LeaseRow, Trouble, lease_row
from ledger.store import Beside, ModelStore, NewRow
from ledger.stores import open_store
from tests.candidates import CLUSTER, Candidate, election, until
from tests.ledger.telling import telling
from tests.postgres_support import administer
from tests.seeds import seeds

QUICK, SLOW = 0.6, 30.0
"""Seconds of a lease: one that a test waits for, one that would never end within it."""


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "ledger.db")
    return str(request.getfixturevalue("database"))


@pytest.fixture
def store(address: str) -> Iterator[ModelStore]:
    with closing(open_store(address)) as opened:
        opened.prepare()
        yield opened


def row(store: ModelStore, cluster: str = CLUSTER) -> LeaseRow:
    found = store.lease_row(cluster)
    assert found is not None
    return found


def assert_quick(took: list[float]) -> None:
    """Within a second as such, and not much later where others keep the processors busy; the lease would take 30."""
    assert min(took) <= 1, took
    assert median(took) <= 3, took


# -- In one process ----------------------------------------------------------------------------------------------------


def test_what_keeps_a_leader_from_working_stands_beside_where_it_runs_until_it_is_over(store: ModelStore) -> None:
    trouble = Trouble(reason="unreachable", message="nobody answers\nat all", seconds=2.5, app="shop/orders")
    lease = store.lease(CLUSTER, holder="one", note="here", seconds=SLOW)
    assert lease.acquire()
    assert lease.renew(1, trouble)
    assert (row(store).note, row(store).trouble) == ("here", trouble)
    assert lease.renew(1)
    assert (row(store).note, row(store).trouble) == ("here", None)
    lease.release()


@pytest.mark.parametrize(
    "told", ["", "{", "1", '{"reason": "x"}', '{"reason": 1, "message": 2, "seconds": "x", "app": 3}']
)
def test_what_another_program_noted_is_no_trouble(told: str) -> None:
    found = lease_row("one", 1, valid=True, age_us=0, position=1, note=f"here\n{told}")
    assert (found.note, found.trouble) == ("here", None)


def test_the_ledgers_head_is_known_from_the_last_time_the_row_was_written(store: ModelStore) -> None:
    lease = store.lease(CLUSTER, holder="one", note="here", seconds=SLOW)
    assert (lease.head, lease.acquire(), lease.head) == (0, True, 0)
    store.append([NewRow(b"a" * 16, 1, "Noted", b"{}"), NewRow(b"a" * 16, 2, "Noted", b"{}")], clock_us=1)
    assert (lease.head, lease.renew(1), lease.head) == (0, True, 2)
    lease.release()


def test_nobody_leads_before_somebody_asked(store: ModelStore) -> None:
    lease = store.lease(CLUSTER, holder="one", note="here", seconds=SLOW)
    assert (lease.held, lease.epoch, store.lease_row(CLUSTER)) == (False, 0, None)
    assert not lease.renew(1)


def test_the_first_to_ask_leads_and_everybody_sees_it(store: ModelStore) -> None:
    one = store.lease(CLUSTER, holder="one", note="here 7", seconds=SLOW)
    two = store.lease(CLUSTER, holder="two", note="there 8", seconds=SLOW)
    assert (one.acquire(), two.acquire(), two.acquire()) == (True, False, False)
    assert (one.held, one.epoch, two.held) == (True, 1, False)
    assert one.renew(41)
    assert row(store)._replace(age=0) == LeaseRow("one", 1, valid=True, age=0, position=41, note="here 7")
    assert 0 <= row(store).age < 5
    one.release()
    two.release()


def test_a_leader_that_asks_again_still_leads_in_the_same_epoch(store: ModelStore) -> None:
    lease = store.lease(CLUSTER, holder="one", note="", seconds=SLOW)
    assert [lease.acquire() for _ in range(3)] == [True] * 3
    assert lease.epoch == 1
    lease.release()


def test_each_cluster_has_a_leader_of_its_own(store: ModelStore) -> None:
    names = ("prod/west", "prod west", "prod%2Fwest", "x" * 300, "x" * 301, "Größe/漢", "..")
    leases = [store.lease(name, holder=name, note="", seconds=SLOW) for name in names]
    assert [lease.acquire() for lease in leases] == [True] * len(names)
    assert [row(store, name).holder for name in names] == list(names)
    for lease in leases:
        lease.release()


def test_who_released_is_followed_at_once_in_the_next_epoch(store: ModelStore) -> None:
    one = store.lease(CLUSTER, holder="one", note="", seconds=SLOW)
    two = store.lease(CLUSTER, holder="two", note="", seconds=SLOW)
    assert one.acquire()
    one.renew(7)
    one.release()
    assert (one.held, row(store).valid) == (False, False)
    assert (two.acquire(), two.epoch, row(store).position) == (True, 2, 7)
    assert (one.renew(8), one.acquire()) == (False, False)
    two.release()
    assert (one.acquire(), one.epoch) == (True, 3)
    one.release()


def test_a_lease_that_is_not_renewed_ends_by_itself(store: ModelStore) -> None:
    lease = store.lease(CLUSTER, holder="one", note="", seconds=2)
    assert lease.acquire()
    until(lambda: not lease.held, SLOW / 2)
    until(lambda: not row(store).valid)
    assert lease.renew(1), "nobody else took it"
    assert (lease.held, lease.epoch) == (True, 1)
    lease.release()


def test_a_ledger_that_ended_has_no_leader_any_more(store: ModelStore) -> None:
    lease = store.lease(CLUSTER, holder="one", note="", seconds=SLOW)
    assert lease.acquire()
    moved = Beside(moved=("another", "elsewhere"))
    store.append(telling(moved, b"s" * 16), clock_us=0, beside=moved)
    with pytest.raises(LedgerEndedError, match="goes on elsewhere: elsewhere"):
        lease.renew(1)
    other = store.lease("other", holder="two", note="", seconds=SLOW)
    with pytest.raises(LedgerEndedError):
        other.acquire()
    for each in (lease, other):
        each.release()


# -- In several --------------------------------------------------------------------------------------------------------


def test_of_three_candidates_one_leads(address: str, tmp_path: Path) -> None:
    with election(address, tmp_path / "diaries", seconds=SLOW) as held:
        leader = held.leader()
        time.sleep(1)
        until(lambda: [each for each in held.everyone if each.leads] == [leader])
        assert list(held.spans()) == [1]


@pytest.mark.crash
def test_a_killed_leader_is_followed_within_a_second(address: str, tmp_path: Path) -> None:
    with election(address, tmp_path / "diaries", seconds=SLOW) as held:
        took = []
        for _ in range(5):
            leader = held.leader()
            until(lambda: _is_locked(address))
            since = time.monotonic()
            leader.kill()
            took.append(held.taken_over(since, leader))
            held.join()
        assert_quick(took)
        assert held.overlap() < 0


def test_a_leader_that_ends_as_it_should_is_followed_within_a_second(address: str, tmp_path: Path) -> None:
    with election(address, tmp_path / "diaries", seconds=SLOW) as held:
        took = []
        for _ in range(3):
            leader = held.leader()
            since = time.monotonic()
            leader.leave()
            took.append(held.taken_over(since, leader))
            held.join()
        assert_quick(took)
        assert held.overlap() < 0


@pytest.mark.crash
def test_a_stopped_leader_is_followed_when_its_lease_ends_and_knows_it_when_it_goes_on(
    address: str, store: ModelStore, tmp_path: Path
) -> None:
    seconds = 6.0
    with election(address, tmp_path / "diaries", seconds=seconds) as held:
        stopped = held.leader()
        until(lambda: _is_locked(address))
        since = _stopped(stopped, address)
        left = _ends(store, seconds) - since
        took = held.taken_over(since, stopped)
        assert left - 0.1 < took < left + seconds, "it keeps the lock, and the row until its end"
        successor = held.leader()
        stopped.signal(signal.SIGCONT)
        until(lambda: _is_locked(address), 10)
        assert held.leader() is successor, "which has got the lock from the one that gave it up"
        assert not stopped.leads
        ends, since = _ends(store, seconds), time.monotonic()
        successor.kill()
        assert since + held.taken_over(since, successor) < ends, "so that it, too, is followed at once"
        assert held.overlap() < 0


@pytest.mark.crash
def test_a_leader_without_the_lock_is_followed_when_its_lease_ends(address: str, tmp_path: Path) -> None:
    seconds = 2.0
    with election(address, tmp_path / "diaries", seconds=seconds) as held:
        stopped = held.leader()
        until(lambda: _is_locked(address))
        _stopped(stopped, address)
        successor = held.leader(other_than=stopped)
        assert not _is_locked(address)
        since = time.monotonic()
        successor.kill()
        assert held.taken_over(since, successor) < seconds + 5
        assert held.overlap() < 0


@pytest.mark.crash
@pytest.mark.parametrize("seed", seeds(1, short=12))
def test_whatever_happens_to_candidates_there_are_never_two_leaders_and_soon_one(
    address: str, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    with election(address, tmp_path / "diaries", seconds=QUICK) as held:
        for _ in range(7):
            present = [each for each in held.everyone if each.process.is_alive()]
            chosen = next((each for each in present if each.leads and chance.random() < 0.6), chance.choice(present))
            match chance.choice(["kill", "stop", "stop", "continue", "continue", "end"]):
                case "kill":
                    chosen.kill()
                    held.join()
                case "stop":
                    chosen.signal(signal.SIGSTOP)
                case "continue":
                    for each in present:
                        each.signal(signal.SIGCONT)
                case _:
                    chosen.leave()
                    held.join()
            time.sleep(chance.choice([0, 0.05, QUICK / 2, QUICK, 1.5 * QUICK]))
        since = time.monotonic()
        for each in held.everyone:
            if each.process.is_alive():
                each.signal(signal.SIGCONT)
        held.leader()
        assert time.monotonic() - since < QUICK + 5
        assert held.overlap() < 0


def _stopped(leader: Candidate, address: str) -> float:
    """Stop it where it does not hold up writers, as one that is stopped within a commit to a file would; when."""
    while True:
        leader.signal(signal.SIGSTOP)
        since = time.monotonic()
        if "://" in address:
            return since
        with closing(open_store(address, lock_timeout=0.2)) as writer:
            try:
                writer.prepare()
            except OneCtlError:
                leader.signal(signal.SIGCONT)
            else:
                return since


def _ends(store: ModelStore, seconds: float) -> float:
    """When the row expires if nobody renews it, or a little earlier; `time.monotonic`."""
    asked = time.monotonic()
    return asked - row(store).age + seconds


def _is_locked(address: str) -> bool:
    """Whether the row says that the leader has the lock."""
    asked = "SELECT locked FROM worker_leases"
    if "://" in address:
        return administer(address, asked) == [(1,)]
    with closing(sqlite3.connect(address)) as connection:
        return connection.execute(asked).fetchall() == [(1,)]
