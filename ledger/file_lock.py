"""A lock between processes that queues fairly and can be given up waiting for."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from pathlib import Path


class FileLock:
    """An exclusive lock on a file of its own. Waiters sleep in the kernel, which wakes them in turn.

    The kernel frees it when its holder dies, so nobody ever has to remove it by hand. Threads of one process
    exclude each other as well.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
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
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
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
