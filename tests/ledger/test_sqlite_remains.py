"""A file that cannot be read any more is replaced where it lies, and only while nobody is in the middle of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from ledger.errors import LedgerBusyError
from ledger.sqlite_store import SqliteStore
from tests.ledger.support import PATIENCE, read_line, write

READER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN").execute("SELECT * FROM ledger_head").fetchone()
print("reading", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with closing(SqliteStore(tmp_path / "ledger.db")) as store:
        write(store, 3)
    return tmp_path / "ledger.db"


@contextmanager
def read_elsewhere(path: Path) -> Iterator[None]:
    """A block during which another process is in the middle of reading a file."""
    command = [sys.executable, "-S", "-c", READER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert read_line(child) == "reading"
        yield
        child.communicate(timeout=PATIENCE)


def without_a_header(path: Path) -> bytes:
    with path.open("r+b") as file:
        file.write(bytes(100))
    return path.read_bytes()


def test_a_file_that_is_no_database_is_emptied_only_when_nobody_reads_it(path: Path) -> None:
    aside = path.with_name("aside.db")
    with closing(SqliteStore(path, lock_timeout=0.2)) as store:
        with read_elsewhere(path):
            before = without_a_header(path)
            with store.alone(), pytest.raises(LedgerBusyError, match="another process keeps it open") as caught:
                store.set_aside(aside)
            assert path.read_bytes() == before
        assert "End that process" in str(caught.value.hint)
        with store.alone():
            store.set_aside(aside)
        assert path.read_bytes() != before
        assert store.instance() is None, "as if there were no ledger yet"
    assert aside.read_bytes() == before


@pytest.mark.parametrize("appended", range(6))
def test_whoever_read_the_file_before_never_takes_what_it_kept_for_what_is_there(path: Path, appended: int) -> None:
    with closing(SqliteStore(path)) as known, closing(SqliteStore(path)) as store:
        assert known.head().position == 3
        without_a_header(path)
        with store.alone():
            store.set_aside(path.with_name("aside.db"))
            store.replace(complete(path, 1))
        write(store, appended)  # each append moves SQLite's own count of changes by one
        assert known.head() == store.head()
        assert write(known, 1)[0].position == appended + 2


def test_journals_are_kept_with_the_file(path: Path) -> None:
    journal = path.with_name("ledger.db-journal")
    without_a_header(path)
    journal.write_bytes(b"what a killed process left half written")
    with closing(SqliteStore(path)) as store, store.alone():
        store.set_aside(path.with_name("aside.db"))
        store.replace(complete(path, 7))
    assert path.with_name("aside.db-journal").read_bytes() == b"what a killed process left half written"
    with closing(SqliteStore(path)) as store:
        assert store.head().position == 7


def complete(beside: Path, lines: int) -> Path:
    """Another ledger."""
    path = beside.with_name("complete.db")
    with closing(SqliteStore(path)) as store:
        write(store, lines)
    return path
