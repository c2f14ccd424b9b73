from __future__ import annotations

import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from ledger.errors import InvalidValueError, LedgerBusyError, LedgerUnavailableError, OneCtlError, UnknownEventError
from ledger.postgres_migrate import migrate
from ledger.postgres_schema import SCHEMA_VERSION, role_script
from ledger.postgres_store import PostgresStore
from ledger.store import Beside, LifeKeyRow, LifeRow, NewRow, RequestRow, Rewrapped, SealedRow
from ledger.verify import verify_chain
from tests.ledger.keeper import APPS, Keeper
from tests.ledger.support import STATE
from tests.ledger.telling import telling
from tests.postgres.conftest import OpenStore
from tests.postgres_support import Server, administer

A = b"a" * 16


def append(store: PostgresStore, version: int, beside: Beside = Beside()) -> None:  # noqa: B008 - it is frozen
    if beside.life_key is not None:
        beside = replace(beside, life=LifeRow(beside.life_key.deployment_id, "prod", "shop", "orders", 0))
    if beside != Beside():
        beside = replace(beside, request=RequestRow(f"r-{version}", b"s" * 16, b"d" * 32, 0, 0))
    rows = telling(beside, A, version) or [NewRow(A, version, "Noted", STATE % 0)]
    store.append(rows, clock_us=1, beside=beside)


def denied(url: str, statement: str) -> bool:
    try:
        administer(url, statement)
    except psycopg.errors.InsufficientPrivilege:
        return True
    return False


def test_migrating_again_changes_nothing(database: str, store: PostgresStore) -> None:
    assert migrate(database) == SCHEMA_VERSION
    append(store, 1)
    assert migrate(database) == SCHEMA_VERSION
    assert store.head().position == 1


def test_read_models_of_older_tables_are_locked_as_their_function_does_it_and_of_newer_ones_as_theirs(
    database: str, store: PostgresStore, open_postgres: OpenStore
) -> None:
    migrate(database)
    administer(database, "DROP TABLE read_model_lock", "UPDATE schema_version SET version = 5")
    other = open_postgres(database, lock_timeout=0.5)
    locks = "SELECT locktype FROM pg_locks WHERE mode = 'ExclusiveLock' AND locktype IN ('advisory', 'relation')"
    with store.change():
        assert administer(database, locks) == [("advisory",)]
        with pytest.raises(LedgerBusyError), other.change():
            pass
    assert migrate(database) == SCHEMA_VERSION
    with store.change():
        assert administer(database, locks) == [("relation",)]
        with pytest.raises(LedgerBusyError), other.change():
            pass


