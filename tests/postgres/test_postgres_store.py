from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DisconnectionError

from ledger.errors import (
    ConflictError,
    LedgerBusyError,
    LedgerDamagedError,
    LedgerUnavailableError,
    OutcomeUnknownError,
    UnknownEventError,
)
from ledger.postgres_connection import compiled
from ledger.postgres_migrate import migrate
from ledger.postgres_names import CHANNEL
from ledger.postgres_store import BY_INDEX_ONLY, PostgresStore
from ledger.statements import STATEMENTS
from ledger.store import Beside, NewRow, RequestRow
from tests.postgres.between import between
from tests.postgres.conftest import OpenStore
from tests.postgres_support import administer, holding, name_of, once_waiting

A, B = b"a" * 16, b"b" * 16
TERMINATE = (
    "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = '1ctl' AND datname ="
    " current_database()"
)
CANCEL = TERMINATE.replace("terminate_backend(pid, 10000)", "cancel_backend(pid)")
LOCKED = "SELECT * FROM ledger_head FOR UPDATE"


def append(store: PostgresStore, version: int, *, request: str | None = None) -> int:
    beside = Beside(request=RequestRow(request, b"s" * 16, b"d" * 32, 0, 0) if request else None)
    (line,) = store.append([NewRow(A, version, "Noted", b"{}")], clock_us=1, beside=beside)
    return line.position


def test_reading_creates_nothing(store: PostgresStore, database: str) -> None:
    assert store.head().position == 0
    assert store.request("r") is None
    assert administer(database, "SELECT count(*) FROM pg_namespace WHERE nspname = 'onectl'") == [(0,)]


def test_a_head_that_another_writer_holds_is_waited_for_and_then_busy(
    store: PostgresStore, database: str, open_postgres: OpenStore
) -> None:
    append(store, 1)
    impatient = open_postgres(database, lock_timeout=0.1)
    with holding(database, LOCKED):
        assert impatient.head().position == 1
        with pytest.raises(LedgerBusyError) as caught:
            append(impatient, 2)
    assert "Nothing was recorded" in str(caught.value.hint)
    assert append(impatient, 2) == 2


def test_an_append_that_an_administrator_cancels_is_not_recorded(store: PostgresStore, database: str) -> None:
    append(store, 1)
    with holding(database, LOCKED):
        thread = once_waiting(database, CANCEL)
        with pytest.raises(LedgerBusyError):
            append(store, 2)
        thread.join()
    assert store.head().position == 1
    assert append(store, 2) == 2


def test_a_connection_that_breaks_while_appending_leaves_the_outcome_unknown(
    store: PostgresStore, database: str
) -> None:
    append(store, 1)
    with holding(database, LOCKED):
        thread = once_waiting(database, TERMINATE)
        with pytest.raises(OutcomeUnknownError) as caught:
            append(store, 2, request="r-2")
        thread.join()
    assert "request id" in str(caught.value.hint)
    assert store.request("r-2") is None
    assert append(store, 2, request="r-2") == 2
    assert store.request("r-2") is not None


def test_a_connection_that_broke_while_idle_is_replaced_unnoticed(store: PostgresStore, database: str) -> None:
    append(store, 1)
    for version in (2, 3):
        administer(database, TERMINATE)
        assert append(store, version) == version
    administer(database, TERMINATE)
    assert store.head().position == 3


def test_a_key_that_is_taken_by_hand_is_a_conflict(store: PostgresStore, database: str) -> None:
    append(store, 1, request="r")
    with pytest.raises(ConflictError):
        append(store, 2, request="r")


@pytest.mark.parametrize("level", ["serializable", "repeatable read"])
def test_a_stricter_default_isolation_ends_in_conflicts_not_in_damage(
    store: PostgresStore, database: str, level: str
) -> None:
    append(store, 1)
    administer(database, f"ALTER DATABASE {name_of(database)} SET default_transaction_isolation = '{level}'", TERMINATE)
    append(store, 2)
    with psycopg.connect(database) as other:
        other.execute("UPDATE onectl.ledger_head SET position = position")
        with committing(other, database), pytest.raises(ConflictError):
            append(store, 3)
    assert append(store, 3) == 3


def test_every_append_is_synchronous_whatever_the_database_says(store: PostgresStore, database: str) -> None:
    append(store, 1)
    administer(
        database,
        f"ALTER DATABASE {name_of(database)} SET synchronous_commit = off",
        "CREATE TABLE seen (setting text)",
        "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " INSERT INTO onectl.seen VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$",
        "CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON stored_events DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION see()",
        TERMINATE,
    )
    append(store, 2)
    assert administer(database, "SELECT setting FROM seen") == [("on",)]
    assert administer(database, "SHOW synchronous_commit") == [("off",)]


