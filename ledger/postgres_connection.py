"""The door to PostgreSQL: the pool of connections, and the driver's errors translated into ours.

Invariants:

* No message, hint or repr holds a password, nor a value that was sent to the server.
* What failed before a statement was sent, or was refused by the server, was not recorded. What was under way when the
  connection broke may have been, and is said to be unknown.
* Nothing outlives a transaction in a connection, unless the server itself is at its other end.
"""

from __future__ import annotations

import functools
import os
import select
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from sqlalchemy import ClauseElement, Dialect, event
from sqlalchemy.dialects.postgresql import psycopg as postgresql_psycopg
from sqlalchemy.exc import DisconnectionError, InvalidRequestError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection, QueuePool

from ledger.errors import (
    ConflictError,
    LedgerBusyError,
    LedgerDamagedError,
    LedgerDeniedError,
    LedgerFullError,
    LedgerUnavailableError,
    OneCtlError,
    OutcomeUnknownError,
)
from ledger.instance import ended_error
from ledger.postgres_address import Address, invalid_address, parse
from ledger.postgres_names import BAD_HEAD, ENDED, SCHEMA, WRONG_CLOCK
from ledger.postgres_patience import connected
from ledger.postgres_service import of_service
from ledger.postgres_tls import tls_parameters

_REPEATED = 5
"""How often a connection is used before it is asked who is at its other end, and a statement run before it is prepared."""

_NOTHING = "Nothing was recorded."
_MIGRATE = f"{_NOTHING} Its owner creates or updates the tables with: 1ctl ledger migrate"
_RESTORE = f"Restore it from a backup. {_NOTHING}"
_TLS = (
    f"{_NOTHING} A remote server must have a certificate for its name, from an authority trusted here: name its file"
    " with ?sslrootcert=FILE in the address. To ask for less: ?sslmode=require"
)
_REPEAT = "Repeat with the same request id to find out."


Statement: TypeAlias = ClauseElement
"""A statement of SQLAlchemy's."""

_DIALECT: Dialect = postgresql_psycopg.dialect()  # type: ignore[no-untyped-call]


class Database:
    """A pool of connections to one database, opened when first needed. Safe for many threads.

    Statements are SQLAlchemy's, compiled once; they run on the driver's own connections, because a durable append must
    not wait longer for its client than for the disk.

    Args:
        address: Where it is.
        lock_timeout: Seconds to wait for a connection, and for locks that others hold.
        patience: Seconds after which a server that has not answered is given up; longer than `lock_timeout`. None:
            it is waited for.
    """

    def __init__(self, address: Address, *, lock_timeout: float, patience: float | None = None) -> None:
        _check_reading(address)
        self.shown = address.shown
        self.lock_timeout_ms = max(1, int(lock_timeout * 1000))
        self._given = address.given
        self._parameters = (
            tls_parameters(address.given, os.environ, of_service(address.given, os.environ)) | address.parameters
        )
        self._timeout = lock_timeout
        self._patience = patience
        self._pool = QueuePool(self._pooled, timeout=lock_timeout, reset_on_return=None)
        event.listen(self._pool, "checkout", _refuse_dead)
        event.listen(self._pool, "checkout", _prepare_if_used_often)
        self._closed = threading.Event()

    def run(
        self, statement: Statement, parameters: Mapping[str, object], *, appending: bool = False
    ) -> Sequence[tuple[Any, ...]]:
        """The rows of one statement, which is a transaction of its own.

        Raises:
            OutcomeUnknownError: The connection broke while appending.
            OneCtlError: As for `errors`.
        """
        text, constants = compiled(statement)
        with self.connection() as connection, self.errors(connection, appending=appending):
            # Binary: as text a state comes in hex digits, and a line takes 6.0 us to read instead of 3.2 (100,000 of them).
            cursor = connection.execute(text, {**constants, **parameters}, binary=True)
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def transaction(self, *, snapshot: bool = False) -> Iterator[Transaction]:
        """Several statements as one transaction, rolled back if the block raises.

        Args:
            snapshot: Everything in it sees one moment, and nothing can be written.

        Raises:
            OutcomeUnknownError: The connection broke while committing.
            OneCtlError: As for `errors`.
        """
        with self.connection() as connection, self.errors(connection):
            begin = "BEGIN ISOLATION LEVEL " + ("REPEATABLE READ READ ONLY" if snapshot else "READ COMMITTED")
            connection.execute(begin)
            try:
                yield Transaction(connection)
            except BaseException:
                _rollback(connection)
                raise
            with self.errors(connection, appending=not snapshot):
                connection.execute("COMMIT")

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        """A connection of the pool, on which every statement is a transaction of its own.

        Raises:
            LedgerBusyError: None was free in time.
            LedgerUnavailableError: The server cannot be reached, or this was closed.
        """
        if self._closed.is_set():
            raise self._was_closed()
        pooled = self._checkout()
        connection: psycopg.Connection[tuple[Any, ...]] = pooled.dbapi_connection  # type: ignore[assignment]
        try:
            yield connection
        finally:
            if connection.closed or connection.info.transaction_status != TransactionStatus.IDLE:
                pooled.invalidate()
            pooled.close()
            if self._closed.is_set():  # by another thread, while this one was using its connection
                self._pool.dispose()

    @contextmanager
    def errors(self, connection: psycopg.Connection[Any] | None = None, *, appending: bool = False) -> Iterator[None]:
        """A block in which the driver's errors become ours.

        Raises:
            ConflictError: Another writer was first; nothing was recorded.
            LedgerBusyError: A lock was not free in time; nothing was recorded.
            LedgerDamagedError: The server found its own data damaged.
            LedgerUnavailableError: Anything else; nothing was recorded.
            OutcomeUnknownError: The connection broke, and the block was `appending`.
        """
        try:
            yield
        except psycopg.Error as error:
            lost = connection is not None and _broke(connection, error)
            if lost and appending:
                raise OutcomeUnknownError(
                    f"the connection to the ledger {self.shown} broke while recording", hint=_REPEAT
                ) from error
            values = (error.sqlstate or "").startswith("23")  # what broke a constraint is quoted in the error's details
            raise _refused(f"the ledger {self.shown}", error) from (None if values else error)

    def close(self) -> None:
        """Give up all connections."""
        self._closed.set()
        self._pool.dispose()

    def connect(self, defaults: Mapping[str, str], *, patience: float) -> psycopg.Connection[tuple[Any, ...]]:
        """A connection outside of the pool, on which every statement is a transaction of its own and none is prepared.

        Args:
            defaults: Parameters where the address gives none.
            patience: Seconds after which a server that has not answered is given up.

        Raises:
            LedgerUnavailableError: This was closed.
            psycopg.Error: The server cannot be reached.
        """
        if self._closed.is_set():
            raise self._was_closed()
        parameters = self._parameters | dict(defaults) | self._given
        return connected(parameters, patience=patience)

    def _pooled(self) -> Any:
        return connected(self._parameters, patience=self._patience)

    def _was_closed(self) -> LedgerUnavailableError:
        return LedgerUnavailableError(f"the ledger {self.shown} was closed")

    def _checkout(self) -> PoolProxiedConnection:
        try:
            with self.errors():
                return self._pool.connect()
        except PoolTimeoutError as error:
            raise LedgerBusyError(
                f"the ledger {self.shown} had no free connection for {self._timeout:g} s", hint=_NOTHING
            ) from error
        except InvalidRequestError as error:  # the pool gives up after the second connection that was closed at once
            raise LedgerUnavailableError(
                f"the ledger {self.shown} closes every connection as soon as it is made",
                hint=f"{_NOTHING} Is the server shutting down? Try again.",
            ) from error


