"""Durable appends beside the same write without a ledger, in one run: ``python tests/docs/measure_append.py``.

The figures of docs/adr/0007-storage.md come from it. The directory it works in must be on the disk of interest.
"""

from __future__ import annotations

import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ledger.sqlite_store import SqliteStore
from ledger.store import NewRow

TIMES = 500


def main() -> None:
    """Print the median of each, in milliseconds."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory:
        raw = sqlite3.connect(Path(directory) / "raw.db", isolation_level=None)
        raw.execute("PRAGMA journal_mode=TRUNCATE")
        raw.execute("PRAGMA synchronous=FULL")
        raw.execute("CREATE TABLE events (n INTEGER PRIMARY KEY, stream BLOB, version INT, topic TEXT, state BLOB)")
        store = SqliteStore(Path(directory) / "ledger.db")
        stream, state = os.urandom(16), os.urandom(600)

        def floor(n: int) -> None:
            raw.execute("BEGIN IMMEDIATE")
            raw.execute("INSERT INTO events VALUES (?, ?, ?, 'EnvSet', ?)", (n, stream, n, state))
            raw.execute("COMMIT")

        def append(n: int) -> None:
            store.append([NewRow(stream, n, "EnvSet", state)], clock_us=n)

        took = [(_milliseconds(floor, n), _milliseconds(append, n)) for n in range(1, TIMES + 1)]
        store.close()
        raw.close()
    bare, ours = (statistics.median(column) for column in zip(*took, strict=True))
    print(f"SQLite {sqlite3.sqlite_version}: bare insert {bare:.2f} ms, append {ours:.2f} ms, {ours / bare:.2f} times")


def _milliseconds(call: Callable[[int], None], n: int) -> float:
    began = time.perf_counter()
    call(n)
    return (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    main()
