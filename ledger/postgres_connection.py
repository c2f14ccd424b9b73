"""The door to PostgreSQL: addresses, the pool of connections, and the driver's errors made ours.

Invariants:

* No message, hint or repr holds a password, nor a value that was sent to the server.
* What failed before a statement was sent, or was refused by the server, was not recorded. What was under way when the
  connection broke may have been, and is said to be unknown.
"""

from __future__ import annotations

import re
import select
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, DisconnectionError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from ledger.errors import (
    ConflictError,
    InvalidValueError,
    LedgerBusyError,
    LedgerDamagedError,
    LedgerUnavailableError,
    OneCtlError,
    OutcomeUnknownError,
)
from ledger.postgres_schema import SCHEMA

_EXAMPLE = "postgresql://user@host/database"
_SECRET_PARAMETERS = ("password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")
_DEFAULTS = {
    "application_name": "1ctl",
    "connect_timeout": "10",
    # A server that vanished is noticed within a minute, also by a command that waits for its answer.
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
}
_NOTHING = "Nothing was recorded."
_MIGRATE = f"{_NOTHING} Its owner creates or updates the tables with: 1ctl ledger migrate"
_REPEAT = "Repeat with the same request id to find out."


class Address:
    """Where a database is, from a ``postgresql://`` URL as libpq understands it.

    Attributes:
        parameters: What the driver is given.
        shown: The address as it may be shown: its password, if there is one, as ``***``.

    Raises:
        InvalidValueError: It is not such a URL.
    """

    def __init__(self, url: str) -> None:
        text = re.sub(r"^postgres(ql)?(\+psycopg)?://", "postgresql://", url)
        try:
            given = {key: str(value) for key, value in conninfo_to_dict(text).items()}
        except psycopg.Error:
            given = {}
        # A password with a bare "@", "/" or ":" spills into these; the driver would then print half of it.
        host, port = given.get("host", ""), given.get("port", "")
        if not text.startswith("postgresql://") or not given or "@" in host or not re.fullmatch(r"[\d,]*", port):
            raise InvalidValueError(
                "ledger address",
                None,
                "is not a PostgreSQL URL (special characters of a password are written as %40 for @, %2F for /)",
                example=_EXAMPLE,
            )
        # Of several hosts, the one that can be written; what a standby says may be older than what was acknowledged.
        several = {"target_session_attrs": "read-write"} if "," in host else {}
        self.parameters = _DEFAULTS | several | given | {"client_encoding": "UTF8"}
        self.shown = _shown(given)

    def __repr__(self) -> str:
        return f"Address({self.shown!r})"


