"""The envelope: who, why, from where, and about what. Hashed together with its event."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from ledger.clock import from_micros
from ledger.spec import AppId
from ledger.value import Value, short_value, value

if TYPE_CHECKING:
    from uuid import UUID

    from ledger.events import Event


ENVELOPE_SCHEMA = 1
"""Version of the stored envelope, of its subject and its source. Raised when one of them gets, loses or renames a field; the
number is then stored as ``schema`` among the envelope's fields, and older shapes are read as events' are. Absent means 1."""


@value
class Subject(Value):
    """The app and life that an event is about.

    Attributes:
        cluster: Cluster name in stream identities.
        namespace: Kubernetes namespace.
        app: App name.
        deployment_id: UUID text of the life; empty for what is about the app before it has one.
    """

    cluster: str
    namespace: str
    app: str
    deployment_id: str

    @property
    def app_id(self) -> AppId:
        """The app's lasting name."""
        return AppId(self.cluster, self.namespace, self.app)


@value
class Source(Value):
    """Where a request came from, as the program found it.

    Attributes:
        program: Name and version, ``1ctl 0.1.0``.
        host: Host name.
        commit: Git commit of the working directory, or None outside a checkout.
        dirty: Whether tracked files differed from that commit, or None.
        ci: Address of the CI run, or None.
    """

    program: str
    host: str
    commit: str | None = None
    dirty: bool | None = None
    ci: str | None = None


@value
class Envelope(Value):
    """What is known about a request, besides the event itself.

    Attributes:
        actor: Who asked, as claimed by their environment; not authenticated.
        reason: Why, in their words, or None.
        request_id: The client's name for the request; the same id records once.
        source: Where it came from.
        subject: The app it is about, or None for events about the ledger itself.
        correlation_id: Groups all events that one request led to, observed facts included.
        causation: Position of the event that led to this one, or None.
        clock: The writer's own clock, ISO 8601 in UTC; the recorded time may be later.
        salt: 16 random bytes, hex, so that a digest cannot be guessed from the content.
    """

    actor: str
    reason: str | None
    request_id: str | None
    source: Source
    subject: Subject | None
    correlation_id: str
    causation: int | None
    clock: str
    salt: str


@short_value
class Recorded(Value):
    """One line of the ledger: an event, its envelope, and its place.

    Attributes:
        position: Place in the ledger, from 1, without gaps.
        stream: Identity of the stream.
        version: Place in the stream, from 1.
        recorded_us: Microseconds since 1970-01-01 UTC; never less than the predecessor's.
        envelope: Who, why, from where, about what.
        event: The fact.
    """

    position: int
    stream: UUID
    version: int
    recorded_us: int
    envelope: Envelope
    event: Event

    @property
    def subject(self) -> Subject | None:
        """The app and life that it is about."""
        return self.envelope.subject

    @property
    def at(self) -> datetime:
        """When it was recorded, in UTC."""
        return from_micros(self.recorded_us)

    @property
    def kind(self) -> str:
        """The event's topic, e.g. ``Deployed``."""
        return type(self.event).__name__


@short_value
class ToldLine(Value):
    """What a read model needs of a line: an event, its place, and what it is about; see `Recorded`.

    Who asked, why and from where stay undecoded: 9.0 us a line instead of 14.2 (`python tests/docs/measure_scale.py`).
    """

    position: int
    recorded_us: int
    subject: Subject | None
    event: Event


class Line(Protocol):
    """What `Recorded` and `ToldLine` have in common."""

    @property
    def position(self) -> int:
        """Place in the ledger, from 1, without gaps."""

    @property
    def recorded_us(self) -> int:
        """Microseconds since 1970-01-01 UTC."""

    @property
    def subject(self) -> Subject | None:
        """The app and life that it is about."""

    @property
    def event(self) -> Event:
        """The fact."""
