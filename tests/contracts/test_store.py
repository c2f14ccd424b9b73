"""What every store must do, asked of each of them with the same expectations."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import orjson
import pytest

from ledger.clock import LATEST_US
from ledger.codec import encode
from ledger.errors import ConflictError, LedgerDamagedError, LedgerEndedError, LedgerUnavailableError
from ledger.events import EnvSet
from ledger.leaf import GENESIS, chain_hash, leaf_hash
from ledger.redaction import redacted
from ledger.store import (
    Beside,
    Blanking,
    Head,
    Indexed,
    LifeKeyRow,
    LifeRow,
    ModelStore,
    NewRow,
    RequestRow,
    Rewrapped,
    Row,
    SealedRow,
)
from ledger.stores import open_store
from ledger.verify import verify_chain
from tests.faults import dose
from tests.ledger.examples import ENVELOPE
from tests.ledger.support import STATE
from tests.ledger.telling import telling
from tests.postgres_support import administer

ROOT = Path(__file__).parents[2]
A, B, C = b"a" * 16, b"b" * 16, b"c" * 16
NOW = 1_700_000_000_000_000


class Place:
    """One ledger, and every store that a test opens on it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._opened: list[ModelStore] = []

    def open(self, *, lock_timeout: float = 30) -> ModelStore:
        """Another store on the same ledger."""
        store = open_store(self.address, lock_timeout=lock_timeout)
        self._opened.append(store)
        return store

    def close(self) -> None:
        """Close them all."""
        for store in self._opened:
            store.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    sqlite = request.param == "sqlite"
    result = Place(str(tmp_path / "ledger.db") if sqlite else request.getfixturevalue("database"))
    yield result
    result.close()


@pytest.fixture
def store(place: Place) -> ModelStore:
    return place.open()


def line(stream: bytes = A, version: int = 1, topic: str = "Noted", state: bytes = STATE % 0) -> NewRow:
    return NewRow(stream, version, topic, state)


def fill(store: ModelStore, *lines: NewRow) -> None:
    for each in lines:
        store.append([each], clock_us=NOW)


def everything(store: ModelStore) -> Sequence[Row]:
    return store.positions(1, limit=100_000)


def placed(rows: Sequence[NewRow], head: Head, recorded_us: int) -> list[Row]:
    """The lines as the definition of leaf and chain says, written a second time."""
    lines, chain = [], head.chain
    for position, row in enumerate(rows, start=head.position + 1):
        leaf = leaf_hash(position, row.stream, row.version, recorded_us, row.topic, row.state)
        chain = chain_hash(chain, leaf)
        lines.append(Row(position, *row, recorded_us, leaf, chain))
    return lines


def request(request_id: str = "r-1") -> RequestRow:
    return RequestRow(request_id, b"s" * 16, b"d" * 32, 0, 0)


def beside() -> Beside:
    return Beside(
        request=request(),
        life=LifeRow("life", "prod", "shop", "orders", 0),
        life_key=LifeKeyRow("life", "identity", b"wrapped"),
        sealed=[SealedRow("life", "A", 1, b"\0\xff"), SealedRow("life", "B", 1, b"long" * 100)],
    )


# -- Empty -------------------------------------------------------------------------------------------------------------


def test_an_empty_ledger_answers_every_question(store: ModelStore) -> None:
    assert store.head() == Head(0, 0, GENESIS)
    assert list(store.positions(1, limit=10)) == list(store.stream(A)) == list(store.two_streams(A, B)) == []
    assert store.stream_version(A) == 0
    assert (store.request("r-1"), store.life("life"), store.life_key("life")) == (None, None, None)
    assert (store.sealed("life"), store.sealed_sizes("life")) == ({}, {})
    assert store.data_version() == store.data_version()


def test_an_empty_append_records_nothing(store: ModelStore) -> None:
    assert list(store.append([], clock_us=NOW)) == []
    assert store.head() == Head(0, 0, GENESIS)


# -- Appending ---------------------------------------------------------------------------------------------------------


