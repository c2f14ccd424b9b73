from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from ledger.audit_log import WINDOW, Entry, Filter, entries, newest
from ledger.commands import Deploy, Scale
from ledger.envelope import Source
from ledger.keys import KeyFiles
from ledger.ledger import Ledger
from ledger.request import Request
from ledger.spec import AppId
from ledger.sqlite_store import SqliteStore
from ledger.store import Row
from tests.bench.make_ledger import app_id, make

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


def test_it_goes_on_after_a_position(path: Path, store: SqliteStore) -> None:
    found = all_of_them(path, of(app_id(0)))
    middle = found[len(found) // 2].row.position

    assert list(entries(store, of(app_id(0)), after=middle)) == found[len(found) // 2 + 1 :]


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
