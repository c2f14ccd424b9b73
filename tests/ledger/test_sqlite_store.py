"""The ledger in a SQLite file: what is on disk, who may write when, and what happens when the disk says no."""

from __future__ import annotations

import os
import sqlite3
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ledger import sqlite_database
from ledger.errors import (
    ConflictError,
    LedgerBusyError,
    LedgerDamagedError,
    LedgerFullError,
    LedgerUnavailableError,
    OneCtlError,
    OutcomeUnknownError,
    UnknownEventError,
)
from ledger.leaf import GENESIS
from ledger.sqlite_database import wal_is_safe
from ledger.sqlite_store import SqliteStore
from ledger.store import Beside, Head, LifeKeyRow, LifeRow, RequestRow, SealedRow
from tests.faults import dose
from tests.ledger.support import (
    PATIENCE,
    START_US,
    STATE,
    assert_sound,
    every_row,
    finish,
    holder,
    line,
    read_line,
    start,
    stream_named,
    write,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "ledger.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(path, lock_timeout=10)
    yield store
    store.close()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def pragma(store: SqliteStore, name: str) -> Any:
    with store.writing() as connection:
        return connection.execute(f"PRAGMA {name}").fetchone()[0]


def sql(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


# -- What is on disk -----------------------------------------------------------------------------------------------


def test_every_commit_is_synced_in_full(store: SqliteStore) -> None:
    assert pragma(store, "synchronous") == 2


def test_what_is_deleted_is_overwritten(store: SqliteStore) -> None:
    assert pragma(store, "secure_delete") == 1


def test_the_journal_is_the_one_that_is_safe_here(store: SqliteStore) -> None:
    write(store, 1)
    assert pragma(store, "journal_mode") == ("wal" if wal_is_safe(sqlite3.sqlite_version_info) else "truncate")


def test_reading_connections_have_the_same_settings(path: Path, store: SqliteStore) -> None:
    write(store, 1)
    with closing(SqliteStore(path)) as other:
        other.head()
        assert [other.query(f"PRAGMA {name}", {})[0][0] for name in ("synchronous", "secure_delete")] == [2, 1]
        assert pragma(other, "synchronous") == 2


def test_a_write_ahead_log_is_used_where_sqlite_is_safe(
    path: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_database, "wal_is_safe", lambda version: True)
    write(store, 1)
    assert pragma(store, "journal_mode") == "wal"
    with closing(SqliteStore(path)) as other:
        write(other, 1)
        assert_sound(other)


def test_a_write_ahead_log_is_given_up_where_sqlite_is_not_safe(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_database, "wal_is_safe", lambda version: True)
    with closing(SqliteStore(path)) as safe:
        write(safe, 1)
    monkeypatch.setattr(sqlite_database, "wal_is_safe", lambda version: False)
    with closing(SqliteStore(path)) as unsafe:
        write(unsafe, 1)
        assert pragma(unsafe, "journal_mode") == "truncate"
        assert_sound(unsafe)
    assert path.read_bytes()[18:20] == b"\x01\x01"


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ((3, 7, 0), False),
        ((3, 40, 1), False),
        ((3, 44, 5), False),
        ((3, 44, 6), True),
        ((3, 45, 0), False),
        ((3, 46, 1), False),
        ((3, 49, 9), False),
        ((3, 50, 6), False),
        ((3, 50, 7), True),
        ((3, 51, 0), False),
        ((3, 51, 2), False),
        ((3, 51, 3), True),
        ((3, 52, 0), True),
        ((4, 0, 0), True),
    ],
)
def test_only_versions_with_the_fix_may_use_a_write_ahead_log(version: tuple[int, ...], safe: bool) -> None:
    assert wal_is_safe(version) is safe


def test_only_the_owner_may_read_what_is_made(path: Path, store: SqliteStore) -> None:
    previous = os.umask(0)
    try:
        write(store, 2)
    finally:
        os.umask(previous)
    assert mode(path.parent) == 0o700
    assert {entry.name: mode(entry) for entry in path.parent.iterdir()} == {
        entry.name: 0o600 for entry in path.parent.iterdir()
    }
    assert {"ledger.db", "ledger.db.lock"} <= {entry.name for entry in path.parent.iterdir()}


def test_a_directory_that_is_there_keeps_its_mode(path: Path, store: SqliteStore) -> None:
    path.parent.mkdir(mode=0o755)
    write(store, 1)
    assert mode(path.parent) == 0o755