def test_first_starts_at_the_same_moment_create_one_schema(database: str) -> None:
    failed: list[BaseException] = []
    barrier = threading.Barrier(6)

    def start(number: int) -> None:
        store = PostgresStore(database)
        try:
            store.head()
            barrier.wait(10)
            store.append([NewRow(bytes([number]) * 16, 1, "Noted", b"{}")], clock_us=1)
        except OneCtlError as error:
            failed.append(error)
        finally:
            store.close()

    threads = [threading.Thread(target=start, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert administer(database, "SELECT count(*), max(notification_id) FROM stored_events") == [(6, 6)]


def test_a_newer_schema_is_refused_and_left_alone(database: str) -> None:
    migrate(database)
    administer(database, "UPDATE schema_version SET version = 99")
    with pytest.raises(UnknownEventError, match="version 99") as caught:
        migrate(database)
    assert caught.value.hint is not None
    assert administer(database, "SELECT version FROM schema_version") == [(99,)]


def test_another_encoding_is_refused(postgres: Server) -> None:
    url = postgres.new_database("ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(LedgerUnavailableError, match="LATIN1"):
        migrate(url)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE stored_events SET topic = 'Other'",
        "DELETE FROM stored_events",
        "TRUNCATE stored_events",
        "SET onectl.redacting = '1'; UPDATE stored_events SET topic = 'Other'",
        "SET session_replication_role = replica; DELETE FROM stored_events",
    ],
)
def test_not_even_the_owner_changes_what_is_recorded(store: PostgresStore, database: str, statement: str) -> None:
    append(store, 1)
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
        administer(database, statement)
    assert store.stream_version(A) == 1


def test_who_may_not_create_tables_is_told_who_can(postgres: Server, database: str) -> None:
    administer(database, "DO $$ BEGIN CREATE ROLE stranger LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    stranger = PostgresStore(database.replace("//postgres@", "//stranger@"))
    assert stranger.head().position == 0
    with pytest.raises(LedgerUnavailableError) as caught:
        append(stranger, 1)
    assert "1ctl ledger migrate" in str(caught.value.hint)
    stranger.close()


def test_a_reader_reads_the_log_and_no_secret_and_appends_nothing(
    roles: dict[str, str], store: PostgresStore, open_postgres: OpenStore
) -> None:
    append(store, 1)
    reader = open_postgres(roles["reader"])
    assert reader.head().position == 1
    assert len(reader.positions(1, limit=9)) == 1
    assert reader.request("r") is None
    assert reader.life("l") is None
    with pytest.raises(LedgerUnavailableError, match="append_events") as caught:
        append(reader, 2)
    assert caught.value.hint is not None
    for secret in (reader.sealed, reader.sealed_sizes, reader.life_key):
        with pytest.raises(LedgerUnavailableError, match="does not allow"):
            secret("l")
    assert denied(roles["reader"], "DELETE FROM app_list")


def test_a_writer_appends_and_shreds_and_cannot_open_what_is_sealed(
    roles: dict[str, str], store: PostgresStore, open_postgres: OpenStore
) -> None:
    writer = open_postgres(roles["writer"])
    append(writer, 1, Beside(life_key=LifeKeyRow("l", "i", b"w"), sealed=[SealedRow("l", "K", 1, b"abc")]))
    assert writer.sealed_sizes("l") == {("K", 1): 3}
    for secret in (writer.sealed, writer.life_key):
        with pytest.raises(LedgerUnavailableError, match="does not allow"):
            secret("l")
    append(writer, 3, Beside(shred="l"))
    assert store.sealed("l") == {}


def test_the_worker_also_reads_what_is_sealed(roles: dict[str, str], open_postgres: OpenStore) -> None:
    worker = open_postgres(roles["worker"])
    append(worker, 1, Beside(life_key=LifeKeyRow("l", "i", b"w"), sealed=[SealedRow("l", "K", 1, b"abc")]))
    assert worker.sealed("l") == {("K", 1): b"abc"}
    assert worker.life_key("l") is not None


_LEASE = "INSERT INTO onectl.worker_leases VALUES ('c', 'h', 1, 1, 0, 0, 0, '')"
_SNAPSHOT = "INSERT INTO onectl.app_snapshots VALUES ('a', 1, 1, 'b')"


@pytest.mark.parametrize(
    ("statement", "allowed"),
    [
        ("SELECT * FROM onectl.worker_leases", {"reader", "writer", "worker"}),
        (_LEASE, {"worker"}),
        ("UPDATE onectl.worker_leases SET epoch = 2", {"worker"}),
        ("DELETE FROM onectl.worker_leases", set()),
        ("SELECT * FROM onectl.app_snapshots", {"reader", "writer", "worker"}),
        (_SNAPSHOT, {"worker"}),
        ("UPDATE onectl.app_snapshots SET shape = 2", set()),
    ],
)
def test_who_leads_is_changed_by_workers_and_so_are_snapshots(
    roles: dict[str, str], database: str, statement: str, allowed: set[str]
) -> None:
    for role, url in roles.items():
        administer(database, "TRUNCATE worker_leases, app_snapshots")
        assert denied(url, statement) is (role not in allowed), role


def test_a_worker_drops_snapshots(roles: dict[str, str], database: str) -> None:
    administer(roles["worker"], _SNAPSHOT, "DELETE FROM onectl.app_snapshots")
    assert administer(database, "SELECT count(*) FROM app_snapshots") == [(0,)]


def test_only_the_worker_replaces_a_wrapped_key(roles: dict[str, str], open_postgres: OpenStore) -> None:
    reader, writer, worker = (open_postgres(roles[name]) for name in ("reader", "writer", "worker"))
    append(writer, 1, Beside(life_key=LifeKeyRow("l", "old", b"w")))
    rows = [Rewrapped("l", "old", "new", b"x")]
    for other in (reader, writer):
        with pytest.raises(LedgerUnavailableError, match="rewrap_life_keys"):
            other.rewrap(rows)
        assert other.life_key_identities() == {"old": 1}, "how many there are is no secret"
        with pytest.raises(LedgerUnavailableError, match="does not allow"):
            other.life_keys_except("new", after="", limit=1)
    assert worker.rewrap(rows) == 1
    assert worker.life_key("l") == LifeKeyRow("l", "new", b"x")


def test_only_the_worker_says_whose_key_lives_are_sealed_to(roles: dict[str, str], open_postgres: OpenStore) -> None:
    writer, worker = open_postgres(roles["writer"]), open_postgres(roles["worker"])
    row = NewRow(A, 1, "WorkerIdentitySet", STATE % 0)
    with pytest.raises(LedgerUnavailableError, match="set by the worker"):
        writer.append([row], clock_us=1)
    assert writer.head().position == 0
    assert len(worker.append([row], clock_us=1)) == 1


def test_the_worker_may_rotate_keys_and_a_writer_may_not(roles: dict[str, str], database: str, tmp_path: Path) -> None:
    owner, worker, writer = (Keeper(url, tmp_path / "keys") for url in (database, roles["worker"], roles["writer"]))
    with closing(owner.store), closing(worker.store), closing(writer.store):
        owner.deploy(APPS[0], TOKEN="x")
        with pytest.raises(LedgerUnavailableError, match="does not allow"):
            writer.rotate()
        assert len(owner.keys.identities(owner.ledger_id())) == 1, "no key was made"
        assert worker.rotate().rewrapped == 1
        assert worker.store.life_key_identities() == {worker.identity(): 1}
        assert worker.opened(APPS[0]) == {"TOKEN": b"x"}


def test_every_role_verifies_what_it_may_see(
    roles: dict[str, str], database: str, tmp_path: Path, open_postgres: OpenStore
) -> None:
    owner = Keeper(database, tmp_path / "keys")
    owner.deploy(APPS[0], TOKEN="x")
    owner.store.close()

    def found() -> set[str]:
        stores = {role: open_postgres(roles[role]) for role in ("reader", "writer", "worker")}
        return {role for role, store in stores.items() if verify_chain(store).damage is not None}

    assert found() == set()
    administer(database, "UPDATE sealed_values SET ciphertext = 'other'")
    assert found() == {"worker"}
    administer(database, "DELETE FROM sealed_values")
    assert found() == {"writer", "worker"}
    administer(database, "DELETE FROM life_keys")
    assert found() == {"reader", "writer", "worker"}


@pytest.mark.parametrize("role", ["reader", "writer", "worker"])
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE life_keys SET identity = 'mine'",
        "INSERT INTO stored_events SELECT * FROM stored_events",
        "UPDATE stored_events SET topic = 'x'",
        "DELETE FROM stored_events",
        "TRUNCATE stored_events",
        "UPDATE ledger_head SET position = 9",
        "DELETE FROM requests",
        "INSERT INTO lives SELECT * FROM lives",
        "DELETE FROM life_keys",
        "DELETE FROM sealed_values",
        "UPDATE schema_version SET version = 2",
        "CREATE TABLE mine (x int)",
        "DROP TABLE stored_events",
        "ALTER TABLE stored_events DISABLE TRIGGER ALL",
    ],
)
def test_no_role_writes_to_a_table_of_the_log(roles: dict[str, str], role: str, statement: str) -> None:
    assert denied(roles[role], "SET search_path = onectl; " + statement)