def test_lines_are_placed_timed_and_chained_as_defined(store: ModelStore) -> None:
    rows = [line(A, 1), line(B, 1, "Größe", b"\0\x01\xff"), line(A, 2, state=b"")]
    first = store.append(rows, clock_us=NOW)
    assert list(first) == placed(rows, Head(0, 0, GENESIS), NOW)
    more = [line(C, 1, "x" * 8000, random.Random(7).randbytes(300_000))]
    second = store.append(more, clock_us=NOW + 5)
    assert list(second) == placed(more, store_head(first), NOW + 5)
    assert list(everything(store)) == [*first, *second]
    assert store.head() == store_head(second)


def store_head(lines: Sequence[Row]) -> Head:
    return Head(lines[-1].position, lines[-1].recorded_us, lines[-1].chain)


@pytest.mark.parametrize("seed", range(3))
def test_any_bytes_are_chained_the_same_everywhere(store: ModelStore, seed: int) -> None:
    chance = random.Random(seed)
    head = Head(0, 0, GENESIS)
    for _ in range(20):
        rows = [
            line(chance.randbytes(16), 1, chance.choice("aé漢😀") * chance.randint(1, 90), chance.randbytes(size))
            for size in chance.sample(range(3000), chance.randint(1, 4))
        ]
        clock = chance.choice([0, 1, 255, 2**31, 2**40, NOW])
        lines = store.append(rows, clock_us=clock)
        assert list(lines) == placed(rows, head, max(head.recorded_us, clock))
        head = store_head(lines)
    assert verify_chain(store, beside=False).damage is None


def test_a_clock_that_is_behind_takes_the_predecessors_time(store: ModelStore) -> None:
    fill(store, line(A, 1))
    (late,) = store.append([line(A, 2)], clock_us=NOW - 1)
    assert late.recorded_us == NOW
    (later,) = store.append([line(A, 3)], clock_us=NOW + 1)
    assert later.recorded_us == NOW + 1


@pytest.mark.parametrize("version", [0, 3, 4])
def test_a_version_that_is_not_the_next_of_its_stream_is_a_conflict(store: ModelStore, version: int) -> None:
    fill(store, line(A, 1), line(B, 1))
    for rows in ([line(B, 2), line(A, version)], [line(A, 2), line(B, 2), line(A, version + 1)]):
        with pytest.raises(ConflictError):
            store.append(rows, clock_us=NOW)
    assert [(row.stream, row.version) for row in everything(store)] == [(A, 1), (B, 1)]


def test_a_stream_may_begin_with_version_0_as_in_other_programs(store: ModelStore) -> None:
    store.append([line(B, 0), line(C, 1), line(B, 1)], clock_us=NOW)
    with pytest.raises(ConflictError):
        store.append([line(A, 2)], clock_us=NOW)
    store.append([line(B, 2)], clock_us=NOW)
    assert store.stream_version(B) == 2


def test_streams_may_alternate_within_an_append(store: ModelStore) -> None:
    fill(store, line(A, 1))
    store.append([line(B, 1), line(A, 2), line(B, 2), line(A, 3)], clock_us=NOW)
    assert (store.stream_version(A), store.stream_version(B)) == (3, 2)


def test_a_taken_version_is_a_conflict_and_nothing_of_the_append_is_written(store: ModelStore) -> None:
    fill(store, line(A, 1))
    before = store.head()
    with pytest.raises(ConflictError):
        store.append([*telling(beside(), B), line(A, 1)], clock_us=NOW, beside=beside())
    assert store.head() == before
    assert list(store.stream(B)) == []
    assert (store.request("r-1"), store.life("life"), store.life_key("life")) == (None, None, None)
    assert store.sealed("life") == {}
    (next_line,) = store.append([line(B, 1)], clock_us=NOW)
    assert next_line.position == 2


def test_a_request_id_is_recorded_once(store: ModelStore) -> None:
    store.append([line(A, 1)], clock_us=NOW, beside=Beside(request=request()))
    with pytest.raises(ConflictError):
        store.append([line(A, 2)], clock_us=NOW, beside=Beside(request=request()))
    assert store.stream_version(A) == 1


def test_a_clock_past_all_dates_is_refused_and_nothing_is_recorded(store: ModelStore) -> None:
    fill(store, line(A, 1))
    with pytest.raises(LedgerUnavailableError, match="clock"):
        store.append([line(A, 2)], clock_us=LATEST_US + 1)
    assert store.head() == store_head(everything(store))
    assert store.head().position == 1


