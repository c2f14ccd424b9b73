"""The ledger: load an app, decide, append; and answer what was recorded.

Every command takes the same five beats: was this request recorded before? load the app at its version; mint what
chance and cryptography must make; decide; append at the expected version. Whoever loses a race begins again.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from ledger import sealing, values
from ledger.app import App, Life, fold, open_life
from ledger.candidates import candidates, ended_life
from ledger.clock import Clock, SystemClock, iso
from ledger.codec import encode, recorded
from ledger.commands import (
    Command,
    Deploy,
    Destroy,
    LedgerCommand,
    MarkBad,
    PurgeSecret,
    Redact,
    Restore,
    Rollback,
    RotateKeys,
    SetSecrets,
)
from ledger.decide import Minted, decide, retried
from ledger.envelope import Envelope, Recorded, Source, Subject
from ledger.errors import (
    ConflictError,
    LedgerBusyError,
    LedgerDamagedError,
    LedgerEndedError,
    LedgerUnavailableError,
    OutcomeUnknownError,
    RefusedError,
    RequestReusedError,
)
from ledger.events import (
    AppEvent,
    ApplyRetried,
    Deployed,
    Destroyed,
    DomainAssigned,
    DomainClaimed,
    DomainReleased,
    Event,
    LedgerCreated,
    LedgerMoved,
    LedgerRestored,
    ObjectAdopted,
    ObservedEvent,
    Redacted,
    WorkerDisabled,
    WorkerEnabled,
    WorkerIdentitySet,
)
from ledger.founding import origin_of
from ledger.pages import line_at, lines
from ledger.redaction import asks_for, redacted, signed, unsigned
from ledger.request import Request, request_digest
from ledger.secret_reader import SecretReader
from ledger.spec import BLANK, AppId, SecretVersion
from ledger.store import NOTHING_BESIDE, Beside, LifeKeyRow, LifeRow, ModelStore, RequestRow, Row, SealedRow
from ledger.streams import LEDGER_STREAM, app_stream, domain_stream
from ledger.text import Lines

if TYPE_CHECKING:
    from ledger.checkpoint import SigningKey
    from ledger.keys import KeyFiles

_MintedBeside: TypeAlias = tuple[Minted, Callable[[str, int], Beside]]
"""Makes the rows from the effects identity (public key, base64) and the version of the ledger's stream that names it."""

