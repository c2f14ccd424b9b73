"""Recording what the effects side saw: facts in the app's second stream, which conflict with no decision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ledger.app import fold
from ledger.codec import recorded
from ledger.errors import LedgerUnavailableError, OutcomeUnknownError
from ledger.store import NOTHING_BESIDE, Beside
from ledger.streams import LEDGER_STREAM
from ledger.writer import ATTEMPTS, Draft, LedgerWriter, about, until_first

if TYPE_CHECKING:
    from collections.abc import Callable

    from ledger.app import App
    from ledger.events import ObservedEvent
    from ledger.request import Request
    from ledger.spec import AppId


class FactWriter(LedgerWriter):
    """The ledger for the effects side: it reads, opens what is sealed, and records what it observed. Decides nothing."""

    def observe(
        self,
        app_id: AppId,
        request: Request,
        make: Callable[[App], tuple[str, ObservedEvent, int] | None],
        *,
        texts: bool = False,
    ) -> App:
        """Record a fact in the app's second stream, unless it is not news any more.

        Args:
            app_id: The app it is about.
            request: The request on whose behalf the effects side looked.
            make: From the app as it is now to the life's deployment id, the fact, and the position that caused it;
                None if there is nothing to record. Nor is there if the app has no event at that position any more, or
                newer than it, since the ledger was put back meanwhile. Called again when another writer was first.
            texts: Whether the fact holds texts of the app; it is then made anew if one was redacted since the app was read.

        Raises:
            LedgerBusyError, LedgerEndedError: The fact was not recorded.
            LedgerUnavailableError: The fact may or may not be recorded; nothing else is in doubt.
        """

        def attempt() -> App:
            known = self.store.stream_version(LEDGER_STREAM.bytes) if texts else None
            app = self.app(app_id)
            made = make(app)
            if made is None:
                return app
            deployment_id, event, causation = made
            if causation > app.head:
                return app
            beside = Beside(unchanged=(LEDGER_STREAM.bytes, known)) if known is not None else NOTHING_BESIDE
            line = (app.observed, app.observed_version + 1, event, about(app_id, deployment_id))
            try:
                rows = self._append(Draft([line], beside), request, causation=causation)
            except OutcomeUnknownError as error:
                # What was asked for is not in doubt, and what was seen can be seen again.
                raise LedgerUnavailableError(
                    f'what was observed of app "{app_id.name}" may or may not be recorded: {error.failed}',
                    hint="Nothing else was recorded. The next command on the app looks again.",
                ) from error
            return fold(app, map(recorded, rows))

        lost = f'other observers were first {ATTEMPTS} times for app "{app_id.name}"'
        return until_first(attempt, lost=lost, hint=None)
