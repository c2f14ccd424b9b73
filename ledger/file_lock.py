"""A lock between processes that queues fairly and can be given up waiting for."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from pathlib import Path


class FileLock:
    """An exclusive lock on a file of its own, with a turnstile (``.queue``) before it.

    Whoever wants the lock first passes the turnstile and holds it until the lock is theirs. So one waits for the lock
    and the rest sleep at the turnstile: who gives the lock back and wants it again at once is behind them. Without it,
    the holder takes the lock again before the kernel has woken anybody, and some never get it.

    The kernel frees both when their holder dies, so nobody ever has to remove them by hand. Threads of one process
    exclude each other as well.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._turnstile = path.with_name(path.name + ".queue")
        self._threads = threading.Lock()
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
            self._descriptor = self._wait(max(0.0, deadline - time.monotonic()))
        except BaseException:
            self._threads.release()
            raise
        if self._descriptor < 0:
            self._threads.release()
            return False
        return True

    def release(self) -> None:
        """Give the lock to the next waiter."""
        os.close(self._descriptor)
        self._descriptor = -1
        self._threads.release()

    def _wait(self, timeout: float) -> int:
        """A locked descriptor, or -1."""
        deadline = time.monotonic() + timeout
        turn = _locked(self._turnstile, timeout)
        if turn < 0:
            return -1
        try:
            return _locked(self._path, max(0.0, deadline - time.monotonic()))
        finally:
            os.close(turn)


def _locked(path: Path, timeout: float) -> int:
    """A descriptor of the file that holds its lock, or -1 if it was not free in time."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _wait_in_kernel(descriptor, timeout)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _wait_in_kernel(descriptor: int, timeout: float) -> int:
    """Blocks in a thread, since flock has no time-out and polling would let quick writers starve slow ones."""
    state = threading.Lock()
    done = threading.Event()
    given_up = False

    def wait() -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with state:
            if given_up:
                os.close(descriptor)
            done.set()

    threading.Thread(target=wait, daemon=True).start()
    try:
        done.wait(timeout)
    except BaseException:  # interrupted: the lock must not come to a waiter who is gone
        with state:
            given_up = True
            if done.is_set():
                os.close(descriptor)
        raise
    with state:
        given_up = not done.is_set()
    return -1 if given_up else descriptor
