"""What the tests of the ledger share: lines to append, stores, child processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import NAMESPACE_DNS, uuid5

from ledger.leaf import chain_hash, leaf_hash
from ledger.sqlite_store import SqliteStore
from ledger.store import ModelStore, NewRow, Row
from ledger.transfer import locked_head, put_rows
from ledger.verify import verify_chain

APPENDER = Path(__file__).with_name("appender.py")
START_US = 1_767_225_600_000_000
PATIENCE = 60.0


def stream_named(name: str) -> bytes:
    """A stream for tests."""
    return uuid5(NAMESPACE_DNS, name).bytes


STATE = (
    b'{"data":{"number":%d},"meta":{"actor":"ada","reason":null,"request_id":null,"source":{"program":"1ctl","host":"h",'
    b'"commit":null,"dirty":null,"ci":null},"subject":null,"correlation_id":"c","causation":null,'
    b'"clock":"2026-01-01T00:00:00.000000Z","salt":"00"},"schema":1}'
)
"""What a program that knows more events than this one could write; with a number."""


def line(version: int, *, stream: str = "s", topic: str = "T", state: bytes = STATE % 0) -> NewRow:
    """A line to append."""
    return NewRow(stream_named(stream), version, topic, state)


def write(store: SqliteStore, count: int, *, stream: str = "s", clock_us: int = START_US) -> list[Row]:
    """Append lines one at a time, a second apart."""
    version = store.stream_version(stream_named(stream))
    rows: list[Row] = []
    for number in range(version + 1, version + count + 1):
        state = STATE % number
        rows += store.append([line(number, stream=stream, state=state)], clock_us=clock_us + number * 1_000_000)
    return rows


def forged(store: ModelStore, new: NewRow) -> Row:
    """A line as whoever may write the tables can put it there: chained, in a place where no store appends it."""
    with store.change() as tables:
        head = locked_head(tables)
        leaf = leaf_hash(head.position + 1, new.stream, new.version, head.recorded_us, new.topic, new.state)
        row = Row(head.position + 1, *new, head.recorded_us, leaf, chain_hash(head.chain, leaf))
        put_rows(tables, [row])
    return row


def every_row(store: SqliteStore) -> Sequence[Row]:
    """The whole log."""
    return store.positions(1, limit=1_000_000)


def assert_sound(store: SqliteStore) -> None:
    """The chain verifies, and positions have no gap."""
    result = verify_chain(store)
    assert result.damage is None
    assert [row.position for row in every_row(store)] == list(range(1, store.head().position + 1))


def start(*arguments: object) -> subprocess.Popen[str]:
    """A child process that works on a ledger; see `tests/ledger/appender.py`."""
    return subprocess.Popen(
        [sys.executable, "-S", APPENDER, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def read_line(child: subprocess.Popen[str]) -> str:
    """The next line that a child says."""
    assert child.stdout is not None
    return child.stdout.readline().strip()


def finish(child: subprocess.Popen[str]) -> str:
    """Everything a child has still to say; it must end well and have nothing to complain about."""
    out, err = child.communicate(timeout=PATIENCE)
    assert (child.returncode, err) == (0, "")
    return out


@contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the writers' lock of a ledger until it is killed."""
    child = start("hold", path)
    try:
        assert read_line(child) == "held"
        yield child
    finally:
        child.kill()
        child.communicate(timeout=PATIENCE)
