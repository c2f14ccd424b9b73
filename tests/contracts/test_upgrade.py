"""A ledger that version 1 of the tables holds: read as it is, brought up to date without losing anything.

`tests/golden/stores` holds such ledgers as that program made them: two lives of an app with environment and secrets, a
rollout of each, a redaction and a destroy.
"""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest

from ledger.app import App, fold
from ledger.errors import ConflictError, LedgerUnavailableError, OneCtlError
from ledger.landmarks import span
from ledger.leaf import GENESIS, chain_hash, leaf_hash
from ledger.postgres_migrate import migrate
from ledger.postgres_schema import SCHEMA_VERSION, role_script
from ledger.reader import LedgerReader
from ledger.spec import AppId
from ledger.sqlite_database import STORE_VERSION
from ledger.sqlite_store import SqliteStore
from ledger.store import Beside, LifeRow, ModelStore, NewRow, Rewrapped, Row
from ledger.stores import open_store
from ledger.transfer import beside_digest
from ledger.verify import verify_chain
from projections.app_list import app_list
from projections.release_page import release_page
from projections.releases import releases
from tests.cli_support import Cli
from tests.ledger.support import STATE
from tests.moves.support import backed_up
from tests.postgres_support import Server, administer

STORES = Path(__file__).parents[1] / "golden" / "stores"
ADDED = ("ledger.worker_leases", "ledger.app_snapshots")
NEXT = NewRow(b"an upgraded app!", 1, "Noted", STATE % 0)


@pytest.fixture
def unsigned(tmp_path: Path) -> Path:
    """As that program made it, which signed no redaction."""
    return Path(shutil.copy(STORES / "sqlite.v1.db", tmp_path / "ledger.db"))


@pytest.fixture
def sqlite_v1(unsigned: Path) -> Path:
    with closing(SqliteStore(unsigned)) as store:
        hashes = rehashed(rows(store))
    with closing(sqlite3.connect(unsigned)) as connection, connection:
        guards = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in guards:
            connection.execute(f"DROP TRIGGER {name}")
        connection.executemany("UPDATE stored_events SET leaf = ?, chain = ? WHERE notification_id = ?", hashes)
        connection.execute("UPDATE ledger_head SET chain = ?", (hashes[-1][1],))
        for _, text in guards:
            connection.execute(text)
    return unsigned


@pytest.fixture
def postgresql_v1(database: str) -> str:
    administer(database, (STORES / "postgresql.v1.sql").read_text())
    with closing(open_store(database)) as store:
        hashes = rehashed(rows(store))
    values = ", ".join(
        f"({position}, '\\x{leaf.hex()}'::bytea, '\\x{chain.hex()}'::bytea)" for leaf, chain, position in hashes
    )
    administer(
        database,
        "ALTER TABLE stored_events DISABLE TRIGGER stored_events_no_update",
        f"UPDATE stored_events SET leaf = v.leaf, chain = v.chain FROM (VALUES {values}) AS v (position, leaf, chain)"
        " WHERE notification_id = v.position",
        "ALTER TABLE stored_events ENABLE ALWAYS TRIGGER stored_events_no_update",
        f"UPDATE ledger_head SET chain = '\\x{hashes[-1][1].hex()}'",
    )
    return database


def rehashed(lines: list[Row]) -> list[tuple[bytes, bytes, int]]:
    """Leaf, chain and position of each line as if what is blank had been recorded blank.

    Nobody has the key any more that would have to sign the redaction in it.
    """
    found, chain = [], GENESIS
    for row in lines:
        leaf = leaf_hash(row.position, row.stream, row.version, row.recorded_us, row.topic, row.state)
        chain = chain_hash(chain, leaf)
        found.append((leaf, chain, row.position))
    return found


@pytest.fixture(params=["sqlite_v1", "postgresql_v1"])
def old(request: pytest.FixtureRequest) -> str:
    """Address of a ledger of version 1 in each kind of store."""
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def store(old: str) -> Iterator[ModelStore]:
    with closing(open_store(old)) as opened:
        yield opened


def rows(store: ModelStore) -> list[Row]:
    return list(store.positions(1, limit=1000))


def version_of(address: str) -> int:
    if "://" in address:
        ((version,),) = administer(address, "SELECT version FROM schema_version")
    else:
        with closing(sqlite3.connect(address)) as connection:
            ((version,),) = connection.execute("PRAGMA user_version").fetchall()
    return int(version)


