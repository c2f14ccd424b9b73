"""The lock between processes."""

from __future__ import annotations

import os
import signal
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from ledger.file_lock import FileLock
from tests.candidates import until
from tests.ledger.support import PATIENCE, holder


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db.lock"


class InterruptedForTestError(Exception):
    pass


def test_a_lock_can_be_taken_given_back_and_taken_again(path: Path) -> None:
    lock = FileLock(path)
    for _ in range(3):
        assert lock.acquire(0)
        lock.release()


def test_two_locks_on_one_file_exclude_each_other(path: Path) -> None:
    one, other = FileLock(path), FileLock(path)
    assert one.acquire(0)
    assert not other.acquire(0.05)
    one.release()
    assert other.acquire(0)
    assert not one.acquire(0.05)
    other.release()


def test_locks_on_two_files_do_not_exclude_each_other(tmp_path: Path) -> None:
    one, other = FileLock(tmp_path / "a"), FileLock(tmp_path / "b")
    assert one.acquire(0)
    assert other.acquire(0)
    one.release()
    other.release()


def test_threads_that_share_a_lock_exclude_each_other(path: Path) -> None:
    lock = FileLock(path)
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(20):
            assert lock.acquire(PATIENCE)
            inside += 1
            most = max(most, inside)
            time.sleep(0.0005)
            inside -= 1
            lock.release()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert most == 1
    assert lock.acquire(0)


def test_a_waiter_gets_the_lock_when_it_is_given_back(path: Path) -> None:
    one, other = FileLock(path), FileLock(path)
    assert one.acquire(0)
    before = time.monotonic()
    threading.Timer(0.1, one.release).start()
    assert other.acquire(PATIENCE)
    assert 0.05 < time.monotonic() - before < 5
    other.release()


def test_whoever_gives_the_lock_back_is_behind_those_who_wait(path: Path) -> None:
    mine, theirs = FileLock(path), FileLock(path)
    assert mine.acquire(0)
    ticket = _next_ticket(path)
    waiting = threading.Thread(target=theirs.acquire, args=(PATIENCE,))
    waiting.start()
    until(lambda: _next_ticket(path) != ticket)
    mine.release()
    assert not mine.acquire(0.05)
    waiting.join(PATIENCE)
    theirs.release()
    assert mine.acquire(0)


@pytest.mark.parametrize("shared", [True, False])
def test_a_waiter_waits_no_longer_than_it_said(path: Path, shared: bool) -> None:
    lock = FileLock(path)
    late = lock if shared else FileLock(path)
    assert lock.acquire(0)
    before = time.monotonic()
    assert not late.acquire(0.2)
    assert 0.2 <= time.monotonic() - before < 2