@pytest.mark.parametrize(
    "change", ["recorded_us = 4102444800000000", "chain = salt", "position = position - 1", "position = position + 1"]
)
@pytest.mark.parametrize("lines", [0, 2])
def test_a_head_that_is_not_that_of_the_newest_line_is_refused(
    place: Place, store: ModelStore, change: str, lines: int
) -> None:
    store.prepare()
    fill(store, *(line(A, version) for version in range(1, lines + 1)))
    if lines == 0 and change != "recorded_us = 4102444800000000":
        return  # a head of nothing has neither
    salt = "decode(repeat('11', 32), 'hex')" if "://" in place.address else "randomblob(32)"
    statement = f"UPDATE ledger_head SET {change.replace('salt', salt)}"
    if "://" in place.address:
        administer(place.address, statement)
    else:
        with closing(sqlite3.connect(place.address)) as connection, connection:
            connection.execute(statement)
    with pytest.raises(LedgerDamagedError, match="head of the ledger does not fit its events"):
        store.append([line(B, 1)], clock_us=NOW)
    assert len(everything(store)) == lines


def test_a_life_opens_once(store: ModelStore) -> None:
    opening = Beside(life=LifeRow("life", "prod", "shop", "orders", 0))
    store.append(telling(opening, A), clock_us=NOW, beside=opening)
    with pytest.raises(ConflictError):
        store.append(telling(opening, A, 2), clock_us=NOW, beside=opening)
    assert store.head().position == 1


# -- Beside the log ----------------------------------------------------------------------------------------------------


def test_what_is_beside_is_written_with_its_positions(store: ModelStore) -> None:
    fill(store, line(C, 1))
    store.append(telling(beside(), A), clock_us=NOW, beside=beside())
    assert store.request("r-1") == RequestRow("r-1", b"s" * 16, b"d" * 32, 2, 4)
    assert store.life("life") == LifeRow("life", "prod", "shop", "orders", 2)
    assert store.life_key("life") == LifeKeyRow("life", "identity", b"wrapped")
    assert store.sealed("life") == {("A", 1): b"\0\xff", ("B", 1): b"long" * 100}
    assert store.sealed_sizes("life") == {("A", 1): 2, ("B", 1): 400}


def test_a_shredded_life_has_neither_key_nor_values(store: ModelStore) -> None:
    store.append(telling(beside(), A), clock_us=NOW, beside=beside())
    other = Beside(life_key=LifeKeyRow("other", "i", b"w"), sealed=[SealedRow("other", "A", 1, b"x")])
    shred = Beside(shred="life")
    store.append(telling(other, B), clock_us=NOW, beside=other)
    store.append(telling(shred, A, 4), clock_us=NOW, beside=shred)
    assert store.life_key("life") is None
    assert store.sealed("life") == {}
    assert store.life("life") is not None
    assert store.life_key("other") == LifeKeyRow("other", "i", b"w")
    assert store.sealed("other") == {("A", 1): b"x"}


def test_a_purged_key_has_no_values_of_any_version(store: ModelStore) -> None:
    newer, purge = Beside(sealed=[SealedRow("life", "A", 2, b"new")]), Beside(purge=("life", "A"))
    for version, each in ((1, beside()), (4, newer), (5, purge)):
        store.append(telling(each, A, version), clock_us=NOW, beside=each)
    assert store.sealed("life") == {("B", 1): b"long" * 100}


def test_a_redaction_changes_one_state_and_nothing_else(store: ModelStore) -> None:
    fill(store, line(A, 1), line(A, 2, "EnvSet", encode(EnvSet(values={"A": "leaked"}), ENVELOPE)), line(A, 3))
    before = everything(store)
    event, blank = redacted(before[1], "values.A")
    redaction = line(B, 1, "Redacted", encode(event, ENVELOPE))
    (said,) = store.append([redaction], clock_us=NOW, beside=Beside(redact=Blanking(2, before[1].state, blank)))
    assert list(everything(store)) == [before[0], before[1]._replace(state=blank), before[2], said]


