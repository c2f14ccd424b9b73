from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from ledger.audit_log import WINDOW, Entry, Filter, entries, followed, newest
from ledger.commands import Deploy, Scale
from ledger.envelope import Source
from ledger.errors import LedgerReplacedError
from ledger.keys import KeyFiles
from ledger.ledger import Ledger
from ledger.request import Request
from ledger.spec import AppId
from ledger.sqlite_store import SqliteStore
from ledger.store import NewRow, Row
from ledger.streams import app_stream
from tests.bench.make_ledger import app_id, make
from tests.ledger.support import write

APPS = 6
EVENTS = 3_000


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger of a few busy apps, most of which were destroyed and deployed again."""
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    make(path, events=EVENTS, apps=APPS)
    return path


class ByStream(SqliteStore):
    """A store whose log cannot be read from one end to the other."""

    def positions(self, start: int, stop: int | None = None, *, limit: int) -> Sequence[Row]:
        """A few lines beside one of the app's; never the whole log."""
        assert limit <= WINDOW, "the whole log is read"
        return super().positions(start, stop, limit=limit)


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    """The ledger's store, to be read by stream only."""
    with closing(ByStream(path)) as store:
        yield store


def of(app: AppId, *, kind: str | None = None) -> Filter:
    return Filter(cluster=app.cluster, namespace=app.namespace, app=app.name, kinds=[kind] if kind else [])


def all_of_them(path: Path, wanted: Filter, upto: int = EVENTS) -> Sequence[Entry]:
    """What is wanted, found by looking at every line."""
    with closing(SqliteStore(path)) as store:
        return [entry for entry in entries(store, Filter(), upto=upto) if wanted.wants(entry)]


@pytest.mark.parametrize("number", range(APPS))
@pytest.mark.parametrize("upto", [None, EVENTS // 2])
def test_the_log_of_one_app_is_all_about_it_without_reading_the_rest(
    path: Path, store: SqliteStore, number: int, upto: int | None
) -> None:
    wanted = of(app_id(number))

    found = list(entries(store, wanted, upto=upto))

    assert found == all_of_them(path, wanted, upto or EVENTS)
    kinds = {entry.row.topic for entry in found}
    assert {"Deployed", "DomainClaimed", "ResourcesApplied"} <= kinds
    assert newest(store, wanted, 7, upto=upto) == found[-7:]


def test_it_can_be_filtered_further(path: Path, store: SqliteStore) -> None:
    wanted = of(app_id(0), kind="DomainReleased")

    assert list(entries(store, wanted)) == all_of_them(path, wanted) != []
    assert newest(store, wanted, 1) == all_of_them(path, wanted)[-1:]


def test_an_app_that_nobody_deployed_has_no_log(store: SqliteStore) -> None:
    wanted = of(app_id(APPS))

    assert (list(entries(store, wanted)), newest(store, wanted, 10)) == ([], [])


def test_the_newest_of_all_are_found_from_the_end(path: Path) -> None:
    with closing(SqliteStore(path)) as store:
        every = list(entries(store, Filter()))
        for wanted in (Filter(), Filter(actor="ana"), Filter(app="app-00001", kinds=["Destroyed"])):
            assert newest(store, wanted, 5) == [entry for entry in every if wanted.wants(entry)][-5:]
        assert newest(store, Filter(), 0) == []
        assert len(newest(store, Filter(), 2 * EVENTS)) == EVENTS


def test_an_append_is_in_the_newest_lines_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    app = AppId("prod", "shop", "orders")
    source = Source(program="1ctl test", host="h")
    with closing(SqliteStore(tmp_path / "ledger.db")) as store:
        ledger = Ledger(store, KeyFiles(tmp_path / "keys"), mint_domain=lambda: "calmotter-1111111.example.com")
        # What sets the environment is the oldest line that is read; that of the host name is recorded after it.
        ledger.execute(
            app, Deploy(image="orders:1", env={"A": "1"}), Request(request_id="first", actor="ada", source=source)
        )
        for replicas in range(2, WINDOW + 2):
            ledger.execute(
                app, Scale(replicas=replicas), Request(request_id=f"scale {replicas}", actor="ada", source=source)
            )
        wanted = Filter(cluster="prod", namespace="shop", app="orders", kinds=["EnvSet", "DomainClaimed"])
        assert [entry.row.topic for entry in newest(store, wanted, 1)] == ["DomainClaimed"]


class Counting(SqliteStore):
    """A store that counts the lines it gives out."""

    given = 0

    def query(self, text: str, parameters: Mapping[str, object]) -> Sequence[tuple[Any, ...]]:
        rows = super().query(text, parameters)
        self.given += sum(len(row) == len(Row._fields) for row in rows)
        return rows


@pytest.fixture
def copy(path: Path, tmp_path: Path) -> Path:
    """Of the ledger, to append to."""
    return Path(shutil.copy(path, tmp_path / "ledger.db"))


def test_to_follow_an_app_costs_the_lines_that_come_however_long_its_history_is(copy: Path) -> None:
    wanted = of(app_id(0))
    with closing(Counting(copy)) as store, closing(SqliteStore(copy)) as other:
        before = newest(store, wanted, 3)
        following = followed(store, wanted, 3)
        assert list(islice(following, 3)) == before
        (last,) = other.stream(app_stream(app_id(0)).bytes, descending=True, limit=1)
        for later in (1, 2):
            store.given = 0
            write(other, 5, stream="of nobody")
            (row,) = other.append([NewRow(last.stream, last.version + later, last.topic, last.state)], clock_us=0)
            assert next(following).row == row
            assert store.given <= 7, "the lines that came, and once the one before them"


def test_who_follows_is_told_that_the_ledger_was_put_back(copy: Path, tmp_path: Path) -> None:
    earlier = Path(shutil.copy(copy, tmp_path / "earlier.db"))
    with closing(SqliteStore(copy)) as store, closing(SqliteStore(copy)) as other:
        write(other, 5)
        following = followed(store, Filter(), 1)
        assert next(following).row.position == EVENTS + 5
        with other.alone():
            other.replace(earlier)
        with pytest.raises(LedgerReplacedError, match=f"up to position {EVENTS + 5}"):
            next(following)


@pytest.mark.parametrize(
    "state", [b"{", b"[]", b"null", b'{"n":1e400}', b"[" * 1500, b"\xff", b'{"data":{},"meta":"x"}']
)
def test_a_line_that_cannot_be_read_is_shown_as_such_among_the_others(copy: Path, state: bytes) -> None:
    shop, other = app_id(0), app_id(1)
    with closing(SqliteStore(copy)) as store:
        stream = app_stream(shop).bytes
        version = store.stream_version(stream) + 1
        (row,) = store.append([NewRow(stream, version, "EnvSet", state)], clock_us=1)
        (entry,) = newest(store, Filter(), 1)
        assert (entry.row, entry.is_readable, entry.to_json()["data"]) == (row, False, None)
        assert list(entries(store, Filter()))[-1] == entry
        assert newest(store, of(shop), 1) == [entry], "it is in the history of the app in whose stream it lies"
        assert entry in list(entries(store, of(shop)))
        assert entry not in newest(store, of(other), EVENTS), "and in no other one"
        assert entry not in newest(store, Filter(actor="ana"), EVENTS), "nobody knows who asked"
        assert newest(store, Filter(kinds=["EnvSet"]), 1) == [entry]
