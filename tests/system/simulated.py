"""Parts of a whole system in one process: time that a test lets pass, a lease, and a cluster and a ledger that fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from random import Random
from typing import Literal, Self, TypeVar

from effects.cluster import (
    Change,
    Cluster,
    ClusterKind,
    ClusterRefusedError,
    ClusterUnreachableError,
    ExpiredError,
    Manifest,
    Page,
    Ref,
    Rollout,
    Seen,
    Watch,
    ref_of,
)
from ledger.errors import LedgerUnavailableError, OutcomeUnknownError
from ledger.lease import Trouble
from ledger.ledger import Ledger
from ledger.request import Request
from ledger.store import Row
from ledger.writer import Draft
from tests.effects.worlds import Killed

T = TypeVar("T")


class Time:
    """Seconds that only rise, and a time of day that somebody may set."""

    def __init__(self) -> None:
        self.seconds = 1_000.0
        self.set_by = 1_767_225_600.0

    def passes(self, seconds: float) -> None:
        self.seconds += seconds

    def rising(self) -> float:
        return self.seconds

    def cluster(self) -> float:
        """What the cluster's own clock shows; nobody sets that one."""
        return 1_767_225_600.0 + self.seconds

    def now_us(self) -> int:
        return int((self.set_by + self.seconds) * 1_000_000)


@dataclass
class Seat:
    """The lease's row: who leads, since when, and until when."""

    holder: int = 0
    epoch: int = 0
    until: float = 0.0


class SeatLease:
    """The `Lease` protocol over a seat."""

    def __init__(self, seat: Seat, time: Time, holder: int, seconds: float) -> None:
        self._seat = seat
        self._time = time
        self._holder = holder
        self._seconds = seconds
        self._until = 0.0
        self.epoch = self.head = 0

    @property
    def held(self) -> bool:
        return self._time.rising() < self._until

    def acquire(self) -> bool:
        if not self.held:
            if self._seat.until > self._time.rising():
                return False
            self._seat.holder, self._seat.epoch = self._holder, self._seat.epoch + 1
            self.epoch = self._seat.epoch
            self._extend()
        return True

    def renew(self, position: int, trouble: Trouble | None = None) -> bool:
        if (self._seat.holder, self._seat.epoch) != (self._holder, self.epoch):
            self._until = 0.0
            return False
        self._extend()
        return True

    def release(self) -> None:
        if (self._seat.holder, self._seat.epoch) == (self._holder, self.epoch):
            self._seat.until = 0.0
        self._until = 0.0

    def _extend(self) -> None:
        self._until = self._seat.until = self._time.rising() + self._seconds


class Fault(Enum):
    """What can happen to one call, of the cluster or of an append."""

    NO_ANSWER_BEFORE = "no answer, and it did not happen"
    NO_ANSWER_AFTER = "no answer, and it happened"
    REFUSED = "refused"
    EXPIRED = "expired"
    KILLED_BEFORE = "killed before it happened"
    KILLED_AFTER = "killed after it happened"
    STALLED = "others go on before it happens"


def _nothing() -> None:
    pass


class Weather:
    """Which of the next calls go wrong.

    Attributes:
        meanwhile: What others do while a call is stalled.
        fired: Which faults happened to what, in order.
    """

    def __init__(self) -> None:
        self.meanwhile: Callable[[], None] = _nothing
        self.fired: list[tuple[Fault, str]] = []
        self._armed: dict[int, Fault] = {}
        self._calls = 0
        self._inside = False

    def arm(self, fault: Fault, after: int) -> None:
        """Let it happen to the call after that many others."""
        self._armed[self._calls + after + 1] = fault

    def clear(self) -> None:
        """Let nothing go wrong any more."""
        self._armed.clear()

    def at(self, call: str) -> Fault | None:
        """What happens to this call; a call that was made while another one is stalled is spared."""
        if self._inside:
            return None
        self._calls += 1
        fault = self._armed.pop(self._calls, None)
        if fault is Fault.STALLED and not call.startswith(("apply", "replace parts", "delete")):
            self._armed.setdefault(self._calls + 1, fault)  # what is late and changes nothing harms nobody
            return None
        if fault is not None:
            self.fired.append((fault, call))
        return fault

    def through(self, call: str, do: Callable[[], T], *, before: Exception, after: Exception, no: Exception) -> T:
        """The call's answer, if it has one.

        Args:
            call: What is done, for people.
            do: Does it.
            before: Raised where there is no answer and it did not happen.
            after: Raised where there is no answer and it happened.
            no: Raised where the answer is no.
        """
        match self.at(call):
            case Fault.NO_ANSWER_BEFORE:
                raise before
            case Fault.NO_ANSWER_AFTER:
                do()
                raise after
            case Fault.REFUSED | Fault.EXPIRED:
                raise no
            case Fault.KILLED_BEFORE:
                raise Killed
            case None:
                pass
            case Fault.KILLED_AFTER:
                do()
                raise Killed
            case Fault.STALLED:
                self._inside = True
                try:
                    self.meanwhile()
                finally:
                    self._inside = False
        return do()


