"""How a worker hears that it shall end: from a signal, whatever its main thread is doing."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """Says whether to end, and can be waited for. Unlike a `threading.Event`, a signal's handler may set it.

    A handler runs in the main thread between any two of its steps, also while that waits. An event's `set` takes the lock
    that its `wait` may hold just then: the process would wait for itself. This one is set by letting go of a lock.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._until_then = threading.Lock()
        self._until_then.acquire()

    def set(self) -> None:
        """Say so; only for one thread, and its handlers."""
        if not self._is_set:
            self._is_set = True
            self._until_then.release()

    def is_set(self) -> bool:
        """Whether that was said."""
        return self._is_set

    def wait(self, timeout: float) -> bool:
        """Wait until it is said, at most so many seconds; whether it was."""
        if not self._is_set and self._until_then.acquire(timeout=timeout):
            self._until_then.release()
        return self._is_set


@contextmanager
def stopping_on_signals(stop: Stop) -> Iterator[list[int]]:
    """Let SIGTERM and SIGINT end the work in order; yields those that came. A second one ends the process at once.

    One that is ignored, by `nohup` or for a job in the background, stays ignored.
    """
    came: list[int] = []

    def on_signal(number: int, _: FrameType | None) -> None:
        if came:
            os._exit(128 + number)
        came.append(number)
        stop.set()

    heard = [each for each in (signal.SIGTERM, signal.SIGINT) if signal.getsignal(each) is not signal.SIG_IGN]
    before = {number: signal.signal(number, on_signal) for number in heard}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