def test_reading_a_ledger_that_is_not_there_makes_nothing(path: Path, store: SqliteStore) -> None:
    assert store.head() == Head(0, 0, GENESIS)
    assert every_row(store) == []
    assert store.stream(stream_named("s")) == []
    assert store.two_streams(stream_named("s"), stream_named("t")) == []
    assert store.stream_version(stream_named("s")) == 0
    assert store.request("r") is None
    assert store.life("l") is None
    assert store.life_key("l") is None
    assert store.sealed("l") == {}
    assert store.data_version() is None
    assert not path.parent.exists()


def test_a_moment_of_a_ledger_that_is_made_meanwhile_ends_like_any_other(path: Path, store: SqliteStore) -> None:
    with closing(SqliteStore(path)) as other:
        with store.moment():
            write(other, 1)
            assert store.head().position == 1
        with store.moment():
            assert store.head().position == 1


def test_reading_beside_a_file_that_is_being_made_finds_nothing_yet(path: Path, store: SqliteStore) -> None:
    path.parent.mkdir()
    path.touch()
    assert store.head() == Head(0, 0, GENESIS)
    sql(path, "PRAGMA journal_mode=delete", "VACUUM")
    assert store.head() == Head(0, 0, GENESIS)
    write(store, 1)
    assert store.head().position == 1


def test_a_reader_sees_a_ledger_that_is_made_after_its_first_look(path: Path, store: SqliteStore) -> None:
    with closing(SqliteStore(path)) as reader:
        assert reader.head().position == 0
        write(store, 2)
        assert reader.head().position == 2


def test_a_reader_is_told_that_the_ledger_grew(path: Path, store: SqliteStore) -> None:
    write(store, 1)
    with closing(SqliteStore(path)) as reader:
        before = reader.data_version()
        assert reader.data_version() == before
        write(store, 1)
        assert reader.data_version() != before


def test_a_name_with_signs_that_mean_something_in_an_address_is_a_name(tmp_path: Path) -> None:
    path = tmp_path / "a?mode=memory&b#c%20d ü" / "led?ger#.db"
    with closing(SqliteStore(path)) as store:
        write(store, 1)
    assert path.stat().st_size > 0


# -- Files of others -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("journal", ["delete", "wal"])
@pytest.mark.parametrize("user_version", [0, 1, 7])
def test_a_database_of_something_else_is_refused_and_left_alone(path: Path, journal: str, user_version: int) -> None:
    path.parent.mkdir()
    sql(path, f"PRAGMA journal_mode={journal}", "CREATE TABLE theirs (x)", f"PRAGMA user_version={user_version}")
    before = path.read_bytes()
    with closing(SqliteStore(path)) as store:
        with pytest.raises(LedgerUnavailableError, match="something else, not a ledger"):
            store.head()
        with pytest.raises(LedgerUnavailableError, match="something else, not a ledger"):
            write(store, 1)
    assert path.read_bytes() == before


def test_a_text_file_is_refused_and_left_alone(path: Path, store: SqliteStore) -> None:
    path.parent.mkdir()
    text = "these are my notes\n" * 100
    path.write_text(text)
    with pytest.raises(LedgerDamagedError, match="not a database"):
        store.head()
    with pytest.raises(LedgerDamagedError, match="not a database"):
        store.append([line(1)], clock_us=START_US)
    assert path.read_text() == text


def test_a_ledger_of_a_newer_program_is_refused_and_left_alone(path: Path) -> None:
    with closing(SqliteStore(path)) as store:
        write(store, 1)
    sql(path, f"PRAGMA user_version={sqlite_database.STORE_VERSION + 1}")
    before = path.read_bytes()
    known = sqlite_database.STORE_VERSION
    with closing(SqliteStore(path)) as store:
        with pytest.raises(UnknownEventError, match=f"version {known + 1}; this 1ctl knows up to {known}") as caught:
            store.head()
        assert caught.value.hint is not None
        assert "Upgrade" in caught.value.hint
        with pytest.raises(UnknownEventError):
            write(store, 1)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM ledger_head",
        "UPDATE ledger_head SET position = 'two'",
        "UPDATE ledger_head SET position = -1",
        "UPDATE ledger_head SET recorded_us = 9223372036854775807",
    ],
)
def test_an_append_to_a_ledger_without_its_head_is_refused(path: Path, store: SqliteStore, damage: str) -> None:
    write(store, 2)
    sql(path, damage)
    with pytest.raises(LedgerDamagedError, match="head"):
        store.append([line(3)], clock_us=START_US)


