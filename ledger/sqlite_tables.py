"""Tables beside the log in a SQLite database, by the names of statements compiled ahead."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from itertools import chain
from typing import Any

TABLE_EXISTS = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = :name"


class SqliteTables:
    """See `ledger.store.Tables`; the transaction is that of the connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def ask(self, name: str, parameters: Mapping[str, object]) -> Sequence[tuple[Any, ...]]:
        """See `Tables.ask`."""
        return self._connection.execute(text_of(name), parameters).fetchall()

    def knows(self, table: str) -> bool:
        """See `Tables.knows`."""
        return self._connection.execute(TABLE_EXISTS, {"name": table_of(table)}).fetchone() is not None

    def each(self, name: str) -> Iterator[tuple[Any, ...]]:
        """See `Tables.each`."""
        return self._connection.execute(text_of(name))

    def execute(self, name: str, parameters: Mapping[str, object]) -> int:
        """See `Tables.execute`."""
        return self._connection.execute(text_of(name), parameters).rowcount

    def execute_all(self, name: str, parameters: Iterable[Mapping[str, object]]) -> None:
        """See `Tables.execute_all`."""
        self._connection.executemany(text_of(name), parameters)

    def put(self, table: str, rows: Iterable[Sequence[object]]) -> None:
        """See `Tables.put`."""
        coming = iter(rows)
        first = next(coming, None)
        if first is not None:
            places = ", ".join("?" * len(first))
            text = f"INSERT INTO {table_of(table)} VALUES ({places})"  # noqa: S608 - a name of ours
            self._connection.executemany(text, chain((first,), coming))

    def renew(self, table: str) -> None:
        """See `Tables.renew`."""
        package, _, name = table.partition(".")
        self._connection.execute(f"DROP TABLE IF EXISTS {name}")  # its columns may be those of an older program
        for text in import_module(f"{package}.sql_sqlite").SCHEMA:
            self._connection.execute(unless_there(text))

    def unkey(self, table: str) -> None:
        """Put a table without keys in place of an empty one: rows go to its end, whatever their order."""
        name = table_of(table)
        self._connection.execute(f"CREATE TABLE unkeyed AS SELECT * FROM {name}")  # noqa: S608 - a name of ours
        self._connection.execute(f"DROP TABLE {name}")
        self._connection.execute(f"ALTER TABLE unkeyed RENAME TO {name}")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[SqliteTables]:
    """A transaction on a database that nobody else uses; given up with its connection if the block raises."""
    connection.execute("BEGIN IMMEDIATE")
    yield SqliteTables(connection)
    connection.execute("COMMIT")


def unless_there(text: str) -> str:
    """The statement that creates a table or an index, if there is none of that name."""
    return text.replace("TABLE", "TABLE IF NOT EXISTS", 1).replace("INDEX", "INDEX IF NOT EXISTS", 1)


def text_of(name: str) -> str:
    """The text of a statement called ``package.name``."""
    package, _, statement = name.partition(".")
    text: str = getattr(import_module(f"{package}.sql_sqlite"), statement.upper())
    return text


def table_of(name: str) -> str:
    """The table called ``package.table``, as the database knows it."""
    return name.partition(".")[2]
