"""The ledger in a PostgreSQL database: one call of a function is one append.

Invariants:

* An append is one statement and one round trip: gapless positions from the head row, leaf and chain, request id,
  sealed values. The head row is locked until it is committed, so positions become visible in their order.
* It is acknowledged after the server synced it to disk, whatever `synchronous_commit` the user or database has.
* Nothing is kept in the session, so a connection pooler may stand in between. Except: leases and followers have
  connections of their own (`ledger.postgres_own_connection`), and statements are prepared where no pooler stands in between.
* Reading creates nothing; the first append creates the tables, where its user may.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from ledger.errors import LedgerDamagedError
from ledger.follow import Growth
from ledger.instance import Instance, instance_row
from ledger.leaf import GENESIS
from ledger.lease import Lease, LeaseRow, RowLease, lease_row
from ledger.postgres_address import Address
from ledger.postgres_append import append_statement
from ledger.postgres_arrays import Numbers, Octets, Texts
from ledger.postgres_connection import Database, Statement, Transaction
from ledger.postgres_growth import PostgresGrowth
from ledger.postgres_lease import SERVER_STATEMENTS, PostgresLeasePlace
from ledger.postgres_migrate import create_or_update, refuse_newer, schema_version
from ledger.postgres_names import OLD_READ_MODEL_LOCK, READ_MODEL_LOCK
from ledger.postgres_rights import require_worker_rights
from ledger.postgres_schema import (
    life_key_identities_statement,
    rewrap_statement,
    sealed_sizes_statement,
)
from ledger.postgres_tables import TABLE_EXISTS, PostgresTables, statement_of, table_of
from ledger.statements import STATEMENTS
from ledger.store import (
    NOTHING_BESIDE,
    Beside,
    Head,
    Indexed,
    LifeKeyRow,
    LifeRow,
    NewRow,
    RequestRow,
    Rewrapped,
    Row,
    SnapshotRow,
    two_streams_parameters,
)

_EMPTY = Head(0, 0, GENESIS)
_MAX = 2**63 - 1
_SNAPSHOTS_SINCE = 2
"""Version of the tables that brought snapshots."""

_UNCHANGED_SINCE = 7
"""And of those whose function holds without a key, too, that a stream has not grown."""

BY_INDEX_ONLY = tuple(f"SET LOCAL enable_{way} = off" for way in ("seqscan", "hashjoin", "mergejoin", "bitmapscan"))
"""What makes the planner look lines up by index, as it does when few are asked for."""

_APPEND = append_statement()
_REWRAP = rewrap_statement()
_LIFE_KEY_IDENTITIES = life_key_identities_statement()
_SEALED_SIZES = sealed_sizes_statement()


class PostgresStore:
    """A ledger in one database. Safe for many processes and threads at once.

    Args:
        url: ``postgresql://`` or ``postgres://``, as libpq understands it; several hosts and sockets included.
        lock_timeout: Seconds to wait for other writers, and for a free connection.
        patience: Seconds after which a server that has not answered is given up; None: it is waited for.

    Raises:
        InvalidValueError: It is not such a URL.
    """

    def __init__(self, url: str, *, lock_timeout: float = 30.0, patience: float | None = None) -> None:
        self._database = Database(Address(url), lock_timeout=lock_timeout, patience=patience)
        self._version = 0
        self._has_lock = False
        self._local = threading.local()

    def __repr__(self) -> str:
        return f"PostgresStore({self._database.shown!r})"

    def head(self) -> Head:
        """See `Store.head`."""
        if not self._is_ready():
            return _EMPTY
        rows = self._query("head", {})
        if len(rows) != 1:
            raise LedgerDamagedError(
                f"the ledger {self._database.shown} has lost its head row", hint="Restore it from a backup."
            )
        return Head(*rows[0])

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
        return _rows(self._query("two_streams", parameters))

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
        name = "stream_range_descending" if descending else "stream_range"
        bounds = {"after": after, "upto": _MAX if upto is None else upto, "limit": limit}
        return _rows(self._query(name, {"stream": stream, **bounds}))

    def positions(self, start: int, stop: int | None = None, *, limit: int) -> Sequence[Row]:
        """See `Store.positions`.

        Before a table's first ANALYZE the planner takes any range for a few lines, and sorts all of it for one page. So
        a page is asked for by the positions that it has if no line is missing.
        """
        if stop is None:
            return _rows(self._query("positions_from", {"start": start, "limit": limit}))
        last = min(stop, start + limit - 1)
        rows = self._query("positions", {"start": start, "stop": last, "limit": limit})
        if last < stop and len(rows) < limit:  # a line is missing
            rows = self._query("positions", {"start": start, "stop": stop, "limit": limit})
        return _rows(rows)

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
        name = "landmarks_descending" if descending else "landmarks"
        bounds = {"topic": topic, "start": start, "stop": _MAX if stop is None else stop}
        return _rows(self._query(name, {"stream": stream, **bounds, "skip": skip, "limit": limit}))

    def stream_version(self, stream: bytes) -> int:
        """See `Store.stream_version`."""
        rows = self._query("stream_version", {"stream": stream})
        return (rows[0][0] if rows else None) or 0

    def unfindable(self, start: int, stop: int) -> Sequence[int]:
        """See `Store.unfindable`."""
        return [position for (position,) in self._by_index("unfindable", {"start": start, "stop": stop})]

    def indexed(
        self, index: Indexed, *, after: tuple[bytes, int], upto: int, limit: int
    ) -> Sequence[tuple[int, bytes, int | str]]:
        """See `Store.indexed`."""
        name = "stream_places" if index == "streams" else "landmark_places"
        rows = self._by_index(name, {"stream": after[0], "number": after[1], "upto": upto, "limit": limit})
        return [(position, bytes(stream), of) for position, stream, of in rows]

    def request(self, request_id: str) -> RequestRow | None:
        """See `Store.request`."""
        rows = self._query("request", {"request_id": request_id})
        return RequestRow(*rows[0]) if rows else None

    def life(self, deployment_id: str) -> LifeRow | None:
        """See `Store.life`."""
        rows = self._query("life", {"deployment_id": deployment_id})
        return LifeRow(*rows[0]) if rows else None

    def apps(self, cluster: str) -> Sequence[tuple[str, str]]:
        """See `Store.apps`."""
        return [(namespace, app) for namespace, app in self._query("apps", {"cluster": cluster})]

    def next_life(self, life: LifeRow) -> int | None:
        """See `Store.next_life`."""
        rows = self._query("next_life", life._asdict())
        return rows[0][0] if rows else None

    def snapshot(self, stream: bytes, *, shape: int, upto: int | None = None) -> SnapshotRow | None:
        """See `Store.snapshot`."""
        if not self._is_ready() or self._version < _SNAPSHOTS_SINCE:
            return None
        rows = self._query("snapshot", {"stream": stream, "shape": shape, "upto": _MAX if upto is None else upto})
        return SnapshotRow(*rows[0]) if rows else None

    def life_key(self, deployment_id: str) -> LifeKeyRow | None:
        """See `Store.life_key`."""
        rows = self._query("life_key", {"deployment_id": deployment_id})
        return LifeKeyRow(*rows[0]) if rows else None

    def life_key_identities(self) -> Mapping[str, int]:
        """See `Store.life_key_identities`."""
        return dict(self._run(_LIFE_KEY_IDENTITIES, {}))

    def life_keys_except(self, identity: str, *, after: str, limit: int) -> Sequence[LifeKeyRow]:
        """See `Store.life_keys_except`."""
        parameters = {"identity": identity, "after": after, "limit": limit}
        return [LifeKeyRow(*row) for row in self._query("life_keys_except", parameters)]

    def rewrap(self, rows: Sequence[Rewrapped]) -> int:
        """See `Store.rewrap`."""
        arguments = {
            "lives": Texts(row.deployment_id for row in rows),
            "old_identities": Texts(row.before for row in rows),
            "new_identities": Texts(row.identity for row in rows),
            "wrappings": Octets(row.wrapped for row in rows),
            "lock_timeout_ms": self._database.lock_timeout_ms,
        }
        ((count,),) = self._database.run(_REWRAP, arguments, appending=True)
        return int(count)

    def sealed(self, deployment_id: str) -> Mapping[tuple[str, int], bytes]:
        """See `Store.sealed`."""
        rows = self._query("sealed", {"deployment_id": deployment_id})
        return {(key, version): ciphertext for key, version, ciphertext in rows}

    def sealed_sizes(self, deployment_id: str) -> Mapping[tuple[str, int], int]:
        """See `Store.sealed_sizes`."""
        parameters = {"deployment_id": deployment_id}
        rows = self._run(_SEALED_SIZES, parameters)
        return {(key, version): size for key, version, size in rows}

    def append(self, rows: Sequence[NewRow], *, clock_us: int, beside: Beside = NOTHING_BESIDE) -> Sequence[Row]:
        """See `Store.append`."""
        if not self._is_ready():
            create_or_update(self._database)
        if self._version < _UNCHANGED_SINCE and beside.life_key is None:
            beside = replace(beside, unchanged=None)  # which the function there would take for a key
        arguments = _arguments(rows, beside)
        arguments |= {"clock_us": clock_us, "lock_timeout_ms": self._database.lock_timeout_ms}
        placed = self._database.run(_APPEND, arguments, appending=True)
        return [Row(position, *row, *rest) for row, (position, *rest) in zip(rows, placed, strict=True)]

    def instance(self) -> Instance | None:
        """See `Store.instance`."""
        return instance_row(self._query("instance", {})) if self._is_ready() else None

    def lease(self, cluster: str, *, holder: str, note: str, seconds: float) -> Lease:
        """See `Store.lease`."""
        place = PostgresLeasePlace(self._database, cluster, holder=holder, note=note, seconds=seconds)
        return RowLease(place, seconds=seconds)

    def lease_row(self, cluster: str) -> LeaseRow | None:
        """See `Store.lease_row`."""
        if not self.knows("ledger.worker_leases"):
            return None
        rows = self._run(SERVER_STATEMENTS["lease"], {"of_cluster": cluster})
        return lease_row(*rows[0]) if rows else None

    def require_worker_rights(self) -> None:
        """See `Store.require_worker_rights`."""
        require_worker_rights(self._database)

    def data_version(self) -> object:
        """See `Store.data_version`."""
        return self.head().position

    def ask(self, name: str, parameters: Mapping[str, object]) -> Sequence[tuple[Any, ...]]:
        """See `ModelStore.ask`."""
        return self._run(statement_of(name), parameters)

    def knows(self, table: str) -> bool:
        """See `ModelStore.knows`."""
        return bool(self._run(TABLE_EXISTS, {"name": table_of(table).name}))

    def tables_version(self) -> int:
        """See `ModelStore.tables_version`."""
        return schema_version(self._database)

    def prepare(self) -> None:
        """See `ModelStore.prepare`."""
        if not self._is_ready():
            create_or_update(self._database)

    @contextmanager
    def change(self, *, wait: bool = True) -> Iterator[PostgresTables]:
        """See `ModelStore.change`."""
        with self._database.transaction() as transaction:
            self._lock_read_models(transaction, self._database.lock_timeout_ms if wait else 1)
            yield PostgresTables(transaction)

    @contextmanager
    def moment(self) -> Iterator[None]:
        """See `ModelStore.moment`."""
        ready = self._is_ready()
        with self._database.transaction(snapshot=True) as transaction:
            self._local.moment = transaction if ready else None
            try:
                yield
            finally:
                self._local.moment = None

    def growth(self) -> Growth:
        """See `Store.growth`."""
        return PostgresGrowth(self._database)

    def close(self) -> None:
        """See `Store.close`."""
        self._database.close()

    def _query(self, name: str, parameters: Mapping[str, object]) -> Sequence[tuple[Any, ...]]:
        return self._run(STATEMENTS[name], parameters)

    def _by_index(self, name: str, parameters: Mapping[str, object]) -> Sequence[tuple[Any, ...]]:
        """What the indexes say, which is compared with what the lines say."""
        if not self._is_ready():
            return []
        with self._database.transaction(snapshot=True) as transaction:
            transaction.script(BY_INDEX_ONLY)
            return transaction.query(STATEMENTS[name], parameters)

    def _run(self, statement: Statement, parameters: Mapping[str, object]) -> Sequence[tuple[Any, ...]]:
        moment: Transaction | None = getattr(self._local, "moment", None)
        if moment is not None:
            return moment.query(statement, parameters)
        return self._database.run(statement, parameters) if self._is_ready() else []

    def _lock_read_models(self, transaction: Transaction, timeout_ms: int) -> None:
        """As the function that appends does of the same tables, which others may bring up to date meanwhile."""
        self._has_lock = self._has_lock or bool(transaction.query(TABLE_EXISTS, {"name": READ_MODEL_LOCK}))
        if self._has_lock:
            transaction.lock_table(READ_MODEL_LOCK, timeout_ms)
        else:
            transaction.lock(OLD_READ_MODEL_LOCK, timeout_ms)

    def _is_ready(self) -> bool:
        """Whether the tables are there; looked up until they are.

        Raises:
            UnknownEventError: A newer program made them.
        """
        if not self._version:
            version = schema_version(self._database)
            refuse_newer(version, self._database.shown)
            self._version = version
        return self._version > 0


def _arguments(rows: Sequence[NewRow], beside: Beside) -> dict[str, object]:
    """What the function that appends is called with; see `ledger.postgres_append.append_statement`."""
    request, life, key = beside.request, beside.life, beside.life_key
    named = Texts((key.deployment_id, key.identity) if key else ("", "") if beside.unchanged else ())
    if beside.unchanged:
        named += (beside.unchanged[0].hex(), str(beside.unchanged[1]))
    return {
        "streams": Octets(row.stream for row in rows),
        "versions": Numbers(row.version for row in rows),
        "topics": Texts(row.topic for row in rows),
        "states": Octets(row.state for row in rows),
        "request": request and request.request_id,
        "request_salt": request and request.salt,
        "request_digest": request and request.digest,
        "life": life and Texts((life.deployment_id, life.cluster, life.namespace, life.app)),
        "life_key": named or None,
        "life_key_wrapped": key and key.wrapped,
        "sealed_lives": Texts(row.deployment_id for row in beside.sealed) or None,
        "sealed_keys": Texts(row.key for row in beside.sealed) or None,
        "sealed_versions": Numbers(row.version for row in beside.sealed) or None,
        "ciphertexts": Octets(row.ciphertext for row in beside.sealed) or None,
        "redact_position": beside.redact and beside.redact.position,
        "redact_state": beside.redact and beside.redact.remaining,
        "purge_life": beside.purge and beside.purge[0],
        "purge_key": beside.purge and beside.purge[1],
        "shred": beside.shred,
        "moved_to": beside.moved and beside.moved[0],
        "moved_note": beside.moved and beside.moved[1],
    }


def _rows(rows: Sequence[tuple[Any, ...]]) -> list[Row]:
    return list(map(Row._make, rows))
