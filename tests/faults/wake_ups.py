"""Wake-ups that get lost, come twice or in another order: on their way from a watch, and on their way into the queue."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

from effects.cluster import Change, Cluster, Watch
from effects.work_queue import WorkQueue
from ledger.spec import AppId
from tests.effects.worlds import Meddled

LOST, DOUBLED, LATE = 0.3, 0.2, 0.2


class Meddler:
    """Decides what becomes of each wake-up; safe for many threads.

    Attributes:
        meddled: How many wake-ups were lost, doubled or put behind a later one.
    """

    def __init__(self, seed: int) -> None:
        self.meddled = 0
        self._chance = random.Random(seed)
        self._lock = threading.Lock()

    def pass_on(self, wake_up: Any, held: list[Any]) -> Sequence[Any]:
        """What comes through now, in this order; what is late stays in `held` until something else has come."""
        with self._lock:
            drawn = self._chance.random()
            self.meddled += drawn < LOST + DOUBLED + LATE
            if drawn < LOST:
                return []
            if drawn < LOST + DOUBLED:
                return [wake_up, *_emptied(held), wake_up]
            if drawn < LOST + DOUBLED + LATE:
                held.append(wake_up)
                return []
            return [wake_up, *_emptied(held)]


def _emptied(held: list[Any]) -> list[Any]:
    found = held[:]
    held.clear()
    return found


class Forgetful(Meddled):
    """A cluster whose watches meddle with what they tell; its lists are right."""

    def __init__(self, real: Cluster, meddler: Meddler) -> None:
        super().__init__(real)
        self._meddler = meddler

    def watch(self, kind: str, namespace: str, *, ledger_id: str, since: str) -> Watch:
        return _ForgetfulWatch(self._real.watch(kind, namespace, ledger_id=ledger_id, since=since), self._meddler)


class _ForgetfulWatch:
    def __init__(self, real: Watch, meddler: Meddler) -> None:
        self._real = real
        self._changes = self._meddled(meddler)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Change]:
        return self

    def __next__(self) -> Change:
        return next(self._changes)

    def close(self) -> None:
        self._real.close()

    def _meddled(self, meddler: Meddler) -> Iterator[Change]:
        held: list[Change] = []
        for change in self._real:
            yield from [change] if change.kind == "bookmark" else meddler.pass_on(change, held)


def forgetful_queue(meddler: Meddler) -> Callable[..., WorkQueue]:
    """Makes queues that meddle with every wake-up but those of a resync."""

    class Queue(WorkQueue):
        def add(self, app_id: AppId, *, position: int = 0, again: bool = False, delay: float = 0.0) -> None:
            told = (app_id, position, delay)
            for app, at, wait in [told] if again else meddler.pass_on(told, held):
                super().add(app, position=at, again=again, delay=wait)

    held: list[tuple[AppId, int, float]] = []
    return Queue
