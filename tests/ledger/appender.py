"""A process of its own that works on a ledger, for tests of what processes do to each other. Needs no packages.

append PATH STREAM COUNT     Append to a stream and print each position once it is acknowledged.
share PATH STREAM LAST       Wait for a line on stdin, then append until the ledger reaches a position; print how often.
hold PATH                    Take the writers' lock, say so, and never give it back.
fill PATH                    Append until the file may not grow any more; print the error.
read PATH                    Give up all rights, then print how many lines the ledger has, and what an append says.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from uuid import NAMESPACE_DNS, uuid5

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from ledger.errors import OneCtlError
from ledger.file_lock import FileLock
from ledger.sqlite_store import SqliteStore
from ledger.store import NewRow

NOBODY = 65_534
STATE = (
    b'{"data":{},"meta":{"actor":"ada","reason":null,"request_id":null,"source":{"program":"1ctl","host":"h",'
    b'"commit":null,"dirty":null,"ci":null},"subject":null,"correlation_id":"c","causation":null,'
    b'"clock":"2026-01-01T00:00:00.000000Z","salt":"00"},"schema":1}'
)
"""What a program that knows more events than this one could write."""


def main(verb: str, path: str, *rest: str) -> None:
    """Do what the module's docstring says."""
    store = SqliteStore(Path(path))
    match verb:
        case "append":
            append(store, rest[0], int(rest[1]))
        case "share":
            share(store, rest[0], int(rest[1]))
        case "hold":
            store.path.parent.mkdir(parents=True, exist_ok=True)
            assert FileLock(Path(f"{path}.lock")).acquire(10)
            print("held", flush=True)
            time.sleep(600)
        case "fill":
            fill(store)
        case "read":
            read(store)
        case _:
            raise SystemExit(__doc__)


def one(store: SqliteStore, name: str, version: int, state: bytes = STATE) -> int:
    """Append one line and return its position."""
    row = NewRow(uuid5(NAMESPACE_DNS, name).bytes, version, "T", state)
    return store.append([row], clock_us=time.time_ns() // 1000)[-1].position


def append(store: SqliteStore, name: str, count: int) -> None:
    """Print what is acknowledged; nothing may be lost from then on."""
    first = store.stream_version(uuid5(NAMESPACE_DNS, name).bytes) + 1
    for version in range(first, first + count):
        position = one(store, name, version)
        os.write(1, b"%d\n" % position)


def share(store: SqliteStore, name: str, last: int) -> None:
    """Compete with others until all of them together have reached a position."""
    print("ready", flush=True)
    sys.stdin.readline()
    done = 0
    while store.head().position < last:
        done += 1
        one(store, name, done)
    print(done)


def fill(store: SqliteStore) -> None:
    """Meet the end of the disk, then find room again."""
    one(store, "s", 1)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    room = store.path.stat().st_size + 100_000
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    version = 1
    try:
        while version < 1000:
            one(store, "s", version + 1, STATE.replace(b"ada", b"a" * 30_000))
            version += 1
            print(f"recorded {version}", flush=True)
    except OneCtlError as error:
        print(f"{type(error).__name__} {error.message} {error.hint}", flush=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    again = store.stream_version(uuid5(NAMESPACE_DNS, "s").bytes)
    print(f"found {again}", flush=True)
    print(f"went on at {one(store, 's', again + 1)}", flush=True)


def read(store: SqliteStore) -> None:
    """What somebody sees who may only read. Root may do anything, so it becomes nobody first."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    attempts: list[Callable[[], int]] = [lambda: store.head().position, lambda: one(store, "s", 1000)]
    for attempt in attempts:
        try:
            print(attempt())
        except OneCtlError as error:
            print(f"{type(error).__name__} {error.message}")


if __name__ == "__main__":
    main(*sys.argv[1:])