def brought_up_to_date(address: str) -> None:
    """What a user does: on PostgreSQL `ledger migrate`, on SQLite any command that writes."""
    if "://" in address:
        assert migrate(address) == SCHEMA_VERSION
    else:
        with closing(SqliteStore(Path(address))) as store:
            store.prepare()
    assert version_of(address) == STORE_VERSION == SCHEMA_VERSION


def test_a_redaction_that_nobody_signed_is_not_believed(unsigned: Path) -> None:
    with closing(SqliteStore(unsigned)) as store:
        damage = verify_chain(store).damage
    assert damage is not None
    assert (damage.position, damage.fault) == (12, "edited")
    assert "did not sign" in damage.detail


def test_an_old_ledger_is_read_as_it_is(old: str, store: ModelStore) -> None:
    before = sha256(Path(old).read_bytes()).digest() if "://" not in old else b""
    assert len(rows(store)) == store.head().position > 20
    assert verify_chain(store).damage is None
    assert {row.topic for row in rows(store)} > {"Deployed", "Destroyed", "Redacted", "SecretSet"}
    assert [store.knows(table) for table in ADDED] == [False, False]
    assert version_of(old) == 1
    assert before == (sha256(Path(old).read_bytes()).digest() if "://" not in old else b"")


def test_a_question_whose_answer_could_be_kept_leaves_an_old_file_as_it_is(sqlite_v1: Path, tmp_path: Path) -> None:
    before = sha256(sqlite_v1.read_bytes()).digest()
    cli = Cli(tmp_path / "home", tmp_path, {"ONECTL_LEDGER": str(sqlite_v1)})
    assert cli.run("-o", "json", "deploy", "list", "--all").done().json != []
    assert sha256(sqlite_v1.read_bytes()).digest() == before
    with closing(SqliteStore(sqlite_v1)) as store:
        with pytest.raises(LedgerUnavailableError, match="tables of version 1") as caught, store.change():
            pass
        assert "records something" in str(caught.value.hint)
    cli.run("ledger", "rebuild").done()
    assert version_of(str(sqlite_v1)) == STORE_VERSION


def test_bringing_it_up_to_date_loses_and_changes_nothing(old: str, store: ModelStore) -> None:
    lines, beside, lives = rows(store), beside_digest(store), store.ask("ledger.lives_page", {"after": "", "limit": 9})
    brought_up_to_date(old)
    assert (rows(store), beside_digest(store)) == (lines, beside), "by a store that was open all the time, too"
    with closing(open_store(old)) as again:
        assert (rows(again), beside_digest(again)) == (lines, beside)
        assert [again.knows(table) for table in ADDED] == [True, True]
        listed = app_list(again, "sandbox", "default", ended=True)
        assert sorted(row.deployment_id for row in listed) == [deployment_id for deployment_id, *_ in lives] != []
        assert again.append([NEXT], clock_us=0)[0].position == len(lines) + 1
        assert verify_chain(again).damage is None


def test_keys_of_lives_can_be_rewrapped_once_it_is_up_to_date(old: str, store: ModelStore) -> None:
    brought_up_to_date(old)
    ((identity, lives),) = store.life_key_identities().items()
    (row,) = store.life_keys_except("new", after="", limit=9)
    assert (lives, row.identity) == (1, identity)
    assert store.rewrap([Rewrapped(row.deployment_id, identity, "new", b"w")]) == 1
    assert store.life_key_identities() == {"new": 1}


def test_a_database_that_is_not_up_to_date_says_what_to_do(postgresql_v1: str, tmp_path: Path) -> None:
    cli = Cli(tmp_path / "home", tmp_path, {"ONECTL_LEDGER": postgresql_v1})
    assert cli.run("-o", "json", "ledger", "status").done().json["identities"] is None
    assert "1ctl ledger migrate" in cli.run("secret", "rotate-keys", "-y").failed(1).error
    assert not cli.home.exists()


def test_an_old_ledger_answers_questions_about_releases(store: ModelStore) -> None:
    reader = LedgerReader(store)
    (place,) = {(life[1], life[2], life[3]) for life in store.ask("ledger.lives_page", {"after": "", "limit": 9})}
    app_id = AppId(*place)
    where = span(store, app_id, None)
    assert where is not None
    whole = releases(reader.history(app_id))[-1]
    assert release_page(reader, where, 50).newest_first == tuple(reversed(whole.releases))
    assert reader.app(app_id) == fold(App(id=app_id), reader.history(app_id))


