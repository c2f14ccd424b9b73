"""Who may append is decided in the append itself, on each kind of store."""

from __future__ import annotations

from contextlib import closing

import pytest

from ledger.errors import LedgerEndedError
from ledger.instance import BACKUP, REPLICA, incoming, new_instance
from ledger.store import Beside, ModelStore, NewRow
from ledger.transfer import instance_of, set_instance
from tests.ledger.telling import telling
from tests.moves.support import EMPTY, opened

LINE = NewRow(b"a" * 16, 1, "Noted", b"{}")


def make(store: ModelStore, writer: str | None, note: str | None = "the other place") -> str:
    store.prepare()
    with store.change() as tables:
        here = instance_of(tables).instance
        set_instance(tables, instance=here, writer=here if writer == "itself" else writer, note=note)
    return here


def test_a_ledger_that_does_not_exist_has_no_instance(elsewhere: str) -> None:
    with closing(opened(elsewhere)) as store:
        assert store.instance() is None


def test_each_store_has_an_instance_id_of_its_own_and_may_be_appended_to(elsewhere: str) -> None:
    with closing(opened(elsewhere)) as store:
        store.append([LINE], clock_us=1)
        here = store.instance()
        assert here is not None
        assert here.may_append
        assert (here.writer, here.note) == (None, None)
        store.prepare()
        assert store.instance() == here
        assert here.instance != new_instance()


@pytest.mark.parametrize(
    ("writer", "words"),
    [
        (REPLICA, "this ledger is a read-only replica of the other place"),
        (BACKUP, "this ledger is a backup"),
        (incoming("x"), "being copied here from the other place and is not complete"),
        ("7b9e7a4e-4a0f-4d6e-9a51-3c77d0f6a111", "this ledger goes on elsewhere: the other place"),
    ],
)
def test_an_append_where_another_may_is_refused_and_writes_nothing(elsewhere: str, writer: str, words: str) -> None:
    with closing(opened(elsewhere)) as store:
        make(store, writer)
        with pytest.raises(LedgerEndedError, match=words):
            store.append([LINE], clock_us=1)
        assert store.head() == EMPTY
        assert store.positions(1, limit=9) == []


def test_the_only_instance_that_may_append_does(elsewhere: str) -> None:
    with closing(opened(elsewhere)) as store:
        make(store, "itself")
        assert store.append([LINE], clock_us=1)[0].position == 1


def test_the_event_that_moves_a_ledger_is_the_last_one_in_it(elsewhere: str) -> None:
    with closing(opened(elsewhere)) as store:
        moved = Beside(moved=("another", "postgresql://there"))
        store.append(telling(moved, b"a" * 16), clock_us=1, beside=moved)
        with pytest.raises(LedgerEndedError, match="goes on elsewhere: postgresql://there"):
            store.append([LINE], clock_us=1)
        assert store.head().position == 1