def test_a_redaction_changes_no_other_line_than_the_one_that_it_was_decided_on(store: ModelStore) -> None:
    fill(store, line(A, 1), line(A, 2, "EnvSet", encode(EnvSet(values={"A": "blue"}), ENVELOPE)))
    (before, here), leaked = everything(store), encode(EnvSet(values={"A": "leaked"}), ENVELOPE)
    event, blank = redacted(here._replace(state=leaked), "values.A")  # what stood there before a restore
    redaction = line(B, 1, "Redacted", encode(event, ENVELOPE))
    with pytest.raises(ConflictError):
        store.append([redaction], clock_us=NOW, beside=Beside(redact=Blanking(2, leaked, blank)))
    assert list(everything(store)) == [before, here]


def test_a_redaction_forgets_what_the_request_of_the_line_was_recognised_by(store: ModelStore) -> None:
    asked = [RequestRow(name, b"s" * 16, b"d" * 32, 0, 0) for name in ("before", "of it")]
    state = encode(EnvSet(values={"A": "leaked"}), ENVELOPE)
    for version, request in enumerate(asked, start=1):
        store.append([line(A, version, "EnvSet", state)], clock_us=NOW, beside=Beside(request=request))
    event, blank = redacted(store.positions(2, limit=1)[0], "values.A")
    forgets = Beside(redact=Blanking(2, state, blank), forget=True)
    store.append([line(B, 1, "Redacted", encode(event, ENVELOPE))], clock_us=NOW, beside=forgets)
    assert store.request("before") == asked[0]._replace(first_position=1, last_position=1)
    assert store.request("of it") == RequestRow("of it", b"", b"", 2, 2)


def with_keys(store: ModelStore, *keys: tuple[str, str]) -> None:
    for number, (life, identity) in enumerate(keys, start=1):
        key = LifeKeyRow(life, identity, f"{life} for {identity}".encode())
        store.append(telling(Beside(life_key=key), B, number), clock_us=NOW, beside=Beside(life_key=key))


def test_keys_are_counted_and_paged_by_identity(store: ModelStore) -> None:
    assert store.life_key_identities() == {}
    with_keys(store, ("d", "old"), ("a", "old"), ("b", "new"), ("c", "older"))
    assert store.life_key_identities() == {"old": 2, "new": 1, "older": 1}
    page = store.life_keys_except("new", after="", limit=2)
    assert [(row.deployment_id, row.identity, bytes(row.wrapped)) for row in page] == [
        ("a", "old", b"a for old"), ("c", "older", b"c for older")
    ]  # fmt: skip
    assert [row.deployment_id for row in store.life_keys_except("new", after="c", limit=2)] == ["d"]
    assert list(store.life_keys_except("new", after="d", limit=2)) == []


def test_a_key_is_rewrapped_only_if_it_is_what_it_was_taken_for(store: ModelStore) -> None:
    with_keys(store, ("a", "old"), ("b", "old"), ("c", "other"))
    head = store.head()
    rows = [Rewrapped(life, "old", "new", f"{life} for new".encode()) for life in ("a", "b", "c", "gone")]
    assert store.rewrap(rows[:1] + rows[2:]) == 1
    assert store.rewrap(rows) == 1, "a is done already, c is another's, and one is shredded"
    assert [store.life_key(life) for life in ("a", "b", "c")] == [
        LifeKeyRow("a", "new", b"a for new"), LifeKeyRow("b", "new", b"b for new"),
        LifeKeyRow("c", "other", b"c for other"),
    ]  # fmt: skip
    assert store.life_key("gone") is None
    assert store.head() == head


def test_keys_of_a_ledger_that_went_on_elsewhere_stay_as_they_are(store: ModelStore) -> None:
    with_keys(store, ("a", "old"))
    moved = Beside(moved=("elsewhere", "there"))
    store.append(telling(moved, A), clock_us=NOW, beside=moved)
    with pytest.raises(LedgerEndedError, match="there"):
        store.rewrap([Rewrapped("a", "old", "new", b"x")])
    assert store.life_key_identities() == {"old": 1}