class Transaction:
    """Statements on one connection, between the begin and the end of a transaction."""

    def __init__(self, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        self._connection = connection

    def query(self, statement: Statement, parameters: Mapping[str, object]) -> Sequence[tuple[Any, ...]]:
        """The rows of a statement."""
        text, constants = compiled(statement)
        return self._connection.execute(text, {**constants, **parameters}, binary=True).fetchall()

    def execute(self, statement: Statement, parameters: Mapping[str, object]) -> int:
        """Run a statement; the number of rows that it changed."""
        text, constants = compiled(statement)
        return self._connection.execute(text, {**constants, **parameters}).rowcount

    def executemany(self, statement: Statement, parameters: Iterable[Mapping[str, object]]) -> None:
        """Run a statement once for each mapping."""
        text, constants = compiled(statement)
        with self._connection.cursor() as cursor:
            cursor.executemany(text, [{**constants, **each} for each in parameters])

    def copy(self, table: str, rows: Iterable[Sequence[object]]) -> None:
        """Add rows to a table of ours, as one stream."""
        with self._connection.cursor() as cursor, cursor.copy(f"COPY {SCHEMA}.{table} FROM STDIN".encode()) as copy:
            for row in rows:
                copy.write_row(row)

    def lock(self, key: int, timeout_ms: int) -> None:
        """Be the only transaction with this advisory lock until the end."""
        self.script([f"SET LOCAL lock_timeout = {timeout_ms}", f"SELECT pg_advisory_xact_lock({key})"])

    def lock_table(self, name: str, timeout_ms: int) -> None:
        """Be the only transaction that has a table of ours locked so until the end; others may read it."""
        self.script([f"SET LOCAL lock_timeout = {timeout_ms}", f"LOCK TABLE {SCHEMA}.{name} IN EXCLUSIVE MODE"])

    def script(self, statements: Iterable[str]) -> None:
        """Run statements without parameters."""
        for statement in statements:
            self._connection.execute(statement.encode())


def prepare_if_direct(connection: psycopg.Connection[Any]) -> bool:
    """Whether the server itself is at the other end; statements that are repeated are prepared there from now on.

    A pooler tells its clients process numbers of its own. It may give the next statement to another process of the server,
    which knows nothing of what was prepared.

    Raises:
        psycopg.Error: The server did not answer.
    """
    ((process,),) = connection.execute("SELECT pg_backend_pid()").fetchall()
    direct: bool = process == connection.info.backend_pid
    connection.prepare_threshold = _REPEATED if direct else None
    return direct


@functools.cache
def compiled(statement: Statement) -> tuple[bytes, Mapping[str, object]]:
    """A statement as the driver takes it, and the parameters that are constants of it."""
    result = statement.compile(dialect=_DIALECT, schema_translate_map={None: SCHEMA}, render_schema_translate=True)
    return str(result).encode(), {name: value for name, value in result.params.items() if value is not None}


def _check_reading(address: Address) -> None:
    """Refuse what libpq reads differently from us, or does not know; its own words could quote a password."""
    try:
        read = conninfo_to_dict(address.url)
    except (psycopg.Error, UnicodeDecodeError):
        raise invalid_address() from None
    if read != parse(address.url):
        raise invalid_address()


def _broke(connection: psycopg.Connection[Any], error: psycopg.Error) -> bool:
    """Whether the connection has ended; if the server said so before hanging up, hang up as well."""
    if error.diag.severity_nonlocalized in {"FATAL", "PANIC"}:
        connection.close()
    return connection.closed


def _refused(ledger: str, error: psycopg.Error) -> OneCtlError:  # noqa: C901, PLR0911, PLR0912 - a table, one line a case
    """What the server refused, or a connection that broke when nothing was at stake."""
    said = _first_line(error)
    match error.sqlstate:
        case "23505" if error.diag.constraint_name == "stored_events_pkey":
            return _bad_head()
        case "23505" | "40001" | "40P01":  # a key that is taken, a serialisation failure, a deadlock
            return ConflictError("another writer was first")
        case state if state == BAD_HEAD:
            return _bad_head()
        case state if state == ENDED:
            return ended_error(error.diag.message_primary or "", error.diag.message_detail or None)
        case state if state == WRONG_CLOCK:
            return LedgerUnavailableError(
                "this machine's clock is more than a day ahead of the clock of the ledger's database",
                hint=f"{_NOTHING} Set the clock that is wrong.",
            )
        case "55P03" | "57014":
            return LedgerBusyError(
                f"{ledger} is locked by another writer ({said})", hint=f"{_NOTHING} Try again when it is done."
            )
        case "42P01" | "3F000" | "42883":
            return LedgerUnavailableError(f"{ledger} has no tables, or not all: {said}", hint=_MIGRATE)
        case "42501":
            return LedgerDeniedError(
                f"{ledger} does not allow its user to do this: {said}",
                hint=f"{_NOTHING} Its owner grants the role for it (1ctl ledger roles makes it), "
                "and creates tables with: 1ctl ledger migrate",
            )
        case "25006":
            return LedgerUnavailableError(
                f"{ledger} cannot be written: {said}", hint=f"{_NOTHING} Is this a standby? Name the primary."
            )
        case "53100":
            return LedgerFullError(f"{ledger} has no space left: {said}", hint=_NOTHING)
        case "P0002" | "P0003":
            return LedgerDamagedError(f"{ledger} has lost its head row or its instance row", hint=_RESTORE)
        case "XX001" | "XX002":
            return LedgerDamagedError(f"{ledger} is damaged: {said}", hint=_RESTORE)
        case None if "SSL" in str(error) or "certificate" in str(error):
            return LedgerUnavailableError(f"{ledger} cannot be reached: {said}", hint=_TLS)
        case None:
            return LedgerUnavailableError(
                f"{ledger} cannot be reached: {said}", hint=f"{_NOTHING} Check its address, and that it is up."
            )
        case _:
            return LedgerUnavailableError(f"{ledger} cannot be used: {said}", hint=_NOTHING)


def _bad_head() -> LedgerDamagedError:
    return LedgerDamagedError(
        "the head of the ledger does not fit its events", hint=f"{_NOTHING} See where: 1ctl audit verify"
    )


def _refuse_dead(connection: Any, _record: object, _proxy: object) -> None:
    """Take no connection from the pool that the server closed meanwhile; asks the kernel only, not the server.

    An idle connection has nothing to say, so whatever can be read from it is its end.
    """
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    if poll.poll(0):
        raise DisconnectionError


def _prepare_if_used_often(connection: Any, record: ConnectionPoolEntry, _proxy: object) -> None:
    """Ask who is at the other end once a connection is used often: for a few statements, preparing is not worth it."""
    record.info["uses"] = record.info.get("uses", 0) + 1
    if record.info["uses"] == _REPEATED:
        prepare_if_direct(connection)


def _rollback(connection: psycopg.Connection[Any]) -> None:
    with suppress(psycopg.Error):  # then the connection is given up, and the server rolls back
        connection.execute("ROLLBACK")


def _first_line(error: psycopg.Error) -> str:
    """What the server said, without the details that repeat values."""
    said = error.diag.message_primary or str(error).strip() or type(error).__name__
    return said.splitlines()[0]
