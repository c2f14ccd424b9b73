"""Whoever is never first is told so in the end; nothing is recorded, and nothing made for it stays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from ledger.commands import Deploy, Restart, SetEnv
from ledger.envelope import Source
from ledger.errors import ConflictError
from ledger.events import ResourcesRemoved, WorkerEnabled
from ledger.keys import KeyFiles
from ledger.ledger import Ledger
from ledger.request import Request
from ledger.rotation import rotate
from ledger.spec import AppId
from ledger.sqlite_store import SqliteStore
from ledger.store import NOTHING_BESIDE, Beside, NewRow, Row

APP = AppId("sandbox", "default", "shop")
ALWAYS = "other writers were always first"
AGAIN = "Nothing was recorded. Try again."
NOTED = 6
"""Position of the event that sets the environment."""


class Contended(SqliteStore):
    """A store in which others may always be first."""

    others = False
    appends = 0

    def append(self, rows: Sequence[NewRow], *, clock_us: int, beside: Beside = NOTHING_BESIDE) -> Sequence[Row]:
        """See `Store.append`."""
        self.appends += 1
        if self.others:
            raise ConflictError("another writer was first")
        return super().append(rows, clock_us=clock_us, beside=beside)


def request(name: str) -> Request:
    return Request(request_id=name, actor="ann", source=Source(program="test", host="h"))


def a_ledger(directory: Path) -> tuple[Ledger, Contended]:
    store = Contended(directory / "ledger.db")
    return Ledger(store, KeyFiles(directory / "keys"), mint_domain=lambda: "a-1.example.com"), store


def files(directory: Path) -> dict[str, bytes]:
    """Key files with what is in them, but for their lock."""
    return {path.name: path.read_bytes() for path in directory.iterdir() if not path.name.startswith(".lock")}


@pytest.mark.parametrize(
    ("append", "message", "hint"),
    [
        (lambda ledger: ledger.execute(APP, Restart(), request("2")), "writers were first 50 times", AGAIN),
        (lambda ledger: ledger.redact(NOTED, "values.NOTE", request("2")), ALWAYS, AGAIN),
        (lambda ledger: ledger.mark(WorkerEnabled(cluster="sandbox"), request("2")), ALWAYS, AGAIN),
        (lambda ledger: rotate(ledger, ledger._keys, request("2")), ALWAYS, AGAIN),
        (
            lambda ledger: ledger.observe(APP, request("2"), lambda app: ("id", ResourcesRemoved(through=3), 3)),
            "observers were first 50 times",
            None,
        ),
    ],
    ids=["a command", "a redaction", "a mark", "a rotation", "a fact"],
)
def test_who_is_never_first_is_told_what_became_of_it(
    tmp_path: Path, append: Callable[[Ledger], object], message: str, hint: str | None
) -> None:
    ledger, store = a_ledger(tmp_path)
    ledger.execute(APP, Deploy(image="nginx"), request("1"))
    ledger.execute(APP, SetEnv(values={"NOTE": "leaked"}), request("env"))
    before, keys = store.head(), files(tmp_path / "keys")
    store.others, store.appends = True, 0
    with pytest.raises(ConflictError, match=message) as lost:
        append(ledger)
    assert (lost.value.hint, store.appends) == (hint, 50)
    assert (store.head(), files(tmp_path / "keys")) == (before, keys)


@pytest.mark.parametrize(
    "append",
    [
        lambda ledger: ledger.create(request("1")),
        lambda ledger: ledger.execute(APP, Deploy(image="nginx"), request("1")),
    ],
    ids=["made on purpose", "made by its first command"],
)
def test_keys_made_for_a_ledger_that_others_made_first_do_not_stay(
    tmp_path: Path, append: Callable[[Ledger], object]
) -> None:
    ledger, store = a_ledger(tmp_path)
    store.others = True
    with pytest.raises(ConflictError) as lost:
        append(ledger)
    assert (lost.value.hint, store.appends) == (AGAIN, 50)
    assert files(tmp_path / "keys") == {}
