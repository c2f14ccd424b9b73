from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from pathlib import Path

import pytest

from ledger.codec import encode
from ledger.envelope import Line
from ledger.errors import LedgerBusyError, LedgerDamagedError, UnknownEventError
from ledger.events import Redacted
from ledger.sqlite_store import SqliteStore
from ledger.store import ModelStore, NewRow, Row, Tables
from projections import runner
from projections.app_list import APP_LIST, AppList, AppListRow, app_list
from projections.runner import rebuild
from tests.faults import dose
from tests.ledger.support import holder
from tests.projections.histories import APPS, START_US, Script, write
from tests.projections.stores import Ledgers, ReadOnlyStore, catch_up

ORDERS, USERS = APPS[:2]
ROOT = Path(__file__).parents[2]


class NextAppList(AppList):
    """The projection of a later program."""

    version = AppList.version + 1


class RecordingAppList(AppList):
    """Remembers which positions were folded."""

    def __init__(self) -> None:
        self.folded: list[int] = []

    def apply(self, rows: dict[str, AppListRow], line: Line) -> None:
        """See `AppList.apply`."""
        self.folded.append(line.position)
        super().apply(rows, line)


class WordyAppList(AppList):
    """A projection whose rows may hold what somebody wrote."""

    redactable = True


class OvertakenStore(SqliteStore):
    """Another process catches up right after this one has read its page."""

    def positions(self, start: int, stop: int | None = None, *, limit: int) -> Sequence[Row]:
        """See `SqliteStore.positions`."""
        page = super().positions(start, stop, limit=limit)
        other = SqliteStore(self.path)
        catch_up(other, [APP_LIST])
        other.close()
        return page


class LateStore(SqliteStore):
    """Before this one gets the lock, another process appends and catches up."""

    def writing(self, *, wait: bool = True) -> AbstractContextManager[sqlite3.Connection]:  # type: ignore[override] # a narrower door
        """See `SqliteStore.writing`."""
        other = SqliteStore(self.path)
        version = other.stream_version(b"s" * 16) + 1
        other.append([NewRow(b"s" * 16, version, "RolloutCompleted", b"ignored")], clock_us=START_US)
        catch_up(other, [APP_LIST])
        other.close()
        return super().writing(wait=wait)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger() -> Script:
    """Two apps, one of them with a past."""
    result = Script()
    result.deploy(ORDERS, env={"A": "1"})
    result.deploy(USERS)
    result.applied(ORDERS)
    result.destroy(ORDERS)
    result.deploy(ORDERS)
    result.scale(USERS, 4)
    return result


@pytest.fixture
def store(ledgers: Ledgers, ledger: Script) -> ModelStore:
    result = ledgers.open()
    write(result, ledger.lines)
    return result


def lives(store: ModelStore) -> list[AppListRow]:
    return app_list(store, "prod", "shop", ended=True)


def checkpoint(store: ModelStore) -> tuple[int, int]:
    version, position = store.ask("projections.checkpoint", {"name": "app_list"})[0]
    return version, position


def test_a_checkpoint_is_at_the_head_after_reading(store: ModelStore, ledger: Script) -> None:
    assert len(lives(store)) == 3
    assert checkpoint(store) == (APP_LIST.version, len(ledger.lines))


def test_with_nothing_new_nothing_is_written(ledgers: Ledgers, store: ModelStore) -> None:
    catch_up(store, [APP_LIST])
    catch_up(ledgers.outsider(), [APP_LIST])