def test_an_append_wakes_who_listens(store: PostgresStore, database: str) -> None:
    append(store, 1)
    with psycopg.connect(database, autocommit=True) as listener:
        listener.execute(f"LISTEN {CHANNEL}")
        append(store, 2)
        (told,) = listener.notifies(timeout=5, stop_after=1)
    assert told.payload == "2"


def test_a_head_that_was_put_back_is_damage_not_a_conflict(store: PostgresStore, database: str) -> None:
    append(store, 1)
    administer(database, "UPDATE ledger_head SET position = 0")
    with pytest.raises(LedgerDamagedError):
        append(store, 2)
    administer(database, "DELETE FROM ledger_head")
    with pytest.raises(LedgerDamagedError):
        append(store, 2)
    with pytest.raises(LedgerDamagedError):
        store.head()


def test_a_database_that_cannot_be_written_is_still_read(store: PostgresStore, database: str) -> None:
    append(store, 1)
    administer(database, f"ALTER DATABASE {name_of(database)} SET default_transaction_read_only = on", TERMINATE)
    assert store.head().position == 1
    with pytest.raises(LedgerUnavailableError, match="cannot be written"):
        append(store, 2)


def test_no_error_repeats_what_was_sent(store: PostgresStore, database: str) -> None:
    canary = "c4n4ry" + os.urandom(4).hex()
    rows = [NewRow(A, 1, canary, canary.encode())]
    store.append(rows, clock_us=1)
    for refused in (rows, [NewRow(b"short", 1, canary, canary.encode())]):
        with pytest.raises((ConflictError, LedgerUnavailableError)) as caught:
            store.append(refused, clock_us=1)
        assert canary not in caught.value.message + str(caught.value.hint)
        assert canary not in "".join(traceback.format_exception(caught.value))


def test_a_pool_that_is_used_up_is_busy(database: str, open_postgres: OpenStore) -> None:
    store = open_postgres(database, lock_timeout=0.1)
    held = [store._database._checkout() for _ in range(15)]
    with pytest.raises(LedgerBusyError, match="free connection"):
        store.head()
    for connection in held:
        connection.close()
    assert store.head().position == 0


def test_a_server_that_closes_every_connection_at_once_is_out_of_reach(
    database: str, open_postgres: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(*_: object) -> None:
        raise DisconnectionError

    monkeypatch.setattr("ledger.postgres_connection._refuse_dead", closed)
    with pytest.raises(LedgerUnavailableError, match="closes every connection") as caught:
        open_postgres(database).head()
    assert caught.value.hint is not None
    assert "Nothing was recorded" in caught.value.hint


def test_a_ledger_of_a_newer_program_is_refused(store: PostgresStore, database: str) -> None:
    append(store, 1)
    administer(database, "UPDATE schema_version SET version = 99")
    later = PostgresStore(database)
    for ask in (later.head, lambda: append(later, 2), lambda: later.positions(1, limit=1)):
        with pytest.raises(UnknownEventError, match="version 99"):
            ask()
    later.close()


@contextmanager
def committing(other: psycopg.Connection[Any], url: str) -> Iterator[None]:
    """A block during which another transaction is committed as soon as somebody waits for it."""

    def commit() -> None:
        once_waiting(url, "SELECT 1").join()
        other.commit()

    thread = threading.Thread(target=commit)
    thread.start()
    yield
    thread.join()


def test_lines_are_looked_for_by_the_index_of_their_stream(store: PostgresStore, database: str) -> None:
    for version in range(1, 100):
        append(store, version)
    administer(database, "VACUUM ANALYZE stored_events")
    text, constants = compiled(STATEMENTS["unfindable"])

    with psycopg.connect(database, autocommit=True) as connection:
        for setting in BY_INDEX_ONLY:
            connection.execute(setting.replace("LOCAL ", "").encode())
        plan = connection.execute(b"EXPLAIN " + text, {**constants, "start": 1, "stop": 100}).fetchall()

    assert [step for (step,) in plan if "stored_events_stream" in step], plan


def test_a_pooler_may_give_each_transaction_to_another_connection(database: str, open_postgres: OpenStore) -> None:
    migrate(database)
    with between(database, like="pooler of transactions") as pooler:
        store = open_postgres(pooler.address)
        for version in range(1, 21):
            assert append(store, version, request=f"r{version}") == version
            assert [row.version for row in store.stream(A)] == list(range(1, version + 1))
            with store.change() as tables:
                assert tables.knows("ledger.lives")
        lease = store.lease("prod", holder="one", note="", seconds=30)
        assert all(lease.acquire() for _ in range(20))
        lease.release()


def test_a_statement_that_is_repeated_is_prepared_where_no_pooler_stands_between(
    store: PostgresStore, database: str
) -> None:
    migrate(database)
    prepared = text("SELECT statement FROM pg_prepared_statements")
    for _ in range(20):
        store.head()
    assert any("ledger_head" in said for (said,) in store._database.run(prepared, {}))
