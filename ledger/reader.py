"""Reading the ledger: an app's history, and what it adds up to. Needs no key, and nothing that decides or writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ledger import snapshots
from ledger.codec import decode, recorded
from ledger.events import LedgerRestored, WorkerDisabled, WorkerEnabled, WorkerIdentitySet
from ledger.founding import founding
from ledger.landmarks import span
from ledger.pages import missing
from ledger.spec import AppId
from ledger.streams import LEDGER_STREAM, app_stream, observed_stream

if TYPE_CHECKING:
    from ledger.app import App
    from ledger.envelope import Recorded
    from ledger.store import ModelStore


class SetIdentity(NamedTuple):
    """The effects identity that new lives are sealed to.

    Attributes:
        public_key: X25519 public key, base64.
        line: The line that set it.
        version: The version that the ledger's own stream had when it was looked up.
    """

    public_key: str
    line: Recorded
    version: int


class LedgerReader:
    """One ledger, as whoever asks it questions uses it.

    Args:
        store: Where it is kept.
    """

    def __init__(self, store: ModelStore) -> None:
        self.store = store
        self._ledger_id: str | None = None

    def history(self, app_id: AppId) -> list[Recorded]:
        """All events of the app's two streams, in rising position."""
        stream = app_stream(app_id)
        return [recorded(row) for row in self.store.two_streams(stream.bytes, observed_stream(stream).bytes)]

    def app(self, app_id: AppId, *, upto: int | None = None) -> App:
        """The app as its events add up to, at a position or now; folded on from its nearest snapshot."""
        return snapshots.folded(self.store, app_id, upto=upto)

    def asked(self, app_id: AppId) -> list[Recorded]:
        """What was asked for in the app's newest life, in rising position.

        Raises:
            LedgerDamagedError: The life does not begin where it is said to.
        """
        life = span(self.store, app_id, None)
        if life is None:
            return []
        stream = app_stream(app_id).bytes
        opening = self.store.landmarks(stream, start=life.start, limit=1)
        if not opening:
            raise missing(life.start)
        return [recorded(row) for row in self.store.stream(stream, after=opening[0].version - 1)]

    def find(self, deployment_id: str) -> AppId | None:
        """Whose deployment id this is, destroyed lives included."""
        row = self.store.life(deployment_id)
        return AppId(row.cluster, row.namespace, row.app) if row else None

    def apps(self, cluster: str) -> list[AppId]:
        """Every app of a cluster that ever lived, by namespace and name."""
        return [AppId(cluster, namespace, name) for namespace, name in self.store.apps(cluster)]

    def ledger_id(self) -> str | None:
        """The ledger's own id, or None before its first event.

        Raises:
            LedgerDamagedError: Position 1 does not say which ledger this is.
        """
        if self._ledger_id is None:
            first = founding(self.store)
            self._ledger_id = first.ledger_id if first is not None else None
        return self._ledger_id

    def identity(self) -> SetIdentity | None:
        """The effects identity that new lives are sealed to, or None before the ledger's first event.

        Looked up each time, since another one may be set.
        """
        rows = self.store.stream(LEDGER_STREAM.bytes)
        line = next((recorded(row) for row in reversed(rows) if row.topic == WorkerIdentitySet.__name__), None)
        if line is None:
            return None
        assert isinstance(line.event, WorkerIdentitySet)
        return SetIdentity(line.event.public_key, line, rows[-1].version)

    def may_append(self) -> bool:
        """Whether lines may be appended here: not to a replica, a backup, or a ledger that goes on elsewhere."""
        here = self.store.instance()
        return here is None or here.may_append

    def refuse_ended(self) -> None:
        """Say why nothing is recorded here, if nothing is.

        Raises:
            LedgerEndedError: This is a replica, a backup, or a ledger that goes on elsewhere.
        """
        here = self.store.instance()
        if here is not None:
            here.refuse_ended()

    def epoch(self) -> int:
        """How often the ledger was put back from a backup; it fences off positions that were lost."""
        rows = self.store.stream(LEDGER_STREAM.bytes, descending=True)
        newest = next((row for row in rows if row.topic == LedgerRestored.__name__), None)
        event = decode(newest.topic, newest.state)[0] if newest else None
        return event.epoch if isinstance(event, LedgerRestored) else 0

    def has_worker(self, cluster: str) -> bool:
        """Whether a resident worker applies what is asked of this cluster's apps; else each command does it itself."""
        return self.worker_order(cluster) is True

    def worker_order(self, cluster: str) -> bool | None:
        """Whether a worker was last enabled or disabled for this cluster; None if nobody ever said either."""
        rows = self.store.stream(LEDGER_STREAM.bytes, descending=True)
        said = (decode(row.topic, row.state)[0] for row in rows if row.topic in _RESIDENCY)
        newest = next((event for event in said if getattr(event, "cluster", None) == cluster), None)
        return None if newest is None else isinstance(newest, WorkerEnabled)


_RESIDENCY = frozenset({WorkerEnabled.__name__, WorkerDisabled.__name__})