def test_an_append_at_a_position_that_is_taken_is_damage_not_a_conflict(path: Path, store: SqliteStore) -> None:
    write(store, 2)
    sql(path, "UPDATE ledger_head SET position = 1")
    with pytest.raises(LedgerDamagedError, match="head"):
        store.append([line(3)], clock_us=START_US)


# -- Rights --------------------------------------------------------------------------------------------------------


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that everybody may look into; pytest's own may be closed to others."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory)
        path.chmod(0o755)
        yield path


def test_who_may_only_read_the_file_reads_and_is_told_that_it_cannot_write(public: Path) -> None:
    path = public / "home" / "ledger.db"
    with closing(SqliteStore(path)) as store:
        write(store, 3)
    path.chmod(0o444)
    path.with_name("ledger.db.lock").chmod(0o444)
    path.parent.chmod(0o555)
    count, refusal = finish(start("read", path)).splitlines()
    assert count == "3"
    assert refusal.startswith("LedgerUnavailableError")
    path.parent.chmod(0o755)


@pytest.mark.parametrize("closed", [0o000, 0o444])
def test_who_may_not_look_into_the_directory_is_told_so(public: Path, closed: int) -> None:
    path = public / "home" / "ledger.db"
    with closing(SqliteStore(path)) as store:
        write(store, 3)
    path.parent.chmod(closed)
    answers = finish(start("read", path)).splitlines()
    assert [answer.split()[0] for answer in answers] == ["LedgerUnavailableError"] * 2
    assert "Permission denied" in answers[0]
    path.parent.chmod(0o755)


def test_a_directory_where_nothing_can_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with closing(SqliteStore(tmp_path / "file" / "ledger.db")) as store:
        assert store.head().position == 0
        with pytest.raises(LedgerUnavailableError, match="cannot be written") as caught:
            write(store, 1)
    assert str(tmp_path / "file") in str(caught.value.hint)


def test_a_directory_in_the_place_of_the_file_is_no_ledger(path: Path, store: SqliteStore) -> None:
    path.mkdir(parents=True)
    with pytest.raises(LedgerUnavailableError):
        store.head()
    with pytest.raises(LedgerUnavailableError):
        store.append([line(1)], clock_us=START_US)


