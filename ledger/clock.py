"""Time enters through here, so that tests and simulations can bring their own."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

LATEST_US = 253_402_300_799_999_999
"""The last microsecond of the year 9999, since 1970-01-01 UTC: what is later cannot be written as a date."""


class Clock(Protocol):
    """Tells the time."""

    def now_us(self) -> int:
        """Microseconds since 1970-01-01 UTC."""


class SystemClock:
    """The machine's clock."""

    def now_us(self) -> int:
        """Microseconds since 1970-01-01 UTC."""
        return int(time.time() * 1_000_000)


def from_micros(micros: int) -> datetime:
    """The moment in UTC; exact."""
    return _EPOCH + timedelta(microseconds=micros)


def to_micros(moment: datetime) -> int:
    """Microseconds since 1970-01-01 UTC of an aware datetime; exact."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def iso(micros: int) -> str:
    """ISO 8601 in UTC with six decimals and ``Z``, e.g. ``2026-01-31T09:30:00.000000Z``."""
    return from_micros(micros).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


_ELAPSED = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def elapsed() -> float:
    """Seconds since some moment, by a clock that nobody sets.

    It goes on while a process is stopped and, unlike `time.monotonic` on Linux, while the machine sleeps.
    """
    return time.clock_gettime(_ELAPSED)
