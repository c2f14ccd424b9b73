"""One connection of its own, for what lasts as long as a connection does: advisory locks, and listening."""

from __future__ import annotations

import select
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psycopg

from ledger.postgres_connection import Database, Statement, compiled, prepare_if_direct

_HANGS_UP = getattr(select, "POLLRDHUP", 0)  # Linux; elsewhere the kernel says POLLHUP


class OwnConnection:
    """A connection that is opened when needed, and again after it was lost. For one thread at a time, except `is_open`.

    Args:
        database: Where to.
        patience: Seconds after which a server that does not answer is given up.

    Attributes:
        number: Counts the connections: what belonged to an earlier one is gone.
        is_direct: Whether the server itself is at the other end of the newest one, and not a pooler.
    """

    def __init__(self, database: Database, *, patience: float) -> None:
        self.number = 0
        self.is_direct = False
        self._database = database
        self._patience = patience
        self._given_up = {"tcp_user_timeout": str(int(patience * 1000)), "connect_timeout": str(max(2, int(patience)))}
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is a connection that the server has not ended. Asks this machine's kernel only."""
        connection = self._connection
        if connection is None or connection.closed:
            return False
        poll = select.poll()
        with suppress(psycopg.Error):  # another thread has just closed it
            poll.register(connection.fileno(), _HANGS_UP)
            return not poll.poll(0)
        return False

    def open(self) -> None:
        """Open a connection if there is none, or it was lost.

        Raises:
            LedgerUnavailableError: The server cannot be reached.
        """
        if self._connection is None or not self.is_open:
            self._connect()

    def query(self, statement: Statement, parameters: Mapping[str, object]) -> Sequence[tuple[Any, ...]]:
        """The rows of a statement, which is a transaction of its own.

        Raises:
            OneCtlError: As for `Database.errors`. A connection that was lost is opened again by the next call.
        """
        text, constants = compiled(statement)
        with self._opened() as connection:
            return connection.execute(text, {**constants, **parameters}).fetchall()

    def execute(self, statement: Statement, parameters: Mapping[str, object]) -> int:
        """Run a statement, which is a transaction of its own; the number of rows that it changed.

        Raises:
            OneCtlError: As for `query`.
        """
        text, constants = compiled(statement)
        with self._opened() as connection:
            return connection.execute(text, {**constants, **parameters}).rowcount

    def listen(self, channel: str) -> None:
        """Be told what is notified on a channel from now on.

        Raises:
            OneCtlError: As for `query`.
        """
        with self._opened() as connection:
            connection.execute(f"LISTEN {channel}".encode())

    def notified(self, wake: int, timeout: float) -> bool:
        """Wait until something was notified, the connection was lost, or a descriptor can be read; whether one was.

        Args:
            wake: The descriptor.
            timeout: Seconds to wait.
        """
        connection = self._connection
        poll = select.poll()
        poll.register(wake, select.POLLIN)
        if connection is not None and not connection.closed:
            poll.register(connection.fileno(), select.POLLIN)
        found = bool(poll.poll(max(0, timeout) * 1000))
        if connection is not None and not connection.closed:
            try:
                connection.pgconn.consume_input()
                while connection.pgconn.notifies():
                    pass
            except psycopg.Error:
                self.close()
        return found

    def close(self) -> None:
        """End the connection; the server frees what belongs to it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @contextmanager
    def _opened(self) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        """The connection, opened if there is none; given up when it breaks."""
        self.open()
        connection = self._connection
        assert connection is not None
        try:
            with self._database.errors(connection):
                yield connection
        finally:
            if connection.closed:
                self._connection = None

    def _connect(self) -> None:
        self.close()
        with self._database.errors():
            connection = self._connection = self._database.connect(self._given_up, patience=self._patience)
            self.number += 1
            self.is_direct = prepare_if_direct(connection)
