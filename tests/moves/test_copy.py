"""Moving a ledger: every line arrives, and there is never a second place that goes on."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from ledger.copying import copy_ledger
from ledger.errors import LedgerDamagedError, LedgerEndedError
from ledger.events import LedgerMoved
from ledger.instance import Instance
from ledger.sqlite_store import SqliteStore
from ledger.store import Beside, NewRow
from ledger.transfer import put_rows
from tests.canary import CANARY, files_that_leak
from tests.faults import dose
from tests.ledger.support import STATE
from tests.moves.support import User, beside, files_holding, grow, head, opened, rows, silent, until

LINE = NewRow(b"b" * 16, 1, "Noted", STATE % 1)


@dose.not_few("a ledger is compared line by line")
def test_a_ledger_moves_to_a_database_and_back_with_every_line_answer_and_proof(
    user: User, database: str, tmp_path: Path
) -> None:
    checkpoint, last = str(tmp_path / "checkpoint"), tmp_path / "back.db"
    user.run("audit", "checkpoint", "--file", checkpoint).done()
    original, prove = rows(user.ledger), ("audit", "prove", "--position", "9", "--checkpoint", checkpoint)
    proof = user.run(*prove).done().stdout
    source, previous = str(user.ledger), beside(user.ledger)
    for number, target in enumerate((database, str(last)), start=1):
        result = user.run("ledger", "copy", "--to", target, ledger=source).done()
        assert "the ledger goes on at" in result.stdout
        assert rows(target) == rows(source)
        assert rows(target)[: len(original)] == original
        assert [row.topic for row in rows(target)[len(original) :]] == [LedgerMoved.__name__] * number
        assert beside(target) == previous
        assert user.json("audit", "verify", ledger=target)["intact"]
        user.answers_as_told(target, every=1)
        assert user.run(*prove, ledger=target).done().stdout == proof
        source = target
    user.run("deploy", "restart", ledger=last, app="order-service").done()  # secrets still open


def test_the_source_is_ended_and_names_the_target(user: User, elsewhere: str) -> None:
    user.run("ledger", "copy", "--to", elsewhere).done()
    error = user.run("deploy", "--image", "user:9", "--detach").failed(3).error
    assert f"this ledger goes on elsewhere: {elsewhere.replace('@', '@').split('?')[0]}" in error
    assert user.json("audit", "verify")["intact"]
    questions = (
        ["deploy", "get"], ["deploy", "list"], ["deploy", "releases"], ["deploy", "events"], ["deploy", "blame"],
        ["deploy", "diff", "1"], ["env", "list"], ["env", "list", "--all"], ["secret", "list"], ["audit", "log"],
    )  # fmt: skip
    for question in questions:
        assert "This ledger goes on elsewhere: " in user.run(*question).done().stderr
        assert "goes on elsewhere" not in user.run(*question, ledger=elsewhere).done().stderr
    user.run("deploy", "--image", "user:9", "--wait", ledger=elsewhere).done()


def test_the_targets_instance_is_the_one_that_the_event_names(user: User, elsewhere: str) -> None:
    document = user.json("ledger", "copy", "--to", elsewhere)
    moved = user.json("audit", "log", "--kind", "LedgerMoved", ledger=elsewhere)[0]
    with closing(opened(elsewhere)) as store:
        here = store.instance()
    assert here is not None
    assert moved["data"]["target"] == here.instance == here.writer == document["instance"]


def test_a_copy_is_made_once_and_to_one_target(user: User, elsewhere: str, tmp_path: Path) -> None:
    user.run("ledger", "copy", "--to", elsewhere).done()
    copied = rows(elsewhere)
    assert "was moved before" in user.run("ledger", "copy", "--to", elsewhere).done().stdout
    assert "was moved already" in user.run("ledger", "copy", "--to", str(tmp_path / "second.db")).failed(3).error
    assert rows(elsewhere) == copied


def go_on_from_what_was_moved(user: User, said: str, place: Path) -> None:
    """Do what a hint says, and record something."""
    assert "1ctl ledger backup FILE" in said
    assert "1ctl ledger restore FILE --accept-loss" in said
    file = place.with_name("moved.db")
    user.run("ledger", "backup", str(file)).done()
    user.run("ledger", "restore", str(file), "--accept-loss", ledger=place).done()
    assert rows(place)[:-1] == rows(user.ledger)
    user.run("deploy", "restart", app="order-service", ledger=place).done()


def test_a_ledger_whose_target_is_lost_goes_on_as_the_refusal_says(user: User, tmp_path: Path) -> None:
    lost = tmp_path / "lost.db"
    user.run("ledger", "copy", "--to", str(lost)).done()
    lost.unlink()
    refused = user.run("ledger", "copy", "--to", str(tmp_path / "second.db")).failed(3)
    go_on_from_what_was_moved(user, refused.error, tmp_path / "new.db")


def test_a_ledger_whose_copy_is_damaged_goes_on_as_the_refusal_says(user: User, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.db"

    def end(target: Instance) -> None:
        moved = Beside(moved=(target.instance, "there"))
        store.append([LINE], clock_us=0, beside=moved)
        with closing(SqliteStore(damaged)) as other, other.change() as tables:
            put_rows(tables, [store.positions(1, limit=1)[0]._replace(state=b"{}")])

    with closing(SqliteStore(user.ledger)) as store, closing(SqliteStore(damaged)) as target:
        with pytest.raises(LedgerDamagedError, match="the copy is damaged at position 1") as caught:
            copy_ledger(store, target, end=end, origin="here", progress=silent)
        with pytest.raises(LedgerDamagedError, match="the copy is damaged at position 1"):
            copy_ledger(store, target, end=end, origin="here", progress=silent)
    go_on_from_what_was_moved(user, str(caught.value.hint), tmp_path / "new.db")


def test_a_ledger_may_come_back_to_where_it_was(user: User, elsewhere: str) -> None:
    user.run("ledger", "copy", "--to", elsewhere).done()
    user.run("deploy", "restart", ledger=elsewhere, app="order-service").done()
    user.run("ledger", "copy", "--to", str(user.ledger), ledger=elsewhere).done()
    user.run("deploy", "restart", app="order-service").done()
    assert "goes on elsewhere" in user.run("deploy", "restart", ledger=elsewhere, app="order-service").failed(3).error


def test_a_target_that_is_something_else_is_refused_before_anything_is_recorded(
    user: User, elsewhere: str, tmp_path: Path
) -> None:
    user.run("deploy", "--image", "n:1", "--detach", ledger=elsewhere).done()
    before, other = head(user.ledger), rows(elsewhere)
    assert "is not the beginning of this ledger" in user.run("ledger", "copy", "--to", elsewhere).failed(3).error
    assert "the same ledger" in user.run("ledger", "copy", "--to", str(user.ledger)).failed(3).error
    backup = tmp_path / "backup.db"
    user.run("ledger", "backup", str(backup)).done()
    user.run("ledger", "copy", "--to", str(backup)).failed(3)
    notes = tmp_path / "notes"
    notes.write_text("these are my notes")
    refused = user.run("ledger", "copy", "--to", str(notes)).failed(3)
    assert f"{notes} exists and is not a database" in refused.error
    assert notes.read_text() == "these are my notes"
    assert head(user.ledger) == before
    assert rows(elsewhere) == other
    user.run("deploy", "restart", app="order-service").done()


def test_a_backup_from_before_the_move_is_not_restored_unawares(user: User, tmp_path: Path) -> None:
    backup, target = tmp_path / "backup.db", tmp_path / "new.db"
    user.run("ledger", "backup", str(backup)).done()
    user.run("ledger", "copy", "--to", str(target)).done()
    error = user.run("ledger", "restore", str(backup), ledger=tmp_path / "third.db").failed(3).error
    assert "covers positions up to" in error


def test_the_status_says_where_a_ledger_goes_on(user: User, tmp_path: Path) -> None:
    target = tmp_path / "new.db"
    assert user.json("ledger", "status")["writable"] is True
    user.run("ledger", "copy", "--to", str(target)).done()
    assert user.json("ledger", "status")["writable"] is False
    assert f"goes on elsewhere: {target}" in user.run("ledger", "status").done().stdout
    assert user.json("ledger", "status", ledger=target)["writable"] is True


def test_a_password_in_the_targets_address_is_kept_nowhere(user: User, database: str, tmp_path: Path) -> None:
    with_password = database.replace("//postgres@", "//postgres:pa55word@")
    result = user.run("ledger", "copy", "--to", with_password).done()
    refused = user.run("deploy", "restart", app="order-service").failed(3)
    assert "goes on elsewhere: postgresql://postgres:***@" in refused.error
    assert "pa55word" not in result.stdout + result.stderr + refused.stderr
    assert files_holding(user.root, "pa55word") == []
    back = tmp_path / "back" / "ledger.db"
    user.run("ledger", "copy", "--to", str(back), ledger=with_password).done()
    assert files_holding(back.parent, "pa55word") == []


def test_a_backup_is_not_copied(user: User, tmp_path: Path) -> None:
    backup = tmp_path / "backup.db"
    user.run("ledger", "backup", str(backup)).done()
    error = user.run("ledger", "copy", "--to", str(tmp_path / "x.db"), ledger=backup).failed(3).error
    assert "does not go on anywhere" in error


def test_secrets_are_in_no_file(user: User, tmp_path: Path) -> None:
    target = tmp_path / "target" / "ledger.db"
    user.run("ledger", "copy", "--to", str(target)).done()
    assert files_that_leak(CANARY, target.parent) == {}


def test_what_others_append_meanwhile_is_moved_or_refused(user: User, elsewhere: str) -> None:
    acknowledged: list[int] = []
    begun, refused = threading.Event(), threading.Event()

    def append() -> None:
        with closing(opened(user.ledger)) as store:
            for version in range(1, 100_000):
                time.sleep(0.002)
                line = NewRow(b"b" * 16, version, "Noted", b'{"data":{},"meta":{}}')
                try:
                    acknowledged.append(store.append([line], clock_us=1)[0].position)
                except LedgerEndedError:
                    refused.set()
                    return
                begun.set()

    writer = threading.Thread(target=append)
    writer.start()
    assert begun.wait(20)
    user.run("ledger", "copy", "--to", elsewhere).done()
    writer.join(20)
    assert refused.is_set()
    assert {row.position for row in rows(elsewhere)} >= set(acknowledged)
    assert rows(elsewhere) == rows(user.ledger)
    assert rows(elsewhere)[-1].topic == LedgerMoved.__name__


@pytest.mark.crash
def test_a_copy_that_is_killed_goes_on_when_it_is_run_again(user: User, elsewhere: str, tmp_path: Path) -> None:
    grow(user.ledger, 9_000)
    arguments = ("ledger", "copy", "--to", elsewhere)
    process = user.cli.start(*arguments)
    until(lambda: process.poll() is not None or head(elsewhere).position > 0)
    process.kill()
    process.communicate()
    reached = head(elsewhere).position
    assert reached > 0
    if reached < head(user.ledger).position:  # it was killed in the middle, as it nearly always is
        refused = user.run("deploy", "--image", "n:1", "--detach", ledger=elsewhere).failed(3)
        assert "is not complete" in refused.error
    assert "goes on elsewhere" in user.run("deploy", "--image", "n:1", "--detach").failed(3).error
    assert "was moved already" in user.run("ledger", "copy", "--to", str(tmp_path / "other.db")).failed(3).error
    again = user.cli.start(*arguments)
    time.sleep(0.4)
    again.kill()
    again.communicate()
    user.run(*arguments).done()
    assert rows(elsewhere) == rows(user.ledger)
    assert beside(elsewhere) == beside(user.ledger)
    with closing(opened(elsewhere)) as store:
        here = store.instance()
        assert here is not None
        assert here.may_append


def test_a_rotation_where_a_ledger_went_leaves_the_key_of_what_it_left(
    user: User, elsewhere: str, tmp_path: Path
) -> None:
    (path,) = (user.root / "home" / "keys").glob("*.identity.key")
    ((old,),) = [[each["identity"] for each in user.json("ledger", "status")["identities"]]]
    user.run("ledger", "copy", "--to", elsewhere).done()
    asked = user.run("secret", "rotate-keys", stdin="y\n", ledger=elsewhere).done().stderr
    assert f"The old key stays in {path}, since the ledger was moved, and backups made until now need it." in asked
    assert f"The key {old} stays on line 1 of {path}: the ledger was moved, and another copy of it may need" in asked
    # Where it went is lost, so what it left is put back, as `ledger copy` says.
    backup, again = tmp_path / "left.db", tmp_path / "again.db"
    user.run("ledger", "backup", str(backup)).done()
    user.run("ledger", "restore", str(backup), "--accept-loss", ledger=again).done()
    user.run("deploy", "restart", ledger=again, app="order-service").done()


def test_a_key_that_was_made_where_a_ledger_went_is_removed_by_the_next_rotation(user: User, tmp_path: Path) -> None:
    target = tmp_path / "target.db"
    user.run("ledger", "copy", "--to", str(target)).done()
    user.run("secret", "rotate-keys", "-y", ledger=target).done()
    asked = user.run("secret", "rotate-keys", stdin="y\n", ledger=target).done().stderr
    assert "The old key is then removed from" in asked
    assert "The old key is removed from" in asked