def test_who_has_no_role_sees_nothing(roles: dict[str, str], open_postgres: OpenStore) -> None:
    nobody = open_postgres(roles["nobody"])
    for ask in (nobody.head, lambda: append(nobody, 1)):
        with pytest.raises(LedgerUnavailableError, match="permission denied") as caught:
            ask()
        assert caught.value.hint is not None


def test_functions_of_a_callers_own_schema_are_not_used(
    roles: dict[str, str], database: str, open_postgres: OpenStore
) -> None:
    administer(
        database,
        "CREATE SCHEMA trap",
        "CREATE FUNCTION trap.sha256(bytea) RETURNS bytea LANGUAGE sql AS $$ SELECT 'trapped'::bytea $$",
        "GRANT USAGE ON SCHEMA trap TO PUBLIC",
        "ALTER ROLE writer_login SET search_path = trap, pg_catalog, onectl",
    )
    writer = open_postgres(roles["writer"])
    (line,) = writer.append([NewRow(A, 1, "Noted", STATE % 0)], clock_us=1)
    assert len(line.leaf) == 32
    administer(database, "ALTER ROLE writer_login RESET search_path")


def test_a_prefix_that_is_no_name_is_refused() -> None:
    with pytest.raises(InvalidValueError):
        role_script("x; DROP TABLE stored_events")
