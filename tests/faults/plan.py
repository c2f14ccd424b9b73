"""Which requests to an API server go wrong, and how: by chance from a seed, or the n-th of its kind.

What chance decides depends on the seed and on the request alone (verb, kind, name, and how often it was made before),
not on what other threads ask meanwhile. So a seed that failed fails again, and the log says what happened to whom.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from random import Random
from typing import Literal

Verb = Literal["get", "list", "watch", "create", "patch", "delete", "other"]
"""What is done, in the words of Kubernetes' access rules."""


class Fault(Enum):
    """What can happen to a request."""

    INTERNAL_ERROR = "500"
    UNAVAILABLE = "503"
    TOO_MANY_REQUESTS = "429"
    """With `RETRY_AFTER`."""
    NOT_FOUND = "404"
    """The object is not there, says the server; never of a deletion, where nobody could survive the lie."""
    CONFLICT = "409"
    UNPROCESSABLE = "422"
    EXPIRED = "410"
    """Of the rest of a list, or of a watch."""
    EXPIRED_EVENT = "410 as an event"
    RESET_BEFORE = "reset before the server heard of it"
    RESET_AFTER = "reset after the server did it"
    STALL_BEFORE = "no answer, and the server never heard of it"
    STALL_AFTER = "no answer, and the server did it"
    HALF_A_BODY = "half a body"
    HALF_AN_EVENT = "half an event"
    SILENCE = "a watch that goes silent"
    NOTHING = "a watch that ends at once, in order, and tells nothing"


RETRY_AFTER = 1
"""Seconds that a server with too many requests asks for."""

ALL = frozenset(Fault)

ANSWERS = frozenset(
    {
        Fault.INTERNAL_ERROR,
        Fault.UNAVAILABLE,
        Fault.TOO_MANY_REQUESTS,
        Fault.NOT_FOUND,
        Fault.CONFLICT,
        Fault.UNPROCESSABLE,
        Fault.EXPIRED,
        Fault.EXPIRED_EVENT,
    }
)
"""Those where the server answers, and does not do it."""

BREAKS = ALL - ANSWERS
"""Those where nobody knows whether it was done."""

_VERBS: Mapping[Fault, frozenset[Verb]] = {
    Fault.NOT_FOUND: frozenset({"get", "create", "patch"}),
    Fault.CONFLICT: frozenset({"create", "patch"}),
    Fault.UNPROCESSABLE: frozenset({"create", "patch"}),
    Fault.EXPIRED: frozenset({"list", "watch"}),
    Fault.EXPIRED_EVENT: frozenset({"watch"}),
    Fault.HALF_A_BODY: frozenset({"get", "list", "create", "patch", "delete"}),
    Fault.HALF_AN_EVENT: frozenset({"watch"}),
    Fault.SILENCE: frozenset({"watch"}),
    Fault.NOTHING: frozenset({"watch"}),
}
"""Of a fault that is not among them, every verb may suffer."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request.

    Attributes:
        verb: What is done.
        kind: To what kind of object, in the plural as in the path: ``deployments``.
        name: To which, or empty for many.
        continued: Whether it asks for a further page of a list.
    """

    verb: Verb
    kind: str
    name: str = ""
    continued: bool = False

    def may_suffer(self, fault: Fault) -> bool:
        """Whether this can happen to it."""
        if fault is Fault.EXPIRED and self.verb == "list" and not self.continued:
            return False
        return self.verb in _VERBS.get(fault, frozenset({self.verb}))


@dataclass(frozen=True, slots=True)
class Once:
    """A fault for the n-th request of a verb and a kind, counted from 1."""

    fault: Fault
    verb: Verb
    kind: str
    n: int = 1


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided about a request.

    Attributes:
        asked: The request.
        n: How often the very same was asked for, this time included.
        fault: What happens to it, or None.
        events: Of a watch, how many events come before that.
    """

    asked: Asked
    n: int
    fault: Fault | None
    events: int = 0

    def __str__(self) -> str:
        what = f"{self.asked.verb} {self.asked.kind}/{self.asked.name or '*'} #{self.n}"
        return f"{what}: {self.fault.value if self.fault else 'as it is'}"


@dataclass
class Plan:
    """Decides about each request; safe to share between threads.

    Attributes:
        seed: Of what chance decides.
        odds: The probability of each fault, for requests that may suffer it; together at most 1.
        once: What happens whatever chance says.
        latency: Seconds by which every answer is late.
        log: What was decided, in the order of the requests.
    """

    seed: int = 0
    odds: Mapping[Fault, float] = field(default_factory=dict)
    once: Sequence[Once] = ()
    latency: float = 0.0
    log: list[Decision] = field(default_factory=list)
    _asked: Counter[Asked] = field(default_factory=Counter)
    _kinds: Counter[tuple[Verb, str]] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def decide(self, asked: Asked) -> Decision:
        """What happens to this request; asking again is another request."""
        with self._lock:
            self._asked[asked] += 1
            self._kinds[asked.verb, asked.kind] += 1
            n = self._asked[asked]
            scripted = [
                each.fault
                for each in self.once
                if (each.verb, each.kind, each.n) == (asked.verb, asked.kind, self._kinds[asked.verb, asked.kind])
            ]
            chance = Random(f"{self.seed} {asked.verb} {asked.kind} {asked.name} {n}")
            drawn = self._drawn(asked, chance.random())
            decision = Decision(asked, n, scripted[0] if scripted else drawn, chance.randrange(3))
            self.log.append(decision)
            return decision

    def _drawn(self, asked: Asked, point: float) -> Fault | None:
        for fault in Fault:
            point -= self.odds.get(fault, 0.0) if asked.may_suffer(fault) else 0.0
            if point < 0:
                return fault
        return None

    def faults(self) -> list[Decision]:
        """What went wrong so far."""
        return [decision for decision in self.log if decision.fault is not None]

    def told(self) -> str:
        """Seed and faults, for the message of a test that failed."""
        return "\n".join([f"seed {self.seed}:", *map(str, self.faults())])


def evenly(probability: float, faults: frozenset[Fault] = ALL) -> Mapping[Fault, float]:
    """That probability for one of these faults, whichever."""
    return dict.fromkeys(faults, probability / len(faults))
