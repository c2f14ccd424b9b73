"""A server that is stopped keeps its connections: who waits for it gives up in time, and goes on when it comes back."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import psutil  # type: ignore[import-untyped]
import pytest

from ledger.errors import LedgerUnavailableError, OutcomeUnknownError
from ledger.postgres_migrate import migrate
from ledger.postgres_store import PostgresStore
from ledger.store import NewRow
from tests.postgres_support import Server

ROW = NewRow(b"a" * 16, 1, "Noted", b"{}")


@contextmanager
def stopped(server: Server) -> Iterator[None]:
    """A block during which no process of the server runs."""
    main = psutil.Process(server._server.get_pid())
    halted = [main]
    try:
        main.send_signal(signal.SIGSTOP)  # first: from then on there are no more of them
        for each in main.children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # it was just ending
                each.send_signal(signal.SIGSTOP)
                halted.append(each)
        yield
    finally:
        for each in halted:
            with suppress(psutil.NoSuchProcess):
                each.send_signal(signal.SIGCONT)


def test_what_is_asked_of_a_stopped_server_fails_in_time_and_works_when_it_goes_on(
    postgres: Server, database: str
) -> None:
    migrate(database)
    with closing(PostgresStore(database, patience=1.0)) as store:
        lease = store.lease("test", holder="one", note="", seconds=1.0)
        assert lease.acquire()
        assert store.head().position == 0
        with stopped(postgres):
            for ask in (store.head, lambda: lease.renew(0)):
                began = time.monotonic()
                with pytest.raises(LedgerUnavailableError, match="has not answered for 1 s"):
                    ask()
                assert time.monotonic() - began < 5
            assert not lease.held
        assert store.head().position == 0
        assert lease.acquire()
        lease.release()


def test_an_append_that_a_stopped_server_was_sent_may_be_recorded(postgres: Server, database: str) -> None:
    migrate(database)
    with closing(PostgresStore(database, patience=1.0)) as store:
        assert store.head().position == 0
        with stopped(postgres), pytest.raises(OutcomeUnknownError):
            store.append([ROW], clock_us=1)
