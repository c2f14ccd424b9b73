"""Which release of a life is active while its history is folded, and which ones failed.

A failed restart does not fail the release, whose own pods were fine before. A completed one does heal it: pods of a
release that become ready, in whichever roll, show that the release runs.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

from ledger.events import Deployed, RolledBack, RolloutCompleted, RolloutFailed

if TYPE_CHECKING:
    from ledger.envelope import Recorded


class ReleaseStanding:
    """A life's releases; changed in place, so that an event costs the same after any number of releases.

    Releases that began before the history did are not known: nothing that is said about them changes anything.
    """

    def __init__(self) -> None:
        self._rolls: dict[int, int] = {}
        self._failed: set[int] = set()
        self._newest: list[int] = []  # a heap, newest first, of all that were not failed when they were put there

    @property
    def active(self) -> int | None:
        """The newest release that is not failed; when release 3 fails, release 2 is active again. None if all failed."""
        while self._newest and -self._newest[0] in self._failed:
            heappop(self._newest)
        return -self._newest[0] if self._newest else None

    def failed(self, release: int) -> bool:
        """Whether the newest fact about a release is that its own pods will not become ready."""
        return release in self._failed

    def ask(self, recorded: Recorded, event: Deployed | RolledBack) -> None:
        """A release begins."""
        self._rolls[event.release] = recorded.position
        heappush(self._newest, -event.release)

    def complete(self, event: RolloutCompleted) -> bool:
        """The release runs; whether it is known."""
        if event.release in self._failed:
            self._failed.remove(event.release)
            heappush(self._newest, -event.release)
        return event.release in self._rolls

    def fail(self, event: RolloutFailed) -> bool:
        """Its pods will not become ready; whether the roll is the release's own, so that the release failed."""
        own = self._rolls.get(event.release) == event.roll
        if own:
            self._failed.add(event.release)
        return own
