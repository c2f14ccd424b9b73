"""A failure that recurs is reported once, then less and less often, and in the end that it is over. Pure."""

from __future__ import annotations

from typing import NamedTuple

FIRST_SECONDS = 1.0
LONGEST_SECONDS = 60.0
"""How long a failure that goes on is not said again: as long as it lasts, but no longer than this."""


class Outage(NamedTuple):
    """What was not possible for a while.

    Attributes:
        since: When it failed first.
        failures: How often it has failed.
        say_at: When it is said again.
    """

    since: float
    failures: int
    say_at: float


def fails(outage: Outage | None, now: float) -> tuple[Outage, bool]:
    """The outage after one more failure, and whether that is to be said.

    Args:
        outage: What it was before; None if all was well.
        now: Rising seconds.
    """
    if outage is None:
        return Outage(now, 1, now + FIRST_SECONDS), True
    if now < outage.say_at:
        return outage._replace(failures=outage.failures + 1), False
    again = min(LONGEST_SECONDS, max(FIRST_SECONDS, now - outage.since))
    return Outage(outage.since, outage.failures + 1, now + again), True
