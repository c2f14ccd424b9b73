"""How long to wait before trying again: longer each time, partly random, and no less than a server asks for. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Exponential back-off, half of it random: many that failed at once do not come back at once.

    Attributes:
        first: Seconds that the first wait takes at most.
        longest: Seconds that any wait takes at most, unless a server asks for more.
        longest_asked: Seconds that a server may ask for; one that is wrong about itself does not silence us for a day.
        chance: A number from 0 up to but not 1.
    """

    chance: Callable[[], float]
    first: float = 0.2
    longest: float = 30.0
    longest_asked: float = 60.0

    def delay(self, failures: int, *, retry_after: float | None = None) -> float:
        """Seconds to wait after so many failures in a row.

        Args:
            failures: 1 or more.
            retry_after: What the server asked for; it is kept up to `longest_asked`, and jitter comes on top.
        """
        ceiling = min(self.longest, self.first * 2.0 ** min(failures - 1, 32))
        waited = ceiling * (0.5 + 0.5 * self.chance())
        return waited if retry_after is None else min(retry_after, self.longest_asked) + waited
