"""Walking the chain: every edit is found, and where it is."""

from __future__ import annotations

import random
import sqlite3
import tracemalloc
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from ledger import verify
from ledger.codec import encode, recorded
from ledger.errors import LedgerDamagedError, OneCtlError
from ledger.leaf import GENESIS, chain_hash, leaf_hash
from ledger.sqlite_store import SqliteStore
from ledger.store import NewRow, Row
from ledger.verify import Damage, verify_chain
from tests.ledger.examples import ENVELOPE, EXAMPLES
from tests.ledger.support import START_US, STATE, every_row, line, stream_named, write

LINES = 8


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "ledger.db")
    write(store, LINES - 2)
    write(store, 2, stream="t", clock_us=START_US + 60_000_000)
    yield store
    store.close()


def tamper(store: SqliteStore, *statements: str, parameters: tuple[object, ...] = ()) -> None:
    """What an administrator can do who does not recompute the chain."""
    with closing(sqlite3.connect(store.path)) as connection, connection:
        connection.execute("DROP TRIGGER IF EXISTS stored_events_no_update")
        connection.execute("DROP TRIGGER IF EXISTS stored_events_no_delete")
        for statement in statements:
            connection.execute(statement, parameters)


def damage(store: SqliteStore) -> tuple[int, str] | None:
    found = verify_chain(store).damage
    return (found.position, found.fault) if found else None


def test_an_empty_ledger_is_sound(tmp_path: Path) -> None:
    result = verify_chain(SqliteStore(tmp_path / "none.db"))
    assert (result.events, result.head.position, result.damage) == (0, 0, None)


def test_a_sound_ledger_is_sound_up_to_its_head(store: SqliteStore) -> None:
    result = verify_chain(store)
    assert (result.events, result.head, result.damage) == (LINES, store.head(), None)


@pytest.mark.parametrize(
    "change",
    [
        "state = x'7b7d'",
        "state = CAST('{}' AS TEXT)",
        "state = CAST(state AS TEXT)",
        "state = x''",
        "topic = 'U'",
        "topic = CAST('T' AS BLOB)",
        "recorded_us = recorded_us + 1",
        "recorded_us = recorded_us - 1",
        "recorded_us = recorded_us + 0.5",
        "recorded_us = 'never'",
        "originator_version = 99",
        "originator_version = -1",
        "originator_version = 'one'",
        "originator_id = randomblob(16)",
        "originator_id = x''",
        "originator_id = CAST(originator_id || x'00' AS BLOB)",
        "originator_id = CAST(substr(originator_id, 1, 15) AS BLOB)",
        "leaf = randomblob(32)",
        "leaf = x''",
    ],
)
@pytest.mark.parametrize("position", [1, 4, LINES])
def test_an_edited_line_is_found_where_it_is(store: SqliteStore, change: str, position: int) -> None:
    tamper(store, f"UPDATE stored_events SET {change} WHERE notification_id = {position}")
    assert damage(store) == (position, "edited")


def test_a_schema_that_cannot_even_be_read_is_damage(store: SqliteStore) -> None:
    content = store.path.read_bytes().replace(b"_no_update BEFORE", b"_no_upd\xffte BEFORE")
    store.close()
    store.path.write_bytes(content)
    with closing(SqliteStore(store.path)) as damaged:
        assert damage(damaged) == (1, "unreadable")
    with closing(SqliteStore(store.path)) as damaged, pytest.raises(LedgerDamagedError):
        damaged.append([line(9)], clock_us=START_US)


@pytest.mark.parametrize("page", [1, 3, 2000])
def test_a_line_that_cannot_even_be_read_is_found_where_it_is(
    store: SqliteStore, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "PAGE", page)
    tamper(store, "UPDATE stored_events SET originator_id = CAST(x'ff' AS TEXT) WHERE notification_id = 4")
    result = verify_chain(store)
    assert (result.events, result.damage and result.damage.position) == (3, 4)
    assert damage(store) == (4, "unreadable")


def test_what_was_edited_before_a_line_that_cannot_be_read_is_found_first(store: SqliteStore) -> None:
    tamper(
        store,
        "UPDATE stored_events SET originator_id = CAST(x'ff' AS TEXT) WHERE notification_id = 6",
        "UPDATE stored_events SET state = x'00' WHERE notification_id = 3",
    )
    assert damage(store) == (3, "edited")


def test_a_stream_that_ends_in_a_zero_byte_cannot_lose_it(tmp_path: Path) -> None:
    with closing(SqliteStore(tmp_path / "ledger.db")) as store:
        store.append([line(1)._replace(stream=bytes(range(1, 16)) + b"\0")], clock_us=START_US)
        assert damage(store) is None
        tamper(store, "UPDATE stored_events SET originator_id = CAST(substr(originator_id, 1, 15) AS BLOB)")
        assert damage(store) == (1, "edited")


