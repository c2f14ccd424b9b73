"""Recording what concerns the ledger as a whole, in its own stream.

How it began, whose key new lives are sealed to, what was blanked in it, where it goes on, and who applies what it asks
for.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ledger.codec import recorded
from ledger.commands import LedgerCommand, Redact, RotateKeys
from ledger.errors import (
    ConflictError,
    LedgerBusyError,
    LedgerEndedError,
    LedgerUnavailableError,
    RefusedError,
)
from ledger.events import LedgerCreated, Redacted, WorkerIdentitySet
from ledger.founding import origin_of
from ledger.pages import line_at
from ledger.redaction import asks_for, redacted, signed, unsigned
from ledger.request import Request, refuse_other, request_row
from ledger.store import NOTHING_BESIDE, Beside, Blanking
from ledger.streams import LEDGER_STREAM
from ledger.writer import Draft, Founded, LedgerWriter, NewLine, until_first

if TYPE_CHECKING:
    from ledger.checkpoint import SigningKey
    from ledger.envelope import Recorded
    from ledger.events import LedgerMoved, LedgerRestored, WorkerDisabled, WorkerEnabled
    from ledger.store import Row


class OwnStreamWriter(LedgerWriter):
    """The ledger for whoever looks after it as a whole."""

    # -- Its beginning ---------------------------------------------------------------------------------------------

    def create(self, request: Request) -> str:
        """Record the ledger's own first events, if it has none yet; its id. May be repeated, and run at once.

        The first write does the same by itself. A ledger that several machines share is made on purpose, where its
        signing key and effects identity are to lie.
        """

        def attempt() -> str:
            known = self.ledger_id()
            if known is not None:
                return known
            draft, founded = self._founding()
            with self._withdrawing(draft):
                self._append(draft, request)
            return founded.ledger_id

        return until_first(attempt)

    def _founding(self) -> tuple[Draft, Founded]:
        """The first events of a ledger that is yet to be, and the keys that they name."""
        ledger_id = str(uuid.uuid4())
        origin = origin_of(ledger_id)
        key = self._keys.make_signing_key(ledger_id, origin)
        founded = Founded(ledger_id, self._keys.make_identity(ledger_id))
        created = LedgerCreated(ledger_id=ledger_id, origin=origin, verification_key=key)
        identity_set = WorkerIdentitySet(public_key=founded.identity)
        lines: list[NewLine] = [(LEDGER_STREAM, 1, created, None), (LEDGER_STREAM, 2, identity_set, None)]
        return Draft(lines, founded=founded), founded

    @contextmanager
    def _withdrawing(self, draft: Draft) -> Iterator[None]:
        """A block that appends a draft: keys made for a new ledger are removed if nothing is recorded."""
        try:
            yield
        except (ConflictError, LedgerBusyError, LedgerEndedError, LedgerUnavailableError):
            if draft.founded is not None:
                self._keys.forget_signing_key(draft.founded.ledger_id)
                self._keys.forget_identities(draft.founded.ledger_id, [draft.founded.identity])
            raise

    # -- Its keys, and what is blanked in it -----------------------------------------------------------------------

    def redact(self, position: int, field: str, request: Request) -> Recorded:
        """Blank a field of one event for ever, keeping chain and proofs valid; the event that says so.

        Raises:
            RefusedError: There is no such position or field, or it is not free text.
            CheckpointError: The ledger's signing key is not here, or it is another ledger's; nothing was recorded.
        """
        command = Redact(position=position, field=field)

        def attempt() -> Recorded:
            answered = self.answered(command, request)
            if answered is not None:
                return answered
            version = self.store.stream_version(
                LEDGER_STREAM.bytes
            )  # or what is read then may be of before another one
            line = self._line(position)
            event, remaining = self._redaction(line, field)
            event = signed(event, self._signing_key())
            blank = remaining == line.state  # then it is only signed now
            redact = None if blank else Blanking(position, line.state, remaining)
            return self._record(event, command, request, version=version, redact=redact)

        return until_first(attempt)

    def plan_redaction(self, position: int, field: str) -> tuple[Redacted, bytes]:
        """What `redact` would record, yet to be signed, and the bytes that would remain of the event. Records nothing.

        A redaction that nobody signed, as versions before 0.1.0 recorded them, is what it would sign.

        Raises:
            RefusedError: It would be refused.
        """
        return self._redaction(self._line(position), field)

    def _redaction(self, line: Row, field: str) -> tuple[Redacted, bytes]:
        position = line.position
        doubtful = unsigned(self.store, position)
        if doubtful is None:
            return redacted(line, field)
        if doubtful.field != field:
            raise RefusedError(
                f'a redaction of "{doubtful.field}" at position {position} is not signed yet',
                hint=f"Sign it first: 1ctl ledger redact --position {position} --field {doubtful.field} --reason signed",
            )
        return doubtful, line.state

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
        refuse_other(prior, None, command)
        return recorded(line_at(self.store, prior.first_position))

    def _record(
        self,
        event: Redacted | WorkerIdentitySet,
        command: LedgerCommand,
        request: Request,
        *,
        version: int,
        redact: Blanking | None = None,
    ) -> Recorded:
        """Append an event to the ledger's own stream, behind that version of it."""
        forget = isinstance(event, Redacted) and asks_for(event.field)
        beside = Beside(request=request_row(request, None, command), redact=redact, forget=forget)
        draft = Draft([(LEDGER_STREAM, version + 1, event, None)], beside)
        return recorded(self._append_answer(draft, request, causation=redact and redact.position)[0])

    # -- Where it goes on, and who applies it ----------------------------------------------------------------------

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

        def attempt() -> Recorded:
            version = self.store.stream_version(LEDGER_STREAM.bytes) + 1
            return recorded(self._append(Draft([(LEDGER_STREAM, version, event, None)], beside), request)[0])

        return until_first(attempt)
