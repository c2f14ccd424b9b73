"""A redacted field is gone, and the ledger can still be proved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from ledger.app import App
from ledger.checkpoint import CheckpointError, SigningKey
from ledger.codec import decode
from ledger.commands import Deploy, SetEnv
from ledger.envelope import Source
from ledger.errors import RefusedError, RequestReusedError, UnreadableEventError
from ledger.events import DriftDetected, FieldDrift, LedgerRestored, ObservedEvent, Redacted, WorkerEnabled
from ledger.keys import KeyFiles
from ledger.ledger import Ledger
from ledger.redaction import also_in, signed
from ledger.request import Request
from ledger.spec import BLANK, AppId
from ledger.sqlite_files import copy_database, making
from ledger.sqlite_store import SqliteStore
from ledger.store import NewRow, Row
from ledger.stored_leaves import ledger_tree
from ledger.verify import verify_chain

APP = AppId("sandbox", "default", "shop")
CANARY = "swordfish-5f2c1a"


def request(name: str, reason: str | None = None) -> Request:
    return Request(request_id=name, actor="ann", source=Source(program="test", host="h"), reason=reason)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = Ledger(
        SqliteStore(tmp_path / "ledger.db"), KeyFiles(tmp_path / "keys"), mint_domain=lambda: "a-1.example.com"
    )
    ledger.execute(APP, Deploy(image="nginx"), request("1"))
    ledger.execute(APP, SetEnv(values={"NOTE": CANARY, "OTHER": CANARY + "2"}), request("2"))
    return ledger


def position_of(ledger: Ledger, kind: str) -> int:
    return next(each.position for each in ledger.history(APP) if each.kind == kind)


def test_a_redacted_value_is_nowhere_in_the_file_and_the_chain_still_holds(ledger: Ledger, tmp_path: Path) -> None:
    position = position_of(ledger, "EnvSet")
    ledger.redact(position, "values.NOTE", request("3", "oops"))
    ledger.redact(position, "values.OTHER", request("4", "oops too"))
    assert ledger.app(APP).life is not None
    assert ledger.app(APP).life.env == {"NOTE": BLANK, "OTHER": BLANK}  # type: ignore[union-attr]
    verification = verify_chain(ledger.store)
    assert verification.damage is None
    assert verification.events == 8
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or CANARY.encode() not in file.read_bytes()


def test_an_edit_that_no_redaction_speaks_of_is_still_found(ledger: Ledger) -> None:
    position = position_of(ledger, "EnvSet")
    ledger.redact(position, "values.NOTE", request("3", "oops"))
    store = ledger.store
    assert isinstance(store, SqliteStore)
    with store.writing() as connection:
        connection.execute("DROP TRIGGER stored_events_no_update")
        connection.execute(
            "UPDATE stored_events SET state = replace(state, 'redacted', 'Redacted') WHERE topic = 'EnvSet'"
        )
    damage = verify_chain(store).damage
    assert damage is not None
    assert (damage.position, damage.fault) == (position, "edited")


def test_what_nobody_signed_counts_as_edited_until_the_ledgers_key_signs_it(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    position = position_of(ledger, "EnvSet")
    with monkeypatch.context() as earlier:  # as versions did that signed nothing
        earlier.setattr("ledger.own_stream.signed", lambda event, _: event)
        earlier.setattr("ledger.own_stream.unsigned", lambda *_: None)
        ledger.redact(position, "values.NOTE", request("3", "oops"))
        ledger.redact(position, "values.OTHER", request("4", "oops"))
    state = ledger.store.positions(position, limit=1)[0].state
    damage = verify_chain(ledger.store).damage
    assert damage is not None
    assert (damage.position, damage.fault) == (position, "edited")
    assert "did not sign" in damage.detail
    with pytest.raises(RefusedError, match="not signed yet"):
        ledger.redact(position, "values.OTHER", request("5"))
    for name, field in (("6", "values.NOTE"), ("7", "values.OTHER")):
        ledger.redact(position, field, request(name, "signed"))
    assert ledger.store.positions(position, limit=1)[0].state == state
    assert verify_chain(ledger.store).damage is None
    assert verify_chain(ledger.store).redacted == (position,)


@pytest.mark.parametrize("key", ["none", "another ledger's"])
def test_without_the_ledgers_key_nothing_is_redacted(ledger: Ledger, tmp_path: Path, key: str) -> None:
    path = KeyFiles(tmp_path / "keys").signing_path(ledger.ledger_id() or "")
    path.unlink()
    if key != "none":
        path.write_text(SigningKey.generate("1ctl.dev/ledger/another").to_text())
        path.chmod(0o600)
    before = ledger.store.head()
    with pytest.raises(CheckpointError, match="signing key"):
        ledger.redact(position_of(ledger, "EnvSet"), "values.NOTE", request("3"))
    assert ledger.store.head() == before


def test_the_ledger_stays_append_only_after_a_redaction(ledger: Ledger) -> None:
    ledger.redact(position_of(ledger, "EnvSet"), "values.NOTE", request("3", "oops"))
    store = ledger.store
    assert isinstance(store, SqliteStore)
    with pytest.raises(Exception, match="append-only"), store.writing() as connection:
        connection.execute("UPDATE stored_events SET topic = 'x'")


@pytest.mark.parametrize("field", ["values.MISSING", "deployment_id", "spec.image", "values", "meta.actor"])
def test_what_is_not_free_text_cannot_be_redacted(ledger: Ledger, field: str) -> None:
    with pytest.raises(RefusedError):
        ledger.redact(position_of(ledger, "EnvSet"), field, request("3"))


def test_a_position_that_does_not_exist_is_refused_and_nothing_is_recorded(ledger: Ledger) -> None:
    before = ledger.store.head()
    with pytest.raises(RefusedError):
        ledger.redact(99, "values.NOTE", request("3"))
    assert ledger.store.head() == before


def test_a_blank_field_is_not_blanked_again(ledger: Ledger) -> None:
    position = position_of(ledger, "EnvSet")
    ledger.redact(position, "values.NOTE", request("3", "oops"))
    with pytest.raises(RefusedError, match="redacted already"):
        ledger.redact(position, "values.NOTE", request("4", "oops"))


@pytest.mark.parametrize("field", ["fields.1.found", "fields.1.wanted"])
def test_what_was_found_in_a_cluster_can_be_redacted(ledger: Ledger, field: str) -> None:
    """An object that was edited by hand may hold the very value that should not have been recorded."""
    fields = (
        FieldDrift(field="data.other", wanted='"1"', found='"2"', manager=None),
        FieldDrift(field="data.note", wanted=f'"{CANARY}"', found=f'"{CANARY}"', manager="kubectl"),
    )
    event = DriftDetected(kind="ConfigMap", name="shop-environments", fields=fields)

    def make(app: App) -> tuple[str, ObservedEvent, int]:
        assert app.life is not None
        return app.life.deployment_id, event, app.head

    ledger.observe(APP, request("drift"), make)
    position = ledger.store.head().position
    ledger.redact(position, field, request("3", "oops"))
    (row,) = ledger.store.positions(position, position, limit=1)
    drift, _ = decode(row.topic, row.state)
    assert isinstance(drift, DriftDetected)
    assert getattr(drift.fields[1], field.rpartition(".")[2]) == BLANK
    assert drift.fields[0] == fields[0]
    assert verify_chain(ledger.store).damage is None
    for other in ("fields.7.found", "fields.x.found", "fields.0.manager", "fields.0"):
        with pytest.raises(RefusedError):
            ledger.redact(position, other, request(other))


def test_a_text_that_is_redacted_while_drift_is_recorded_does_not_come_back_with_it(ledger: Ledger) -> None:
    position, read = position_of(ledger, "EnvSet"), list[str]()

    def make(app: App) -> tuple[str, ObservedEvent, int]:
        assert app.life is not None
        read.append(app.life.env["NOTE"])
        if len(read) == 1:
            ledger.redact(position, "values.NOTE", request("3", "oops"))
        wanted = FieldDrift(field="data.note", wanted=read[-1], found=None, manager=None)
        return app.life.deployment_id, DriftDetected(kind="ConfigMap", name="shop", fields=(wanted,)), app.head

    ledger.observe(APP, request("drift"), make, texts=True)
    assert read == [CANARY, BLANK]
    (row,) = (row for row in ledger.store.positions(1, limit=100) if row.topic == DriftDetected.__name__)
    assert CANARY.encode() not in row.state


def test_the_same_text_is_found_wherever_it_stands(ledger: Ledger) -> None:
    set_env = ledger.store.positions(position_of(ledger, "EnvSet"), limit=1)[0]
    assert also_in([set_env], CANARY) == [(set_env.position, "values.NOTE"), (set_env.position, "values.OTHER")]
    assert also_in([set_env], CANARY + "2") == [(set_env.position, "values.OTHER")]
    assert also_in([set_env], "f") == [], "a short text occurs by chance"


class Busy(SqliteStore):
    """Somebody redacts when the first page is read."""

    def __init__(self, ledger: Ledger, path: Path) -> None:
        super().__init__(path)
        self._redact: Callable[[], object] | None = partial(
            ledger.redact, position_of(ledger, "EnvSet"), "values.NOTE", request("meanwhile")
        )

    def positions(self, start: int, stop: int | None = None, *, limit: int) -> Sequence[Row]:
        meanwhile, self._redact = (self._redact, None) if start > 0 else (None, self._redact)
        if meanwhile is not None:
            meanwhile()
        return super().positions(start, stop, limit=limit)


def test_a_redaction_while_the_ledger_is_verified_is_no_damage(ledger: Ledger, tmp_path: Path) -> None:
    with closing(Busy(ledger, tmp_path / "ledger.db")) as store:
        verification = verify_chain(store)
    assert verification.damage is None
    assert verification.redacted == (position_of(ledger, "EnvSet"),)


def test_a_redaction_while_the_ledger_is_signed_is_no_damage(ledger: Ledger, tmp_path: Path) -> None:
    with closing(Busy(ledger, tmp_path / "ledger.db")) as store:
        size = store.head().position
        tree = ledger_tree(store)
        tree.grow(size)
        assert tree.size == size
        assert verify_chain(store).redacted == (position_of(ledger, "EnvSet"),)


def test_a_redaction_blanks_nothing_that_a_restore_put_in_the_place_of_what_it_was_decided_on(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with making(tmp_path / "backup.db") as connection:
        copy_database(tmp_path / "ledger.db", connection)
    ledger.mark(WorkerEnabled(cluster="c"), request("3"))  # so the ledger's own stream is as long as after the restore
    ledger.execute(APP, SetEnv(values={"LOST": CANARY}), request("4"))
    position = ledger.store.head().position

    def put_back_first(event: Redacted, key: SigningKey) -> Redacted:
        with closing(SqliteStore(tmp_path / "backup.db")) as backup:
            restored = Ledger(backup, KeyFiles(tmp_path / "keys"), mint_domain=lambda: "")
            restored.mark(LedgerRestored(through=position - 2, epoch=1), request("5"))
            restored.execute(APP, SetEnv(values={"COLOR": "blue"}), request("6"))
        with closing(SqliteStore(tmp_path / "ledger.db")) as place, place.alone():
            place.replace(tmp_path / "backup.db")
        return signed(event, key)

    monkeypatch.setattr("ledger.own_stream.signed", put_back_first)
    with pytest.raises(RefusedError, match="no text"):
        ledger.redact(position, "values.LOST", request("7", "oops"))
    assert ledger.store.head().position == position
    assert verify_chain(ledger.store).damage is None


def test_a_line_that_cannot_be_read_is_said_to_be_such(ledger: Ledger) -> None:
    app = ledger.app(APP)
    (row,) = ledger.store.append([NewRow(app.stream.bytes, app.version + 1, "EnvSet", b"{")], clock_us=1)
    with pytest.raises(UnreadableEventError, match=f"position {row.position} cannot be read"):
        ledger.plan_redaction(row.position, "reason")
    with pytest.raises(UnreadableEventError, match=f"position {row.position} cannot be read"):
        also_in([row], CANARY)


def test_what_was_blanked_cannot_be_guessed_from_the_request_that_set_it(ledger: Ledger) -> None:
    kept = ledger.store.request("1")
    ledger.redact(position_of(ledger, "EnvSet"), "values.NOTE", request("3"))
    told = ledger.store.request("2")
    assert told is not None
    assert (told.salt, told.digest) == (b"", b"")
    assert ledger.store.request("1") == kept, "what others asked for is known as before"
    with pytest.raises(RequestReusedError):
        ledger.execute(APP, SetEnv(values={"NOTE": CANARY, "OTHER": CANARY + "2"}), request("2"))
    assert verify_chain(ledger.store).damage is None
