"""A SQLite file that cannot be read any more: its bytes are kept elsewhere, and others may have it open meanwhile.

It is never renamed. Who has it open knows its journal by name only: it would take the journal of a file that got the
name for its own, and roll it back into what was kept.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import BinaryIO

from ledger.durable_files import sync_directory, write_all_durably
from ledger.errors import LedgerBusyError
from ledger.sqlite_files import escaped

_LOCKS = 512, 0x40000000
"""How many bytes, and from which one on, SQLite locks in a file; whoever uses it holds at least one of them."""

_CHUNK = 1 << 20
_PAUSE = 0.01


def is_damage(error: sqlite3.Error | UnicodeDecodeError) -> bool:
    """Whether it is the file's content that is wrong."""
    name = getattr(error, "sqlite_errorname", "") or ""
    # Text that is not UTF-8 is an error of Python's module: in a value, or in what SQLite says about the schema.
    undecodable = isinstance(error, UnicodeDecodeError) or str(error).startswith("Could not decode")
    return undecodable or name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))


def keep_bytes(path: Path, aside: Path) -> None:
    """Copy a file that nobody writes, its journals with it; on disk when it returns.

    Raises:
        OSError: It cannot be copied.
    """
    for suffix in ("-journal", "-wal", ""):  # the file last: whoever reads it may just be merging its journals into it
        part = path.with_name(path.name + suffix)
        if part.exists() and part.stat().st_size:
            write_all_durably(aside.with_name(aside.name + suffix), _chunks(part))


def make_replaceable(path: Path, *, timeout: float) -> None:
    """See to it that SQLite can write another content into a file: what it takes for no database becomes an empty one.

    Args:
        path: The file.
        timeout: Seconds to wait for those who use it, if it has to become another.

    Raises:
        LedgerBusyError: Somebody used it all the time. Nothing was changed.
        OSError, sqlite3.Error: It cannot be written.
    """
    if not _is_database(path):
        _empty(path, time.monotonic() + timeout)


def _is_database(path: Path) -> bool:
    address = f"file:{escaped(path.absolute())}?mode=rw"
    with closing(sqlite3.connect(address, uri=True, isolation_level=None)) as connection:
        try:
            connection.execute("PRAGMA synchronous=FULL")  # reads the schema
            connection.execute("BEGIN IMMEDIATE")
        except (sqlite3.Error, UnicodeDecodeError) as error:
            if not is_damage(error):
                raise
            return False
    return True


def _empty(path: Path, deadline: float) -> None:
    with path.open("r+b") as file:
        while not _is_locked(file):
            if time.monotonic() > deadline:
                raise LedgerBusyError(
                    f"the ledger {path} is damaged, and another process keeps it open",
                    hint="Nothing was changed. End that process, such as a worker, and try again.",
                )
            time.sleep(_PAUSE)
        for suffix in ("-journal", "-wal"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)  # or it would be merged into what comes next
        sync_directory(path.parent)
        file.truncate(0)
        file.write(_empty_database())
        file.flush()
        os.fsync(file.fileno())


def _empty_database() -> bytes:
    """A database with nothing in it, and with a change counter and a schema cookie that no other has.

    Whoever has read the file before keeps pages of it, and takes them for its content if both are what they were.
    """
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute("PRAGMA user_version=1")  # or there would be no page
        connection.execute("PRAGMA user_version=0")
        page = bytearray(connection.serialize())
    page[24:28] = page[92:96] = os.urandom(4)
    page[40:44] = os.urandom(4)
    return bytes(page)


def _is_locked(file: BinaryIO) -> bool:
    """Whether nobody uses the file, and nobody will until it is closed."""
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, *_LOCKS)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from iter(partial(file.read, _CHUNK), b"")
