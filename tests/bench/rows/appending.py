"""B7: a durable append, beside the same bytes written with the driver alone."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import psycopg

from ledger.sqlite_store import SqliteStore
from ledger.store import NewRow, Store
from ledger.stores import open_store
from tests.bench.figures import Aim, Line, at_most, beside
from tests.bench.run import Row, Run
from tests.bench.turns import Measurement, seconds
from tests.postgres_support import Server

if TYPE_CHECKING:
    from multiprocessing.pool import Pool

STATE = os.urandom(600)
"""About as long as the events that a deploy records."""

TURNS = 300
"""Of single appends; turns this short see the same disk."""

WRITERS, TOGETHER = 4, 50
"""Processes, and the appends of each in one measurement."""

_COLUMNS = "stream {bytes}, version BIGINT, topic TEXT, state {bytes}"


class Writer(Protocol):
    """Writes some lines to the disk before it returns."""

    def __call__(self, lines: int) -> None: ...


# -- The floors ----------------------------------------------------------------------------------------------------


def raw_sqlite(path: Path, journal: str) -> Writer:
    """Lines in a table, with the driver alone."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=60)
    connection.execute(f"PRAGMA journal_mode={journal}")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(f"CREATE TABLE IF NOT EXISTS events (n INTEGER PRIMARY KEY, {_COLUMNS.format(bytes='BLOB')})")
    stream, versions = os.urandom(16), count(1)

    def write(lines: int) -> None:
        connection.execute("BEGIN IMMEDIATE")
        rows = [(stream, next(versions), "EnvSet", STATE) for _ in range(lines)]
        connection.executemany("INSERT INTO events (stream, version, topic, state) VALUES (?, ?, ?, ?)", rows)
        connection.execute("COMMIT")

    return write


def raw_postgres(url: str) -> Writer:
    """Lines in a table, with the driver alone."""
    connection = psycopg.connect(url, autocommit=True)
    columns = _COLUMNS.format(bytes="BYTEA")
    connection.execute(f"CREATE TABLE IF NOT EXISTS raw (n BIGSERIAL PRIMARY KEY, {columns})".encode())
    stream, versions = os.urandom(16), count(1)

    def write(lines: int) -> None:
        rows = [(stream, next(versions), "EnvSet", STATE) for _ in range(lines)]
        places = ", ".join(["(%s, %s, %s, %s)"] * lines)
        connection.execute(
            f"INSERT INTO raw (stream, version, topic, state) VALUES {places}".encode(),
            [value for row in rows for value in row],
        )

    return write


def ordered_postgres(url: str) -> Writer:
    """Lines in a table, counted up in the same transaction, so that they have one order without gaps."""
    connection = psycopg.connect(url, autocommit=True)
    columns = _COLUMNS.format(bytes="BYTEA")
    connection.execute(f"CREATE TABLE IF NOT EXISTS ordered (n BIGINT PRIMARY KEY, {columns})".encode())
    connection.execute("CREATE TABLE IF NOT EXISTS counter AS SELECT 0 AS n")
    stream, versions = os.urandom(16), count(1)

    def write(lines: int) -> None:
        for _ in range(lines):
            connection.execute(
                "WITH counted AS (UPDATE counter SET n = n + 1 RETURNING n)"
                " INSERT INTO ordered SELECT n, %s, %s, %s, %s FROM counted",
                (stream, next(versions), "EnvSet", STATE),
            )

    return write


# -- Ours ----------------------------------------------------------------------------------------------------------


def append(store: Store) -> Writer:
    """Lines in a ledger."""
    stream, versions, clock = os.urandom(16), count(1), count(1)

    def write(lines: int) -> None:
        rows = [NewRow(stream, next(versions), "EnvSet", STATE) for _ in range(lines)]
        store.append(rows, clock_us=next(clock))

    return write


# -- Measuring -----------------------------------------------------------------------------------------------------


def _measure(run: Run) -> Iterator[Line]:
    path = run.scratch / "ledger.db"
    with closing(SqliteStore(path)) as store:
        store.prepare()
        journal = store.query("PRAGMA journal_mode", {})[0][0]
    yield from _compared(
        run,
        f"SQLite ({journal} journal)",
        ours=partial(_appending, path),
        floor=partial(raw_sqlite, run.scratch / "raw.db", journal),
        other="raw sqlite3",
        aim=at_most(1.3),
    )
    with closing(Server(durable=True)) as server:
        run.versions["PostgreSQL"] = server.version()
        url = server.new_database()
        with closing(open_store(url)) as store:
            store.prepare()
        yield from _compared(
            run,
            "PostgreSQL",
            ours=partial(_appending, url),
            floor=partial(raw_postgres, url),
            other="raw psycopg",
            aim=at_most(2.0),
        )
        what = f"PostgreSQL: {WRITERS} processes at once, one line each time"
        ordered = partial(ordered_postgres, url)
        yield _together(run, what, partial(_appending, url), ordered, "raw psycopg that counts lines up", None)


def _appending(address: str | Path) -> Writer:
    return append(open_store(address))


def _compared(
    run: Run, database: str, *, ours: Callable[[], Writer], floor: Callable[[], Writer], other: str, aim: Aim
) -> Iterator[Line]:
    for what, lines in (("one line", 1), ("ten lines at once", 10)):
        contenders = {"ours": _once(ours(), lines), "floor": _once(floor(), lines)}
        figures = run.in_turns(f"{database}: {what}", contenders, turns=TURNS)
        yield beside(f"{database}: {what}", "s", figures["ours"], other, figures["floor"], aim=aim)
    what = f"{database}: {WRITERS} processes at once, one line each time"
    yield _together(run, what, ours, floor, other, aim)


def _once(write: Writer, lines: int) -> Measurement:
    return lambda: seconds(lambda: write(lines))


# -- Several processes ---------------------------------------------------------------------------------------------

_writer: Writer | None = None


def _pool(make: Callable[[], Writer]) -> Pool:
    return multiprocessing.get_context("spawn").Pool(WRITERS, initializer=_become_writer, initargs=(make,))


def _become_writer(make: Callable[[], Writer]) -> None:
    global _writer  # noqa: PLW0603 - what an initializer of a pool is for
    _writer = make()


def _write(appends: int) -> None:
    assert _writer is not None
    for _ in range(appends):
        _writer(1)


def _together(
    run: Run, what: str, ours: Callable[[], Writer], floor: Callable[[], Writer], other: str, aim: Aim | None
) -> Line:
    with ExitStack() as stack:
        pools = {name: stack.enter_context(_pool(make)) for name, make in (("ours", ours), ("floor", floor))}
        figures = run.in_turns(what, {name: partial(_all_at_once, pool) for name, pool in pools.items()})
    return beside(what, "s", figures["ours"], other, figures["floor"], aim=aim)


def _all_at_once(pool: Pool) -> float:
    """Seconds an append: all of them divided by how many there were."""

    def all_of_them() -> Any:
        return pool.map(_write, [TOGETHER] * WRITERS, chunksize=1)

    return seconds(all_of_them) / (TOGETHER * WRITERS)


ROW = Row(
    name="B7",
    title="append",
    about="One append, synced to the disk and chained by SHA-256, beside an insert of the same bytes with the driver"
    " alone, synced likewise. With several processes: the time all of them take, divided by their appends. A ledger"
    " keeps the lines of all writers in one order without gaps, each on disk before the next; on PostgreSQL the plain inserts"
    " share their syncs instead, and the last comparison shows what the order alone costs.",
    measure=_measure,
)
