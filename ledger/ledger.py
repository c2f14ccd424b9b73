"""The ledger: load an app, decide, append; and answer what was recorded.

Every command takes the same five beats: was this request recorded before? load the app at its version; mint what
chance and cryptography must make; decide; append at the expected version. Whoever loses a race begins again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ledger.app import App, Life, fold, open_life
from ledger.codec import recorded
from ledger.commands import Command, MarkBad, Restore, Rollback, Unmark
from ledger.decide import decide, retried
from ledger.envelope import Recorded, Source, Subject
from ledger.errors import LedgerDamagedError
from ledger.events import (
    AppEvent,
    ApplyRetried,
    Deployed,
    Destroyed,
    DomainAssigned,
    DomainClaimed,
    DomainReleased,
    Event,
    ObjectAdopted,
)
from ledger.fact_writer import FactWriter
from ledger.minting import MakeBeside, imagine, mint
from ledger.own_stream import OwnStreamWriter
from ledger.pages import lines
from ledger.request import Request, refuse_other, refuse_other_reason, request_row
from ledger.spec import AppId
from ledger.store import ModelStore, RequestRow
from ledger.streams import LEDGER_STREAM, app_stream, domain_stream
from ledger.writer import ATTEMPTS, Draft, NewLine, about, until_first

if TYPE_CHECKING:
    from ledger.clock import Clock
    from ledger.keys import KeyFiles


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a command led to.

    Attributes:
        app: The app after it; after a repeated request, the app as it is now.
        recorded: The app's events that answer the request, in order; none if there was nothing to change.
        repeated: Whether the request had been recorded before.
        clock_behind_us: By how many microseconds this machine's clock is behind the ledger's newest event.
    """

    app: App
    recorded: Sequence[Recorded]
    repeated: bool = False
    clock_behind_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a command would lead to.

    Attributes:
        events: What would be recorded for the app, in order. Values that chance makes are placeholders.
        claims: What would be recorded after it for host names.
        before: The app as it is.
        after: The app as it would be.
    """

    events: Sequence[AppEvent]
    claims: Sequence[Event] = ()
    before: App
    after: App


class Ledger(OwnStreamWriter, FactWriter):
    """One ledger, as its users and its effects side use it.

    Args:
        store: Where it is kept.
        keys: The key files of this machine.
        mint_domain: Makes a new random host name.
        clock: Tells the time.
    """

    def __init__(
        self, store: ModelStore, keys: KeyFiles, *, mint_domain: Callable[[], str], clock: Clock | None = None
    ) -> None:
        super().__init__(store, keys, clock=clock)
        self._mint_domain = mint_domain

    def execute(
        self,
        app_id: AppId,
        command: Command,
        request: Request,
        *,
        secret_values: Mapping[str, bytes] | None = None,
        life: str | None = None,
        asked: Command | None = None,
    ) -> Outcome:
        """Decide a command and record what it leads to, durably.

        Args:
            app_id: The app it is about.
            command: What is asked for.
            request: Who asks and why. The same id and command again give the first answer and record nothing; what led
                to no event was not recorded and is decided again.
            secret_values: For commands that set secrets: the values by key. They leave this function only sealed.
            life: Deployment id of the open life that is meant; None means whichever is open. Like a version that is
                expected, it is no part of what is asked for: a repetition is known without it.
            asked: The command as it was asked for, if what it left open was settled since: a repetition is known by it.

        Raises:
            AppNotFoundError: Another life is open than the one that is meant, or none; nothing was recorded.
            RefusedError: A rule says no; nothing was recorded.
            RequestReusedError: The request id stands for another request.
            LedgerBusyError, LedgerUnavailableError: Nothing was recorded.
            OutcomeUnknownError: Repeat with the same request id to find out.
        """
        wanted = asked or command

        def attempt() -> Outcome:
            prior = self.store.request(request.request_id)
            if prior is not None:
                return self._repeated(app_id, wanted, request, prior)
            known = self.store.stream_version(LEDGER_STREAM.bytes) if isinstance(command, Rollback | Restore) else None
            app = self.app(app_id)
            if life is not None:
                open_life(app, life)
            minted, make_beside = mint(self, app, command, secret_values or {}, mint_domain=self._mint_domain)
            events = decide(command, app, minted)
            if not events:
                return Outcome(app=app, recorded=())
            draft = self._draft(app, events, make_beside, request_row(request, app_id, wanted))
            if known is not None:  # what is recorded once more must not have been redacted since it was read
                draft.beside = replace(draft.beside, unchanged=(LEDGER_STREAM.bytes, known))
            with self._withdrawing(draft):
                return self._append_command(app, draft, request)

        return until_first(attempt, lost=f'other writers were first {ATTEMPTS} times for app "{app_id.name}"')

    def plan(self, app_id: AppId, command: Command, *, secret_values: Mapping[str, bytes] | None = None) -> Plan:
        """What a command would lead to if it were executed now. Records nothing, makes no key, seals nothing.

        Args:
            app_id: The app it is about.
            command: What is asked for.
            secret_values: As for `execute`; without them, their sizes are not checked.

        Raises:
            RefusedError: It would be refused.
        """
        app = self.app(app_id)
        events = decide(command, app, imagine(self, app, command, secret_values or {}))
        about_names = self._claims(app, events, about(app.id, _deployment_id(app, events))) if events else ()
        claims = [event for _, _, event, _ in about_names]
        return Plan(events=events, claims=claims, before=app, after=fold(app, self._imagined(app, events)))

    def _imagined(self, app: App, events: Sequence[AppEvent]) -> Iterator[Recorded]:
        """The events as if they had been recorded next."""
        subject = about(app.id, _deployment_id(app, events)) if events else None
        source = Source(program="", host="")
        request = Request(request_id="dry-run", actor="", source=source)
        position = self.store.head().position
        for offset, event in enumerate(events, start=1):
            envelope = self._envelope(request, subject, None)
            yield Recorded(position + offset, app.stream, app.version + offset, self._clock.now_us(), envelope, event)

    def _repeated(self, app_id: AppId, command: Command, request: Request, prior: RequestRow) -> Outcome:
        refuse_other(prior, app_id, command)
        rows = lines(self.store, prior.first_position, prior.last_position)
        stream = app_stream(app_id).bytes
        answer = [recorded(row) for row in rows if row.stream == stream]
        if not answer:
            raise LedgerDamagedError(
                f"what the request {request.request_id!r} led to is not at positions {prior.first_position} to"
                f" {prior.last_position}, as the ledger says",
                hint="See what else is wrong: 1ctl audit verify",
            )
        if isinstance(command, MarkBad | Unmark):
            refuse_other_reason(prior, answer[0].envelope.reason, request.reason)
        return Outcome(app=self.app(app_id), recorded=answer, repeated=True)

    def _draft(self, app: App, events: Sequence[AppEvent], make_beside: MakeBeside, request: RequestRow) -> Draft:
        """The app's events, what else has to be recorded with them, and the ledger's own first events if it is new."""
        subject = about(app.id, _deployment_id(app, events))
        known = self.identity()
        if known is not None:
            draft, beside = Draft([]), make_beside(known.public_key, known.version)
        else:
            draft, founded = self._founding()
            beside = make_beside(founded.identity, 0)
        draft.beside = replace(beside, request=request)
        for offset, event in enumerate(events, start=1):
            draft.lines.append((app.stream, app.version + offset, event, subject))
        draft.lines += self._claims(app, events, subject)
        return draft

    def _claims(self, app: App, events: Sequence[AppEvent], subject: Subject) -> Iterator[NewLine]:
        for event in events:
            if isinstance(event, DomainAssigned):
                stream = domain_stream(event.domain)
                yield stream, 1, DomainClaimed(domain=event.domain), subject
        ended = _ended(app, events)
        if ended is not None and ended.domain is not None:
            stream = domain_stream(ended.domain)
            version = self.store.stream_version(stream.bytes)
            yield stream, version + 1, DomainReleased(domain=ended.domain), subject

    def _append_command(self, app: App, draft: Draft, request: Request) -> Outcome:
        rows = self._append_answer(draft, request)
        behind = rows[-1].recorded_us - self._clock_at_append
        lines = [recorded(row) for row in rows if row.stream == app.stream.bytes]
        return Outcome(app=fold(app, lines), recorded=lines, clock_behind_us=max(0, behind))


def _deployment_id(app: App, events: Sequence[AppEvent]) -> str:
    opening = events[0]
    if isinstance(opening, Deployed):
        return opening.deployment_id
    life = retried(app) if isinstance(opening, ApplyRetried) else app.life
    if life is None:  # only an object can be adopted before there is a life
        assert isinstance(opening, ObjectAdopted)
        return ""
    return life.deployment_id


def _ended(app: App, events: Sequence[AppEvent]) -> Life | None:
    return app.life if any(isinstance(event, Destroyed) for event in events) else None