def test_a_file_system_that_refuses_to_make_the_file_is_a_clear_error(
    path: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def refuse(name: Any, *arguments: Any, **more: Any) -> int:
        if str(name) == str(path):
            raise OSError(28, "No space left on device", str(name))
        return real(name, *arguments, **more)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(LedgerUnavailableError, match="No space left on device"):
        store.append([line(1)], clock_us=START_US)


def test_a_closed_store_says_so(store: SqliteStore) -> None:
    write(store, 1)
    store.close()
    with pytest.raises(LedgerUnavailableError, match="closed"):
        store.head()
    with pytest.raises(LedgerUnavailableError, match="closed"):
        store.append([line(2)], clock_us=START_US)


# -- Positions and time --------------------------------------------------------------------------------------------


def test_lines_of_one_append_follow_each_other_at_one_time(store: SqliteStore) -> None:
    rows = store.append([line(1), line(1, stream="t"), line(2)], clock_us=START_US)
    assert [row.position for row in rows] == [1, 2, 3]
    assert {row.recorded_us for row in rows} == {START_US}
    assert every_row(store) == rows
    assert store.head() == Head(3, START_US, rows[-1].chain)


def test_a_clock_that_goes_back_gives_the_predecessors_time(store: SqliteStore) -> None:
    times = [store.append([line(version)], clock_us=clock)[0].recorded_us for version, clock in ((1, 50), (2, 20))]
    assert times == [50, 50]
    assert store.append([line(3)], clock_us=51)[0].recorded_us == 51
    assert_sound(store)


def test_a_version_that_is_taken_is_a_conflict_and_leaves_no_gap(store: SqliteStore) -> None:
    write(store, 2)
    for version in (1, 2):
        with pytest.raises(ConflictError):
            store.append([line(1, stream="t"), line(version)], clock_us=START_US)
    assert store.stream_version(stream_named("t")) == 0
    assert write(store, 1)[0].position == 3
    assert_sound(store)


def test_a_request_id_that_is_taken_is_a_conflict_and_leaves_no_gap(store: SqliteStore) -> None:
    request = Beside(request=RequestRow("r", b"salt", b"digest", 0, 0))
    asked = STATE.replace(b'"request_id":null', b'"request_id":"r"') % 1
    store.append([line(1, state=asked), line(2, state=asked)], clock_us=START_US, beside=request)
    assert store.request("r") == RequestRow("r", b"salt", b"digest", 1, 2)
    with pytest.raises(ConflictError, match="request id"):
        store.append([line(3)], clock_us=START_US, beside=request)
    assert write(store, 1)[0].position == 3
    assert_sound(store)


def test_a_block_that_raises_is_rolled_back_whole(store: SqliteStore) -> None:
    write(store, 1)

    def interrupted() -> None:
        with store.writing() as connection:
            connection.execute("UPDATE ledger_head SET position = 77")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert store.head().position == 1
    assert write(store, 1)[0].position == 2
    assert_sound(store)


def test_a_stream_can_be_read_in_parts_and_backwards(store: SqliteStore) -> None:
    write(store, 5)
    write(store, 2, stream="t")
    versions = partial(store.stream, stream_named("s"))
    assert [row.version for row in versions()] == [1, 2, 3, 4, 5]
    assert [row.version for row in versions(after=2, upto=4)] == [3, 4]
    assert [row.version for row in versions(descending=True, limit=2)] == [5, 4]
    assert [row.version for row in versions(limit=1)] == [1]


def test_two_streams_are_merged_by_position_up_to_one(store: SqliteStore) -> None:
    for version in (1, 2, 3):
        for stream in ("s", "other", "t"):
            store.append([line(version, stream=stream)], clock_us=START_US)
    both = partial(store.two_streams, stream_named("t"), stream_named("s"))
    assert [row.position for row in both()] == [1, 3, 4, 6, 7, 9]
    assert [row.position for row in both(upto=4)] == [1, 3, 4]


# -- Beside the log ------------------------------------------------------------------------------------------------

LIFE = "life-1"


def open_life(store: SqliteStore) -> None:
    store.append([line(1, stream="other")], clock_us=START_US)
    store.append(
        [line(1)],
        clock_us=START_US,
        beside=Beside(
            life=LifeRow(LIFE, "prod", "shop", "orders", 0),
            life_key=LifeKeyRow(LIFE, "identity", b"wrapped"),
            sealed=[
                SealedRow(LIFE, "A", 1, b"one"),
                SealedRow(LIFE, "A", 2, b"two"),
                SealedRow("life-2", "A", 1, b"3"),
            ],
        ),
    )


def test_what_belongs_beside_a_line_is_found_again(store: SqliteStore) -> None:
    open_life(store)
    assert store.life(LIFE) == LifeRow(LIFE, "prod", "shop", "orders", 2)
    assert store.life_key(LIFE) == LifeKeyRow(LIFE, "identity", b"wrapped")
    assert store.sealed(LIFE) == {("A", 1): b"one", ("A", 2): b"two"}


def test_what_belongs_beside_a_line_that_conflicts_is_not_written(store: SqliteStore) -> None:
    write(store, 1)
    with pytest.raises(ConflictError):
        open_life(store)
    assert store.life(LIFE) is None
    assert store.life_key(LIFE) is None
    assert store.sealed(LIFE) == {}


def test_shredding_deletes_key_and_values_of_that_life_only(store: SqliteStore) -> None:
    open_life(store)
    store.append([line(2)], clock_us=START_US, beside=Beside(shred=LIFE))
    assert store.life_key(LIFE) is None
    assert store.sealed(LIFE) == {}
    assert store.sealed("life-2") == {("A", 1): b"3"}
    assert store.life(LIFE) is not None, "whose the id was is still known"


def test_purging_deletes_all_values_of_that_key_only(store: SqliteStore) -> None:
    open_life(store)
    kept = Beside(sealed=[SealedRow(LIFE, "B", 1, b"b")])
    store.append([line(2)], clock_us=START_US, beside=kept)
    store.append([line(3)], clock_us=START_US, beside=Beside(purge=(LIFE, "A")))
    assert store.sealed(LIFE) == {("B", 1): b"b"}
    assert store.sealed("life-2") == {("A", 1): b"3"}
    assert store.life_key(LIFE) is not None


def test_what_was_shredded_is_in_no_page_of_the_file(path: Path, store: SqliteStore) -> None:
    canary = b"canary-ciphertext-0123456789abcdef" * 200
    store.append([line(1)], clock_us=START_US, beside=Beside(sealed=[SealedRow(LIFE, "A", 1, canary)]))
    assert canary[:34] in path.read_bytes() + _beside(path)
    store.append([line(2)], clock_us=START_US, beside=Beside(shred=LIFE))
    store.close()
    assert canary[:34] not in path.read_bytes() + _beside(path)


def _beside(path: Path) -> bytes:
    return b"".join(entry.read_bytes() for entry in path.parent.iterdir() if entry != path)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE stored_events SET state = x'00'",
        "UPDATE stored_events SET topic = 'X' WHERE notification_id = 2",
        "DELETE FROM stored_events",
        "DELETE FROM stored_events WHERE notification_id = 2",
    ],
)
def test_the_database_itself_refuses_to_change_what_is_recorded(path: Path, store: SqliteStore, statement: str) -> None:
    write(store, 2)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        sql(path, statement)
    assert_sound(store)


