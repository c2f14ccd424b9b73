"""Read models in a database, as each role may use them."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from ledger.errors import LedgerUnavailableError
from ledger.postgres_store import PostgresStore
from projections.app_list import APP_LIST, AppListRow, app_list
from projections.runner import checkpoint, rebuild
from tests.postgres.conftest import OpenStore
from tests.postgres_support import administer
from tests.projections.histories import APPS, Script, write
from tests.projections.stores import catch_up

ORDERS, USERS = APPS[:2]


def lives(store: PostgresStore) -> list[AppListRow]:
    return app_list(store, "prod", "shop", ended=True)


@pytest.fixture
def ledger(store: PostgresStore) -> Script:
    """A script whose first part is written and folded."""
    result = Script()
    result.deploy(ORDERS, env={"A": "1"})
    result.deploy(USERS)
    write(store, result.lines)
    catch_up(store, [APP_LIST])
    return result


def append_more(ledger: Script, store: PostgresStore) -> None:
    written = len(ledger.lines)
    ledger.scale(USERS, 9)
    ledger.destroy(ORDERS)
    write(store, ledger.lines[written:])


def test_a_reader_adds_the_tail_in_memory_to_a_table_that_it_may_not_write(
    store: PostgresStore, ledger: Script, roles: dict[str, str], open_postgres: OpenStore
) -> None:
    folded = len(ledger.lines)
    append_more(ledger, store)
    reader = open_postgres(roles["reader"])
    answer = lives(reader)
    assert checkpoint(store, APP_LIST) == folded
    with pytest.raises(LedgerUnavailableError):
        rebuild(reader, APP_LIST)
    assert answer == lives(store)


@pytest.mark.parametrize("role", ["writer", "worker"])
def test_who_may_append_keeps_the_table_up_to_date(
    store: PostgresStore, ledger: Script, roles: dict[str, str], open_postgres: OpenStore, role: str
) -> None:
    append_more(ledger, store)
    writer = open_postgres(roles[role])
    answer = lives(writer)
    assert checkpoint(writer, APP_LIST) == len(ledger.lines)
    rebuild(writer, APP_LIST)
    assert lives(writer) == answer


def test_a_database_without_tables_of_read_models_is_answered_from_memory(
    store: PostgresStore, ledger: Script, database: str
) -> None:
    before = lives(store)
    administer(database, "DROP TABLE app_list, projection_checkpoints")
    assert lives(store) == before


def test_of_threads_that_catch_up_and_rebuild_each_leaves_the_table_right(store: PostgresStore, ledger: Script) -> None:
    written = len(ledger.lines)
    for number in range(30):
        ledger.scale((ORDERS, USERS)[number % 2], number)
    tasks = [
        *(lambda: catch_up(store, [APP_LIST]) for _ in range(3)),
        lambda: rebuild(store, APP_LIST),
        lambda: rebuild(store, APP_LIST),
        lambda: write(store, ledger.lines[written:]),
    ]
    failed: list[BaseException] = []

    def run(task: Callable[[], None]) -> None:
        try:
            task()
        except LedgerUnavailableError as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failed == []
    answer = lives(store)
    assert [row.replicas for row in answer] == [28, 29]
    rebuild(store, APP_LIST)
    assert lives(store) == answer
