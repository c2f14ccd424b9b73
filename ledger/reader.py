"""Reading the ledger: an app's history, and what it adds up to. Needs no key, and nothing that decides or writes."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from ledger.app import App, fold
from ledger.codec import decode
from ledger.envelope import Recorded
from ledger.errors import LedgerDamagedError
from ledger.events import LedgerCreated, LedgerRestored, WorkerDisabled, WorkerEnabled, WorkerIdentitySet
from ledger.spec import AppId
from ledger.store import is_well_formed
from ledger.streams import LEDGER_STREAM, app_stream, observed_stream

if TYPE_CHECKING:
    from ledger.store import Row, Store


class LedgerReader:
    """One ledger, as whoever asks it questions uses it.

    Args:
        store: Where it is kept.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._identity: tuple[str, str] | None = None

    def history(self, app_id: AppId, *, upto: int | None = None) -> list[Recorded]:
        """All events of the app's two streams up to a position, in rising position."""
        stream = app_stream(app_id)
        return [recorded(row) for row in self.store.two_streams(stream.bytes, observed_stream(stream).bytes, upto=upto)]

    def app(self, app_id: AppId, *, upto: int | None = None) -> App:
        """The app as its events add up to, at a position or now."""
        return fold(App(id=app_id), self.history(app_id, upto=upto))

    def find(self, deployment_id: str) -> AppId | None:
        """Whose deployment id this is, destroyed lives included."""
        row = self.store.life(deployment_id)
        return AppId(row.cluster, row.namespace, row.app) if row else None

    def apps(self, cluster: str) -> list[AppId]:
        """Every app of a cluster that ever lived, by namespace and name."""
        return [AppId(cluster, namespace, name) for namespace, name in self.store.apps(cluster)]

    def ledger_id(self) -> str | None:
        """The ledger's own id, or None before its first event."""
        created = self._created()
        return created[0] if created else None

    def may_append(self) -> bool:
        """Whether lines may be appended here: not to a replica, a backup, or a ledger that goes on elsewhere."""
        here = self.store.instance()
        return here is None or here.may_append

    def epoch(self) -> int:
        """How often the ledger was put back from a backup: what fences off positions of ends that were lost."""
        rows = self.store.stream(LEDGER_STREAM.bytes, descending=True)
        newest = next((row for row in rows if row.topic == LedgerRestored.__name__), None)
        event = decode(newest.topic, newest.state)[0] if newest else None
        return event.epoch if isinstance(event, LedgerRestored) else 0

    def has_worker(self, cluster: str) -> bool:
        """Whether a resident worker applies what is asked of this cluster's apps; else each command does it itself."""
        rows = self.store.stream(LEDGER_STREAM.bytes, descending=True)
        said = (decode(row.topic, row.state)[0] for row in rows if row.topic in _RESIDENCY)
        newest = next((event for event in said if getattr(event, "cluster", None) == cluster), None)
        return isinstance(newest, WorkerEnabled)

    def _created(self) -> tuple[str, str] | None:
        """Ledger id and the effects identity that new lives are sealed to."""
        if self._identity is None:
            rows = self.store.stream(LEDGER_STREAM.bytes)
            ledger_id = identity = None
            for event in (decode(row.topic, row.state)[0] for row in rows):
                match event:
                    case LedgerCreated():
                        ledger_id = event.ledger_id
                    case WorkerIdentitySet():
                        identity = event.public_key
                    case _:
                        pass
            if ledger_id is not None and identity is not None:
                self._identity = (ledger_id, identity)
        return self._identity


_RESIDENCY = frozenset({WorkerEnabled.__name__, WorkerDisabled.__name__})


def recorded(row: Row) -> Recorded:
    """A stored line as event and envelope.

    Raises:
        UnknownEventError, LedgerDamagedError: It cannot be read by this program.
    """
    if not is_well_formed(row):
        raise LedgerDamagedError(f"position {row.position} holds no event any more", hint="See: 1ctl audit verify")
    event, envelope = decode(row.topic, row.state)
    return Recorded(row.position, UUID(bytes=row.stream), row.version, row.recorded_us, envelope, event)
