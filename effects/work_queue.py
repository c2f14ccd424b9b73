"""Which apps have to be looked at, each once, by one thread at a time.

Invariants:

* An app is in work at most once. What comes up meanwhile is kept, and it comes up again when it is done.
* Ten wake-ups for one app are one piece of work.
* A lost or doubled wake-up does no harm: work follows from state, and the resync repairs a loss.
* What somebody asked for goes before what is only checked.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count

from ledger.spec import AppId


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One app to look at.

    Attributes:
        app_id: The app.
        again: Whether it is tried again even if it is parked, unless a field of it is fought over.
        failures: How often in a row it failed before.
        waits: How often in a row it was put back to wait for pods.
        since: The lowest position it stands for; 0 if for none.
        added: When it was first put in, `time.monotonic`.
    """

    app_id: AppId
    again: bool = False
    failures: int = 0
    waits: int = 0
    since: int = 0
    added: float = 0.0


class _Entry:
    """An app in the queue."""

    __slots__ = ("added", "again", "due", "failures", "in_work", "queued", "since", "urgent", "waits", "why")

    def __init__(self) -> None:
        self.again = False
        self.failures = 0
        self.waits = 0
        self.since = 0
        self.added = 0.0
        self.due: float | None = None
        self.urgent = False
        self.queued = False
        self.why = ""
        self.in_work: Work | None = None


class WorkQueue:
    """A queue of apps; safe for many threads.

    Args:
        clock: Rising seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._entries: dict[AppId, _Entry] = {}
        self._ready: tuple[deque[AppId], deque[AppId]] = (deque(), deque())
        self._later: list[tuple[float, int, AppId]] = []
        self._order = count()
        self._closed = False

    def __len__(self) -> int:
        """Apps that wait or are being worked on."""
        with self._changed:
            return len(self._entries)

    def add(
        self,
        app_id: AppId,
        *,
        position: int = 0,
        again: bool = False,
        delay: float = 0.0,
    ) -> None:
        """Put an app in, or add to what is known about one that is in.

        Args:
            app_id: The app.
            position: Position of the event that woke us; makes it urgent. 0 for none.
            again: Whether it shall be tried again even if it is parked, unless a field of it is fought over.
            delay: Seconds until it shall be taken. One that is due sooner stays so.
        """
        with self._changed:
            entry = self._entries.setdefault(app_id, _Entry())
            entry.again = entry.again or again
            entry.added = entry.added or self._clock()
            if position:
                entry.since = min(entry.since or position, position)
                entry.failures = entry.waits = 0
                if not entry.urgent:
                    entry.urgent, entry.due = True, None  # it changes lanes
            self._schedule(app_id, entry, delay)

    def take(self, timeout: float) -> Work | None:
        """The next app, which is then in work; None if there is none within so many seconds, or after `close`."""
        deadline = self._clock() + timeout
        with self._changed:
            while not self._closed:
                self._promote()
                for lane in self._ready:
                    while lane:
                        entry = self._entries.get(lane[0])
                        app_id = lane.popleft()
                        if entry is not None and _is_due(entry, self._clock()):
                            return self._begin(app_id, entry)
                left = min(deadline, self._later[0][0] if self._later else deadline) - self._clock()
                if deadline <= self._clock():
                    return None
                self._changed.wait(max(0.0, left))
        return None

    def done(self, work: Work) -> None:
        """The app is as it should be; it comes up again if it was put in meanwhile."""
        self._finish(work, _never_again)

    def wait(self, work: Work, delay: float) -> None:
        """The app is applied, but its pods are not there yet; look again after so many seconds.

        What was asked for meanwhile is tried at once, and the count begins again; likewise after `failed`.
        """

        def again(entry: _Entry) -> None:
            entry.waits = 0 if entry.urgent else work.waits + 1
            self._schedule(work.app_id, entry, delay)

        self._finish(work, again)

    def failed(self, work: Work, delay: float, why: str = "") -> None:
        """It did not work, and why; try again after so many seconds."""

        def again(entry: _Entry) -> None:
            entry.why = why
            entry.again = entry.again or work.again
            entry.failures = 0 if entry.urgent else work.failures + 1
            entry.since = min(entry.since or work.since, work.since) if work.since else entry.since
            entry.added = work.added
            self._schedule(work.app_id, entry, delay)

        self._finish(work, again)

    def lowest(self) -> int | None:
        """The lowest position that some app in the queue or in work stands for; None if there is none."""
        with self._changed:
            known = [entry.since for entry in self._entries.values() if entry.since]
            known += [entry.in_work.since for entry in self._entries.values() if entry.in_work and entry.in_work.since]
            return min(known, default=None)

    def is_settled(self, failures: int) -> bool:
        """Whether nothing is left but what waits for pods, and what failed so many times in a row."""
        with self._changed:
            return all(
                entry.in_work is None and (entry.waits > 0 or entry.failures >= failures)
                for entry in self._entries.values()
            )

    def failing(self) -> Mapping[AppId, str]:
        """The apps that are to be tried again because it did not work the last time, with why."""
        with self._changed:
            return {app_id: entry.why for app_id, entry in self._entries.items() if entry.why}

    def close(self) -> None:
        """Nothing is taken any more; whoever waits stops waiting."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _schedule(self, app_id: AppId, entry: _Entry, delay: float) -> None:
        due = self._clock() + delay
        if entry.queued and entry.due is not None and entry.due <= due:
            self._changed.notify()
            return
        entry.queued = True
        entry.due = due
        if entry.in_work is not None:
            return  # `_finish` puts it in
        if delay <= 0:
            self._ready[0 if entry.urgent else 1].append(app_id)
        else:
            heapq.heappush(self._later, (due, next(self._order), app_id))
        self._changed.notify()

    def _promote(self) -> None:
        """Move what has become due to the lanes."""
        now = self._clock()
        while self._later and self._later[0][0] <= now:
            due, _, app_id = heapq.heappop(self._later)
            entry = self._entries.get(app_id)
            if entry is not None and entry.due == due and _is_due(entry, now):
                self._ready[0 if entry.urgent else 1].append(app_id)

    def _begin(self, app_id: AppId, entry: _Entry) -> Work:
        work = Work(
            app_id=app_id,
            again=entry.again,
            failures=entry.failures,
            waits=entry.waits,
            since=entry.since,
            added=entry.added,
        )
        meanwhile = self._entries[app_id] = _Entry()
        meanwhile.in_work = work
        return work

    def _finish(self, work: Work, again: Callable[[_Entry], None]) -> None:
        with self._changed:
            entry = self._entries[work.app_id]
            entry.in_work = None
            queued, due = entry.queued, entry.due
            entry.queued, entry.due = False, None
            again(entry)
            if queued and due is not None:  # came up meanwhile
                self._schedule(work.app_id, entry, due - self._clock())
            if not entry.queued:
                del self._entries[work.app_id]
            self._changed.notify_all()


def _is_due(entry: _Entry, now: float) -> bool:
    return entry.queued and entry.in_work is None and entry.due is not None and entry.due <= now


def _never_again(_: _Entry) -> None:
    pass
