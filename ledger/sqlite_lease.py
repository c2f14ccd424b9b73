"""A lease on a ledger in a SQLite file: its row by the machine's clock, its lock a file beside the ledger.

The row is changed in one durable transaction behind the writers' lock. Candidates only read, until it is free.
"""

from __future__ import annotations

import fcntl
import os
import string
from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING

from ledger import sql_sqlite as sql
from ledger.durable_files import make_directory
from ledger.errors import LedgerUnavailableError
from ledger.lease import noted, number_of
from ledger.sqlite_store import head_of, refuse_other_writer

if TYPE_CHECKING:
    from ledger.clock import Clock
    from ledger.lease import Trouble
    from ledger.sqlite_store import SqliteStore

_PLAIN = frozenset(string.ascii_letters + string.digits + "-_.")
_LONGEST = 100
"""How much of a cluster's name is in a file's name, which has at most 255 bytes."""


class SqliteLeasePlace:
    """See `LeasePlace`.

    Args:
        store: The ledger.
        cluster: Whose leader.
        holder: This candidate; no other has the same name.
        note: Where it runs.
        seconds: How long the row is valid.
        clock: The machine's clock, which every candidate shares.
    """

    def __init__(
        self, store: SqliteStore, cluster: str, *, holder: str, note: str, seconds: float, clock: Clock
    ) -> None:
        self.head = 0
        self._store = store
        self._clock = clock
        self._note = note
        self._row = {"of_cluster": cluster, "by_holder": holder, "with_note": note}
        self._span_us = int(seconds * 1_000_000)
        self._lock_path = store.path.with_name(f"{store.path.name}.worker-{file_name(cluster)}.lock")
        self._descriptor = -1
        self._expires_us = 0

    def lock(self) -> bool:
        """See `LeasePlace.lock`."""
        if self._descriptor >= 0 and self._is_beside():
            return True
        self.unlock()
        try:
            make_directory(self._lock_path.parent)
            descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return False
            except OSError:
                os.close(descriptor)
                raise
        except OSError as error:
            raise LedgerUnavailableError(
                f"the lock {self._lock_path} cannot be used: {error.strerror}",
                hint="It lies beside the ledger. Check that its directory can be written.",
            ) from error
        self._descriptor = descriptor
        return self._is_beside()

    def unlock(self) -> None:
        """See `LeasePlace.unlock`."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def is_free(self, *, locked: bool) -> bool:
        """See `LeasePlace.is_free`."""
        instance = self._store.query(sql.INSTANCE, {})
        if instance:
            refuse_other_writer(instance)
        if not self._store.knows("ledger.worker_leases"):
            return True
        rows = self._store.query(sql.LEASE_IS_FREE, self._values(self._clock.now_us(), locked=locked))
        return not rows or bool(rows[0][0])

    def take(self, *, locked: bool) -> int | None:
        """See `LeasePlace.take`."""
        with self._store.writing() as connection:
            refuse_other_writer(connection.execute(sql.INSTANCE).fetchall())
            self.head = head_of(connection.execute(sql.HEAD).fetchall()).position
            now_us = self._clock.now_us()
            values = self._values(now_us, locked=locked)
            if not connection.execute(sql.TAKE_LEASE, values).rowcount:
                if connection.execute(sql.LEASE, values).fetchone():
                    return None
                connection.execute(sql.INSERT_LEASE, values)
            epoch = number_of(connection.execute(sql.LEASE, values).fetchone()[1])
        self._expires_us = now_us + self._span_us
        return epoch

    def renew(self, epoch: int, position: int, *, locked: bool, trouble: Trouble | None = None) -> bool:
        """See `LeasePlace.renew`."""
        with self._store.writing() as connection:
            refuse_other_writer(connection.execute(sql.INSTANCE).fetchall())
            now_us = self._clock.now_us()
            values = {**self._values(now_us, locked=locked), "of_epoch": epoch, "at_position": position}
            values["with_note"] = noted(self._note, trouble)
            self.head = head_of(connection.execute(sql.HEAD).fetchall()).position
            renewed = bool(connection.execute(sql.RENEW_LEASE, values).rowcount)
        if renewed:
            self._expires_us = now_us + self._span_us
        return renewed

    def expire(self, epoch: int) -> None:
        """See `LeasePlace.expire`."""
        with self._store.writing() as connection:
            values = self._values(self._clock.now_us(), locked=False)
            connection.execute(sql.EXPIRE_LEASE, {**values, "of_epoch": epoch})

    def stands(self) -> bool:
        """See `LeasePlace.stands`. This clock is the one that the others go by, so setting it deceives nobody."""
        return self._clock.now_us() < self._expires_us

    def close(self) -> None:
        """See `LeasePlace.close`."""
        self.unlock()

    def _values(self, now_us: int, *, locked: bool) -> dict[str, object]:
        return {**self._row, "with_lock": int(locked), "now_us": now_us, "span_us": self._span_us}

    def _is_beside(self) -> bool:
        """Whether the file that is locked is still the one that others would lock."""
        with suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(self._descriptor), self._lock_path.stat())
        return False


def file_name(cluster: str) -> str:
    """A cluster's name as part of a file's name: unchanged if it is plain, and never that of another cluster."""
    plain = "".join(sign if sign in _PLAIN else "".join(f"%{octet:02X}" for octet in sign.encode()) for sign in cluster)
    return plain if len(plain) <= _LONGEST else f"{plain[:_LONGEST]}-{sha256(cluster.encode()).hexdigest()[:16]}"