ATTEMPTS = 50
"""How often a command begins again when others are first; each time someone else's command was recorded."""


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
        before: The app as it is.
        after: The app as it would be.
    """

    events: Sequence[AppEvent]
    before: App
    after: App


_UNMINTED = "00000000-0000-0000-0000-000000000000"
"""Deployment id of a life that is only imagined."""


class _Founded(NamedTuple):
    """A ledger that a draft would bring into being, and the effects identity made for it."""

    ledger_id: str
    identity: str


@dataclass(slots=True)
class _Draft:
    """Lines to append, with what belongs beside them."""

    lines: list[tuple[uuid.UUID, int, Event, Subject | None]]
    beside: Beside
    founded: _Founded | None = None


class Ledger(SecretReader):
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
        super().__init__(store, keys)
        self._mint_domain = mint_domain
        self._clock = clock or SystemClock()
        self._clock_at_append = 0

    # -- Commands --------------------------------------------------------------------------------------------------

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
        for _ in range(ATTEMPTS):
            prior = self.store.request(request.request_id)
            if prior is not None:
                return self._repeated(app_id, asked or command, request, prior)
            app = self.app(app_id)
            if life is not None:
                open_life(app, life)
            minted, beside = self._mint(app, command, secret_values or {})
            events = decide(command, app, minted)
            if not events:
                return Outcome(app=app, recorded=())
            draft = self._draft(app, events, beside, self._digest(app_id, asked or command, request))
            try:
                return self._append_command(app, draft, request)
            except ConflictError:
                self._withdraw(draft)
            except (LedgerBusyError, LedgerEndedError, LedgerUnavailableError):
                self._withdraw(draft)
                raise
            except OutcomeUnknownError as error:
                raise OutcomeUnknownError(error.failed, hint=_how_to_find_out(request.request_id)) from error
        raise ConflictError(
            f'other writers were first {ATTEMPTS} times for app "{app_id.name}"',
            hint="Nothing was recorded. Try again.",
        )

    def plan(self, app_id: AppId, command: Command) -> Plan:
        """What a command would lead to if it were executed now. Records nothing, makes no key, seals nothing.

        Raises:
            RefusedError: It would be refused.
        """
        app = self.app(app_id)
        minted = Minted(deployment_id=_UNMINTED, domain="(random)", life_key="(new key)")
        if keys := _secret_keys(command):
            versions = app.life.secret_versions if app.life is not None else {}
            sealed = {key: SecretVersion(versions.get(key, 0) + 1, f"(sealed {key})") for key in keys}
            minted = replace(minted, sealed=sealed)
        if isinstance(command, Restore):
            minted = replace(minted, ended=ended_life(self, app, command.deployment_id))
        if isinstance(command, Rollback) and app.life is not None:
            minted = replace(minted, releases=candidates(self, app, command.version, only=command.only))
        events = decide(command, app, minted)
        return Plan(events=events, before=app, after=fold(app, self._imagined(app, events)))

    def create(self, request: Request) -> str:
        """Record the ledger's own first events, if it has none yet; its id. May be repeated, and run at once.

        The first write does the same by itself. A ledger that several machines share is made on purpose, where its
        signing key and effects identity are to lie.
        """
        for _ in range(ATTEMPTS):
            known = self.ledger_id()
            if known is not None:
                return known
            draft = self._founding()
            try:
                self._append(draft, request, causation=None)
            except ConflictError:
                self._withdraw(draft)
            except (LedgerBusyError, LedgerEndedError, LedgerUnavailableError):
                self._withdraw(draft)
                raise
        raise ConflictError("other writers were always first", hint="Nothing was recorded. Try again.")

    def observe(
        self, app_id: AppId, request: Request, make: Callable[[App], tuple[str, ObservedEvent, int] | None]
    ) -> App:
        """Record a fact in the app's second stream, unless it is not news any more.

        Args:
            app_id: The app it is about.
            request: The request on whose behalf the effects side looked.
            make: From the app as it is now to the life's deployment id, the fact, and the position that caused it;
                None if there is nothing to record. Called again when another writer was first.

        Raises:
            LedgerBusyError, LedgerEndedError: The fact was not recorded.
            LedgerUnavailableError: The fact may or may not be recorded; nothing else is in doubt.
        """
        for _ in range(ATTEMPTS):
            app = self.app(app_id)
            made = make(app)
            if made is None:
                return app
            deployment_id, event, causation = made
            subject = _subject(app_id, deployment_id)
            lines: list[tuple[uuid.UUID, int, Event, Subject | None]]
            lines = [(app.observed, app.observed_version + 1, event, subject)]
            try:
                rows = self._append(_Draft(lines, Beside()), request, causation=causation)
            except ConflictError:
                continue
            except OutcomeUnknownError as error:
                # What was asked for is not in doubt, and what was seen can be seen again.
                raise LedgerUnavailableError(
                    f'what was observed of app "{app_id.name}" may or may not be recorded: {error.failed}',
                    hint="Nothing else was recorded. The next command on the app looks again.",
                ) from error
            return fold(app, map(recorded, rows))
        raise ConflictError(f'other observers were first {ATTEMPTS} times for app "{app_id.name}"')

    def _imagined(self, app: App, events: Sequence[AppEvent]) -> Iterator[Recorded]:
        """The events as if they had been recorded next."""
        subject = _subject(app.id, _deployment_id(app, events)) if events else None
        source = Source(program="", host="")
        request = Request(request_id="dry-run", actor="", source=source)
        position = self.store.head().position
        for offset, event in enumerate(events, start=1):
            envelope = self._envelope(request, subject, None)
            yield Recorded(position + offset, app.stream, app.version + offset, self._clock.now_us(), envelope, event)

    # -- The ledger as a whole -----------------------------------------------------------------------------------------

    def redact(self, position: int, field: str, request: Request) -> Recorded:
        """Blank a field of one event for ever, keeping chain and proofs valid; the event that says so.

        Raises:
            RefusedError: There is no such position or field, or it is not free text.
            CheckpointError: The ledger's signing key is not here, or it is another ledger's; nothing was recorded.
        """
        command = Redact(position=position, field=field)
        for _ in range(ATTEMPTS):
            answered = self.answered(command, request)
            if answered is not None:
                return answered
            event, remaining = self.plan_redaction(position, field)
            event = signed(event, self._signing_key())
            version = self.store.stream_version(LEDGER_STREAM.bytes)
            blank = remaining == self._line(position).state  # then it is only signed now
            with suppress(ConflictError):
                return self._record(
                    event, command, request, version=version, redact=None if blank else (position, remaining)
                )
        raise ConflictError("other writers were always first", hint="Nothing was recorded. Try again.")

    def plan_redaction(self, position: int, field: str) -> tuple[Redacted, bytes]:
        """What `redact` would record, yet to be signed, and the bytes that would remain of the event. Records nothing.

        A redaction that nobody signed, as versions before 0.1.0 recorded them, is what it would sign.

        Raises:
            RefusedError: It would be refused.
        """
        row = self._line(position)
        doubtful = unsigned(self.store, position)
        if doubtful is None:
            return redacted(row, field)
        if doubtful.field != field:
            raise RefusedError(
                f'a redaction of "{doubtful.field}" at position {position} is not signed yet',
                hint=f"Sign it first: 1ctl ledger redact --position {position} --field {doubtful.field} --reason signed",
            )
        return doubtful, row.state

    def _line(self, position: int) -> Row:
        rows = self.store.positions(position, position, limit=1)
        if not rows:
            raise RefusedError(f"there is no position {position}", hint="See them: 1ctl audit log")
        return rows[0]

    def _signing_key(self) -> SigningKey:
        from ledger.checkpoint import load_signing_key  # noqa: PLC0415 - few commands sign
        from ledger.ledger_key import own_key  # noqa: PLC0415

        return own_key(self.store, load_signing_key(self._keys.signing_path(self.ledger_id() or "")))

    def set_identity(self, public_key: str, request: Request, *, version: int) -> Recorded:
        """Record whose key new lives are sealed to from here on.

        Args:
            public_key: X25519 public key, base64.
            request: Who asks to rotate keys, and why.
            version: The version of the ledger's own stream that this was decided at.

        Raises:
            ConflictError: Another writer was first; nothing was recorded.
        """
        return self._record(WorkerIdentitySet(public_key=public_key), RotateKeys(), request, version=version)

    def answered(self, command: LedgerCommand, request: Request) -> Recorded | None:
        """The event that answered this very request before, or None.

        Raises:
            RequestReusedError: The request id stands for another request.
            LedgerDamagedError: The event is missing.
        """
        prior = self.store.request(request.request_id)
        if prior is None:
            return None
        _refuse_other(prior, None, command)
        return recorded(line_at(self.store, prior.first_position))

    def _record(
        self,
        event: Redacted | WorkerIdentitySet,
        command: LedgerCommand,
        request: Request,
        *,
        version: int,
        redact: tuple[int, bytes] | None = None,
    ) -> Recorded:
        """Append an event to the ledger's own stream, behind that version of it."""
        forget = isinstance(event, Redacted) and asks_for(event.field)
        beside = Beside(request=self._digest(None, command, request), redact=redact, forget=forget)
        draft = _Draft([(LEDGER_STREAM, version + 1, event, None)], beside)
        try:
            return recorded(self._append(draft, request, causation=redact and redact[0])[0])
        except OutcomeUnknownError as error:
            raise OutcomeUnknownError(error.failed, hint=_how_to_find_out(request.request_id)) from error

    def mark(
        self,
        event: LedgerMoved | LedgerRestored | WorkerEnabled | WorkerDisabled,
        request: Request,
        *,
        beside: Beside = NOTHING_BESIDE,
    ) -> Recorded:
        """Record something about the ledger as a whole: where it goes on or came from, or who applies its effects.

        Raises:
            LedgerEndedError: Nothing is appended here any more.
        """
        for _ in range(ATTEMPTS):
            version = self.store.stream_version(LEDGER_STREAM.bytes) + 1
            draft = _Draft([(LEDGER_STREAM, version, event, None)], beside)
            try:
                return recorded(self._append(draft, request, causation=None)[0])
            except ConflictError:
                continue
        raise ConflictError("other writers were always first", hint="Nothing was recorded. Try again.")

    # -- The beats of a command ------------------------------------------------------------------------------------

    def _repeated(self, app_id: AppId, command: Command, request: Request, prior: RequestRow) -> Outcome:
        _refuse_other(prior, app_id, command)
        rows = lines(self.store, prior.first_position, prior.last_position)
        stream = app_stream(app_id).bytes
        answer = [recorded(row) for row in rows if row.stream == stream]
        if not answer:
            raise LedgerDamagedError(
                f"what the request {request.request_id!r} led to is not at positions {prior.first_position} to"
                f" {prior.last_position}, as the ledger says",
                hint="See what else is wrong: 1ctl audit verify",
            )
        if isinstance(command, MarkBad):
            _refuse_other_reason(prior, answer[0].envelope.reason, request.reason)
        return Outcome(app=self.app(app_id), recorded=answer, repeated=True)

    def _mint(self, app: App, command: Command, secret_values: Mapping[str, bytes]) -> _MintedBeside:
        """What the decision needs minted, and what makes the rows beside its events once it was taken."""
        life = app.life
        if isinstance(command, Deploy) and life is None:
            return self._mint_life(app.id, secret_values)
        if isinstance(command, Restore) and life is None:
            minted, beside = self._mint_life(app.id, secret_values)
            return replace(minted, ended=ended_life(self, app, command.deployment_id)), beside
        if life is not None and isinstance(command, Deploy | SetSecrets) and secret_values:
            self._check_secret_size(life, secret_values)
            assert life.life_key is not None
            sealed, rows = _seal(life.deployment_id, life.life_key, life.secret_versions, secret_values)
            return Minted(sealed=sealed), lambda *_: Beside(sealed=rows)
        if isinstance(command, Destroy) and life is not None:
            return Minted(), lambda *_: Beside(shred=life.deployment_id)
        if isinstance(command, PurgeSecret) and life is not None:
            return Minted(), lambda *_: Beside(purge=(life.deployment_id, command.key))
        if isinstance(command, Rollback) and life is not None:
            return Minted(releases=candidates(self, app, command.version, only=command.only)), lambda *_: NOTHING_BESIDE
        return Minted(), lambda *_: NOTHING_BESIDE

    def _mint_life(self, app_id: AppId, secret_values: Mapping[str, bytes]) -> _MintedBeside:
        values.check_size("secrets", {key: len(value) for key, value in secret_values.items()})
        deployment_id = str(uuid.uuid4())
        private, public = sealing.generate()
        sealed, rows = _seal(deployment_id, public, {}, secret_values)
        minted = Minted(deployment_id=deployment_id, domain=self._free_domain(), life_key=public, sealed=sealed)
        life = LifeRow(deployment_id, app_id.cluster, app_id.namespace, app_id.name, 0)

        def beside(identity: str, version: int) -> Beside:
            wrapped = sealing.wrap(private, deployment_id, identity)
            return Beside(
                life=life,
                life_key=LifeKeyRow(deployment_id, identity, wrapped),
                sealed=rows,
                # If it is wrapped for an identity that was replaced meanwhile, maybe nobody can open it any more.
                unchanged=(LEDGER_STREAM.bytes, version),
            )

        return minted, beside

    def _free_domain(self) -> str:
        while True:
            domain = self._mint_domain()
            version = self.store.stream_version(domain_stream(domain).bytes)
            if version == 0:  # a name is never given out twice: old links must not lead to something else
                return domain

    def _check_secret_size(self, life: Life, secret_values: Mapping[str, bytes]) -> None:
        stored = self.store.sealed_sizes(life.deployment_id) if life.secrets else {}
        sizes = {
            key: stored[key, secret.version] - sealing.OVERHEAD
            for key, secret in life.secrets.items()
            if (key, secret.version) in stored
        }
        values.check_size("secrets", {**sizes, **{key: len(value) for key, value in secret_values.items()}})

    def _digest(self, app_id: AppId | None, command: Command | LedgerCommand, request: Request) -> RequestRow:
        salt = os.urandom(16)
        return RequestRow(request.request_id, salt, request_digest(salt, app_id, command), 0, 0)

    def _draft(
        self, app: App, events: Sequence[AppEvent], beside: Callable[[str, int], Beside], request: RequestRow
    ) -> _Draft:
        """The app's events, what else has to be recorded with them, and the ledger's own first events if it is new."""
        subject = _subject(app.id, _deployment_id(app, events))
        known = self.identity()
        draft = _Draft([], NOTHING_BESIDE) if known else self._founding()
        if draft.founded is not None:
            rows = beside(draft.founded.identity, 0)
        else:
            assert known is not None
            rows = beside(known.public_key, known.version)
        draft.beside = replace(rows, request=request)
        for offset, event in enumerate(events, start=1):
            draft.lines.append((app.stream, app.version + offset, event, subject))
        draft.lines += self._claims(app, events, subject)
        return draft

    def _founding(self) -> _Draft:
        """The first events of a ledger that is yet to be, and the keys that they name."""
        ledger_id = str(uuid.uuid4())
        origin = origin_of(ledger_id)
        key = self._keys.make_signing_key(ledger_id, origin)
        founded = _Founded(ledger_id, self._keys.make_identity(ledger_id))
        draft = _Draft([], NOTHING_BESIDE, founded=founded)
        created = LedgerCreated(ledger_id=ledger_id, origin=origin, verification_key=key)
        draft.lines.append((LEDGER_STREAM, 1, created, None))
        draft.lines.append((LEDGER_STREAM, 2, WorkerIdentitySet(public_key=founded.identity), None))
        return draft

    def _claims(
        self, app: App, events: Sequence[AppEvent], subject: Subject
    ) -> Iterator[tuple[uuid.UUID, int, Event, Subject | None]]:
        for event in events:
            if isinstance(event, DomainAssigned):
                stream = domain_stream(event.domain)
                yield stream, 1, DomainClaimed(domain=event.domain), subject
        ended = _ended(app, events)
        if ended is not None and ended.domain is not None:
            stream = domain_stream(ended.domain)
            version = self.store.stream_version(stream.bytes)
            yield stream, version + 1, DomainReleased(domain=ended.domain), subject

    def _append_command(self, app: App, draft: _Draft, request: Request) -> Outcome:
        rows = self._append(draft, request, causation=None)
        behind = rows[-1].recorded_us - self._clock_at_append
        lines = [recorded(row) for row in rows if row.stream == app.stream.bytes]
        return Outcome(app=fold(app, lines), recorded=lines, clock_behind_us=max(0, behind))

    def _append(self, draft: _Draft, request: Request, *, causation: int | None) -> Sequence[Row]:
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

    def _withdraw(self, draft: _Draft) -> None:
        """Remove keys made for a new ledger, since nothing was recorded."""
        if draft.founded is not None:
            self._keys.forget_signing_key(draft.founded.ledger_id)
            self._keys.forget_identities(draft.founded.ledger_id, [draft.founded.identity])