# -- Several writers -----------------------------------------------------------------------------------------------


def test_a_writer_gives_up_when_another_process_holds_the_lock(path: Path, store: SqliteStore) -> None:
    write(store, 1)
    with holder(path), closing(SqliteStore(path, lock_timeout=0.3)) as late:
        before = time.monotonic()
        with pytest.raises(LedgerBusyError, match=r"locked by another process for 0\.3 s") as caught:
            late.append([line(2)], clock_us=START_US)
        assert 0.3 <= time.monotonic() - before < 5
        assert "Nothing was recorded" in str(caught.value.hint)
        assert late.head().position == 1, "reading needs no lock"


def test_the_lock_of_a_killed_process_is_free(path: Path, store: SqliteStore) -> None:
    with holder(path) as child:
        waiting = threading.Thread(target=write, args=(store, 1))
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
        child.kill()
        waiting.join(PATIENCE)
    with closing(SqliteStore(path)) as reader:
        assert reader.head().position == 1


def test_a_writer_that_gave_up_does_not_get_the_lock_later(path: Path) -> None:
    with closing(SqliteStore(path, lock_timeout=0.2)) as late, closing(SqliteStore(path, lock_timeout=10)) as next_one:
        with holder(path), pytest.raises(LedgerBusyError):
            late.append([line(1)], clock_us=START_US)
        assert write(next_one, 1)[0].position == 1
        assert write(late, 1)[0].position == 2


@dose.not_few("processes append for seconds")
def test_eight_processes_append_at_once_without_loss_gap_or_starvation(path: Path, store: SqliteStore) -> None:
    last, many = 960, 8
    children = [start("share", path, f"stream {number}", last) for number in range(many)]
    assert [read_line(child) for child in children] == ["ready"] * many
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    done = [int(finish(child)) for child in children]
    assert sum(done) == store.head().position
    assert [store.stream_version(stream_named(f"stream {number}")) for number in range(many)] == done
    assert_sound(store)
    # Fairness is judged from where the last of them has joined: a process that starts late was not starved.
    line_up = [row.stream for row in store.positions(1, limit=last + many)]
    together = line_up[max(line_up.index(stream_named(f"stream {number}")) for number in range(many)) :]
    assert len(together) >= last / 2, "most of the time all of them compete"
    shares = [together.count(stream_named(f"stream {number}")) for number in range(many)]
    assert min(shares) >= len(together) / many / 3, str(shares)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files by /proc")
def test_threads_that_have_ended_leave_no_open_files(store: SqliteStore) -> None:
    def look() -> None:
        thread = threading.Thread(target=store.head)
        thread.start()
        thread.join()

    write(store, 1)
    look()
    before = len([*Path("/proc/self/fd").iterdir()])
    for _ in range(20):
        look()
    assert len([*Path("/proc/self/fd").iterdir()]) <= before + 3
    assert store.head().position == 1


