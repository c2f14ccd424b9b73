"""A read model that somebody changed: what contradicts itself answers nothing, and a comparison finds the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from ledger.errors import LedgerDamagedError, UnknownEventError
from ledger.store import Asking, ModelStore
from projections import runner
from projections.app_list import APP_LIST, AppList, AppListRow, app_list
from projections.projection import ReadModelError
from projections.runner import checkpoint, difference, rebuild
from tests.projections.histories import APPS, Script, write
from tests.projections.stores import Ledgers, catch_up
from tests.projections.test_runner import NextAppList

ORDERS, USERS = APPS[:2]


@pytest.fixture
def ledger() -> Script:
    """Two apps, each with a past."""
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
    """The ledger, and a read model that is up to date."""
    result = ledgers.open()
    write(result, ledger.lines)
    catch_up(result, [APP_LIST])
    return result


def lives(store: ModelStore, position: int | None = None) -> list[AppListRow]:
    rows = app_list(store, "prod", "shop", ended=True, position=position)
    for row in rows:
        row.deployment()
    return rows


def assert_told(ledgers: Ledgers, store: ModelStore, position: int | None = None) -> None:
    """Whoever asks is told, with what repairs it; and that does."""
    for asked in (ledgers.open(), ledgers.outsider()):
        with pytest.raises(ReadModelError) as caught:
            lives(asked, position)
        assert caught.value.hint == "Make it again from the ledger: 1ctl ledger rebuild app_list"
    rebuild(store, APP_LIST, any_version=True)
    assert lives(store, position) == lives(ledgers.outsider(), position)
    assert difference(store, APP_LIST) is None


@pytest.mark.parametrize(
    "odd",
    ["hostnames = '{{'", "hostnames = '[1]'", "env_keys = '{}'", "updated_us = 9223372036854775807", "opened_us = -1"],
)
def test_a_row_that_is_none_is_told(ledgers: Ledgers, store: ModelStore, odd: str) -> None:
    ledgers.administer(f"UPDATE app_list SET {odd}")
    assert_told(ledgers, store)


@pytest.mark.parametrize("ledgers", ["sqlite"], indirect=True)
@pytest.mark.parametrize("odd", ["image = x'ff'", "release = 'x'", "destroyed_us = 'x'", "hostnames = 1"])
def test_a_column_of_another_type_is_told(ledgers: Ledgers, store: ModelStore, odd: str) -> None:
    ledgers.administer(f"UPDATE app_list SET {odd}")
    assert_told(ledgers, store)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM app_list_past",
        "UPDATE app_list_past SET content = ''",
        "UPDATE app_list_past SET content = '[]'",
        "UPDATE app_list_past SET content = '7'",
    ],
)
def test_a_past_that_is_none_is_told(ledgers: Ledgers, store: ModelStore, ledger: Script, statement: str) -> None:
    ledgers.administer(statement)
    assert_told(ledgers, store, position=len(ledger.lines) - 1)


@pytest.mark.parametrize("odd", ["position = 1000000", "position = -5"])
def test_a_checkpoint_where_none_can_be_is_told(ledgers: Ledgers, store: ModelStore, odd: str) -> None:
    ledgers.administer(f"UPDATE projection_checkpoints SET {odd}")
    with pytest.raises(ReadModelError):
        checkpoint(store, APP_LIST)
    assert_told(ledgers, store)


@pytest.mark.parametrize("ledgers", ["sqlite"], indirect=True)
@pytest.mark.parametrize("odd", ["position = 'x'", "version = 'x'"])
def test_a_checkpoint_of_another_type_is_told(ledgers: Ledgers, store: ModelStore, odd: str) -> None:
    ledgers.administer(f"UPDATE projection_checkpoints SET {odd}")
    assert_told(ledgers, store)


def test_rows_that_are_newer_than_their_checkpoint_are_told(ledgers: Ledgers, store: ModelStore) -> None:
    ledgers.administer("UPDATE projection_checkpoints SET position = 3")
    assert_told(ledgers, store)


@pytest.mark.parametrize("ledgers", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "statement",
    ["DROP TABLE app_list", "DROP TABLE app_list_past", "ALTER TABLE app_list RENAME COLUMN image TO image2"],
)
def test_a_table_that_is_gone_is_told(ledgers: Ledgers, store: ModelStore, ledger: Script, statement: str) -> None:
    ledgers.administer(statement)
    assert_told(ledgers, store, position=len(ledger.lines) - 1)


def test_a_newer_read_model_is_replaced_by_whoever_asks_for_that(ledgers: Ledgers, store: ModelStore) -> None:
    before = lives(store)
    catch_up(store, [NextAppList()])
    with pytest.raises(UnknownEventError) as caught:
        lives(store)
    assert "1ctl ledger rebuild app_list" in str(caught.value.hint)
    with pytest.raises(UnknownEventError):
        difference(store, APP_LIST)
    rebuild(store, APP_LIST, any_version=True)
    assert lives(store) == before


# -- Comparing ---------------------------------------------------------------------------------------------------------

LIES = {
    "row": "UPDATE app_list SET image = 'evil:1', release = 9",
    "lacking": "DELETE FROM app_list",
    "one lacking": "DELETE FROM app_list WHERE destroyed_us IS NOT NULL",
    "another's": "UPDATE app_list SET deployment_id = 'another' WHERE destroyed_us IS NOT NULL",
    "past": "UPDATE app_list_past SET valid_to = valid_to + 1",
    "past lacking": "DELETE FROM app_list_past WHERE opened = (SELECT max(opened) FROM app_list_past)",
    "more past": "INSERT INTO app_list_past SELECT opened + 1000, valid_from, valid_to, content FROM app_list_past",
    "said": "UPDATE app_list_past SET content = '[\"evil\"]'",
}


@pytest.mark.parametrize("page", [1, 5000])
@pytest.mark.parametrize("lie", LIES)
def test_a_comparison_finds_what_is_not_what_the_events_add_up_to(
    ledgers: Ledgers, store: ModelStore, monkeypatch: pytest.MonkeyPatch, lie: str, page: int
) -> None:
    monkeypatch.setattr(runner, "PAGE", page)
    assert difference(ledgers.outsider(), APP_LIST) is None
    ledgers.administer(LIES[lie])
    assert difference(ledgers.outsider(), APP_LIST) is not None
    rebuild(store, APP_LIST)
    assert difference(store, APP_LIST) is None


def test_it_compares_as_of_the_checkpoint(ledgers: Ledgers, store: ModelStore, ledger: Script) -> None:
    written = len(ledger.lines)
    ledger.scale(USERS, 9)
    write(store, ledger.lines[written:])
    assert difference(store, APP_LIST) is None
    assert checkpoint(store, APP_LIST) == written
    ledgers.administer("UPDATE app_list SET replicas = 9")
    assert difference(store, APP_LIST) is not None


def test_what_others_fold_meanwhile_is_no_difference(ledgers: Ledgers, store: ModelStore, ledger: Script) -> None:
    other, told = ledgers.open(), list[int]()

    def fold(position: int, _head: int) -> None:
        if not told:
            written = len(ledger.lines)
            ledger.scale(USERS, 9)
            write(other, ledger.lines[written:])
            catch_up(other, [APP_LIST])
        told.append(position)

    assert difference(store, APP_LIST, fold) is None
    assert checkpoint(store, APP_LIST) == len(ledger.lines)
    assert told[-1] == len(ledger.lines)


class ComparedAppList(AppList):
    """Lets others do something each time its rows are read."""

    def __init__(self, others: Callable[[], None]) -> None:
        self.others = others

    def page(self, tables: Asking, after: str, limit: int) -> Sequence[AppListRow]:
        """See `AppList.page`."""
        self.others()
        return super().page(tables, after, limit)


def test_others_append_while_rows_are_compared(ledgers: Ledgers, store: ModelStore, ledger: Script) -> None:
    other = ledgers.open()

    def append() -> None:
        written = len(ledger.lines)
        ledger.scale(USERS, written)
        write(other, ledger.lines[written:])

    before = len(ledger.lines)
    assert difference(store, ComparedAppList(append)) is None
    assert store.head().position == len(ledger.lines) > before
    assert checkpoint(store, APP_LIST) == before


def test_what_others_fold_while_rows_are_compared_is_no_difference(
    ledgers: Ledgers, store: ModelStore, ledger: Script
) -> None:
    other, written = ledgers.open(), len(ledger.lines)

    def fold_once() -> None:
        if len(ledger.lines) == written:
            ledger.scale(USERS, 9)
            write(other, ledger.lines[written:])
            catch_up(other, [APP_LIST])

    assert difference(store, ComparedAppList(fold_once)) is None
    ledgers.administer("UPDATE app_list SET replicas = 7")
    assert difference(store, ComparedAppList(fold_once)) is not None


def test_a_read_model_that_is_not_built_is_not_compared(ledgers: Ledgers, ledger: Script) -> None:
    store = ledgers.open()
    assert difference(store, APP_LIST) is None
    write(store, ledger.lines)
    assert difference(store, APP_LIST) is None
    assert checkpoint(store, APP_LIST) is None


@pytest.mark.parametrize("ledgers", ["sqlite"], indirect=True)
def test_over_a_gap_nothing_is_compared(ledgers: Ledgers, store: ModelStore) -> None:
    ledgers.administer("DROP TRIGGER stored_events_no_delete", "DELETE FROM stored_events WHERE notification_id = 4")
    with pytest.raises(LedgerDamagedError, match="no event at position 4"):
        difference(store, APP_LIST)
