"""A watch of the sandbox: its file is looked at again and again, for other processes write it, too."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Self

from effects.cluster import Change

INTERVAL = 0.075
"""Seconds between two looks."""

Changes = Callable[[int], tuple[int, Sequence[Change]]]
"""From a version: the newest version, and what happened up to it, oldest first."""


class SandboxWatch:
    """The `Watch` protocol by repeated looks."""

    def __init__(self, changes: Changes, *, since: int, seconds: float) -> None:
        self._closed = threading.Event()
        self._read = self._look(changes, since, seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Change]:
        return self

    def __next__(self) -> Change:
        """See `effects.cluster.Watch`."""
        return next(self._read)

    def close(self) -> None:
        """See `effects.cluster.Watch`."""
        self._closed.set()

    def _look(self, changes: Changes, version: int, seconds: float) -> Iterator[Change]:
        deadline = time.monotonic() + seconds
        while not self._closed.is_set():
            version, found = changes(version)
            for change in found:
                if self._closed.is_set():
                    return
                yield change
            if time.monotonic() > deadline:
                yield Change("bookmark", None, None, str(version))
                return
            self._closed.wait(INTERVAL)
