"""A lease on a ledger in PostgreSQL: its row by the server's clock, its lock a session's advisory lock.

Row and lock are used on one connection that is this candidate's own. Every change is one statement, so that the server
ends it whatever becomes of the client.

A pooler that shares connections between clients also shares their advisory locks. Behind one, which shows in the number
of the server's process, no lock is used: the row alone decides, and a hand-over waits until it has expired.
"""

from __future__ import annotations

from hashlib import sha256

from sqlalchemy import BigInteger, Integer, bindparam, cast, extract, func, select

from ledger.errors import ConflictError, LedgerDamagedError, OneCtlError
from ledger.instance import Instance
from ledger.lease import Trouble, noted
from ledger.lease_statements import lease_statements
from ledger.postgres_connection import Database
from ledger.postgres_names import LEASE_LOCKS
from ledger.postgres_own_connection import OwnConnection
from ledger.statements import STATEMENTS

SERVER_STATEMENTS = lease_statements(cast(extract("epoch", func.clock_timestamp()) * 1_000_000, BigInteger))
"""The statements on leases, by the server's clock."""

PATIENCE_SECONDS = 10.0
"""How long to wait for an answer at most, however long a lease lasts: a candidate may have something to report."""

_KEY = (bindparam("locks", type_=Integer), bindparam("key", type_=Integer))
_TRY_LOCK = select(func.pg_try_advisory_lock(*_KEY))
_UNLOCK = select(func.pg_advisory_unlock(*_KEY))


class PostgresLeasePlace:
    """See `LeasePlace`.

    Args:
        database: The ledger.
        cluster: Whose leader.
        holder: This candidate; no other has the same name.
        note: Where it runs.
        seconds: How long the row is valid.
    """

    def __init__(self, database: Database, cluster: str, *, holder: str, note: str, seconds: float) -> None:
        self.head = 0
        self._connection = OwnConnection(database, patience=min(seconds, PATIENCE_SECONDS))
        self._note = note
        self._row = {"of_cluster": cluster, "by_holder": holder, "with_note": note}
        self._span_us = int(seconds * 1_000_000)
        self._key = {
            "locks": LEASE_LOCKS,
            "key": int.from_bytes(sha256(cluster.encode()).digest()[:4], "big", signed=True),
        }
        self._locked_in = 0  # the number of the connection that has the lock; 0 for none
        self._written_in = 0  # the one that had it when the row was written; 0 if the row says that there is no lock

    def lock(self) -> bool:
        """See `LeasePlace.lock`."""
        if not self._has_lock():
            self._locked_in = 0
            self._connection.open()
            if self._connection.is_direct and self._connection.query(_TRY_LOCK, self._key)[0][0]:
                self._locked_in = self._connection.number
        return self._locked_in > 0

    def unlock(self) -> None:
        """See `LeasePlace.unlock`."""
        if self._has_lock():
            try:
                self._connection.query(_UNLOCK, self._key)
            except OneCtlError:
                self._connection.close()  # which frees it as well
        self._locked_in = 0

    def is_free(self, *, locked: bool) -> bool:
        """See `LeasePlace.is_free`."""
        self._refuse_ended()
        rows = self._connection.query(SERVER_STATEMENTS["lease_is_free"], self._values(locked=locked))
        return not rows or bool(rows[0][0])

    def take(self, *, locked: bool) -> int | None:
        """See `LeasePlace.take`."""
        values = self._values(locked=locked)
        if not self._connection.execute(SERVER_STATEMENTS["take_lease"], values):
            if self._connection.query(SERVER_STATEMENTS["lease"], values):
                return None
            try:
                self._connection.execute(SERVER_STATEMENTS["insert_lease"], values)
            except ConflictError:  # another candidate was first
                return None
        for holder, epoch, *_ in self._connection.query(SERVER_STATEMENTS["lease"], values):
            if holder == values["by_holder"]:
                self._written_in = self._locked_in
                return int(epoch)
        return None

    def renew(self, epoch: int, position: int, *, locked: bool, trouble: Trouble | None = None) -> bool:
        """See `LeasePlace.renew`."""
        self._refuse_ended()
        values = {**self._values(locked=locked), "of_epoch": epoch, "at_position": position}
        values["with_note"] = noted(self._note, trouble)
        renewed = self._connection.execute(SERVER_STATEMENTS["renew_lease"], values) > 0
        if renewed:
            self._written_in = self._locked_in
        return renewed

    def expire(self, epoch: int) -> None:
        """See `LeasePlace.expire`."""
        self._connection.execute(SERVER_STATEMENTS["expire_lease"], {**self._values(locked=False), "of_epoch": epoch})

    def stands(self) -> bool:
        """See `LeasePlace.stands`. A row that says that there is a lock may be taken once that connection has ended."""
        return self._written_in == 0 or (self._written_in == self._connection.number and self._connection.is_open)

    def close(self) -> None:
        """See `LeasePlace.close`."""
        self._connection.close()
        self._locked_in = 0

    def _has_lock(self) -> bool:
        return self._locked_in == self._connection.number and self._connection.is_open

    def _refuse_ended(self) -> None:
        rows = self._connection.query(STATEMENTS["instance"], {})
        heads = self._connection.query(STATEMENTS["head"], {})
        if len(rows) != 1 or len(heads) != 1:
            raise LedgerDamagedError(
                "the ledger has lost its head row or its instance row", hint="Restore it from a backup."
            )
        self.head = heads[0][0]
        Instance(*rows[0]).refuse_ended()

    def _values(self, *, locked: bool) -> dict[str, object]:
        return {**self._row, "with_lock": int(locked), "span_us": self._span_us}