def test_bringing_it_up_to_date_again_changes_nothing(old: str, store: ModelStore) -> None:
    brought_up_to_date(old)
    lines = rows(store)
    brought_up_to_date(old)
    assert rows(store) == lines


def test_an_append_to_an_old_file_brings_it_up_to_date_and_one_to_an_old_database_does_not(
    old: str, store: ModelStore
) -> None:
    position = store.head().position
    assert store.append([NEXT], clock_us=0)[0].position == position + 1
    assert version_of(old) == (1 if "://" in old else STORE_VERSION)
    assert verify_chain(store).damage is None


def test_an_old_file_stays_as_it_was_when_the_append_is_refused(sqlite_v1: Path) -> None:
    with closing(SqliteStore(sqlite_v1)) as store:
        opened = LifeRow("a life", "c", "n", "a", 0)
        taken = NewRow(*store.positions(1, limit=1)[0][1:5])
        with pytest.raises(ConflictError):
            store.append([taken], clock_us=0, beside=Beside(life=opened))
        assert version_of(str(sqlite_v1)) == 1
        assert not store.knows(ADDED[0])


def test_many_that_start_at_once_bring_it_up_to_date_once(old: str, store: ModelStore) -> None:
    lines, failed, barrier = rows(store), list[OneCtlError](), threading.Barrier(6)

    def start() -> None:
        barrier.wait(20)
        try:
            brought_up_to_date(old)
        except OneCtlError as error:
            failed.append(error)

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    assert rows(store) == lines


def test_an_upgraded_file_has_the_tables_of_a_new_one(sqlite_v1: Path, tmp_path: Path) -> None:
    brought_up_to_date(str(sqlite_v1))
    with closing(SqliteStore(tmp_path / "new.db")) as new:
        new.prepare()
    definitions = []
    for path in (sqlite_v1, tmp_path / "new.db"):
        with closing(sqlite3.connect(path)) as connection:
            definitions.append(dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql <> ''")))
    upgraded, new_one = definitions
    assert new_one.items() <= upgraded.items(), "only read models are made later"


def test_an_upgraded_database_has_the_definitions_of_a_new_one(postgres: Server, postgresql_v1: str) -> None:
    migrate(postgresql_v1)
    new = postgres.new_database()
    migrate(new)
    ours = "'onectl'::regnamespace"
    asked = (
        f"SELECT relname, attname, attnum, atttypid, attnotnull FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid AND relnamespace = {ours}",
        f"SELECT conrelid::regclass, conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = {ours}",
        f"SELECT pg_get_functiondef(oid), proacl::text FROM pg_proc WHERE pronamespace = {ours}",
        "SELECT tgname, tgenabled, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
        "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'onectl'",
    )
    for question in asked:
        assert sorted(map(str, administer(postgresql_v1, question))) == sorted(map(str, administer(new, question)))


def test_an_old_database_says_migrate_where_it_lacks_a_table(postgresql_v1: str) -> None:
    with (
        closing(open_store(postgresql_v1)) as store,
        pytest.raises(LedgerUnavailableError, match="no tables") as caught,
    ):
        store.ask("ledger.delete_worker_leases", {})
    assert "1ctl ledger migrate" in str(caught.value.hint)


def test_the_roles_of_an_upgraded_database_are_given_by_the_same_script(postgresql_v1: str) -> None:
    migrate(postgresql_v1)
    administer(postgresql_v1, role_script("upgraded"))
    asked = "SELECT has_table_privilege('upgraded_{}', 'worker_leases', '{}')"
    for role, right, expected in (("reader", "SELECT", True), ("writer", "UPDATE", False), ("worker", "UPDATE", True)):
        assert administer(postgresql_v1, asked.format(role, right)) == [(expected,)]


def test_a_backup_of_an_old_ledger_has_everything_and_changes_nothing(
    old: str, store: ModelStore, tmp_path: Path
) -> None:
    backed_up(store, tmp_path / "backup.db")
    assert version_of(old) == 1
    with closing(SqliteStore(tmp_path / "backup.db")) as backup:
        assert rows(backup) == rows(store)
        assert beside_digest(backup) == beside_digest(store)
