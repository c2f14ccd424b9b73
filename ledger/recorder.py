"""The one door to the `eventsourcing` library: our storage as its application recorder.

The ledger appends through this class, so whatever works with the library's recorders works with ours; its shipped
conformance cases (`eventsourcing.tests.persistence`) run over every store. It adds what the library's own recorders
cannot do in one transaction: leaf and chain, request ids, sealed values (`Beside`).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from eventsourcing.persistence import ApplicationRecorder, IntegrityError, Notification, StoredEvent, Subscription

from ledger.clock import SystemClock
from ledger.errors import ConflictError
from ledger.store import NOTHING_BESIDE, Beside, NewRow, Row, Store

__all__ = ["LedgerRecorder", "StoredEvent", "StreamConflictError"]

POLL_SECONDS = 0.05
"""How often a subscription asks the store whether it has grown."""


class StreamConflictError(ConflictError, IntegrityError):
    """A version or request id is taken; both our error and the library's."""


class LedgerRecorder(ApplicationRecorder):
    """Reads and appends stored events of a ledger, positions being the library's notification ids."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        """Append events; their positions, or None for no events. `kwargs` are those of `append`."""
        if not stored_events:
            return None
        return [row.position for row in self.append(stored_events, **kwargs)]

    def append(
        self, stored_events: Sequence[StoredEvent], *, clock_us: int | None = None, beside: Beside = NOTHING_BESIDE
    ) -> Sequence[Row]:
        """Append events in one durable transaction; the lines as they were recorded.

        Raises:
            StreamConflictError: A version or the request id is taken; nothing was written.
        """
        rows = [
            NewRow(_stream(event.originator_id), event.originator_version, event.topic, event.state)
            for event in stored_events
        ]
        clock_us = SystemClock().now_us() if clock_us is None else clock_us
        try:
            return self.store.append(rows, clock_us=clock_us, beside=beside)
        except ConflictError as error:
            raise StreamConflictError(error.message) from error

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        """Events of one stream by version."""
        after = -1 if gt is None else gt
        rows = self.store.stream(_stream(originator_id), after=after, upto=lte, descending=desc, limit=limit)
        return [
            StoredEvent(
                originator_id=UUID(bytes=row.stream),
                originator_version=row.version,
                topic=row.topic,
                state=row.state,
            )
            for row in rows
        ]

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        """Events of all streams by position, at most `limit`; only those of the topics, if any are named."""
        position = 1 if start is None else start if inclusive_of_start else start + 1
        found: list[Notification] = []
        while len(found) < limit:
            rows = self.store.positions(position, stop, limit=limit)
            found += [_notification(row) for row in rows if not topics or row.topic in topics]
            if len(rows) < limit:
                break
            position = rows[-1].position + 1
        return found[:limit]

    def max_notification_id(self) -> int | None:
        """The newest position, or None for an empty ledger."""
        return self.store.head().position or None

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> Subscription[ApplicationRecorder]:
        """Events above a position, as they come; blocks after the newest until there is one more."""
        return _Subscription(recorder=self, gt=gt, topics=topics)


class _Subscription(Subscription[LedgerRecorder]):
    """Follows the ledger by asking whether it grew. A stop ends the wait at once."""

    def __init__(self, recorder: LedgerRecorder, gt: int | None = None, topics: Sequence[str] = ()) -> None:
        super().__init__(recorder=recorder, gt=gt, topics=topics)
        self._page: list[Notification] = []
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End the iteration, even while it waits."""
        super().stop()
        self._stopped.set()

    def __next__(self) -> Notification:
        while not self._stopped.is_set():
            if self._page:
                notification = self._page.pop(0)
                self._last_notification_id = notification.id
                return notification
            version = self._recorder.store.data_version()
            self._page = list(
                self._recorder.select_notifications(
                    self._last_notification_id or 0, 500, topics=self._topics, inclusive_of_start=False
                )
            )
            if not self._page:
                self._wait_for_change(version)
        raise StopIteration

    def _wait_for_change(self, version: object) -> None:
        while self._recorder.store.data_version() == version and not self._stopped.wait(POLL_SECONDS):
            pass


def _stream(originator_id: UUID | str) -> bytes:
    return originator_id.bytes if isinstance(originator_id, UUID) else UUID(originator_id).bytes


def _notification(row: Row) -> Notification:
    return Notification(
        originator_id=UUID(bytes=row.stream),
        originator_version=row.version,
        topic=row.topic,
        state=row.state,
        id=row.position,
    )
