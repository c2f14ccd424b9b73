"""Tables beside the log in a PostgreSQL database, by the names of statements."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

from sqlalchemy import Table, Text, bindparam, column, delete, select, table

from ledger.postgres_connection import Statement, Transaction
from ledger.postgres_names import SCHEMA

_catalogue = table("pg_tables", column("schemaname", Text), column("tablename", Text), schema="pg_catalog")
# Not to_regclass: it may answer from what the connection remembers, and miss what another one has just created.
TABLE_EXISTS = select(_catalogue.c.tablename).where(
    _catalogue.c.schemaname == SCHEMA, _catalogue.c.tablename == bindparam("name")
)


class PostgresTables:
    """See `ledger.store.Tables`."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def ask(self, name: str, parameters: Mapping[str, object]) -> Sequence[tuple[Any, ...]]:
        """See `Tables.ask`."""
        return self._transaction.query(statement_of(name), parameters)

    def knows(self, table: str) -> bool:
        """See `Tables.knows`."""
        return bool(self._transaction.query(TABLE_EXISTS, {"name": table_of(table).name}))

    def each(self, name: str) -> Iterator[tuple[Any, ...]]:
        """See `Tables.each`."""
        return iter(self._transaction.query(statement_of(name), {}))

    def execute(self, name: str, parameters: Mapping[str, object]) -> int:
        """See `Tables.execute`."""
        return self._transaction.execute(statement_of(name), parameters)

    def execute_all(self, name: str, parameters: Iterable[Mapping[str, object]]) -> None:
        """See `Tables.execute_all`."""
        self._transaction.executemany(statement_of(name), parameters)

    def put(self, table: str, rows: Iterable[Sequence[object]]) -> None:
        """See `Tables.put`."""
        self._transaction.copy(table_of(table).name, rows)

    def renew(self, table: str) -> None:
        """See `Tables.renew`. Not by `TRUNCATE`: the old rows answer until the new ones are committed."""
        self._transaction.execute(_emptied(table), {})


def statement_of(name: str) -> Statement:
    """The statement called ``package.name``."""
    package, _, statement = name.partition(".")
    found: Statement = import_module(f"{package}.statements").STATEMENTS[statement]
    return found


def table_of(name: str) -> Table:
    """The table called ``package.table``."""
    package, _, table_name = name.partition(".")
    found: Table = import_module(f"{package}.tables").metadata.tables[table_name]
    return found


@functools.cache
def _emptied(name: str) -> Statement:
    return delete(table_of(name))