class WeatherLedger(Ledger):
    """A ledger of which an append may go wrong."""

    weather: Weather

    def _append(self, draft: Draft, request: Request, *, causation: int | None = None) -> Sequence[Row]:
        return self.weather.through(
            "append",
            lambda: super(WeatherLedger, self)._append(draft, request, causation=causation),
            before=LedgerUnavailableError("the disk cannot be read: a test"),
            after=OutcomeUnknownError("a test broke the append"),
            no=LedgerUnavailableError("the disk cannot be written: a test"),
        )


Telling = Literal["all", "lost", "twice", "shuffled"]
"""What becomes of the events of a watch, or of the wake-ups by a ledger."""


def told(events: Sequence[T], how: Telling, chance: Random) -> list[T]:
    """The events as they arrive."""
    match how:
        case "all":
            return list(events)
        case "lost":
            return [event for event in events if chance.random() < 0.5]
        case "twice":
            return [event for event in events for _ in range(chance.randint(1, 2))]
        case "shuffled":
            return chance.sample(list(events), len(events))


class ToldWatch:
    """The `Watch` protocol over what has happened up to now."""

    def __init__(self, changes: Sequence[Change]) -> None:
        self._left = list(reversed(changes))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Change]:
        return self

    def __next__(self) -> Change:
        if not self._left:
            raise StopIteration
        return self._left.pop()

    def close(self) -> None:
        self._left.clear()


@dataclass
class WeatherCluster:
    """A cluster as one worker reaches it: calls go wrong, and a watch does not tell everything.

    Attributes:
        real: The cluster.
        weather: Which calls go wrong.
        chance: Decides which events of a watch arrive.
        wrote: Called around each write that reaches the cluster: with what is written, before; what it returns, after.
        telling: What becomes of the events of the next watches; None: they arrive as they happen.
        writes: How many writes reached the cluster.
    """

    real: Cluster
    weather: Weather
    chance: Random
    wrote: Callable[[str, Ref], Callable[[], None]]
    telling: Telling | None = "all"
    writes: int = 0
    kind: ClusterKind = "sandbox"
    name: str = field(default="test")

    def namespace_exists(self, namespace: str) -> bool:
        return self.real.namespace_exists(namespace)

    def look(self, ref: Ref, *, ledger_id: str) -> Seen | None:
        return self._call(f"look {ref}", lambda: self.real.look(ref, ledger_id=ledger_id))

    def read(self, ref: Ref) -> Manifest | None:
        return self._call(f"read {ref}", lambda: self.real.read(ref))

    def pages(self, kind: str, namespace: str, *, ledger_id: str, limit: int = 500) -> Iterator[Page]:
        return self._call(f"list {kind}", lambda: self.real.pages(kind, namespace, ledger_id=ledger_id, limit=limit))

    def watch(self, kind: str, namespace: str, *, ledger_id: str, since: str) -> Watch:
        def changes() -> list[Change]:
            with self.real.watch(kind, namespace, ledger_id=ledger_id, since=since) as watch:
                return list(watch)

        if self.telling is None:
            return self._call(
                f"watch {kind}", lambda: self.real.watch(kind, namespace, ledger_id=ledger_id, since=since)
            )
        *events, last = self._call(f"watch {kind}", changes)
        return ToldWatch([*told(events, self.telling, self.chance), last])

    def apply(self, manifest: Manifest, *, manager: str, expect: Seen | None, force: bool = False) -> Seen:
        ref = ref_of(manifest)

        def do() -> Seen:
            done = self.wrote("apply", ref)
            seen = self.real.apply(manifest, manager=manager, expect=expect, force=force)
            self.writes += 1
            done()
            return seen

        return self._call(f"apply {ref}", do)

    def replace_parts(self, ref: Ref, patch: Manifest, *, manager: str, expect: Seen) -> Seen:
        def do() -> Seen:
            done = self.wrote("apply", ref)
            seen = self.real.replace_parts(ref, patch, manager=manager, expect=expect)
            self.writes += 1
            done()
            return seen

        return self._call(f"replace parts {ref}", do)

    def delete(self, ref: Ref, *, uid: str | None) -> None:
        def do() -> None:
            done = self.wrote("delete", ref)
            self.real.delete(ref, uid=uid)
            self.writes += 1
            done()

        self._call(f"delete {ref}", do)

    def rollout(self, ref: Ref) -> Rollout | None:
        return self._call(f"rollout {ref}", lambda: self.real.rollout(ref))

    def logs(self, namespace: str, pod: str, *, lines: int) -> Sequence[str]:
        return self.real.logs(namespace, pod, lines=lines)

    def close(self) -> None:
        pass

    def _call(self, call: str, do: Callable[[], T]) -> T:
        lists = call.startswith(("list", "watch"))
        return self.weather.through(
            call,
            do,
            before=ClusterUnreachableError("the cable was cut by a test"),
            after=ClusterUnreachableError("the cable was cut by a test, too late"),
            no=ExpiredError("too old") if lists else ClusterRefusedError("a test said no", status=403, reason="Quota"),
        )