def test_an_edited_line_whose_leaf_was_recomputed_is_found_too(store: SqliteStore) -> None:
    row = every_row(store)[3]
    leaf = leaf_hash(row.position, row.stream, row.version, row.recorded_us, row.topic, b"other")
    tamper(store, "UPDATE stored_events SET state = 'other', leaf = ? WHERE notification_id = 4", parameters=(leaf,))
    assert damage(store) == (4, "edited")
    tamper(
        store,
        "UPDATE stored_events SET state = CAST('other' AS BLOB), leaf = ? WHERE notification_id = 4",
        parameters=(leaf,),
    )
    assert damage(store) == (4, "reordered")


def test_an_edited_line_with_leaf_and_chain_recomputed_breaks_at_the_next(store: SqliteStore) -> None:
    before, row = every_row(store)[2:4]
    leaf = leaf_hash(row.position, row.stream, row.version, row.recorded_us, row.topic, b"other")
    tamper(
        store,
        "UPDATE stored_events SET state = CAST('other' AS BLOB), leaf = ?, chain = ? WHERE notification_id = 4",
        parameters=(leaf, chain_hash(before.chain, leaf)),
    )
    assert damage(store) == (5, "reordered")


def test_an_edited_chain_is_found_where_it_is(store: SqliteStore) -> None:
    tamper(store, "UPDATE stored_events SET chain = randomblob(32) WHERE notification_id = 4")
    assert damage(store) == (4, "reordered")


def test_times_that_run_backwards_are_found_even_when_all_hashes_fit(store: SqliteStore) -> None:
    rewrite(store, lambda row: row._replace(recorded_us=row.recorded_us - 30_000_000) if row.position == 4 else row)
    assert damage(store) == (4, "edited")


def rewrite(store: SqliteStore, change: object) -> None:
    """What an administrator can do who recomputes everything."""
    assert callable(change)
    chain = GENESIS
    for row in every_row(store):
        new: Row = change(row)
        leaf = leaf_hash(new.position, new.stream, new.version, new.recorded_us, new.topic, new.state)
        chain = chain_hash(chain, leaf)
        tamper(
            store,
            f"UPDATE stored_events SET recorded_us = ?, leaf = ?, chain = ? WHERE notification_id = {new.position}",
            parameters=(new.recorded_us, leaf, chain),
        )
    tamper(store, "UPDATE ledger_head SET chain = ?", parameters=(chain,))


@pytest.mark.parametrize("position", [1, 4])
def test_a_deleted_line_is_found_where_it_was(store: SqliteStore, position: int) -> None:
    tamper(store, f"DELETE FROM stored_events WHERE notification_id = {position}")
    assert damage(store) == (position, "missing")


def test_a_deleted_line_whose_successors_moved_up_is_found(store: SqliteStore) -> None:
    tamper(
        store,
        "DELETE FROM stored_events WHERE notification_id = 4",
        "UPDATE stored_events SET notification_id = notification_id - 1 WHERE notification_id > 4",
    )
    assert damage(store) == (4, "reordered")


def test_swapped_lines_are_found_at_the_first(store: SqliteStore) -> None:
    tamper(
        store,
        "UPDATE stored_events SET notification_id = 100 WHERE notification_id = 3",
        "UPDATE stored_events SET notification_id = 3 WHERE notification_id = 5",
        "UPDATE stored_events SET notification_id = 5 WHERE notification_id = 100",
    )
    assert damage(store) == (3, "reordered")
    found = verify_chain(store).damage
    assert found is not None
    assert found.detail == "the event at position 3 belongs at position 5"


def test_swapped_contents_are_found_at_the_first(store: SqliteStore) -> None:
    third, fifth = every_row(store)[2], every_row(store)[4]
    for position, state in ((3, fifth.state), (5, third.state)):
        tamper(store, f"UPDATE stored_events SET state = ? WHERE notification_id = {position}", parameters=(state,))
    assert damage(store) == (3, "edited")


@pytest.mark.parametrize("left", [0, 1, LINES - 1])
def test_a_cut_tail_is_found_where_it_was_cut(store: SqliteStore, left: int) -> None:
    tamper(store, f"DELETE FROM stored_events WHERE notification_id > {left}")
    result = verify_chain(store)
    assert result.damage == Damage(position=left + 1, fault="cut", detail=f"positions {left + 1} to {LINES} are gone")
    assert result.events == left


def test_a_head_that_was_put_back_shows_lines_it_does_not_know(store: SqliteStore) -> None:
    tamper(store, f"UPDATE ledger_head SET position = {LINES - 2}")
    assert damage(store) == (LINES - 1, "unexpected")


