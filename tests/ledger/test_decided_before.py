"""What is decided before a redaction, and recorded after it, does not bring the text back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest

from ledger.checkpoint import SigningKey
from ledger.commands import Deploy, Destroy, Restore, Rollback, SetEnv
from ledger.envelope import Source
from ledger.errors import RefusedError
from ledger.keys import KeyFiles
from ledger.ledger import Ledger
from ledger.postgres_store import PostgresStore
from ledger.request import Request
from ledger.spec import AppId
from ledger.sqlite_store import SqliteStore
from ledger.store import NOTHING_BESIDE, Beside, ModelStore, NewRow, Row
from ledger.stores import open_store
from ledger.verify import verify_chain

APP = AppId("sandbox", "default", "shop")
LEAKED, OTHER = "swordfish-5f2c1a", "trout-77b0"


def request(name: str) -> Request:
    return Request(request_id=name, actor="ann", source=Source(program="test", host="h"))


def ledger_at(store: ModelStore, keys: Path) -> Ledger:
    return Ledger(store, KeyFiles(keys), mint_domain=lambda: f"a-{uuid4()}.example.com")


def interrupted(store: ModelStore, meanwhile: Callable[[], object]) -> ModelStore:
    """The store, for a writer whom another one is ahead of, once, between the decision and the append."""
    left, append = [meanwhile], store.append

    def late(rows: Sequence[NewRow], *, clock_us: int, beside: Beside = NOTHING_BESIDE) -> Sequence[Row]:
        if left:
            left.pop()()
        return append(rows, clock_us=clock_us, beside=beside)

    store.append = late  # type: ignore[method-assign]
    return store


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "ledger.db") if request.param == "sqlite" else str(request.getfixturevalue("database"))


@pytest.fixture
def store(address: str) -> Iterator[ModelStore]:
    with closing(open_store(address)) as opened:
        assert isinstance(opened, SqliteStore | PostgresStore)
        yield opened


@pytest.fixture
def other(address: str, tmp_path: Path) -> Iterator[Ledger]:
    """Another process's; the app has a first release with a text that is to be redacted, and a second one without."""
    with closing(open_store(address)) as opened:
        ledger = ledger_at(opened, tmp_path / "keys")
        ledger.execute(APP, Deploy(image="nginx:1"), request("1"))
        ledger.execute(APP, SetEnv(values={"NOTE": LEAKED, "MORE": OTHER}), request("2"))
        yield ledger


def env_set(ledger: Ledger) -> int:
    return next(each.position for each in ledger.history(APP) if each.kind == "EnvSet")


def holding(store: ModelStore, text: str) -> list[str]:
    return [row.topic for row in store.positions(1, limit=1000) if text.encode() in row.state]


def late_ledger(store: ModelStore, other: Ledger, keys: Path) -> Ledger:
    """A ledger whose first command is decided before a redaction, and recorded after it."""

    def redact() -> None:
        other.redact(env_set(other), "values.NOTE", request("redaction"))

    return ledger_at(interrupted(store, redact), keys)


def test_a_rollback_restores_nothing_that_is_redacted_meanwhile(
    store: ModelStore, other: Ledger, tmp_path: Path
) -> None:
    other.execute(APP, SetEnv(values={"NOTE": "fine"}), request("3"))
    other.execute(APP, Deploy(image="nginx:2"), request("4"))
    outcome = late_ledger(store, other, tmp_path / "keys").execute(APP, Rollback(version=1), request("late"))
    assert [line.kind for line in outcome.recorded] == ["RolledBack"]
    assert holding(store, LEAKED) == []
    assert verify_chain(store).damage is None


def test_an_app_is_not_restored_with_what_is_redacted_meanwhile(
    store: ModelStore, other: Ledger, tmp_path: Path
) -> None:
    other.execute(APP, Destroy(), request("3"))
    with pytest.raises(RefusedError, match=r"NOTE of .* was redacted"):
        late_ledger(store, other, tmp_path / "keys").execute(APP, Restore(), request("late"))
    assert holding(store, LEAKED) == []
    assert verify_chain(store).damage is None


def test_two_redactions_of_one_event_at_once_blank_both_fields(
    store: ModelStore, other: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    position, ledger = env_set(other), ledger_at(store, tmp_path / "keys")
    signing_key, left = ledger._signing_key, [request("first")]

    def late() -> SigningKey:
        if left:
            other.redact(position, "values.MORE", left.pop())  # once this one has read the line
        return signing_key()

    monkeypatch.setattr(ledger, "_signing_key", late)
    ledger.redact(position, "values.NOTE", request("second"))
    assert holding(store, LEAKED) == holding(store, OTHER) == []
    assert verify_chain(store).damage is None
