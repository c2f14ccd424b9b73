"""A new effects identity: the lives' keys are wrapped for it, and the old one is forgotten.

Four steps, each durable before the next begins:

1. A new key is put into the identity's file, beside the old one.
2. `WorkerIdentitySet` is recorded: new lives are sealed to it from then on, and to no other, since the append that opens
   a life fails if the identity it was sealed to is not the newest any more.
3. Every key that is wrapped for an older identity is opened and rewrapped, one page per transaction. Each is compared
   with what it was, so that two rotations at once, or a destroy in between, do no harm.
4. Keys that nothing is wrapped for any more are removed from the file, unless another copy of the ledger may need them.

A process that dies between any two of them leaves a ledger whose secrets can all be opened. Run again under the same
request id, the rotation is finished; as another request it makes another identity. A key that was made and never
recorded is not used later, since whoever the rotation is to lock out may have seen it.

Copies of a ledger have one id, and so one file of keys in a home. What is wrapped in another copy cannot be seen here. So a
ledger that was ever restored removes no key, one that was moved none from before, which what it left may be wrapped for, and
none removes a key that its history does not name: these are told.

The values stay sealed to the same life keys. So a new identity protects against someone who gets hold of the old one
later; someone who had both it and the ledger has the lives' keys themselves, which only a new life replaces.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ledger import sealing
from ledger.codec import recorded
from ledger.commands import RotateKeys
from ledger.errors import (
    ConflictError,
    LedgerBusyError,
    LedgerDamagedError,
    LedgerEndedError,
    LedgerUnavailableError,
    RefusedError,
    SealedError,
)
from ledger.events import LedgerMoved, WorkerIdentitySet
from ledger.store import Rewrapped
from ledger.streams import LEDGER_STREAM
from ledger.text import Lines
from ledger.writer import until_first

if TYPE_CHECKING:
    from ledger.envelope import Recorded
    from ledger.keys import KeyFiles
    from ledger.ledger import Ledger
    from ledger.reader import LedgerReader, SetIdentity
    from ledger.request import Request
    from ledger.store import LifeKeyRow
    from ledger.telling import Told

PAGE = 200
"""How many keys are rewrapped in one transaction."""

STEPS = ("key made", "identity recorded", "keys rewrapped", "old key removed")
"""What is told when each step is durable; the third for each page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityStanding:
    """How identities stand before a rotation.

    Attributes:
        ledger_id: Which ledger.
        moved: Position of the newest line that says that it was moved; 0 if it never was.
        current: The newest identity in the ledger.
        recorded: By public key, the line that set it.
        lives: By identity, how many open lives' keys are wrapped for it.
        held: The identities whose private half is here.
        own: Those of them that serve no other ledger, the newest last.
    """

    ledger_id: str
    moved: int
    current: SetIdentity
    recorded: Mapping[str, Recorded]
    lives: Mapping[str, int]
    held: Sequence[str]
    own: Sequence[str]

    @property
    def unnamed(self) -> Sequence[str]:
        """Identities in the file before the newest that this ledger's history does not name.

        Another copy's, or left by a rotation that died. One that is being made now comes after the newest.
        """
        newest = self.current.public_key
        older = self.own[: self.own.index(newest)] if newest in self.own else ()
        return [public for public in older if public not in self.recorded]

    def before(self, identity: str) -> Sequence[str]:
        """The identities that were set before this one."""
        position = self.recorded[identity].position
        return [public for public, line in self.recorded.items() if line.position < position]

    @property
    def forgettable(self) -> Sequence[str]:
        """Identities before the newest that are here and that no life's key is wrapped for, now or later.

        A slower rotation may still wrap for its own identity what is wrapped for an earlier one.
        """
        older = self.before(self.current.public_key)
        return [
            public
            for public in self.held
            if public in older and self.lives.keys().isdisjoint((public, *self.before(public)))
        ]

    def was_left_with(self, identity: str) -> bool:
        """Whether the store that the ledger was moved from may be wrapped for an identity: it ended there with the move."""
        return self.recorded[identity].position < self.moved

    @property
    def behind(self) -> int:
        """How many lives are not wrapped for the newest identity."""
        return sum(count for public, count in self.lives.items() if public != self.current.public_key)

    @property
    def rewrappable(self) -> int:
        """How many lives' keys can be rewrapped here."""
        return sum(count for public, count in self.lives.items() if public in self.held)

    @property
    def missing(self) -> Mapping[str, int]:
        """By identity that is not here, how many lives are wrapped for it."""
        return {public: count for public, count in self.lives.items() if public not in self.held}