def _refuse_other(prior: RequestRow, app_id: AppId | None, command: Command | LedgerCommand) -> None:
    if request_digest(prior.salt, app_id, command) != prior.digest:
        raise _reused(prior)


def _refuse_other_reason(prior: RequestRow, recorded: str | None, given: str | None) -> None:
    """The reason is part of what `MarkBad` asks for, but digests never held reasons, so it is compared by itself."""
    if recorded not in (given, BLANK):
        raise _reused(prior)


def _reused(prior: RequestRow) -> RequestReusedError:
    return RequestReusedError(
        f'request id "{prior.request_id}" was used for another request',
        hint="Nothing was recorded. Use a new id, or repeat the very same command.",
    )


def _how_to_find_out(request_id: str) -> str:
    return Lines(
        f"Find out: 1ctl audit log --request-id {request_id}",
        f"Or repeat the very same command with --request-id {request_id}: it is recorded once.",
    )


def _subject(app_id: AppId, deployment_id: str) -> Subject:
    return Subject(cluster=app_id.cluster, namespace=app_id.namespace, app=app_id.name, deployment_id=deployment_id)


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


def _secret_keys(command: Command) -> Sequence[str]:
    """The secrets that a command sets."""
    match command:
        case SetSecrets():
            return command.keys
        case Deploy() | Restore():
            return command.secret_keys
        case _:
            return ()


def _seal(
    deployment_id: str, life_key: str, versions: Mapping[str, int], secret_values: Mapping[str, bytes]
) -> tuple[dict[str, SecretVersion], list[SealedRow]]:
    """The values sealed to a life, each as its key's next version: what the event says, and what is stored."""
    sealed, rows = {}, []
    for key, value in secret_values.items():
        version = versions.get(key, 0) + 1
        ciphertext = sealing.seal_value(value, deployment_id, key, version, life_key)
        sealed[key] = SecretVersion(version, sha256(ciphertext).hexdigest())
        rows.append(SealedRow(deployment_id, key, version, ciphertext))
    return sealed, rows