@pytest.mark.parametrize("page", [1, 2, 3])
def test_pages_do_not_show(
    ledgers: Ledgers, store: ModelStore, ledger: Script, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    whole = lives(store)
    monkeypatch.setattr(runner, "PAGE", page)
    monkeypatch.setattr(runner, "AT_ONCE", page)
    monkeypatch.setattr(runner, "ROWS_IN_MEMORY", page)
    rebuild(store, APP_LIST)
    assert lives(store) == whole
    written = len(ledger.lines)
    ledger.scale(USERS, 5)
    ledger.destroy(USERS)
    ledger.deploy(USERS)
    write(store, ledger.lines[written:])
    assert lives(ledgers.outsider()) == lives(store)
    assert checkpoint(store) == (APP_LIST.version, len(ledger.lines))


def test_what_is_ignored_is_not_even_decoded(store: ModelStore, ledger: Script) -> None:
    before = lives(store)
    store.append([NewRow(b"s" * 16, 1, "RolloutCompleted", b"not JSON")], clock_us=START_US)
    assert lives(store) == before
    assert checkpoint(store) == (APP_LIST.version, len(ledger.lines) + 1)


def test_an_event_that_nobody_knows_is_refused(store: ModelStore) -> None:
    lives(store)
    before = checkpoint(store)
    store.append([NewRow(b"s" * 16, 1, "Teleported", b"{}")], clock_us=START_US)
    with pytest.raises(UnknownEventError, match="Teleported"):
        lives(store)
    with pytest.raises(UnknownEventError):
        rebuild(store, APP_LIST)
    assert checkpoint(store) == before


def test_an_event_that_cannot_be_read_is_told(store: ModelStore) -> None:
    store.append([NewRow(b"s" * 16, 1, "Deployed", b"not JSON")], clock_us=START_US)
    with pytest.raises(LedgerDamagedError):
        lives(store)


def test_a_read_model_of_an_older_version_is_rebuilt(ledgers: Ledgers, store: ModelStore) -> None:
    before = lives(store)
    ledgers.administer("UPDATE app_list SET image = 'of an older program'")
    ledgers.administer("UPDATE projection_checkpoints SET version = 0")
    assert lives(ledgers.outsider()) == before
    assert lives(store) == before
    assert checkpoint(store)[0] == APP_LIST.version


def test_columns_of_an_older_version_are_no_obstacle(path: Path, ledger: Script) -> None:
    store = SqliteStore(path)
    write(store, ledger.lines)
    before = lives(store)
    with store.writing() as connection:
        connection.execute("DROP TABLE app_list")
        connection.execute("CREATE TABLE app_list (deployment_id TEXT PRIMARY KEY, something_old TEXT)")
        connection.execute("UPDATE projection_checkpoints SET version = 0")
    assert lives(ReadOnlyStore(path)) == before
    assert lives(store) == before


def test_a_read_model_of_a_newer_version_is_refused_and_left_alone(ledgers: Ledgers, store: ModelStore) -> None:
    catch_up(store, [NextAppList()])
    for refused in (lives, lambda store: rebuild(store, APP_LIST), lambda store: lives(ledgers.outsider())):
        with pytest.raises(UnknownEventError, match=f"version {NextAppList.version}") as caught:
            refused(store)
        assert caught.value.hint is not None
    assert checkpoint(store)[0] == NextAppList.version


def test_a_rebuild_mends_what_was_altered(ledgers: Ledgers, store: ModelStore) -> None:
    before = lives(store)
    ledgers.administer("UPDATE app_list SET image = 'altered'")
    assert lives(store) != before
    rebuild(store, APP_LIST)
    assert lives(store) == before


def redact(store: ModelStore) -> None:
    """Record that something was redacted."""
    redacted = Redacted(position=3, field="message", old_digest="o", new_digest="n", signature="")
    store.append([NewRow(b"s" * 16, 1, "Redacted", encode(redacted, Script().lines[0].envelope))], clock_us=START_US)


@pytest.mark.parametrize("outside", [False, True])
def test_after_a_redaction_no_older_row_is_shown(
    ledgers: Ledgers, store: ModelStore, monkeypatch: pytest.MonkeyPatch, outside: bool
) -> None:
    monkeypatch.setattr("projections.app_list.APP_LIST", WordyAppList())
    before = lives(store)
    ledgers.administer("UPDATE app_list SET image = 'holds what was redacted'")
    redact(store)
    assert lives(ledgers.outsider() if outside else ledgers.open()) == before


@pytest.mark.parametrize("outside", [False, True])
def test_a_redaction_leaves_rows_alone_that_cannot_hold_what_was_blanked(
    ledgers: Ledgers, store: ModelStore, outside: bool
) -> None:
    lives(store)
    ledgers.administer("UPDATE app_list SET image = 'not folded anew'")
    redact(store)
    assert {row.image for row in lives(ledgers.outsider() if outside else ledgers.open())} == {"not folded anew"}


def test_no_row_of_the_list_holds_what_can_be_redacted(ledgers: Ledgers) -> None:
    script = Script()
    script.deploy(ORDERS, env={"A": "a value"})
    script.refused(ORDERS)
    script.failed(ORDERS)
    script.drift(ORDERS, 1)
    script.roll_back(ORDERS, 1, env={"A": "another value"})
    store = ledgers.open()
    write(store, script.lines)
    lives(store)
    kept = str([*store.ask("projections.app_list_rows", {}), *store.ask("projections.app_list_past_rows", {})])
    assert "orders:1" in kept
    written = ("a value", "another value", "exceeded quota", "no such image", "kubectl-edit", "reason ")
    assert [text for text in written if text in kept] == []


@pytest.mark.parametrize("kind", ["missing", "behind"])
def test_who_does_not_wait_answers_at_once_beside_a_writer_that_is_stuck(
    path: Path, ledger: Script, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    with closing(SqliteStore(path)) as store:
        write(store, ledger.lines[:3])
        if kind == "behind":
            lives(store)
        write(store, ledger.lines[3:])
        expected = app_list(ReadOnlyStore(path), "prod", "shop", ended=True)
        folded = RecordingAppList()
        monkeypatch.setattr("projections.app_list.APP_LIST", folded)
        with holder(path):
            before = time.monotonic()
            assert lives(store) == expected
            assert time.monotonic() - before < 5
        assert len(folded.folded) == len({*folded.folded}), "and folds nothing twice"


@pytest.mark.parametrize(("cut", "first"), [("= 4", 4), ("> 5", 6)])
@pytest.mark.parametrize(
    ("opened", "answer"),
    [(SqliteStore, lives), (ReadOnlyStore, lives), (SqliteStore, lambda store: rebuild(store, APP_LIST))],
)
def test_nothing_is_folded_over_a_line_that_is_missing(
    path: Path,
    ledger: Script,
    cut: str,
    first: int,
    opened: type[SqliteStore],
    answer: Callable[[ModelStore], object],
) -> None:
    with closing(SqliteStore(path)) as store:
        write(store, ledger.lines[:3])
        catch_up(store, [APP_LIST])
        write(store, ledger.lines[3:])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DROP TRIGGER stored_events_no_delete")
        connection.execute(f"DELETE FROM stored_events WHERE notification_id {cut}")
    with closing(opened(path)) as store:
        with pytest.raises(LedgerDamagedError, match=f"no event at position {first}"):
            answer(store)
        assert checkpoint(store)[1] < first


def test_a_rebuild_tells_how_far_it_is(store: ModelStore, ledger: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "PAGE", 4)
    monkeypatch.setattr(runner, "AT_ONCE", 4)
    told: list[tuple[int, int]] = []
    rebuild(store, APP_LIST, lambda position, head: told.append((position, head)))
    head = len(ledger.lines)
    assert told[0] == (4, head)
    assert told[-1] == (head, head)


def test_a_rebuild_takes_in_what_is_appended_meanwhile(ledgers: Ledgers, store: ModelStore, ledger: Script) -> None:
    lives(store)
    writer = ledgers.open()
    written = len(ledger.lines)

    def append(_position: int, _head: int) -> None:
        nonlocal written
        if written < len(ledger.lines):
            return
        ledger.scale(USERS, 44)
        write(writer, ledger.lines[written:])

    rebuild(store, APP_LIST, append)
    assert checkpoint(store) == (APP_LIST.version, len(ledger.lines))
    assert [row.replicas for row in lives(store) if row.app == "users"] == [44]


def test_a_rebuild_does_not_fall_behind_those_who_caught_up_meanwhile(path: Path, ledger: Script) -> None:
    store = LateStore(path)
    write(SqliteStore(path), ledger.lines)
    rebuild(store, APP_LIST)
    at = checkpoint(store)
    assert at == (APP_LIST.version, store.head().position)
    assert at[1] > len(ledger.lines)


def put_back(path: Path, position: int) -> None:
    """What a restore leaves: the ledger ends at a position, and read models are as they were then, here not yet made."""
    with closing(sqlite3.connect(path)) as connection, connection:
        guard = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'stored_events_no_delete'").fetchone()
        connection.execute("DROP TRIGGER stored_events_no_delete")
        connection.execute("DELETE FROM stored_events WHERE notification_id > ?", (position,))
        connection.execute(*guard)
        connection.execute(
            "UPDATE ledger_head SET (position, recorded_us, chain) ="
            " (SELECT notification_id, recorded_us, chain FROM stored_events WHERE notification_id = ?)",
            (position,),
        )


def test_a_rebuild_keeps_nothing_of_a_ledger_that_is_put_back_meanwhile(
    path: Path, tmp_path: Path, ledger: Script
) -> None:
    with closing(SqliteStore(path)) as store:
        write(store, ledger.lines)
        with pytest.raises(LedgerBusyError, match="was put back while it was read"):
            rebuild(store, APP_LIST, lambda *_: put_back(path, 4))
        write(store, ledger.lines[4:6])
        with closing(SqliteStore(tmp_path / "never put back.db")) as expected:
            write(expected, ledger.lines[:6])
            assert lives(store) == lives(expected)


def test_a_rebuild_adds_no_lines_to_those_of_a_ledger_that_was_put_back_between_two_pages(
    path: Path, ledger: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.runner.AT_ONCE", 5)
    others = iter([[replace(line, recorded_us=line.recorded_us + 1) for line in ledger.lines[4:6]]])

    def put_back_once(*_: int) -> None:
        for lines in others:
            put_back(path, 4)
            write(SqliteStore(path), lines)

    with closing(SqliteStore(path)) as store:
        write(store, ledger.lines)
        with pytest.raises(LedgerBusyError, match="was put back while it was read"):
            rebuild(store, APP_LIST, put_back_once)
        rebuild(store, APP_LIST)
        assert checkpoint(store) == (APP_LIST.version, 6)


def test_catching_up_keeps_nothing_of_a_ledger_that_is_put_back_meanwhile(
    path: Path, ledger: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(SqliteStore(path)) as store:
        write(store, ledger.lines[:4])
        catch_up(store, [APP_LIST])
        write(store, ledger.lines[4:])
        change = store.change

        def late(*, wait: bool = True) -> AbstractContextManager[Tables]:
            put_back(path, 4)
            return change(wait=wait)

        monkeypatch.setattr(store, "change", late)
        with pytest.raises(LedgerBusyError, match="was put back while it was read"):
            catch_up(store, [APP_LIST])
        assert checkpoint(store) == (APP_LIST.version, 4)


def test_a_rebuild_without_a_ledger_makes_none(tmp_path: Path) -> None:
    rebuild(SqliteStore(tmp_path / "ledger.db"), APP_LIST)
    assert list(tmp_path.iterdir()) == []


def test_who_is_overtaken_does_not_fold_twice(path: Path, ledger: Script) -> None:
    store = OvertakenStore(path)
    write(store, ledger.lines[:5])
    catch_up(SqliteStore(path), [APP_LIST])
    write(store, ledger.lines[5:])
    projection = RecordingAppList()
    catch_up(store, [projection])
    assert projection.folded == []
    assert checkpoint(store) == (APP_LIST.version, len(ledger.lines))


_CATCHES_UP = """
import json, sys, time
from pathlib import Path
from ledger.sqlite_store import SqliteStore
from tests.projections.stores import catch_up
from tests.projections.test_runner import RecordingAppList

store, projection = SqliteStore(Path(sys.argv[1])), RecordingAppList()
print("ready", flush=True)
deadline = time.monotonic() + 30
while store.head().position < int(sys.argv[2]) and time.monotonic() < deadline:
    catch_up(store, [projection])
catch_up(store, [projection])
print(json.dumps(projection.folded))
"""


@dose.not_few("thousands of events are folded")
def test_of_two_processes_that_catch_up_each_event_is_folded_by_one(path: Path) -> None:
    ledger = Script()
    ledger.deploy(ORDERS)
    store = SqliteStore(path)
    write(store, ledger.lines)
    lives(store)
    begun = len(ledger.lines)
    for number in range(60):
        ledger.scale((ORDERS, USERS)[number % 2], number) if number > 1 else ledger.deploy(USERS)
    processes = [_child(_CATCHES_UP, path, str(len(ledger.lines))) for _ in range(2)]
    write(store, ledger.lines[begun:])
    folded = [position for process in processes for position in json.loads(_rest(process))]
    asked = [line.position for line in ledger.lines[begun:] if line.kind not in APP_LIST.ignored]
    assert sorted(folded) == asked
    after = lives(store)
    rebuild(store, APP_LIST)
    assert lives(store) == after


_REBUILDS = """
import sys, time
from pathlib import Path
from ledger.sqlite_store import SqliteStore
from projections.runner import rebuild
from tests.projections.test_runner import StallingAppList

def stall(position, head):
    if sys.argv[2] == "folding":
        print("stalled", flush=True)
        time.sleep(60)

rebuild(SqliteStore(Path(sys.argv[1])), StallingAppList(), stall)
"""


class StallingAppList(AppList):
    """Stops for a minute when the old table is gone and the new one not yet filled."""

    def stored(self, tables: Tables) -> Iterator[AppListRow]:
        """See `AppList.stored`."""
        import time

        print("stalled", flush=True)
        time.sleep(60)
        return super().stored(tables)


@pytest.mark.crash
@pytest.mark.parametrize("moment", ["folding", "replacing"])
def test_the_old_rows_answer_when_a_rebuild_is_killed(path: Path, ledger: Script, moment: str) -> None:
    store = SqliteStore(path)
    write(store, ledger.lines)
    before, at = lives(store), checkpoint(store)
    store.close()
    process = _child(_REBUILDS, path, moment)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    later = SqliteStore(path, lock_timeout=2)
    assert checkpoint(later) == at
    assert lives(later) == before
    rebuild(later, APP_LIST)
    assert lives(later) == before


def _child(program: str, *arguments: object) -> subprocess.Popen[str]:
    """A process of this program, once it has said its first line."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    return process


def _rest(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return output
