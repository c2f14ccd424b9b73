"""A lock between processes with a fair queue; whoever waits for it can give up."""

from __future__ import annotations

import fcntl
import os
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from ledger.durable_files import open_plain

_MUTEX, _FIRST = 0, 8
_TICKETS = 2**62
"""How many tickets there are before the first comes again, after the last one: places of a file go to 2^63, whatever number
a damaged one holds."""

_QUEUES = sys.platform == "linux"
_FLOCK = struct.Struct("hhqqi4x")
"""Linux's ``struct flock``: type, whence, start, length, process."""


class FileLock:
    """An exclusive lock on a file of its own, with a queue (``.queue``) before it.

    The kernel gives a free lock to whoever asks first, and a process that gave it back asks long before those that
    sleep have woken: some never get it. So each process takes a ticket, locks its own byte of the queue, and waits
    for the byte of the ticket before: only one ever waits for a byte, and nobody can come in between. The queue only
    orders, the lock excludes: a process that dies or gives up in the queue just lets the next one pass.

    The kernel frees all of it when a process dies, so nobody ever has to remove anything by hand. Threads of one
    process exclude each other as well. On other systems than Linux there is no queue, only the lock.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._queue = path.with_name(path.name + ".queue")
        self._threads = threading.Lock()
        self._turn = -1
        self._descriptor = -1

    def acquire(self, timeout: float) -> bool:
        """Take the lock, waiting at most that many seconds; False if it was not free in time.

        Raises:
            OSError: The file cannot be made or opened.
        """
        deadline = time.monotonic() + timeout
        if not self._threads.acquire(timeout=timeout):
            return False
        try:
            self._wait(deadline)
        except BaseException:
            self.release()
            raise
        if self._descriptor < 0:
            self.release()
            return False
        return True

    def release(self) -> None:
        """Give the lock to the next waiter."""
        for descriptor in (self._descriptor, self._turn):
            if descriptor >= 0:
                os.close(descriptor)
        self._descriptor = self._turn = -1
        self._threads.release()

    def _wait(self, deadline: float) -> None:
        """Waits for its turn, then for the lock; whichever it does not get stays -1."""
        if _QUEUES:
            self._turn = _turn(self._queue, deadline)
            if self._turn < 0:
                return
        descriptor = _opened(self._path)
        self._descriptor = _in_time(descriptor, lambda options: fcntl.flock(descriptor, options), deadline)


def _turn(path: Path, deadline: float) -> int:
    """A descriptor that holds a ticket whose turn has come, or -1."""
    descriptor = _opened(path)
    if _in_time(descriptor, lambda options: _lock_byte(descriptor, _MUTEX, options), deadline) < 0:
        return -1
    try:
        ticket = int.from_bytes(os.pread(descriptor, 8, 0), "little") % _TICKETS
        while not _is_mine(descriptor, _place(ticket)):
            ticket += 1  # the number in the file was damaged or put back
        os.pwrite(descriptor, ((ticket + 1) % _TICKETS).to_bytes(8, "little"), 0)
        _lock_byte(descriptor, _MUTEX, fcntl.LOCK_UN)
    except BaseException:
        os.close(descriptor)
        raise
    mine, turn = os.dup(descriptor), -1
    try:
        turn = _in_time(descriptor, lambda options: _lock_byte(descriptor, _place(ticket - 1), options), deadline)
    finally:
        if turn < 0:  # given up: the next one must not wait for a ticket that nobody wants any more
            _lock_byte(mine, _place(ticket), fcntl.LOCK_UN)
        os.close(mine)
    return turn


def _place(ticket: int) -> int:
    """The byte of a ticket, in a ring."""
    return _FIRST + ticket % _TICKETS


def _is_mine(descriptor: int, place: int) -> bool:
    try:
        _lock_byte(descriptor, place, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock_byte(descriptor: int, place: int, options: int) -> None:
    """Like flock, for one byte of a file; the lock belongs to the descriptor, not to the process."""
    kind = fcntl.F_UNLCK if options & fcntl.LOCK_UN else fcntl.F_WRLCK
    command = fcntl.F_OFD_SETLK if options & fcntl.LOCK_NB else fcntl.F_OFD_SETLKW
    fcntl.fcntl(descriptor, command, _FLOCK.pack(kind, os.SEEK_SET, place, 1, 0))


def _opened(path: Path) -> int:
    """A descriptor of a lock's file. The queue is written into, so a link must not choose what is written."""
    return open_plain(path, os.O_RDWR | os.O_CREAT)


def _in_time(descriptor: int, lock: Callable[[int], None], deadline: float) -> int:
    """The descriptor once it is locked; -1, and closed, if that was not possible in time."""
    try:
        lock(fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        timeout = deadline - time.monotonic()
        if timeout <= 0:
            os.close(descriptor)
            return -1
        return _wait_in_kernel(descriptor, lock, timeout)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _wait_in_kernel(descriptor: int, lock: Callable[[int], None], timeout: float) -> int:
    """Blocks in a thread, since these locks have no time-out and polling would let quick writers starve slow ones."""
    state = threading.Lock()
    done = threading.Event()
    began = given_up = kept = False

    def wait() -> None:
        nonlocal began
        with state:
            began = not given_up
        if not began:
            return
        lock(fcntl.LOCK_EX)
        with state:
            if given_up:
                os.close(descriptor)
            done.set()

    try:
        threading.Thread(target=wait, daemon=True).start()  # waits, too, until it has begun
        kept = done.wait(timeout)
    finally:  # also when interrupted: the lock must not go to a waiter that is gone
        with state:
            given_up = not kept
            if given_up and (done.is_set() or not began):
                os.close(descriptor)
    return descriptor if kept else -1