@dataclass(frozen=True, slots=True)
class KeptKey:
    """An old key that stays in the file since another copy of the ledger may need it.

    Attributes:
        identity: Its public key, base64.
        line: Which line of the file it is on, from 1.
        named: Whether this ledger's history names it.
    """

    identity: str
    line: int
    named: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """What a rotation led to.

    Attributes:
        identity: The public key that everything is wrapped for now, base64.
        line: The line that set it.
        rewrapped: How many lives' keys were wrapped for it by this run.
        left: How many could not be, since their identity is not here, or they are damaged.
        damaged: The lives whose key cannot be opened with the identity that it says it is wrapped for.
        removed: How many old keys were removed from the file.
        kept: Those that stay there because another copy of this ledger may need them, the last line first.
        restored: Whether that is because the ledger was restored; otherwise those that its history names are from before
            it was moved.
        shared: How many old keys stay there because they may serve other ledgers as well.
        repeated: Whether the request had been recorded before, and this only finished it.
    """

    identity: str
    line: Recorded
    rewrapped: int
    left: int
    damaged: Sequence[str]
    removed: int
    kept: Sequence[KeptKey]
    restored: bool
    shared: int
    repeated: bool


def standing(reader: LedgerReader, keys: KeyFiles) -> IdentityStanding | None:
    """How identities stand; None before the ledger's first event."""
    ledger_id, current = reader.ledger_id(), reader.identity()
    if ledger_id is None or current is None:
        return None
    rows = reader.store.stream(LEDGER_STREAM.bytes, upto=current.version)
    # After the identities, so that there is no life left for the rotation to an older one: see `forgettable`.
    lives = reader.store.life_key_identities()
    lines = [recorded(row) for row in rows if row.topic == WorkerIdentitySet.__name__]
    return IdentityStanding(
        ledger_id=ledger_id,
        moved=max((row.position for row in rows if row.topic == LedgerMoved.__name__), default=0),
        current=current,
        recorded={line.event.public_key: line for line in lines if isinstance(line.event, WorkerIdentitySet)},
        lives=_known(lives),
        held=keys.identities(ledger_id),
        own=keys.own_identities(ledger_id),
    )


def _known(lives: Mapping[str, int]) -> Mapping[str, int]:
    """By identity, how many lives' keys are wrapped for it, if each of them is a public key."""
    for public in lives:
        try:
            if type(public) is str and sealing.identity_fingerprint(public):
                continue
        except ValueError:
            pass
        raise LedgerDamagedError(
            f"the ledger is damaged: a row of life_keys names {public!r}, which is no identity",
            hint="Restore it from a backup: 1ctl ledger restore FILE",
        )
    return lives


def before_rotation(ledger: Ledger, keys: KeyFiles, *, accept_loss: bool = False) -> IdentityStanding:
    """How identities stand where they may be rotated.

    Raises:
        RefusedError: Nothing is recorded yet, nothing may be recorded here, or a key is missing here.
    """
    found = _now(ledger, keys)
    ledger.refuse_ended()
    while not accept_loss and found.missing:
        # Between our looks at the lives and at the file another process may have rewrapped the one and removed a key from
        # the other. Then nothing is wrapped for that key any more.
        looked, found = found, _now(ledger, keys)
        if looked.missing.keys() & found.missing.keys():
            raise _missing_error(found)
    return found


def _now(ledger: Ledger, keys: KeyFiles) -> IdentityStanding:
    found = standing(ledger, keys)
    if found is None:
        raise RefusedError("nothing is recorded in the ledger yet", hint="Its identity is made by the first deploy.")
    return found


def _missing_error(found: IdentityStanding) -> RefusedError:
    missing = found.missing
    count, total = sum(missing.values()), sum(found.lives.values())
    line = found.recorded.get(next(iter(missing)))
    where = f": {line.envelope.actor} made it on {line.envelope.source.host}" if line else ""
    return RefusedError(
        f"the keys of {count} of {total} lives are wrapped for an identity that this machine does not hold",
        hint=Lines(
            f"Run it where that identity is{where}. Or point ONECTL_IDENTITY to a copy of its file.",
            "If it is lost for good, --accept-loss rotates without it; what those lives have sealed stays unreadable.",
        ),
    )


