"""The ledger in a SQLite file: one file, its lock beside it, durable on every append.

An append is one transaction (`ledger.sqlite_database`): gapless positions from the head row, leaf and chain, request id,
sealed values.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ledger import sql_sqlite as sql
from ledger.clock import LATEST_US, SystemClock
from ledger.errors import ConflictError, LedgerDamagedError, LedgerIncompleteError, LedgerUnavailableError
from ledger.instance import Instance, instance_row
from ledger.leaf import GENESIS, chain_hash, leaf_hash
from ledger.sqlite_database import SqliteDatabase
from ledger.store import (
    NOTHING_BESIDE,
    Beside,
    Blanking,
    Head,
    Indexed,
    LifeKeyRow,
    LifeRow,
    NewRow,
    RequestRow,
    Rewrapped,
    Row,
    SealedRow,
    SnapshotRow,
    event_values,
    two_streams_parameters,
)
from ledger.typed_rows import number, sound, typed

if TYPE_CHECKING:
    from ledger.follow import Growth
    from ledger.lease import Lease, LeaseRow

_NO_UPDATE = "stored_events_no_update"
_EMPTY = Head(0, 0, GENESIS)
_MAX = 2**63 - 1
_BAD_HEAD = "the head of the ledger does not fit its events"
_FROM_BACKUP = "See what else is wrong: 1ctl audit verify. To put it back from a backup: 1ctl ledger restore FILE"
_LOCATE = "Nothing was recorded. See where: 1ctl audit verify"


class SqliteStore(SqliteDatabase):
    """A ledger in one file. Safe for many processes and threads at once.

    Args:
        path: The database file; made with the first append, together with its directory.
        lock_timeout: Seconds to wait for other writers, and for a reader to get its turn.
    """

    def head(self) -> Head:
        """See `Store.head`."""
        rows = self.query_if_there(sql.HEAD, {})
        if rows is None:
            return _EMPTY
        if not rows:
            raise LedgerIncompleteError(f"the ledger {self.path} has lost its head row", hint=_FROM_BACKUP)
        return head_of(rows)

    def two_streams(
        self,
        first: bytes,
        second: bytes,
        *,
        after: tuple[int, int] = (-1, -1),
        upto: int | None = None,
        limit: int | None = None,
    ) -> Sequence[Row]:
        """See `Store.two_streams`."""
        parameters = two_streams_parameters(first, second, after=after, upto=upto, limit=limit)
        return _sound(self.query(sql.TWO_STREAMS, parameters))

    def stream(
        self,
        stream: bytes,
        *,
        after: int = -1,
        upto: int | None = None,
        descending: bool = False,
        limit: int | None = None,
    ) -> Sequence[Row]:
        """See `Store.stream`."""
        text = sql.STREAM_RANGE_DESCENDING if descending else sql.STREAM_RANGE
        bounds = {"after": after, "upto": _MAX if upto is None else upto, "limit": -1 if limit is None else limit}
        return _sound(self.query(text, {"stream": stream, **bounds}))

    def positions(self, start: int, stop: int | None = None, *, limit: int) -> Sequence[Row]:
        """See `Store.positions`."""
        if stop is None:
            return _rows(self.query(sql.POSITIONS_FROM, {"start": start, "limit": limit}))
        return _rows(self.query(sql.POSITIONS, {"start": start, "stop": stop, "limit": limit}))

    def landmarks(
        self,
        stream: bytes,
        *,
        topic: str | None = None,
        start: int = 0,
        stop: int | None = None,
        descending: bool = False,
        skip: int = 0,
        limit: int | None = None,
    ) -> Sequence[Row]:
        """See `Store.landmarks`."""
        text = sql.LANDMARKS_DESCENDING if descending else sql.LANDMARKS
        bounds = {"topic": topic, "start": start, "stop": _MAX if stop is None else stop}
        page = {"skip": skip, "limit": -1 if limit is None else limit}
        return _sound(self.query(text, {"stream": stream, **bounds, **page}))

    def stream_version(self, stream: bytes) -> int:
        """See `Store.stream_version`."""
        rows = self.query(sql.STREAM_VERSION, {"stream": stream})
        return number(rows[0][0], "stored_events") if rows else 0

    def unfindable(self, start: int, stop: int) -> Sequence[int]:
        """See `Store.unfindable`."""
        return [position for (position,) in self.query(sql.UNFINDABLE, {"start": start, "stop": stop})]

    def indexed(
        self, index: Indexed, *, after: tuple[bytes, int], upto: int, limit: int
    ) -> Sequence[tuple[int, bytes, int | str]]:
        """See `Store.indexed`."""
        text = sql.STREAM_PLACES if index == "streams" else sql.LANDMARK_PLACES
        return self.query(text, {"stream": after[0], "number": after[1], "upto": upto, "limit": limit})

    def request(self, request_id: str) -> RequestRow | None:
        """See `Store.request`."""
        rows = self.query(sql.REQUEST, {"request_id": request_id})
        return typed(RequestRow, rows[0]) if rows else None

    def life(self, deployment_id: str) -> LifeRow | None:
        """See `Store.life`."""
        rows = self.query(sql.LIFE, {"deployment_id": deployment_id})
        return typed(LifeRow, rows[0]) if rows else None

    def apps(self, cluster: str) -> Sequence[tuple[str, str]]:
        """See `Store.apps`."""
        rows = self.query(sql.APPS, {"cluster": cluster})
        return [typed(LifeRow, ("", cluster, *row, 0))[2:4] for row in rows]

    def next_life(self, life: LifeRow) -> int | None:
        """See `Store.next_life`."""
        rows = self.query(sql.NEXT_LIFE, life._asdict())
        return (number(rows[0][0], "lives") or None) if rows else None

    def snapshot(self, stream: bytes, *, shape: int, upto: int | None = None) -> SnapshotRow | None:
        """See `Store.snapshot`."""
        try:
            rows = self.query(sql.SNAPSHOT, {"stream": stream, "shape": shape, "upto": _MAX if upto is None else upto})
        except LedgerIncompleteError:
            if self.knows("ledger.app_snapshots"):
                raise
            return None  # a file of an older program
        return SnapshotRow(*rows[0]) if rows else None

    def life_key(self, deployment_id: str) -> LifeKeyRow | None:
        """See `Store.life_key`."""
        rows = self.query(sql.LIFE_KEY, {"deployment_id": deployment_id})
        return typed(LifeKeyRow, rows[0]) if rows else None

    def life_key_identities(self) -> Mapping[str, int]:
        """See `Store.life_key_identities`."""
        return dict(self.query(sql.LIFE_KEY_IDENTITIES, {}))

    def life_keys_except(self, identity: str, *, after: str, limit: int) -> Sequence[LifeKeyRow]:
        """See `Store.life_keys_except`."""
        parameters = {"identity": identity, "after": after, "limit": limit}
        return [typed(LifeKeyRow, row) for row in self.query(sql.LIFE_KEYS_EXCEPT, parameters)]

    def rewrap(self, rows: Sequence[Rewrapped]) -> int:
        """See `Store.rewrap`."""
        with self.writing() as connection:
            refuse_other_writer(connection.execute(sql.INSTANCE).fetchall())
            return sum(
                connection.execute(
                    sql.REWRAP_LIFE_KEY, dict(zip(("life", "before", "after", "rewrapped"), row, strict=True))
                ).rowcount
                for row in rows
            )

    def sealed(self, deployment_id: str) -> Mapping[tuple[str, int], bytes]:
        """See `Store.sealed`."""
        rows = self.query(sql.SEALED, {"deployment_id": deployment_id})
        sealed = [typed(SealedRow, (deployment_id, *row)) for row in rows]
        return {(row.key, row.version): row.ciphertext for row in sealed}

    def sealed_sizes(self, deployment_id: str) -> Mapping[tuple[str, int], int]:
        """See `Store.sealed_sizes`."""
        rows = self.query(sql.SEALED_SIZES, {"deployment_id": deployment_id})
        return {(key, version): size for key, version, size in rows}

    def append(self, rows: Sequence[NewRow], *, clock_us: int, beside: Beside = NOTHING_BESIDE) -> Sequence[Row]:
        """See `Store.append`."""
        if clock_us > LATEST_US:
            raise LedgerUnavailableError(
                "this machine's clock is past the year 9999", hint="Nothing was recorded. Set the clock."
            )
        with self.writing() as connection:
            refuse_other_writer(connection.execute(sql.INSTANCE).fetchall())
            if beside.request and connection.execute(sql.REQUEST, {"request_id": beside.request.request_id}).fetchone():
                raise ConflictError("the request id was recorded meanwhile")
            if beside.unchanged is not None:
                _refuse_changed(connection, *beside.unchanged)
            _refuse_out_of_turn(connection, rows)
            lines = _place(head_of(connection.execute(sql.FITTING_HEAD).fetchall()), rows, clock_us)
            try:
                connection.executemany(sql.INSERT_EVENT, map(event_values, lines))
                _write_beside(connection, beside, lines)
            except sqlite3.IntegrityError as error:
                if "notification_id" in str(error):  # the head gave out a position that is taken
                    raise LedgerDamagedError(_BAD_HEAD, hint=_LOCATE) from error
                raise ConflictError("another writer was first") from error
            if lines:
                last = lines[-1]
                connection.execute(
                    sql.MOVE_HEAD,
                    {"position": last.position, "recorded_us": last.recorded_us, "chain": last.chain},
                )
        return lines

    def instance(self) -> Instance | None:
        """See `Store.instance`."""
        rows = self.query_if_there(sql.INSTANCE, {})
        return None if rows is None else instance_row(rows)

    def lease(self, cluster: str, *, holder: str, note: str, seconds: float) -> Lease:
        """See `Store.lease`."""
        from ledger.lease import RowLease  # noqa: PLC0415 - only workers have one
        from ledger.sqlite_lease import SqliteLeasePlace  # noqa: PLC0415

        place = SqliteLeasePlace(self, cluster, holder=holder, note=note, seconds=seconds, clock=SystemClock())
        return RowLease(place, seconds=seconds)

    def lease_row(self, cluster: str) -> LeaseRow | None:
        """See `Store.lease_row`."""
        from ledger.lease import lease_row  # noqa: PLC0415 - few commands ask

        if not self.knows("ledger.worker_leases"):
            return None
        rows = self.query(sql.LEASE, {"of_cluster": cluster, "now_us": SystemClock().now_us()})
        return lease_row(*rows[0]) if rows else None

    def require_worker_rights(self) -> None:
        """See `Store.require_worker_rights`: whoever may write the file may do all of it."""

    def data_version(self) -> object:
        """See `Store.data_version`."""
        rows = self.query("PRAGMA data_version", {})
        return rows[0][0] if rows else None

    def growth(self) -> Growth:
        """See `Store.growth`."""
        from ledger.sqlite_growth import SqliteGrowth  # noqa: PLC0415 - only followers have one

        return SqliteGrowth(self)


def head_of(rows: Sequence[tuple[Any, ...]]) -> Head:
    """The head row.

    Raises:
        LedgerDamagedError: It is gone, or is not a head, or not that of the newest line where that is asked.
    """
    if len(rows) != 1 or tuple(map(type, rows[0])) != (int, int, bytes):
        raise LedgerDamagedError(_BAD_HEAD, hint=_LOCATE)
    head = Head(*rows[0])
    if head.position < 0 or not 0 <= head.recorded_us <= LATEST_US:
        raise LedgerDamagedError(_BAD_HEAD, hint=_LOCATE)
    return head


def refuse_other_writer(rows: Sequence[tuple[Any, ...]]) -> None:
    """Refuse what the instance row does not allow here.

    Raises:
        LedgerEndedError: Nothing is recorded here any more, or ever.
        LedgerDamagedError: The row is gone, or is none.
    """
    instance_row(rows).refuse_ended()


def _refuse_changed(connection: sqlite3.Connection, stream: bytes, version: int) -> None:
    ((newest,),) = connection.execute(sql.STREAM_VERSION, {"stream": stream}).fetchall()
    if number(newest, "stored_events") != version:
        raise ConflictError("another writer was first")


def _refuse_out_of_turn(connection: sqlite3.Connection, rows: Sequence[NewRow]) -> None:
    """Refuse lines that are not the next of their streams: in a ledger that was put back, one may end before it did."""
    due: dict[bytes, int] = {}
    for stream, version, _, _ in rows:
        if stream not in due:
            ((newest,),) = connection.execute(sql.STREAM_VERSION, {"stream": stream}).fetchall()
            first = 0 if version == 0 else 1  # other programs begin with 0
            due[stream] = first if newest is None else number(newest, "stored_events") + 1
        if version != due[stream]:
            place = {"stream": stream, "after": version - 1, "upto": version, "limit": 1}
            if 0 < version < due[stream] and not connection.execute(sql.STREAM_RANGE, place).fetchone():
                raise LedgerDamagedError(f"a stream of the ledger has no version {version}", hint=_LOCATE)
            raise ConflictError("another writer was first")
        due[stream] += 1


def _place(head: Head, rows: Sequence[NewRow], clock_us: int) -> list[Row]:
    """The rows with positions, times, leaves and chain."""
    position, recorded_us, chain = head
    recorded_us = max(recorded_us, clock_us)
    lines = []
    for stream, version, topic, state in rows:
        position += 1
        leaf = leaf_hash(position, stream, version, recorded_us, topic, state)
        chain = chain_hash(chain, leaf)
        lines.append(Row(position, stream, version, topic, state, recorded_us, leaf, chain))
    return lines


def _write_beside(connection: sqlite3.Connection, beside: Beside, lines: Sequence[Row]) -> None:
    if beside.request is not None:
        row = beside.request._replace(first_position=lines[0].position, last_position=lines[-1].position)
        connection.execute(sql.INSERT_REQUEST, row._asdict())
    if beside.life is not None:
        connection.execute(sql.INSERT_LIFE, beside.life._replace(opened=lines[0].position)._asdict())
    if beside.life_key is not None:
        connection.execute(sql.INSERT_LIFE_KEY, beside.life_key._asdict())
    connection.executemany(sql.INSERT_SEALED, [row._asdict() for row in beside.sealed])
    if beside.redact is not None:
        _redact(connection, beside.redact)
        if beside.forget:
            connection.execute(sql.FORGET_REQUEST, {"redacted_position": beside.redact.position, "nothing": b""})
    if beside.purge is not None:
        deployment_id, key = beside.purge
        connection.execute(sql.PURGE_SEALED, {"deployment_id": deployment_id, "key": key})
    if beside.moved is not None:
        connection.execute(sql.SET_WRITER, dict(zip(("writer", "note"), beside.moved, strict=True)))
    if beside.shred is not None:
        connection.execute(sql.DELETE_LIFE_KEY, {"deployment_id": beside.shred})
        connection.execute(sql.DELETE_SEALED, {"deployment_id": beside.shred})


def _redact(connection: sqlite3.Connection, blanking: Blanking) -> None:
    """The one change of a recorded line that the ledger allows, and then only together with the event that says so."""
    guard = next(text for text in sql.SCHEMA if text.startswith(f"CREATE TRIGGER {_NO_UPDATE} "))
    connection.execute(f"DROP TRIGGER IF EXISTS {_NO_UPDATE}")
    position, before, remaining = blanking
    parameters = {"redacted_position": position, "before": before, "remaining": remaining}
    if connection.execute(sql.REDACT_EVENT, parameters).rowcount != 1:  # another redaction, or a restore, was first
        raise ConflictError("the line is not what was decided on")
    connection.execute(guard)
    connection.execute(sql.DELETE_APP_SNAPSHOTS)  # one may hold what was blanked


def _rows(rows: Sequence[tuple[Any, ...]]) -> list[Row]:
    """As they are: whoever looks for damage reads by position, and has to be told all of it."""
    return list(map(Row._make, rows))


def _sound(rows: Sequence[tuple[Any, ...]]) -> list[Row]:
    return [sound(Row._make(row)) for row in rows]