def test_many_threads_of_one_store_append_without_loss_or_gap(store: SqliteStore) -> None:
    failures: list[BaseException] = []

    def work(name: str) -> None:
        try:
            write(store, 15, stream=name)
        except BaseException as error:  # noqa: BLE001 - told to the test
            failures.append(error)

    threads = [threading.Thread(target=work, args=(f"thread {number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert failures == []
    assert store.head().position == 90
    assert_sound(store)


# -- When the disk says no -----------------------------------------------------------------------------------------


def test_a_full_disk_is_a_clear_error_and_the_ledger_goes_on_when_there_is_room(path: Path) -> None:
    *recorded, refusal, found, went_on = finish(start("fill", path)).splitlines()
    assert recorded
    assert refusal.startswith(("LedgerUnavailableError", "OutcomeUnknownError"))
    assert found == f"found {len(recorded) + 1}", "nothing of the failed append is there"
    assert went_on == f"went on at {len(recorded) + 2}"
    with closing(SqliteStore(path)) as store:
        assert_sound(store)


def test_a_reader_that_stays_keeps_a_commit_from_beginning_and_nothing_is_recorded(
    path: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_database, "wal_is_safe", lambda version: False)
    write(store, 1)
    request = Beside(request=RequestRow("r", b"salt", b"digest", 0, 0))
    with closing(SqliteStore(path, lock_timeout=0.2)) as late:
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM stored_events").fetchall()
            with pytest.raises(LedgerBusyError, match="while another process keeps reading it") as caught:
                late.append([line(2)], clock_us=START_US, beside=request)
        assert "Nothing was recorded. End what reads it" in str(caught.value.hint)
        assert late.request("r") is None
        assert write(late, 1)[0].position == 2
    assert_sound(store)


@pytest.mark.parametrize(
    ("name", "kept_open", "known"),
    [
        ("SQLITE_BUSY", True, True), ("SQLITE_FULL", True, True), ("SQLITE_IOERR_FSYNC", True, False),
        ("SQLITE_BUSY", False, False), ("SQLITE_FULL", False, False), ("SQLITE_IOERR_WRITE", False, False),
    ],
)  # fmt: skip
def test_a_commit_is_known_to_have_failed_only_where_sqlite_kept_the_transaction(
    path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kept_open: bool, known: bool
) -> None:
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=CommitFails))
    monkeypatch.setattr(CommitFails, "name", name)
    monkeypatch.setattr(CommitFails, "happened", not kept_open)
    with closing(SqliteStore(path)) as store:
        write(store, 1)
        monkeypatch.setattr(CommitFails, "armed", True)
        with pytest.raises(OneCtlError) as caught:
            store.append([line(2)], clock_us=START_US)
        monkeypatch.setattr(CommitFails, "armed", False)
        assert isinstance(caught.value, OutcomeUnknownError) is not known
        assert isinstance(caught.value, LedgerFullError) is (known and name == "SQLITE_FULL")
        assert store.head().position == (1 if kept_open else 2)


class CommitFails(sqlite3.Connection):
    """A connection that is lost at the commit: before it happened, or just after."""

    happened = False
    armed = False
    name = "SQLITE_IOERR"

    def execute(self, text: str, *parameters: Any) -> sqlite3.Cursor:
        if text == "COMMIT" and CommitFails.armed:
            if CommitFails.happened:
                super().execute(text)
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorname = self.name
            raise error
        return super().execute(text, *parameters)


@pytest.mark.parametrize("happened", [False, True])
def test_a_commit_that_fails_leaves_open_whether_it_happened(
    path: Path, monkeypatch: pytest.MonkeyPatch, happened: bool
) -> None:
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=CommitFails))
    monkeypatch.setattr(CommitFails, "happened", happened)
    with closing(SqliteStore(path)) as store:
        write(store, 1)
        monkeypatch.setattr(CommitFails, "armed", True)
        request = Beside(request=RequestRow("r", b"salt", b"digest", 0, 0))
        asked = STATE.replace(b'"request_id":null', b'"request_id":"r"') % 1
        with pytest.raises(OutcomeUnknownError, match="may or may not be recorded"):
            store.append([line(2, state=asked)], clock_us=START_US, beside=request)
        monkeypatch.setattr(CommitFails, "armed", False)
        assert (store.request("r") is not None) is happened, "the request id settles it"
        assert write(store, 1)[0].position == (3 if happened else 2)
        assert_sound(store)


def test_the_lock_is_free_after_every_failure(path: Path, store: SqliteStore) -> None:
    write(store, 1)
    for _ in range(3):
        with pytest.raises(ConflictError):
            store.append([line(1)], clock_us=START_US)
    with closing(SqliteStore(path, lock_timeout=1)) as other:
        assert write(other, 1)[0].position == 2
