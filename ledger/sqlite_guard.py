"""What a SQLite file may not do to whoever opens it: it may have been sent by somebody else.

A view or a trigger is a program. One that stands where a table of ours is expected could run without end at the first
question, or answer what it likes. So whoever opens a file looks at its schema first, which runs none of it, and takes
plain tables and our own triggers only.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ledger import sql_sqlite as sql
from ledger.errors import LedgerDamagedError

_STEPS = 1_000_000
"""After so many steps of SQLite's machine (some 20 ms) Python gets a turn, to hear signals."""

_TRIGGERS = tuple(text for text in sql.SCHEMA if text.startswith("CREATE TRIGGER "))
# What is computed for a column follows an AS.
_TABLE = re.compile(r"CREATE TABLE (?!.*\bAS\b)", re.IGNORECASE | re.DOTALL)
_INDEX = re.compile(r"CREATE (UNIQUE )?INDEX ")


class Entry(NamedTuple):
    """A line of a file's schema.

    Attributes:
        kind: ``table``, ``index``, ``trigger`` or ``view``.
        name: Its name.
        text: The statement that made it; None of an index that SQLite makes by itself.
        page: Where it begins; 0 of what is only a program.
    """

    kind: str
    name: str
    text: str | None
    page: int


def guarded(connection: sqlite3.Connection) -> sqlite3.Connection:
    """The same connection, which now distrusts its file's schema and lets signals be heard during a long statement."""
    connection.execute("PRAGMA trusted_schema=OFF")
    # What a signal raises there reaches `sys.unraisablehook`, where the command line ends the process (`cli.ending`).
    sqlite3.enable_callback_tracebacks(True)
    connection.set_progress_handler(_let_python_run, _STEPS)
    return connection


def schema_of(connection: sqlite3.Connection) -> list[Entry]:
    """What the file consists of; nothing in it is run for that."""
    return [Entry(*row) for row in connection.execute("SELECT type, name, sql, rootpage FROM sqlite_master")]


def refuse_strange(schema: Iterable[Entry]) -> None:
    """Refuse a file that holds anything but tables, indexes, and triggers of ours.

    Raises:
        LedgerDamagedError: It does.
    """
    for entry in schema:
        if not _is_plain(entry):
            raise LedgerDamagedError(
                f'the file holds a {entry.kind} "{entry.name}", which no ledger has',
                hint="Nothing was recorded. Somebody changed it, or made it to do harm: use another copy.",
            )


def missing_tables(schema: Iterable[Entry], version: int) -> Sequence[str]:
    """The tables that a ledger of this version has and this file does not, in their order."""
    later = {text for added, texts in sql.ADDED.items() if added > version for text in texts}
    wanted = [text.split()[2] for text in sql.SCHEMA if text.startswith("CREATE TABLE ") and text not in later]
    there = {entry.name for entry in schema if entry.kind == "table"}
    return [name for name in wanted if name not in there]


def _is_plain(entry: Entry) -> bool:
    """Whether an entry runs nothing, judged by its text: SQLite reads nothing else of it."""
    match entry.kind:
        case "table":
            return entry.text is not None and bool(entry.page) and _TABLE.match(entry.text) is not None
        case "index":
            return entry.text is None or _INDEX.match(entry.text) is not None
        case _:
            return entry.text in _TRIGGERS


def _let_python_run() -> int:
    return 0
