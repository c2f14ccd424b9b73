"""Candidates for a leadership, each a process of its own that keeps a diary of when it said that it leads.

A diary is shared memory, so that it is complete up to the instant its writer was killed or stopped at.
"""

from __future__ import annotations

import mmap
import multiprocessing
import os
import signal
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count, pairwise
from pathlib import Path
from typing import NamedTuple, TypeVar

from ledger.errors import OneCtlError
from ledger.lease import Lease
from ledger.stores import open_store

CLUSTER = "prod/west"
EVERY = 0.25
"""Seconds between two attempts of a candidate, as a worker makes them."""

Found = TypeVar("Found")

_EPOCHS = 500
_SPAN = struct.Struct("dd")
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.candidates", "ledger.sqlite_lease", "ledger.postgres_store"])


class Span(NamedTuple):
    """When a candidate said that it leads: surely by the first, never again after the last; `time.monotonic`."""

    first: float
    last: float


class Diary:
    """What one candidate noted for each epoch that it led in."""

    def __init__(self, path: Path) -> None:
        with path.open("a+b") as file:
            file.truncate(_EPOCHS * _SPAN.size + 1)
            self._memory = mmap.mmap(file.fileno(), 0)

    def begin(self) -> None:
        """It hears signals from now on."""
        self._memory[-1] = 1

    @property
    def has_begun(self) -> bool:
        """Whether it hears signals."""
        return self._memory[-1] == 1

    def note(self, epoch: int, before: float, after: float) -> None:
        """It was asked and said yes between these two instants."""
        first, _ = _SPAN.unpack_from(self._memory, epoch * _SPAN.size)
        _SPAN.pack_into(self._memory, epoch * _SPAN.size, first or after, before)

    def spans(self) -> Mapping[int, Span]:
        """What was noted, by epoch."""
        spans = (Span(*_SPAN.unpack_from(self._memory, epoch * _SPAN.size)) for epoch in range(_EPOCHS))
        return {epoch: span for epoch, span in enumerate(spans) if span.first}

    def close(self) -> None:
        """Let go of the memory."""
        self._memory.close()


def stand(address: str, holder: str, seconds: float, diary_path: str, clock_offset: float) -> None:
    """Be a candidate until SIGTERM: try, lead, renew four times in a lease, try again."""
    done = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: done.set())
    diary = Diary(Path(diary_path))
    diary.begin()
    true_time = time.time
    time.time = lambda: true_time() + clock_offset
    store = open_store(address, lock_timeout=1)
    lease = store.lease(CLUSTER, holder=holder, note=f"here {os.getpid()}", seconds=seconds)
    asking = threading.Thread(target=_ask, args=(lease, diary, done), daemon=True)
    asking.start()
    leads = False
    for turn in count():
        if done.is_set():
            break
        try:
            leads = lease.renew(turn) if leads else lease.acquire()
        except OneCtlError:
            done.wait(0.05)
            continue
        done.wait(seconds / 4 if leads else min(EVERY, seconds / 2))
    with suppress(OneCtlError):  # its row ends by itself, where the ledger cannot be written now; a worker ends so, too
        lease.release()
    store.close()
    asking.join()


def _ask(lease: Lease, diary: Diary, done: threading.Event) -> None:
    while not done.wait(0.002):
        epoch, before = lease.epoch, time.monotonic()
        if lease.held:
            after = time.monotonic()
            if lease.epoch == epoch:
                diary.note(epoch, before, after)


class Candidate:
    """One candidate's process, seen from the test."""

    def __init__(self, address: str, name: str, seconds: float, diary: Path, clock_offset: float) -> None:
        self.name = name
        self.diary = Diary(diary)
        arguments = (address, name, seconds, str(diary), clock_offset)
        self.process = _CONTEXT.Process(target=stand, args=arguments, daemon=True)
        self.process.start()
        self.is_stopped = False

    @property
    def leads(self) -> bool:
        """Whether it said so a moment ago, and is not dead since."""
        return self.process.is_alive() and any(
            time.monotonic() - span.last < 0.05 for span in self.diary.spans().values()
        )

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self.process.pid is not None
        os.kill(self.process.pid, number)
        self.is_stopped = number == signal.SIGSTOP or (self.is_stopped and number != signal.SIGCONT)

    def kill(self) -> None:
        """kill -9; when this returns it is dead."""
        self.signal(signal.SIGKILL)
        self.process.join(20)

    def leave(self) -> None:
        """Let it go on if it is stopped, and end as it should; when this returns it has."""
        self.signal(signal.SIGCONT)
        until(lambda: self.diary.has_begun or None)
        self.signal(signal.SIGTERM)
        self.process.join(20)
        assert self.process.exitcode == 0, (self.name, self.process.exitcode)


class Election:
    """Candidates for one leadership."""

    def __init__(self, address: str, directory: Path, seconds: float) -> None:
        self.address = address
        self.seconds = seconds
        self.everyone: list[Candidate] = []
        self._directory = directory

    def join(self, *, clock_offset: float = 0) -> Candidate:
        """One more candidate."""
        name = f"candidate-{len(self.everyone) + 1}"
        diary = self._directory / f"{name}.diary"
        self.everyone.append(Candidate(self.address, name, self.seconds, diary, clock_offset))
        return self.everyone[-1]

    def leader(self, *, other_than: Candidate | None = None, within: float = 20) -> Candidate:
        """Who leads, once somebody does."""

        def found() -> Candidate | None:
            return next((each for each in self.everyone if each is not other_than and each.leads), None)

        return until(found, within)

    def taken_over(self, since: float, gone: Candidate) -> float:
        """Seconds from an instant until another candidate than the one that is gone said that it leads."""
        other = self.leader(other_than=gone)
        return min(span.first for span in other.diary.spans().values() if span.first > since) - since

    def spans(self) -> Mapping[int, Span]:
        """When there was a leader, by epoch; fails if two led in the same one."""
        found: dict[int, Span] = {}
        for candidate in self.everyone:
            noted = candidate.diary.spans()
            assert not found.keys() & noted.keys()
            found |= noted
        return found

    def overlap(self) -> float:
        """By how many seconds, at most, one said that it leads after the next one had said so."""
        spans = [span for _, span in sorted(self.spans().items())]
        return max((earlier.last - later.first for earlier, later in pairwise(spans)), default=float("-inf"))

    def close(self) -> None:
        """End all of them."""
        for candidate in self.everyone:
            if candidate.process.is_alive():
                candidate.kill()
            candidate.process.close()
            candidate.diary.close()


@contextmanager
def election(address: str, directory: Path, *, seconds: float, candidates: int = 3) -> Iterator[Election]:
    """Candidates that try until the block ends, once the first of them leads."""
    directory.mkdir(exist_ok=True)
    with_store = open_store(address)
    with_store.prepare()
    with_store.close()
    held = Election(address, directory, seconds)
    try:
        for _ in range(candidates):
            held.join()
        held.leader()
        yield held
    finally:
        held.close()


def until(condition: Callable[[], Found | None], within: float = 20) -> Found:
    """What a condition finds, once it finds something."""
    deadline = time.monotonic() + within
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.002)
    return found