class Database:
    """A pool of connections to one database, opened when first needed. Safe for many threads.

    Args:
        address: Where it is.
        lock_timeout: Seconds to wait for a connection, and for locks that others hold.
    """

    def __init__(self, address: Address, *, lock_timeout: float) -> None:
        self.shown = address.shown
        self.lock_timeout_ms = max(1, int(lock_timeout * 1000))
        self._parameters = address.parameters
        self._timeout = lock_timeout
        self._engine: Engine | None = None
        self._closed = False

    def run(
        self, statement: Any, parameters: Mapping[str, object], *, appending: bool = False
    ) -> Sequence[tuple[Any, ...]]:
        """The rows of one statement, which is a transaction of its own.

        Raises:
            OutcomeUnknownError: The connection broke while appending.
            OneCtlError: As for `errors`.
        """
        with self.errors(), self.connect() as connection, self.errors(appending=appending):
            return _fetched(connection.execute(statement, parameters))

    @contextmanager
    def transaction(self, *, snapshot: bool = False) -> Iterator[Connection]:
        """Several statements as one transaction, rolled back if the block raises.

        Args:
            snapshot: Everything in it sees one moment, and nothing can be written.
        """
        level: Any = "REPEATABLE READ" if snapshot else "READ COMMITTED"
        with self.errors(), self.connect() as connection:
            options = {"isolation_level": level, "postgresql_readonly": snapshot}
            with self.errors(), connection.execution_options(**options).begin() as transaction:
                yield connection
                with self.errors(appending=not snapshot):
                    transaction.commit()

    @contextmanager
    def errors(self, *, appending: bool = False) -> Iterator[None]:
        """A block in which the libraries' errors become ours.

        Raises:
            ConflictError: Another writer was first; nothing was recorded.
            LedgerBusyError: A lock or a connection was not free in time; nothing was recorded.
            LedgerDamagedError: The server found its own data damaged.
            LedgerUnavailableError: Anything else; nothing was recorded.
            OutcomeUnknownError: The connection broke, and the block was `appending`.
        """
        try:
            yield
        except PoolTimeoutError as error:
            raise LedgerBusyError(
                f"the ledger {self.shown} had no free connection for {self._timeout:g} s", hint=_NOTHING
            ) from error
        except DBAPIError as error:
            self._fail(error, appending=appending)
        except (SQLAlchemyError, psycopg.Error) as error:
            raise LedgerUnavailableError(
                f"the ledger {self.shown} cannot be used: {_first_line(error)}", hint=_NOTHING
            ) from error

    def connect(self) -> Connection:
        """A connection of the pool, on which every statement is a transaction of its own."""
        if self._closed:
            raise LedgerUnavailableError(f"the ledger {self.shown} was closed")
        if self._engine is None:
            self._engine = self._make_engine()
        return self._engine.connect()

    def close(self) -> None:
        """Give up all connections."""
        self._closed = True
        if self._engine is not None:
            self._engine.dispose()

    def _make_engine(self) -> Engine:
        engine = create_engine(
            "postgresql+psycopg://",
            creator=lambda: psycopg.connect(**self._parameters),  # type: ignore[arg-type] # all are text
            hide_parameters=True,
            isolation_level="AUTOCOMMIT",
            pool_timeout=self._timeout,
            execution_options={"schema_translate_map": {None: SCHEMA}},
        )
        event.listen(engine, "checkout", _refuse_dead)
        return engine

    def _fail(self, error: DBAPIError, *, appending: bool) -> NoReturn:
        cause = error.orig if isinstance(error.orig, psycopg.Error) else None
        state = cause.sqlstate if cause is not None else None
        if error.connection_invalidated and appending:
            raise OutcomeUnknownError(
                f"the connection to the ledger {self.shown} broke while recording: the request may or may not be"
                " recorded",
                hint=_REPEAT,
            ) from error
        raise self._refused(state or "", cause, _first_line(error.orig)) from error

    def _refused(self, state: str, cause: psycopg.Error | None, said: str) -> OneCtlError:
        ledger = f"the ledger {self.shown}"
        match state:
            case "23505" if cause is not None and cause.diag.constraint_name == "stored_events_pkey":
                return LedgerDamagedError(
                    "the head of the ledger does not fit its events",
                    hint=f"{_NOTHING} See where: 1ctl audit verify",
                )
            case "23505" | "40001" | "40P01":  # a key that is taken, a serialisation failure, a deadlock
                return ConflictError("another writer was first")
            case "55P03" | "57014":
                return LedgerBusyError(
                    f"{ledger} is locked by another writer ({said})", hint=f"{_NOTHING} Try again when it is done."
                )
            case "42P01" | "3F000" | "42883":
                return LedgerUnavailableError(f"{ledger} has no tables, or not all: {said}", hint=_MIGRATE)
            case "42501":
                return LedgerUnavailableError(
                    f"{ledger} does not allow this to its user: {said}",
                    hint=f"{_NOTHING} Its owner grants the role for it; see: 1ctl ledger roles --help",
                )
            case "25006":
                return LedgerUnavailableError(
                    f"{ledger} cannot be written: {said}", hint=f"{_NOTHING} Is this a standby? Name the primary."
                )
            case "P0002" | "P0003":
                return LedgerDamagedError(
                    f"{ledger} has lost its head row", hint="Restore it from a backup. Nothing was recorded."
                )
            case "XX001" | "XX002":
                return LedgerDamagedError(
                    f"{ledger} is damaged: {said}", hint="Restore it from a backup. Nothing was recorded."
                )
            case "":
                return LedgerUnavailableError(
                    f"{ledger} cannot be reached: {said}", hint=f"{_NOTHING} Check its address, and that it is up."
                )
            case _:
                return LedgerUnavailableError(f"{ledger} cannot be used: {said}", hint=_NOTHING)


def _refuse_dead(connection: Any, _record: object, _proxy: object) -> None:
    """Take no connection from the pool that the server closed meanwhile; asks the kernel only, not the server.

    An idle connection has nothing to say, so whatever can be read from it is its end.
    """
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    if poll.poll(0):
        raise DisconnectionError


def _fetched(result: Any) -> Sequence[tuple[Any, ...]]:
    return [tuple(row) for row in result] if result.returns_rows else []


def _first_line(error: BaseException | None) -> str:
    """What the server said, without the details that repeat values."""
    diagnosis = getattr(error, "diag", None)
    said = getattr(diagnosis, "message_primary", None) or str(error) or type(error).__name__
    return str(said).strip().splitlines()[0]


def _shown(parameters: Mapping[str, str]) -> str:
    user = quote(parameters.get("user", ""), safe="")
    password = ":***" if parameters.get("password") else ""
    hosts, ports = parameters.get("host", "").split(","), parameters.get("port", "").split(",")
    sockets = any(host.startswith("/") for host in hosts)
    places = [
        f"{host}:{port}" if port else host
        for host, port in zip(hosts, ports * len(hosts) if len(ports) == 1 else ports, strict=False)
    ]
    place = "" if sockets else ",".join(places)
    query = f"?host={','.join(hosts)}" if sockets else ""
    at = "@" if user or password else ""
    return f"postgresql://{user}{password}{at}{place}/{quote(parameters.get('dbname', ''), safe='')}{query}"