def test_a_key_is_wrapped_for_an_identity_that_was_not_replaced_meanwhile(store: ModelStore) -> None:
    def wrapped(life: str, version: int) -> Beside:
        return Beside(life_key=LifeKeyRow(life, "identity", b"w"), unchanged=(C, version))

    def append(version: int, key: Beside) -> None:
        store.append(telling(key, A, version), clock_us=NOW, beside=key)

    append(1, wrapped("first", 0))
    fill(store, line(C, 1))
    for version in (0, 2):
        with pytest.raises(ConflictError):
            append(2, wrapped("second", version))
    append(2, wrapped("second", 1))
    assert [row.stream for row in everything(store)] == [A, C, A]
    assert store.life_key_identities() == {"identity": 2}


def test_what_was_decided_by_another_stream_is_not_appended_once_that_has_grown(store: ModelStore) -> None:
    for version in (1, 2):
        store.append([line(A, version)], clock_us=NOW, beside=Beside(unchanged=(C, version - 1)))
        fill(store, line(C, version))
    with pytest.raises(ConflictError):
        store.append([line(A, 3)], clock_us=NOW, beside=Beside(unchanged=(C, 1)))
    assert [row.stream for row in everything(store)] == [A, C, A, C]


# -- Reading -----------------------------------------------------------------------------------------------------------


def test_two_streams_are_merged_by_position(store: ModelStore) -> None:
    fill(store, line(B, 1), line(A, 1), line(C, 1), line(A, 2), line(B, 2))
    assert [row.position for row in store.two_streams(A, B)] == [1, 2, 4, 5]
    assert [row.position for row in store.two_streams(A, B, upto=4)] == [1, 2, 4]
    assert [row.position for row in store.two_streams(A, A)] == [2, 4]


def test_a_stream_is_read_within_bounds(store: ModelStore) -> None:
    fill(store, line(B, 1), *(line(A, version) for version in range(1, 7)))

    def versions(**bounds: int | bool | None) -> list[int]:
        return [row.version for row in store.stream(A, **bounds)]  # type: ignore[arg-type]

    assert versions() == [1, 2, 3, 4, 5, 6]
    assert versions(after=2) == [3, 4, 5, 6]
    assert versions(after=2, upto=4) == [3, 4]
    assert versions(descending=True, limit=2) == [6, 5]
    assert versions(descending=True, upto=3) == [3, 2, 1]
    assert versions(limit=0) == []
    assert versions(after=6) == []
    assert store.stream_version(A) == 6


def test_every_line_is_found_by_its_stream(store: ModelStore) -> None:
    assert store.unfindable(1, 10) == []
    fill(store, line(A, 1), line(B, 1), line(A, 2), line(C, 1))
    assert store.unfindable(1, 10) == []


def test_an_index_is_read_in_its_order_and_in_pages(store: ModelStore) -> None:
    release = [NewRow(stream, version, "Deployed", b"{}") for stream, version in ((B, 2), (A, 3), (A, 4))]
    fill(store, line(B, 1), line(A, 1), line(A, 2), *release)
    streams: list[tuple[int, bytes, int]] = [(2, A, 1), (3, A, 2), (5, A, 3), (6, A, 4), (1, B, 1), (4, B, 2)]
    landmarks: list[tuple[int, bytes, str]] = [(5, A, "Deployed"), (6, A, "Deployed"), (4, B, "Deployed")]

    def entries(index: Indexed, after: tuple[bytes, int] = (b"", 0), upto: int = 6) -> list[object]:
        return [*store.indexed(index, after=after, upto=upto, limit=4)]

    assert (A < B, entries("streams")) == (True, streams[:4])
    assert entries("streams", after=(A, 4)) == streams[4:]
    assert entries("streams", upto=3) == [entry for entry in streams if entry[0] <= 3]
    assert entries("landmarks") == landmarks
    assert entries("landmarks", after=(A, 5)) == landmarks[1:]
    assert entries("landmarks", after=(A, 5), upto=4) == landmarks[2:]


def test_positions_are_read_in_pages(store: ModelStore) -> None:
    fill(store, *(line(A, version) for version in range(1, 8)))

    def positions(start: int, stop: int | None = None, *, limit: int) -> list[int]:
        return [row.position for row in store.positions(start, stop, limit=limit)]

    assert positions(1, limit=3) == [1, 2, 3]
    assert positions(4, limit=3) == [4, 5, 6]
    assert positions(7, limit=3) == [7]
    assert positions(8, limit=3) == []
    assert positions(2, 4, limit=10) == [2, 3, 4]
    assert positions(2, 4, limit=2) == [2, 3]