def test_a_waiter_waits_no_longer_than_it_said_for_thread_and_process_together(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, second_asks = FileLock(path), threading.Event()
    deadlines: list[float] = []
    threads = lock._threads

    class Threads:
        release = staticmethod(threads.release)

        def acquire(self, *, timeout: float) -> bool:
            if deadlines:
                second_asks.set()
            return threads.acquire(timeout=timeout)

    def turn(_queue: Path, deadline: float) -> int:
        """Gives up at once; the first only when the second waits for it."""
        deadlines.append(deadline)
        if len(deadlines) == 1:
            assert second_asks.wait(PATIENCE)
            deadlines[0] = time.monotonic()
        return -1

    monkeypatch.setattr(lock, "_threads", Threads())
    monkeypatch.setattr("ledger.file_lock._turn", turn)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(lock.acquire, PATIENCE)
        until(lambda: deadlines)
        assert not lock.acquire(PATIENCE)
        assert not first.result()
    gave_up, deadline = deadlines
    assert deadline < gave_up + PATIENCE


def test_those_who_gave_up_do_not_keep_the_lock_from_others(path: Path) -> None:
    one = FileLock(path)
    assert one.acquire(0)
    for _ in range(5):
        assert not FileLock(path).acquire(0.02)
    one.release()
    last = FileLock(path)
    assert last.acquire(1)
    assert not one.acquire(0.05)
    last.release()
    assert one.acquire(1)


@pytest.mark.parametrize("where", ["in the queue", "at the lock"])
def test_a_waiter_that_was_interrupted_does_not_get_the_lock_later(
    path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    waits, interrupted = threading.Event(), threading.Event()
    started: list[threading.Thread] = []

    class ToldThread(threading.Thread):
        def start(self) -> None:
            super().start()
            started.append(self)
            waits.set()

    def send() -> None:
        assert waits.wait(PATIENCE)
        while not interrupted.wait(0.01):  # one that comes just before it sleeps does not wake it
            signal.pthread_kill(waiter, signal.SIGUSR1)

    def interrupt(_number: int, _frame: object) -> None:
        if not interrupted.is_set():
            interrupted.set()
            raise InterruptedForTestError

    one, other, third = _held_and_asked_for(path, where)
    waiter = threading.get_ident()
    previous = signal.signal(signal.SIGUSR1, interrupt)
    sending = threading.Thread(target=send)
    sending.start()
    try:
        with monkeypatch.context() as changed:
            changed.setattr(threading, "Thread", ToldThread)
            with pytest.raises(InterruptedForTestError):
                other.acquire(PATIENCE)
    finally:
        interrupted.set()
        sending.join(PATIENCE)
        signal.signal(signal.SIGUSR1, previous)
    one.release()
    started[0].join(PATIENCE)
    _assert_free_for(third, other, path)


@pytest.mark.parametrize("begins", ["before", "later", "never"])
@pytest.mark.parametrize("where", ["in the queue", "at the lock"])
def test_a_waiter_that_was_interrupted_while_it_began_to_wait_does_not_get_the_lock_later(
    path: Path, monkeypatch: pytest.MonkeyPatch, where: str, begins: str
) -> None:
    started: list[InterruptedThread] = []

    class InterruptedThread(threading.Thread):
        def start(self) -> None:
            started.append(self)
            if begins == "before":
                self.begin()
            raise InterruptedForTestError

        def begin(self) -> None:
            super().start()

    one, other, third = _held_and_asked_for(path, where)
    with monkeypatch.context() as changed:
        changed.setattr(threading, "Thread", InterruptedThread)
        with pytest.raises(InterruptedForTestError):
            other.acquire(PATIENCE)
    if begins == "later":
        started[0].begin()
    one.release()
    if begins != "never":
        started[0].join(PATIENCE)
    _assert_free_for(third, other, path)


def _held_and_asked_for(path: Path, where: str) -> list[FileLock]:
    """One lock that is held, one that would wait there for it, and another."""
    one, other, third = (FileLock(path) for _ in range(3))
    assert one.acquire(0)
    if where == "at the lock":
        assert not third.acquire(0.02), "who comes after one that gave up waits for nobody's turn"
    return [one, other, third]


def _assert_free_for(third: FileLock, interrupted: FileLock, path: Path) -> None:
    """Others get the lock, the one that was interrupted can be asked again, and nothing of its wait is left."""
    for lock in (third, interrupted):
        assert lock.acquire(0)
        lock.release()
    until(lambda: not _open_at(path))


def test_the_lock_of_a_process_that_was_killed_is_free(path: Path) -> None:
    lock = FileLock(path)
    with holder(path.with_suffix("")) as child:
        assert not lock.acquire(0.05)
        child.kill()
        assert lock.acquire(PATIENCE)


def test_only_the_owner_may_use_the_files_of_the_lock(path: Path) -> None:
    previous = os.umask(0)
    try:
        assert FileLock(path).acquire(0)
    finally:
        os.umask(previous)
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}


def _next_ticket(path: Path) -> bytes:
    return path.with_name(path.name + ".queue").read_bytes()


@pytest.mark.parametrize("before_the_first", range(4))
def test_those_who_wait_get_the_lock_in_their_order_also_where_the_tickets_begin_again(
    path: Path, before_the_first: int
) -> None:
    path.with_name(path.name + ".queue").write_bytes((2**62 - before_the_first).to_bytes(8, "little"))
    one, others = FileLock(path), [FileLock(path) for _ in range(4)]
    assert one.acquire(0)
    order: list[int] = []

    def work(number: int) -> None:
        assert others[number].acquire(PATIENCE)
        order.append(number)
        others[number].release()

    with ThreadPoolExecutor() as pool:
        for number in range(4):
            ticket = _next_ticket(path)
            pool.submit(work, number)
            until(lambda: _next_ticket(path) != ticket)  # noqa: B023 - it has got one
        assert not FileLock(path).acquire(0), "the first holds it"
        one.release()
    assert order == [0, 1, 2, 3]
    for _ in range(100):
        assert one.acquire(0), "nobody who gave up is left at the lock"
        assert not others[0].acquire(0.001)
        one.release()


@pytest.mark.parametrize(
    "content",
    [b"", b"\x01", b"\0" * 8, b"\xff" * 7, b"\xff" * 7 + b"\x7f", b"\xff" * 8, b"\xff" * 100]
    + [(2**bits + more).to_bytes(8, "little") for bits in (61, 62, 63) for more in (-9, -8, -1, 0, 1)],
    ids=bytes.hex,
)
def test_a_queue_that_was_damaged_is_a_queue_all_the_same(path: Path, content: bytes) -> None:
    path.with_name(path.name + ".queue").write_bytes(content)
    one, other = FileLock(path), FileLock(path)
    for _ in range(3):
        assert one.acquire(0)
        assert not other.acquire(0.01)
        one.release()
    with ThreadPoolExecutor() as pool:
        assert one.acquire(0)
        waiting = pool.submit(other.acquire, PATIENCE)
        one.release()
        assert waiting.result()
        other.release()


def test_a_file_that_cannot_be_made_is_an_error_and_leaves_nothing_locked(path: Path) -> None:
    missing = path.parent / "missing"
    lock = FileLock(missing / "x.lock")
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            lock.acquire(0)
    missing.mkdir()
    assert lock.acquire(0)


def test_giving_up_and_giving_back_leave_no_descriptor_open(path: Path) -> None:
    lock = FileLock(path)
    lock.acquire(0)
    lock.release()
    before = _open_files()
    for _ in range(10):
        assert lock.acquire(0)
        assert not FileLock(path).acquire(0.01)
        lock.release()
    deadline = time.monotonic() + 5
    while _open_files() > before and time.monotonic() < deadline:
        time.sleep(0.01)  # waiters that gave up close theirs when the kernel wakes them
    assert _open_files() <= before


@pytest.mark.parametrize("where", ["in the queue", "at the lock"])
def test_who_does_not_wait_leaves_neither_a_thread_nor_a_descriptor(path: Path, where: str) -> None:
    lock = FileLock(path)
    with holder(path.with_suffix("")):
        if where == "at the lock":
            assert not lock.acquire(0.02), "who comes after one that gave up waits for nobody's turn"
        files, threads = _open_files(), threading.active_count()
        for _ in range(10):
            assert not lock.acquire(0)
        assert _open_files() <= files
        assert threading.active_count() <= threads


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _open_at(path: Path) -> list[str]:
    """What is open of a lock's two files."""
    opened = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            opened.append(str(descriptor.readlink()))
    return [name for name in opened if name.startswith(str(path))]
