"""Appending to the ledger: events with their envelopes, each behind the version that it was decided at.

Whoever loses a race for a version reads anew, decides anew and appends again: `until_first`.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar

from ledger.clock import Clock, SystemClock, iso
from ledger.codec import encode
from ledger.envelope import Envelope, Subject
from ledger.errors import ConflictError, OutcomeUnknownError
from ledger.secret_reader import SecretReader
from ledger.store import NOTHING_BESIDE, Beside
from ledger.text import Lines

if TYPE_CHECKING:
    from ledger.events import Event
    from ledger.keys import KeyFiles
    from ledger.request import Request
    from ledger.spec import AppId
    from ledger.store import ModelStore, Row

T = TypeVar("T")

ATTEMPTS = 50
"""How often whoever appends begins again when others are first; each time something of theirs was recorded."""


def until_first(
    attempt: Callable[[], T],
    *,
    lost: str = "other writers were always first",
    hint: str | None = "Nothing was recorded. Try again.",
) -> T:
    """What an attempt to append leads to, begun again from reading on as long as other writers are first.

    Args:
        attempt: Reads, decides and appends; leaves nothing behind when it raises ConflictError.
        lost: What is said if others were first in each of `ATTEMPTS` attempts.
        hint: What to do then.

    Raises:
        ConflictError: They were; nothing was recorded.
    """
    for _ in range(ATTEMPTS):
        with suppress(ConflictError):
            return attempt()
    raise ConflictError(lost, hint=hint)


NewLine: TypeAlias = "tuple[uuid.UUID, int, Event, Subject | None]"
"""A line to append: its stream, its version there, the event, and what it is about."""


class Founded(NamedTuple):
    """A ledger that a draft would bring into being, and the effects identity made for it."""

    ledger_id: str
    identity: str


@dataclass(slots=True)
class Draft:
    """Lines to append, with what belongs beside them."""

    lines: list[NewLine]
    beside: Beside = NOTHING_BESIDE
    founded: Founded | None = None


def about(app_id: AppId, deployment_id: str) -> Subject:
    """What a line of an app is about: the app, and the life by its deployment id; empty before the first."""
    return Subject(cluster=app_id.cluster, namespace=app_id.namespace, app=app_id.name, deployment_id=deployment_id)


class LedgerWriter(SecretReader):
    """What all that is recorded has in common, whatever it says.

    Args:
        store: Where the ledger is kept.
        keys: The key files of this machine.
        clock: Tells the time.
    """

    def __init__(self, store: ModelStore, keys: KeyFiles, *, clock: Clock | None = None) -> None:
        super().__init__(store, keys)
        self._clock = clock or SystemClock()
        self._clock_at_append = 0

    def _append_answer(self, draft: Draft, request: Request, *, causation: int | None = None) -> Sequence[Row]:
        """Append what answers a request that is remembered with it; whoever asks can find out if it was recorded."""
        try:
            return self._append(draft, request, causation=causation)
        except OutcomeUnknownError as error:
            raise OutcomeUnknownError(error.failed, hint=_how_to_find_out(request.request_id)) from error

    def _append(self, draft: Draft, request: Request, *, causation: int | None = None) -> Sequence[Row]:
        from ledger.recorder import LedgerRecorder, StoredEvent  # noqa: PLC0415 - reading commands need not import it

        self._clock_at_append = self._clock.now_us()
        stored = [
            StoredEvent(
                originator_id=stream,
                originator_version=version,
                topic=type(event).__name__,
                state=encode(event, self._envelope(request, subject, causation)),
            )
            for stream, version, event, subject in draft.lines
        ]
        return LedgerRecorder(self.store).append(stored, clock_us=self._clock_at_append, beside=draft.beside)

    def _envelope(self, request: Request, subject: Subject | None, causation: int | None) -> Envelope:
        return Envelope(
            actor=request.actor,
            reason=request.reason,
            request_id=request.request_id,
            source=request.source,
            subject=subject,
            correlation_id=request.request_id,
            causation=causation,
            clock=iso(self._clock_at_append),
            salt=os.urandom(16).hex(),
        )


def _how_to_find_out(request_id: str) -> str:
    return Lines(
        f"Find out: 1ctl audit log --request-id {request_id}",
        f"Or repeat the very same command with --request-id {request_id}: it is recorded once.",
    )
