"""How long a command that waits may take: one span, however much of it goes by before what is asked for is applied."""

from __future__ import annotations

import time
from typing import NamedTuple


class Deadline(NamedTuple):
    """The end of a span of time.

    Attributes:
        seconds: The whole span, as it was asked for.
        until: When it ends, by the monotonic clock.
    """

    seconds: float
    until: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """That of a span that begins now."""
        return cls(seconds, time.monotonic() + seconds)

    @property
    def left(self) -> float:
        """Seconds until then; 0 afterwards."""
        return max(0.0, self.until - time.monotonic())