def test_every_store_on_a_ledger_sees_what_another_appended(place: Place, store: ModelStore) -> None:
    other = place.open()
    assert other.head().position == 0
    fill(store, line(A, 1))
    assert other.head() == store.head()
    before = other.data_version()
    assert other.data_version() == before
    fill(store, line(A, 2))
    assert other.data_version() != before
    assert everything(other) == everything(store)


def test_a_closed_store_refuses(store: ModelStore) -> None:
    fill(store, line(A, 1))
    store.close()
    with pytest.raises(LedgerUnavailableError, match="closed"):
        store.head()
    with pytest.raises(LedgerUnavailableError, match="closed"):
        store.append([line(A, 2)], clock_us=NOW)


# -- Many at once ------------------------------------------------------------------------------------------------------


def test_threads_append_without_gaps_and_lose_nothing(store: ModelStore) -> None:
    def write(stream: bytes) -> None:
        for version in range(1, 51, 2):
            store.append([line(stream, version), line(stream, version + 1)], clock_us=NOW)

    _run([partial(write, bytes([number]) * 16) for number in range(4)])
    lines = everything(store)
    assert [row.position for row in lines] == list(range(1, 201))
    assert {(row.stream, row.version) for row in lines} == {
        (bytes([number]) * 16, version) for number in range(4) for version in range(1, 51)
    }
    assert verify_chain(store).damage is None


_WRITES = f"""
import sys
STATE = {STATE % 0!r}
from ledger.errors import ConflictError
from ledger.store import Beside, NewRow, RequestRow
from ledger.stores import open_store

address, name, number = sys.argv[1:]
store = open_store(address)
for turn in range(int(number)):
    request = f"{{name}}-{{turn}}"
    while store.request(request) is None:
        version = store.stream_version(b"s" * 16) + 1
        try:
            store.append(
                [NewRow(b"s" * 16, version, "Noted", STATE.replace(b'"request_id":null', b'"request_id":"%s"' % request.encode()))],
                clock_us=1,
                beside=Beside(request=RequestRow(request, b"s" * 16, b"d" * 32, 0, 0)),
            )
        except ConflictError:
            pass
store.close()
"""


@dose.not_few("processes append for seconds")
def test_processes_that_race_for_one_stream_lose_and_double_nothing(place: Place) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", _WRITES, place.address, f"w{number}", "10"], cwd=ROOT)
        for number in range(8)
    ]
    assert [process.wait(timeout=60) for process in processes] == [0] * 8
    store = place.open()
    lines = everything(store)
    assert [(row.position, row.version) for row in lines] == [(number, number) for number in range(1, 81)]
    assert sorted(orjson.loads(row.state)["meta"]["request_id"] for row in lines) == sorted(
        f"w{w}-{turn}" for w in range(8) for turn in range(10)
    )
    assert verify_chain(store).damage is None


@dose.not_few("processes append for seconds")
def test_a_reader_at_the_tail_misses_nothing(place: Place) -> None:
    each = 500 if "postgresql" in place.address else 50  # every append to the file waits for the disk
    total, seen = 4 * each, [0]
    reader = place.open()

    def write(stream: bytes) -> None:
        store = place.open()
        for version in range(1, each + 1):
            store.append([line(stream, version)], clock_us=NOW)

    def follow() -> None:
        deadline = time.monotonic() + 60
        while len(seen) <= total and time.monotonic() < deadline:
            seen.extend(row.position for row in reader.positions(seen[-1] + 1, limit=1000))

    _run([follow, *(partial(write, bytes([number]) * 16) for number in range(4))])
    assert seen == list(range(total + 1))


def _run(tasks: Sequence[Callable[[], None]]) -> None:
    """Run all at once; fails if one of them does."""
    failed: list[BaseException] = []

    def guarded(task: Callable[[], None]) -> None:
        try:
            task()
        except BaseException as error:
            failed.append(error)
            raise

    threads = [threading.Thread(target=guarded, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
