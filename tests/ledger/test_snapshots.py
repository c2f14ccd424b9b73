"""Snapshots change what a question costs, never what it answers; on every kind of store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger import snapshots
from ledger.app import App, fold
from ledger.app_state import shape
from ledger.codec import encode
from ledger.instance import new_instance
from ledger.redaction import redacted, texts
from ledger.snapshot_upkeep import rebuild_snapshots, wrong_snapshot
from ledger.snapshots import WORTH, folded
from ledger.spec import BLANK
from ledger.sqlite_store import SqliteStore
from ledger.store import Beside, Blanking, ModelStore, NewRow, Row, SnapshotRow
from ledger.streams import LEDGER_STREAM
from ledger.transfer import set_instance
from tests.projections.histories import APPS, START_US, Script, Step, about, script, steps, write
from tests.projections.stores import Ledgers
from tests.seeds import examples

APP, OTHER = APPS[:2]
STEP = 10


@pytest.fixture(autouse=True)
def _small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "STEP", STEP)
    monkeypatch.setattr(snapshots, "WORTH", 0)


@pytest.fixture(params=["sqlite", "postgresql"])
def ledgers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledgers]:
    sqlite = request.param == "sqlite"
    result = Ledgers(str(tmp_path / "ledger.db") if sqlite else request.getfixturevalue("database"))
    yield result
    result.close()


@pytest.fixture
def ledger() -> Script:
    """An app with a history."""
    result = Script()
    result.deploy(APP, env={"A": "1"})
    result.deploy(OTHER)
    for number in range(30):
        result.env_set(APP, {"B": str(number)})
        result.applied(APP)
    return result


@pytest.fixture
def store(ledgers: Ledgers, ledger: Script) -> ModelStore:
    result = ledgers.open()
    write(result, ledger.lines)
    return result


def fresh(lines: Sequence[Any], app: Any = APP) -> App:
    """What the events add up to, folded one by one."""
    return fold(App(id=app), about(lines, app))


def kept(store: ModelStore) -> list[SnapshotRow]:
    rows = store.ask("ledger.snapshots_page", {"stream": b"", "position": 0, "limit": 1000})
    return [SnapshotRow(*row) for row in rows]


class Counting(SqliteStore):
    """Counts the lines it gives out."""

    lines = 0

    def two_streams(self, *args: Any, **options: Any) -> Sequence[Row]:
        """See `SqliteStore.two_streams`."""
        rows = super().two_streams(*args, **options)
        self.lines += len(rows)
        return rows

    def stream(self, *args: Any, **options: Any) -> Sequence[Row]:
        """See `SqliteStore.stream`."""
        rows = super().stream(*args, **options)
        self.lines += len(rows)
        return rows


def test_who_folds_much_leaves_snapshots_spaced_over_the_whole_history(store: ModelStore, ledger: Script) -> None:
    assert folded(store, APP) == fresh(ledger.lines)
    places = [row.position for row in kept(store)]
    told = [line.position for line in about(ledger.lines, APP)]
    assert [told.index(position) + 1 for position in places] == list(range(STEP, len(told) + 1, STEP))
    assert {row.shape for row in kept(store)} == {shape()}


def test_who_folds_little_writes_nothing(store: ModelStore, ledger: Script) -> None:
    assert folded(store, OTHER) == fresh(ledger.lines, OTHER)
    assert folded(store, APP, upto=ledger.lines[STEP].position) == fresh(ledger.lines[: STEP + 1])
    assert kept(store) == []


def test_every_moment_is_what_it_was_with_and_without_snapshots(store: ModelStore, ledger: Script) -> None:
    expected = {line.position: fresh(ledger.lines[: line.position]) for line in ledger.lines}
    for _ in range(2):
        for position, state in expected.items():
            assert folded(store, APP, upto=position) == state
        folded(store, APP)


@settings(
    deadline=None,
    max_examples=examples(15, short=40),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)
@given(plan=steps(min_size=20, max_size=60), data=st.data())
def test_an_app_is_the_same_whoever_left_snapshots_when(plan: list[Step], data: st.DataObject) -> None:
    lines = script(plan).lines
    cuts = sorted(data.draw(st.lists(st.integers(0, len(lines)), max_size=6), label="reads"))
    with TemporaryDirectory() as directory:
        store = SqliteStore(Path(directory) / "ledger.db")
        for start, stop in zip([0, *cuts], [*cuts, len(lines)], strict=True):
            write(store, lines[start:stop])
            upto = data.draw(st.integers(0, stop) | st.none(), label="position")
            for app in APPS[:2]:
                assert folded(store, app, upto=upto) == fresh(lines[: stop if upto is None else upto], app)
        assert wrong_snapshot(store) is None
        store.close()


def test_what_is_read_after_a_snapshot_does_not_grow_with_what_came_before(tmp_path: Path) -> None:
    store, ledger = Counting(tmp_path / "ledger.db"), Script()
    ledger.deploy(APP)
    costs = []
    for number in range(12):
        written = len(ledger.lines) if number else 0
        for each in range(STEP):
            ledger.env_set(APP, {"A": str(each)})
        write(store, ledger.lines[written:])
        folded(store, APP)
        store.lines = 0
        folded(store, APP, upto=ledger.lines[len(ledger.lines) // 2].position)
        folded(store, APP)
        costs.append(store.lines)
    assert max(costs) <= 2 * (STEP + 2) * 2
    store.close()


def test_a_snapshot_is_not_kept_where_it_is_larger_than_what_it_saves(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "WORTH", WORTH)
    folded(store, APP)
    size = sum(len(row.state) for row in kept(store))
    assert 0 < size * WORTH <= sum(len(row.state) for row in store.positions(1, limit=1000))


def octets(store: ModelStore, value: bytes) -> str:
    """Bytes as this kind of database writes them."""
    return f"X'{value.hex()}'" if isinstance(store, SqliteStore) else f"'\\x{value.hex()}'"


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE app_snapshots SET shape = shape + 1",
        "UPDATE app_snapshots SET state = '{garbage}'",
        "UPDATE app_snapshots SET state = {other}",
        "UPDATE app_snapshots SET position = position - 1",
        "UPDATE app_snapshots SET position = position + 100000",
    ],
)
def test_a_snapshot_that_cannot_be_confirmed_is_not_used(ledgers: Ledgers, ledger: Script, change: str) -> None:
    store = ledgers.open()
    write(store, ledger.lines)
    folded(store, APP)
    other = snapshots.snapshot_of(fresh(ledger.lines[:9]), store.positions(9, limit=1)[0]).state
    ledgers.administer(change.replace("{other}", octets(store, other)))
    for position in (None, 20, 45):
        assert folded(store, APP, upto=position) == fresh(ledger.lines[:position])


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[ModelStore]:
    """As before a restore: the same positions and versions, but other lines, and snapshots of them."""
    elsewhere = SqliteStore(tmp_path / "elsewhere.db")
    other = Script()
    other.deploy(APP, env={"A": "of another history"})
    other.deploy(OTHER)
    for _ in range(30):
        other.env_set(APP, {"C": "c"})
        other.applied(APP)
    write(elsewhere, other.lines)
    folded(elsewhere, APP)
    yield elsewhere
    elsewhere.close()


def test_a_snapshot_of_another_history_is_not_used(store: ModelStore, elsewhere: ModelStore, ledger: Script) -> None:
    with store.change() as tables:
        tables.execute_all("ledger.insert_snapshot", [each._asdict() for each in kept(elsewhere)])
    assert kept(store)
    assert folded(store, APP) == fresh(ledger.lines)


def test_a_snapshot_of_another_history_is_not_kept(store: ModelStore, elsewhere: ModelStore) -> None:
    """Whoever folded it did so before a restore, and writes after it."""
    assert not snapshots.write(store, kept(elsewhere), ledger_version=2)
    assert kept(store) == []
    folded(store, APP)
    assert wrong_snapshot(store) is None


@pytest.mark.parametrize("fold", [lambda store: folded(store, APP), rebuild_snapshots], ids=["reading", "rebuilding"])
def test_what_was_folded_while_a_ledger_was_put_back_is_not_kept(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch, fold: Callable[[ModelStore], object]
) -> None:
    """Some of it was read before, the rest after."""
    app_lines = snapshots.app_lines

    def slow(*args: Any, **options: Any) -> Iterator[Row]:
        yield from app_lines(*args, **options)
        with store.change() as tables:
            set_instance(tables, instance=new_instance(), writer=None, note=None)

    monkeypatch.setattr("ledger.snapshots.app_lines", slow)
    monkeypatch.setattr("ledger.snapshot_upkeep.app_lines", slow)
    fold(store)
    assert kept(store) == []


def redact(store: ModelStore) -> None:
    """Record a redaction; which text it blanks does not matter here."""
    left = (
        (row, field) for row in store.positions(1, limit=1000) for field, text in texts(row).items() if text != BLANK
    )
    line, field = next(left)
    event, blank = redacted(line, field)
    row = NewRow(
        LEDGER_STREAM.bytes,
        store.stream_version(LEDGER_STREAM.bytes) + 1,
        "Redacted",
        encode(event, Script().lines[0].envelope),
    )
    store.append([row], clock_us=START_US, beside=Beside(redact=Blanking(line.position, line.state, blank)))


def test_a_redaction_takes_all_snapshots_along(store: ModelStore) -> None:
    folded(store, APP)
    assert kept(store)
    redact(store)
    assert kept(store) == []


def test_what_was_read_before_a_redaction_is_not_kept_after_it(
    ledgers: Ledgers, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    app_lines = snapshots.app_lines

    def slow(*args: Any, **options: Any) -> Iterator[Row]:
        yield from app_lines(*args, **options)
        redact(ledgers.open())  # by somebody else, while this one is still folding what it has read

    monkeypatch.setattr(snapshots, "app_lines", slow)
    folded(store, APP)
    assert kept(store) == []
    monkeypatch.setattr(snapshots, "app_lines", app_lines)
    folded(store, APP)
    assert kept(store)


def test_what_a_snapshot_said_before_a_redaction_is_not_kept_after_it(
    ledgers: Ledgers, store: ModelStore, ledger: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    fold_and_keep = snapshots._fold_and_keep
    folded(store, APP, upto=ledger.lines[3 * STEP].position)
    assert kept(store)

    def late(*args: Any) -> App:
        redact(ledgers.open())  # by somebody else, once this one has read a snapshot
        return fold_and_keep(*args)

    monkeypatch.setattr(snapshots, "_fold_and_keep", late)
    folded(store, APP)
    monkeypatch.setattr(snapshots, "_fold_and_keep", fold_and_keep)
    blanked = [line for line in store.positions(1, limit=1000) if BLANK.encode() in line.state]
    assert blanked
    assert kept(store)
    assert wrong_snapshot(store) is None


def test_a_redaction_and_a_reader_at_once_leave_no_snapshot_of_before(ledgers: Ledgers, store: ModelStore) -> None:
    """Whoever is first: what is kept in the end was folded after the redaction, or there is nothing."""
    for _ in range(5):
        barrier = threading.Barrier(2)
        reader, other = ledgers.open(), ledgers.open()

        def read(reader: ModelStore = reader, barrier: threading.Barrier = barrier) -> None:
            barrier.wait(20)
            folded(reader, APP)

        thread = threading.Thread(target=read)
        thread.start()
        barrier.wait(20)
        redact(other)
        redacted_at = other.head().position
        thread.join(30)
        version = other.stream_version(LEDGER_STREAM.bytes)
        assert not kept(other) or version == other.positions(redacted_at, limit=1)[0].version
        ledgers.administer("DELETE FROM app_snapshots")


def test_who_cannot_write_reads_the_same(ledgers: Ledgers, store: ModelStore, ledger: Script) -> None:
    assert folded(ledgers.outsider(), APP) == fresh(ledger.lines)
    assert kept(store) == []
    folded(store, APP)
    assert folded(ledgers.outsider(), APP) == fresh(ledger.lines)


def test_a_reader_does_not_wait_for_who_writes(ledgers: Ledgers, store: ModelStore, ledger: Script) -> None:
    holding, release = threading.Event(), threading.Event()

    def hold() -> None:
        with ledgers.open().change():
            holding.set()
            release.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    assert holding.wait(20)
    try:
        assert folded(store, APP) == fresh(ledger.lines)
        assert thread.is_alive()
    finally:
        release.set()
        thread.join(20)
    assert kept(store) == []


def test_many_readers_at_once_leave_the_same_snapshots(ledgers: Ledgers, store: ModelStore, ledger: Script) -> None:
    readers = [ledgers.open() for _ in range(4)]
    found: list[App] = []
    threads = [threading.Thread(target=lambda each=each: found.append(folded(each, APP))) for each in readers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == [fresh(ledger.lines)] * 4
    folded(store, APP)
    assert wrong_snapshot(store) is None


# -- Upkeep ------------------------------------------------------------------------------------------------------------


def test_right_snapshots_are_found_right(store: ModelStore) -> None:
    folded(store, APP)
    told: list[tuple[int, int]] = []
    assert wrong_snapshot(store, lambda done, count: told.append((done, count))) is None


def forge(store: ModelStore, position: int) -> None:
    """A snapshot that its line confirms, of an app that never was."""
    row = next(row for row in kept(store) if row.position == position)
    at = snapshots.position_of(row)
    assert at is not None
    assert at.app.life is not None
    life = at.app.life
    forged = _with(at.app, life=_with(life, spec=_with(life.spec, image="forged")))
    snapshots.write(store, [snapshots.snapshot_of(forged, store.positions(position, limit=1)[0])], ledger_version=2)


def _with(value: Any, **changes: Any) -> Any:
    from dataclasses import replace

    return replace(value, **changes)


@pytest.mark.parametrize("number", [0, 2, -1])
def test_a_forged_snapshot_is_found_and_made_anew(store: ModelStore, ledger: Script, number: int) -> None:
    folded(store, APP)
    before = kept(store)
    forge(store, before[number].position)
    wrong = wrong_snapshot(store)
    assert wrong is not None
    assert wrong.position == before[number].position
    assert "orders" in wrong.detail
    assert rebuild_snapshots(store) == len(before)
    assert kept(store) == before
    assert wrong_snapshot(store) is None


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE app_snapshots SET state = '{garbage}'",
        "UPDATE app_snapshots SET position = position + 100000",
        "UPDATE app_snapshots SET stream = {other} WHERE position = (SELECT min(position) FROM app_snapshots)",
    ],
)
def test_a_damaged_snapshot_is_found(ledgers: Ledgers, store: ModelStore, change: str) -> None:
    folded(store, APP)
    ledgers.administer(change.replace("{other}", octets(store, b"of another app !")))
    assert wrong_snapshot(store) is not None


def test_snapshots_of_another_program_are_passed_over_and_dropped_by_a_rebuild(
    ledgers: Ledgers, store: ModelStore
) -> None:
    folded(store, APP)
    ledgers.administer("UPDATE app_snapshots SET shape = shape + 1, state = '{garbage}'")
    assert wrong_snapshot(store) is None
    rebuild_snapshots(store)
    assert {row.shape for row in kept(store)} == {shape()}