def rotate(
    ledger: Ledger,
    keys: KeyFiles,
    request: Request,
    *,
    epoch: Callable[[], int] = lambda: 0,
    accept_loss: bool = False,
    reached: Callable[[str], None] = lambda _: None,
    told: Told = lambda _done, _total: None,
) -> Rotated:
    """Make a new identity and wrap every open life's key for it.

    May be repeated after any end, and run at once; the same request makes at most one identity.

    Args:
        ledger: The ledger.
        keys: The key files of this machine.
        request: Who asks and why.
        epoch: Tells the highest that a restore gave any copy of the ledger, as far as is known outside of it.
        accept_loss: Whether to leave lives whose identity is not here as they are.
        reached: Told each of `STEPS` when it is durable.
        told: Told how many keys of how many are rewrapped.

    Raises:
        RefusedError: A key that lives are wrapped for is not here, or nothing may be recorded here.
        KeyFileError: The identity's file cannot be read or written.
        OutcomeUnknownError: It cannot be told whether the new identity was recorded; repeat it.
    """
    line, repeated = _settled(ledger, keys, request, accept_loss=accept_loss, reached=reached)
    assert isinstance(line.event, WorkerIdentitySet)
    rewrapped, damaged = _rewrap(ledger, keys, line.event.public_key, reached, told)
    found = before_rotation(ledger, keys, accept_loss=True)
    restored = max(epoch(), ledger.epoch()) > 0  # asked now, since a restore may have come while keys were rewrapped
    useless = [] if restored else [public for public in found.forgettable if not found.was_left_with(public)]
    removed = keys.forget_identities(found.ledger_id, useless)
    reached(STEPS[3])
    lines = keys.identity_lines(found.ledger_id)
    kept = [
        KeptKey(public, lines[public], public in found.recorded)
        for public in dict.fromkeys((*found.forgettable, *found.unnamed))
        if public in lines
    ]
    return Rotated(
        identity=line.event.public_key,
        line=line,
        rewrapped=rewrapped,
        left=found.behind,
        damaged=damaged,
        removed=len(removed),
        # Who removes them by hand in this order does not change the number of one that is yet to come.
        kept=sorted(kept, key=lambda each: each.line, reverse=True),
        restored=restored,
        shared=sum(public not in found.own for public in found.forgettable),
        repeated=repeated,
    )


def _settled(
    ledger: Ledger, keys: KeyFiles, request: Request, *, accept_loss: bool, reached: Callable[[str], None]
) -> tuple[Recorded, bool]:
    """The line that sets the identity to wrap for, and whether the request had been recorded before."""

    def attempt() -> tuple[Recorded, bool]:
        found = before_rotation(ledger, keys, accept_loss=accept_loss)
        if ledger.answered(RotateKeys(), request) is not None:
            return found.current.line, True
        # Whoever may not read the keys is told so before one is made.
        ledger.store.life_keys_except(found.current.public_key, after="", limit=1)
        return _set_anew(ledger, keys, request, found, reached), False

    return until_first(attempt)


def _set_anew(
    ledger: Ledger, keys: KeyFiles, request: Request, found: IdentityStanding, reached: Callable[[str], None]
) -> Recorded:
    """Make an identity and record it; one that is known not to be recorded is removed again."""
    made = None
    try:
        with keys.making_identity(found.ledger_id) as made:
            reached(STEPS[0])
            line = ledger.set_identity(made, request, version=found.current.version)
    except (ConflictError, LedgerBusyError, LedgerEndedError, LedgerUnavailableError):
        keys.forget_identities(found.ledger_id, [made] if made else [])
        raise
    reached(STEPS[1])
    return line


def _rewrap(
    ledger: Ledger, keys: KeyFiles, identity: str, reached: Callable[[str], None], told: Told
) -> tuple[int, Sequence[str]]:
    """Wrap for an identity every key that is wrapped for one before it and can be opened here.

    Returns:
        How many, and the lives whose key is not what was stored.
    """
    found = before_rotation(ledger, keys, accept_loss=True)
    privates = {public: keys.identity_private(found.ledger_id, public) for public in found.before(identity)}
    total = sum(count for public, count in found.lives.items() if privates.get(public))
    done, missed, damaged = 0, 1, set[str]()
    while missed:  # by us, since another process rewrapped or shredded a key between our look and our change
        missed, after = 0, ""
        while rows := ledger.store.life_keys_except(identity, after=after, limit=PAGE):
            page: list[Rewrapped] = []
            for row in rows:
                try:
                    page += _rewrapped(row, privates.get(row.identity), identity)
                except SealedError:
                    damaged.add(row.deployment_id)
            count = ledger.store.rewrap(page) if page else 0
            done, missed, after = done + count, missed + len(page) - count, rows[-1].deployment_id
            told(min(done, total), total)
            reached(STEPS[2])
    return done, sorted(damaged)


def _rewrapped(row: LifeKeyRow, private: bytes | None, identity: str) -> Sequence[Rewrapped]:
    """The row for another identity; none if it cannot be opened here."""
    if private is None:
        return ()
    life_private = sealing.unwrap(row.wrapped, row.deployment_id, private)
    wrapped = sealing.wrap(life_private, row.deployment_id, identity)
    return (Rewrapped(row.deployment_id, row.identity, identity, wrapped),)
