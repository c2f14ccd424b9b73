"""Snapshots as a whole: checking that they are what the events add up to, and rebuilding all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, takewhile
from typing import TYPE_CHECKING, NamedTuple

from ledger.app import App, evolve
from ledger.app_state import shape
from ledger.codec import recorded
from ledger.snapshots import SnapshotMaker, app_lines, position_of, snapshot_of, write
from ledger.spec import AppId
from ledger.store import SnapshotRow
from ledger.streams import LEDGER_STREAM

if TYPE_CHECKING:
    from ledger.store import ModelStore
    from ledger.telling import Told

PAGE = 200


class WrongSnapshot(NamedTuple):
    """A snapshot that is not what the events say.

    Attributes:
        position: The position that it is of.
        detail: One sentence for a person.
    """

    position: int
    detail: str


def wrong_snapshot(store: ModelStore, progress: Told | None = None) -> WrongSnapshot | None:
    """The first snapshot that is not what a fresh fold of the app's events gives; None if there is none.

    Those of other programs (another `shape`) cannot be read by this one, and are not used by it; they are passed over.

    Args:
        store: The ledger's storage, whose chain was verified.
        progress: Told how many of how many snapshots were compared.
    """
    if not store.knows("ledger.app_snapshots"):
        return None
    ((count,),) = store.ask("ledger.count_snapshots", {"shape": shape()})
    done = 0
    for _, of_app in groupby(_snapshots(store), key=lambda row: row.stream):
        fresh: _FreshFold | None = None
        for row in of_app:
            found = position_of(row)
            if found is None or found.app.stream.bytes != row.stream:
                return WrongSnapshot(row.position, f"the snapshot at position {row.position} cannot be read")
            fresh = fresh or _FreshFold(store, found.app.id)
            if fresh.snapshot_at(row.position) != row and _is_wrong(store, row, found.app.id):
                name = found.app.id
                detail = (
                    f'the snapshot of app "{name.name}" in {name.cluster}/{name.namespace} at position {row.position}'
                )
                return WrongSnapshot(row.position, f"{detail} is not what its events add up to")
            done += 1
            if progress is not None and done % PAGE == 0:
                progress(done, count)
    return None


def _is_wrong(store: ModelStore, row: SnapshotRow, app_id: AppId) -> bool:
    """Whether it is still so: others make snapshots meanwhile, and redact, which drops them all."""
    now = store.snapshot(row.stream, shape=row.shape, upto=row.position)
    return (
        now is not None and now.position == row.position and _FreshFold(store, app_id).snapshot_at(now.position) != now
    )


def drop_snapshots(store: ModelStore) -> None:
    """Delete all snapshots, those of other programs, too.

    Raises:
        LedgerUnavailableError, LedgerBusyError: They cannot be deleted here.
    """
    with store.change() as tables:
        tables.execute("ledger.delete_app_snapshots", {})


def rebuild_snapshots(store: ModelStore, progress: Told | None = None) -> int:
    """Drop all snapshots and rebuild them; how many there are then. Others may go on meanwhile.

    Raises:
        LedgerUnavailableError, LedgerBusyError: They cannot be written here.
    """
    drop_snapshots(store)
    ((count,),) = store.ask("ledger.count_apps", {})
    kept, batch = 0, _Batch(store)
    for done, app_id in enumerate(_apps(store), start=1):
        maker = SnapshotMaker(App(id=app_id))
        for line in app_lines(store, maker.app, upto=store.head().position):
            maker.fold(line)
        kept += batch.add(maker.made)
        if progress is not None:
            progress(done, count)
    return kept + batch.write()


class _Batch:
    """Snapshots of several apps, written together."""

    def __init__(self, store: ModelStore) -> None:
        self._store = store
        self._begin()

    def add(self, made: Sequence[SnapshotRow]) -> int:
        """Add more of them; how many were written on that occasion."""
        self._made += made
        return self.write() if len(self._made) >= PAGE else 0

    def write(self) -> int:
        """Write those that are left; how many."""
        written = (
            bool(self._made)
            and self._store.instance() == self._instance  # or it was put back while it was read
            and write(self._store, self._made, ledger_version=self._ledger_version)
        )
        count = len(self._made) if written else 0
        self._begin()
        return count

    def _begin(self) -> None:
        self._made: list[SnapshotRow] = []
        self._ledger_version = self._store.stream_version(LEDGER_STREAM.bytes)
        self._instance = self._store.instance()


class _FreshFold:
    """An app, folded from its first event on, never from a snapshot."""

    def __init__(self, store: ModelStore, app_id: AppId) -> None:
        self._app = App(id=app_id)
        self._lines = app_lines(store, self._app, upto=store.head().position)

    def snapshot_at(self, position: int) -> SnapshotRow | None:
        """The snapshot that there should be at a position, above the one asked for before; None if it is of no line."""
        for line in takewhile(lambda line: line.position <= position, self._lines):
            self._app = evolve(self._app, recorded(line))
            if line.position == position:
                return snapshot_of(self._app, line)
        return None


def _snapshots(store: ModelStore) -> Iterator[SnapshotRow]:
    """All that this program can read, by app and position."""
    stream, position = b"", 0
    while rows := store.ask("ledger.snapshots_page", {"stream": stream, "position": position, "limit": PAGE}):
        found = list(map(SnapshotRow._make, rows))
        yield from (row for row in found if row.shape == shape())
        stream, position = found[-1].stream, found[-1].position


def _apps(store: ModelStore) -> Iterator[AppId]:
    """Every app that was ever deployed."""
    after = AppId("", "", "")
    while rows := store.ask(
        "ledger.apps_page",
        {"after_cluster": after.cluster, "after_namespace": after.namespace, "after_app": after.name, "limit": PAGE},
    ):
        found = [AppId(*row) for row in rows]
        yield from found
        after = found[-1]