def test_a_head_that_was_put_forward_shows_lines_that_are_not_there(store: SqliteStore) -> None:
    tamper(store, f"UPDATE ledger_head SET position = {LINES + 2}")
    assert damage(store) == (LINES + 1, "cut")


def test_a_head_with_another_chain_does_not_match(store: SqliteStore) -> None:
    tamper(store, "UPDATE ledger_head SET chain = randomblob(32)")
    assert damage(store) == (LINES, "edited")


def test_a_head_that_is_gone_is_missing_behind_lines_that_are_intact(store: SqliteStore) -> None:
    tamper(store, "DELETE FROM ledger_head")
    result = verify_chain(store)
    assert result.events == LINES
    assert result.damage is not None
    assert (result.damage.position, result.damage.fault) == (LINES, "missing")
    assert "head row" in result.damage.detail


@pytest.mark.parametrize("change", ["position = NULL", "position = 'x'", "chain = 'text'", "recorded_us = 0.5"])
def test_a_head_that_is_no_head_is_found_after_the_lines_which_are_intact(store: SqliteStore, change: str) -> None:
    tamper(
        store,
        "CREATE TABLE other AS SELECT * FROM ledger_head",
        "DROP TABLE ledger_head",
        "ALTER TABLE other RENAME TO ledger_head",
        f"UPDATE ledger_head SET {change}",
    )
    result = verify_chain(store)
    assert result.events == LINES
    assert result.damage is not None
    assert (result.damage.position, result.damage.fault) == (LINES, "unreadable")
    assert "head" in result.damage.detail


def test_a_line_after_the_end_is_unexpected_or_edited(store: SqliteStore) -> None:
    insert = "INSERT INTO stored_events SELECT {}, originator_id, 99, topic, state, recorded_us, leaf, chain"
    tamper(store, f"{insert.format(LINES + 1)} FROM stored_events WHERE notification_id = {LINES}")
    assert damage(store) == (LINES + 1, "edited")


def test_a_line_after_the_end_with_fitting_hashes_is_unknown_to_the_head(store: SqliteStore) -> None:
    last = every_row(store)[-1]
    version = last.version + 1
    leaf = leaf_hash(LINES + 1, last.stream, version, last.recorded_us, last.topic, last.state)
    tamper(
        store,
        "INSERT INTO stored_events VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        parameters=(
            LINES + 1,
            last.stream,
            version,
            last.topic,
            last.state,
            last.recorded_us,
            leaf,
            chain_hash(last.chain, leaf),
        ),
    )
    assert damage(store) == (LINES + 1, "unexpected")


def test_a_line_beyond_a_gap_is_found(store: SqliteStore) -> None:
    tamper(
        store,
        "INSERT INTO stored_events SELECT 1000, originator_id, 99, topic, state, recorded_us, leaf, chain"
        " FROM stored_events WHERE notification_id = 1",
    )
    assert damage(store) == (LINES + 1, "missing")


def test_a_line_that_its_stream_does_not_show_is_found(store: SqliteStore) -> None:
    content = bytearray(store.path.read_bytes())
    key = stream_named("s") + b"\x04\x04"  # in the index: stream, version, position
    assert content.count(key) == 1
    content[content.index(key)] = 0xFF
    store.close()
    store.path.write_bytes(content)
    with closing(SqliteStore(store.path)) as damaged:
        assert len(every_row(damaged)) == LINES
        assert [row.version for row in damaged.stream(stream_named("s"))] == [1, 2, 3]
        assert damage(damaged) == (4, "unfindable")


@pytest.mark.parametrize(
    ("entry", "instead", "first"),
    [
        pytest.param(b"\x04\x04", b"\x04\x05", 4, id="another line"),
        pytest.param(b"\x04\x04", b"\x05\x04", 4, id="another version"),
        pytest.param(b"\x06\x06", b"\x00\x06", 6, id="no order"),
    ],
)
def test_an_index_of_streams_that_misleads_is_found(
    store: SqliteStore, entry: bytes, instead: bytes, first: int
) -> None:
    edit(store.path, stream_named("s") + entry, stream_named("s") + instead)
    with closing(SqliteStore(store.path)) as damaged:
        assert damage(damaged) == (first, "unfindable")


def test_an_index_of_streams_that_is_damaged_before_an_edited_line_is_named_first(store: SqliteStore) -> None:
    tamper(store, "UPDATE stored_events SET state = x'7b7d' WHERE notification_id = 6")
    edit(store.path, stream_named("s") + b"\x04\x04", stream_named("s") + b"\x04\x07")
    with closing(SqliteStore(store.path)) as damaged:
        assert damage(damaged) == (4, "unfindable")


