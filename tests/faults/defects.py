"""Planted defects: changes to the program that the harness must catch, each by the invariant that it breaks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


def acknowledges_before_syncing() -> None:
    """Leave it to the system when a commit gets to the disk."""
    import sqlite3

    connect = sqlite3.connect

    class Hasty(sqlite3.Connection):
        def execute(self, text: str, *parameters: Any) -> sqlite3.Cursor:
            return super().execute(text.replace("synchronous=FULL", "synchronous=OFF"), *parameters)

    def hasty(*args: Any, **options: Any) -> sqlite3.Connection:
        return connect(*args, **options, factory=Hasty)

    sqlite3.connect = hasty  # type: ignore[assignment]


def appends_twice() -> None:
    """Send what was appended a second time, as after an answer that did not come."""
    from ledger.sqlite_store import SqliteStore
    from ledger.store import NewRow

    append = SqliteStore.append

    def twice(self: SqliteStore, rows: Sequence[NewRow], **more: Any) -> Any:
        lines = append(self, rows, **more)
        if more.get("beside") is not None and more["beside"].request is not None:
            again = [row._replace(version=row.version + len(rows)) for row in rows]
            append(self, again, clock_us=more["clock_us"])
        return lines

    SqliteStore.append = twice  # type: ignore[method-assign]


def forgets_requests() -> None:
    """Record what a request asks for, and not which request it was."""
    from dataclasses import replace

    from ledger.sqlite_store import SqliteStore

    append = SqliteStore.append

    def forgetful(self: SqliteStore, rows: Any, *, clock_us: int, beside: Any = None) -> Any:
        return append(self, rows, clock_us=clock_us, **({"beside": replace(beside, request=None)} if beside else {}))

    SqliteStore.append = forgetful  # type: ignore[method-assign]


def swallows_what_goes_wrong() -> None:
    """Go on after a commit that failed, as if it had not."""
    from ledger.errors import OneCtlError
    from ledger.sqlite_store import SqliteStore

    writing = SqliteStore.writing

    @contextmanager
    def careless(self: SqliteStore) -> Iterator[Any]:
        try:
            with writing(self) as connection:
                yield connection
                connection.execute("ROLLBACK")
        except OneCtlError:
            pass

    SqliteStore.writing = careless  # type: ignore[method-assign,assignment]


def fails_after_recording() -> None:
    """Find a fault after the commit, and call it one from before."""
    from ledger.errors import LedgerUnavailableError
    from ledger.sqlite_store import SqliteStore

    append = SqliteStore.append

    def failing(self: SqliteStore, rows: Any, **more: Any) -> Any:
        append(self, rows, **more)
        if more.get("beside") is not None and more["beside"].request is not None:
            raise LedgerUnavailableError("the disk is gone", hint="Nothing was recorded.")
        return []

    SqliteStore.append = failing  # type: ignore[method-assign]


def locks_by_a_file() -> None:
    """Hold the writers' lock by the existence of a file, which stays when its owner dies."""
    import os
    import time
    from pathlib import Path

    from ledger.file_lock import FileLock

    def acquire(self: FileLock, timeout: float) -> bool:
        path = Path(f"{self._path}.held")
        deadline = time.monotonic() + min(timeout, 0.5)
        while time.monotonic() < deadline:
            try:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            except FileExistsError:
                time.sleep(0.01)
                continue
            return True
        return False

    FileLock.acquire = acquire  # type: ignore[method-assign]
    FileLock.release = lambda self: Path(f"{self._path}.held").unlink()  # type: ignore[method-assign]


def prints_what_it_seals() -> None:
    """Say what a secret is, in an encoding that nobody reads at a glance."""
    import sys
    from base64 import b64encode

    from ledger import sealing

    seal = sealing.seal_value

    def talkative(value: bytes, *args: Any) -> bytes:
        sys.stderr.write(f"sealing {b64encode(value).decode()}\n")
        return seal(value, *args)

    vars(sealing)["seal_value"] = talkative


def ends_with_a_traceback() -> None:
    """Have no last line of defence."""
    from cli import failure
    from ledger.ledger import Ledger

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a bug")

    def naked(error: Exception, **_: Any) -> int:
        raise error

    Ledger.execute = broken  # type: ignore[method-assign]
    failure.report = naked


def records_before_applying() -> None:
    """Record that everything is applied before it is, and believe it from then on."""
    from effects.reconcile import Reconciler

    apply = Reconciler._apply

    def hasty(self: Reconciler, app: Any, life: Any, made: Any, progress: Any) -> Any:
        if not life.dirty:
            return app
        self._record_applied(app, life, life.objects)
        return apply(self, app, life, made, progress)

    Reconciler._apply = hasty  # type: ignore[method-assign]


def guesses_at_what_it_does_not_know() -> None:
    """Be a program from before `1ctl deploy scale` that takes an event it does not know for one that changes nothing."""
    from ledger import codec
    from ledger.events import ApplyRetried

    decoded = codec._decoded

    def guessed(topic: str, state: bytes, of_meta: Any) -> Any:
        event, meta = decoded(topic, state, of_meta)
        return (ApplyRetried() if topic == "Scaled" else event), meta

    codec._decoded = guessed