def test_two_lines_that_swap_their_places_in_the_index_of_streams_are_found(store: SqliteStore) -> None:
    edit(store.path, stream_named("s") + b"\x03\x03", stream_named("s") + b"\x03\x05")
    edit(store.path, stream_named("s") + b"\x05\x05", stream_named("s") + b"\x05\x03")
    with closing(SqliteStore(store.path)) as damaged:
        assert damage(damaged) == (3, "unfindable")


@pytest.mark.parametrize("instead", [stream_named("s") + b"\x07Deployed", stream_named("t") + b"\x07Restored"])
def test_an_index_of_landmarks_that_misleads_is_found(tmp_path: Path, instead: bytes) -> None:
    path = tmp_path / "ledger.db"
    with closing(SqliteStore(path)) as store:
        write(store, 6)
        store.append([NewRow(stream_named("t"), 1, "Deployed", STATE % 7)], clock_us=START_US + 60_000_000)
    edit(path, stream_named("t") + b"\x07Deployed", instead)
    with closing(SqliteStore(path)) as damaged:
        found = verify_chain(damaged, beside=False).damage
    assert found is not None
    assert (found.position, found.fault) == (7, "unfindable")


def edit(path: Path, content: bytes, instead: bytes) -> None:
    """What somebody can do who edits the file, by whom the database is not asked."""
    before = path.read_bytes()
    assert (before.count(content), len(content)) == (1, len(instead))
    path.write_bytes(before.replace(content, instead))


@pytest.mark.parametrize("position", [0, -1, -(2**63)])
def test_a_line_before_the_first_is_unexpected(store: SqliteStore, position: int) -> None:
    tamper(
        store,
        f"INSERT INTO stored_events SELECT {position}, originator_id, 99, topic, state, recorded_us, leaf, chain"
        " FROM stored_events WHERE notification_id = 1",
    )
    assert len(store.two_streams(stream_named("s"), stream_named("t"))) == LINES + 1, "readers would see it"
    assert damage(store) == (position, "unexpected")


def test_lines_appended_while_it_is_checked_are_checked_as_well(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "PAGE", 3)
    told: list[tuple[int, int]] = []

    def progress(done: int, of: int) -> None:
        told.append((done, of))
        if len(told) == 2:
            write(store, 3, clock_us=START_US + 600_000_000)

    result = verify_chain(store, progress=progress)
    assert (result.events, result.damage) == (LINES + 3, None)
    assert [done for done, _ in told] == [3, 6, 9, 11]
    assert all(done <= of for done, of in told)
    assert told[-1] == (11, 11)


def test_it_reads_pages_so_that_memory_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "PAGE", 50)
    with closing(SqliteStore(tmp_path / "ledger.db")) as store:
        lines = [line(version, state=(STATE % 0).replace(b"ada", b"a" * 10_000)) for version in range(1, 1001)]
        store.append(lines, clock_us=START_US)
        tracemalloc.start()
        assert verify_chain(store).damage is None
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert most < 2_000_000, "the states are 10 MB"


# -- Bytes of the file ---------------------------------------------------------------------------------------------

FLIPS = 300


def test_a_flipped_byte_anywhere_is_harmless_or_found(tmp_path: Path) -> None:
    """Wherever the byte is: the events read are the original ones, or an error of ours says that they are not."""
    path = tmp_path / "ledger.db"
    with closing(SqliteStore(path)) as store:
        events = [event for event in EXAMPLES for _ in range(4)]
        rows = [
            line(number, topic=type(event).__name__, state=encode(event, ENVELOPE))
            for number, event in enumerate(events, start=1)
        ]
        store.append(rows, clock_us=START_US)
        original = every_row(store)
    content = path.read_bytes()
    chance = random.Random(4711)
    found = 0
    for attempt in range(FLIPS):
        place, bit = chance.randrange(len(content)), 1 << chance.randrange(8)
        flipped = bytearray(content)
        flipped[place] ^= bit
        damaged = tmp_path / f"damaged-{attempt}.db"
        damaged.write_bytes(flipped)
        where = f"byte {place}, bit {bit}"
        found += not _harmless(damaged, original, where)
        for file in tmp_path.glob(f"{damaged.name}*"):
            file.unlink()
    assert found > FLIPS / 4, "most of the file is events"


def _harmless(path: Path, original: object, where: str) -> bool:
    """Whether the events are as they were; if not, verification must have said so."""
    with closing(SqliteStore(path)) as store:
        try:
            sound = verify_chain(store).damage is None
            rows = every_row(store)
        except OneCtlError:
            return False
        if sound:
            assert rows == original, where
            assert store.stream(stream_named("s")) == original, where
        for row in rows:
            try:
                recorded(row)
            except OneCtlError:
                assert not sound, where
        with suppress(OneCtlError):
            store.append([line(100_000)], clock_us=START_US + 1)
        return sound
