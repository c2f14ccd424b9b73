"""Putting a ledger back: what was lost is never lost silently."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from uuid import UUID

import pytest

from ledger.errors import LedgerDamagedError, OneCtlError, RefusedError
from ledger.events import LedgerRestored
from ledger.reader import LedgerReader
from ledger.restoring import find, put_back, read_backup
from ledger.sqlite_files import alone_at
from ledger.sqlite_store import SqliteStore
from ledger.store import NewRow
from tests.canary import CANARY, files_that_leak
from tests.cli_support import Process, query
from tests.faults import dose
from tests.ledger.support import STATE
from tests.moves.support import (
    EMPTY,
    User,
    beside,
    flip,
    flip_within,
    grow,
    head,
    opened,
    rows,
    silent,
    until,
)  # fmt: skip
from tests.postgres_support import administer


@pytest.fixture
def backup(user: User, tmp_path: Path) -> Path:
    path = tmp_path / "backups" / "ledger.db"
    path.parent.mkdir()
    user.run("ledger", "backup", str(path)).done()
    return path


def epoch(address: object) -> int:
    with closing(opened(address)) as store:
        return LedgerReader(store).epoch()


def lose(user: User) -> None:
    """The disk of the ledger is gone, and what was kept beside it."""
    shutil.rmtree(user.ledger.parent)


@dose.not_few("a ledger is compared line by line")
def test_a_restored_ledger_has_everything_and_says_that_it_was_restored(
    user: User, backup: Path, elsewhere: str
) -> None:
    before = rows(user.ledger)
    lose(user)
    result = user.run("ledger", "restore", str(backup), "--reason", "disk failed", ledger=elsewhere).done()
    assert f"Restored {len(before)} events" in result.stdout
    assert rows(elsewhere)[:-1] == before
    marked = user.json("audit", "log", ledger=elsewhere)[-1]
    assert (marked["kind"], marked["reason"]) == (LedgerRestored.__name__, "disk failed")
    assert marked["data"] == {"through": len(before), "epoch": 1}
    assert epoch(elsewhere) == 1
    assert beside(elsewhere) == beside(backup)
    user.answers_as_told(elsewhere)
    assert user.json("audit", "verify", ledger=elsewhere)["intact"]
    assert not list(user.root.rglob("*.restore"))


def test_a_restored_ledger_goes_on_and_opens_its_secrets(user: User, backup: Path, elsewhere: str) -> None:
    lose(user)
    user.run("ledger", "restore", str(backup), ledger=elsewhere).done()
    user.run("deploy", "--image", "user:8", "--wait", ledger=elsewhere).done()
    user.run("deploy", "restart", ledger=elsewhere, app="order-service").done()
    user.run("audit", "checkpoint", ledger=elsewhere).done()
    with closing(opened(elsewhere)) as store, closing(opened(backup)) as old:
        now, then = store.instance(), old.instance()
        assert now is not None
        assert then is not None
        assert now.may_append
        assert now.instance != then.instance


def test_epochs_rise_with_each_restore_also_of_the_same_backup(user: User, backup: Path) -> None:
    for expected in (1, 2, 3):
        lose(user)
        user.run("ledger", "restore", str(backup)).done()
        assert epoch(user.ledger) == expected


def test_a_ledger_that_has_more_is_not_overwritten(user: User, backup: Path) -> None:
    user.run("deploy", "restart", app="order-service").done()
    before = rows(user.ledger)
    assert "would lose what it lacks" in user.run("ledger", "restore", str(backup), "-y").failed(3).error
    assert rows(user.ledger) == before
    document = user.json("ledger", "restore", str(backup), "-y", "--accept-loss")
    assert rows(document["kept"]) == before
    assert rows(user.ledger)[:-1] == rows(backup)
    kept = user.run("deploy", "restart", ledger=document["kept"], app="order-service").failed(3)
    assert "goes on elsewhere" in kept.error


def test_another_ledger_is_not_overwritten(user: User, backup: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    user.run("deploy", "--image", "n:1", "--detach", ledger=other).done()
    before = rows(other)
    assert "another ledger is there" in user.run("ledger", "restore", str(backup), "-y", ledger=other).failed(3).error
    assert rows(other) == before


@pytest.mark.parametrize("gone", ["keys", "checkpoints"])
def test_a_backup_of_another_ledger_is_not_put_in_place_silently(
    user: User, backup: Path, elsewhere: str, tmp_path: Path, gone: str
) -> None:
    theirs = User(user.story, tmp_path / "somebody")
    shutil.rmtree(theirs.root / "home" / "ledgers")
    theirs.run("deploy", "--image", "n:1", "--detach").done()
    theirs.run("ledger", "backup", str(backup)).done()  # as whoever can write to where backups lie
    ((other_id,),) = query(theirs.ledger, "SELECT state ->> '$.data.ledger_id' FROM stored_events LIMIT 1")
    lose(user)
    shutil.rmtree(user.root / "home" / gone)
    refused = user.run("ledger", "restore", str(backup), "-y", "--accept-loss", ledger=elsewhere).failed(3)
    assert f"the backup is of ledger {other_id}" in refused.error
    assert head(elsewhere) == EMPTY
    told = user.run("ledger", "restore", str(backup), "--new-ledger", ledger=elsewhere).done()
    assert f"of ledger {other_id}" in told.stdout


def test_a_machine_that_knows_no_ledger_takes_any_backup(user: User, backup: Path) -> None:
    lose(user)
    shutil.rmtree(user.root / "home")
    user.run("ledger", "restore", str(backup)).done()


def test_a_machine_that_has_the_ledger_itself_needs_neither_its_keys_nor_its_checkpoints(
    user: User, backup: Path
) -> None:
    shutil.rmtree(user.root / "home" / "checkpoints")
    for key in (user.root / "home" / "keys").glob("*.key"):
        key.rename(key.with_name(f"{UUID(int=7)}.{key.name.partition('.')[2]}"))
    user.run("ledger", "restore", str(backup), "-y").done()


def test_replacing_is_asked_about(user: User, backup: Path) -> None:
    before = rows(user.ledger)
    result = user.run("ledger", "restore", str(backup), stdin="n\n").done()
    assert "Replace the ledger" in result.stderr
    with closing(opened(user.ledger)) as store:
        assert f"of ledger {LedgerReader(store).ledger_id()}?" in result.stderr
    assert "[y/N]: " in result.stderr
    assert rows(user.ledger) == before
    user.run("ledger", "restore", str(backup), stdin="y\n").done()
    assert rows(user.ledger)[:-1] == before


def test_a_database_that_is_not_empty_is_never_replaced(user: User, backup: Path, database: str) -> None:
    lose(user)
    user.run("ledger", "restore", str(backup), ledger=database).done()
    again = user.run("ledger", "restore", str(backup), "-y", "--accept-loss", ledger=database).failed(3)
    assert "into an empty database only" in again.error
    assert epoch(database) == 1


def script(path: Path, text: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(text)


def without_a_table(path: Path) -> None:
    script(path, "DROP TABLE requests")


def without_a_schema(path: Path) -> None:
    script(path, "PRAGMA writable_schema=ON; UPDATE sqlite_master SET sql = 'CREATE' WHERE name = 'lives'")


def without_a_head(path: Path) -> None:
    script(path, "DELETE FROM ledger_head")


def with_a_head_of_nothing(path: Path) -> None:
    script(path, "UPDATE ledger_head SET position = 0")


def with_a_head_that_lags(path: Path) -> None:
    script(path, "UPDATE ledger_head SET position = position - 1")


def without_a_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(bytes(100))


def cut_off(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 4096 // 2 * 4096)


HEADS = (without_a_head, with_a_head_of_nothing, with_a_head_that_lags)


@pytest.mark.parametrize("damage", [without_a_table, without_a_schema, *HEADS, without_a_header, cut_off])
def test_a_ledger_that_cannot_be_read_is_kept_as_it_is_and_who_has_it_open_goes_on_with_the_restored_one(
    user: User, backup: Path, damage: Callable[[Path], None]
) -> None:
    with closing(SqliteStore(user.ledger)) as other:
        other.head()
        damage(user.ledger)
        before = user.ledger.read_bytes()
        assert "cannot be read" in user.run("ledger", "restore", str(backup), "-y").failed(3).error
        assert user.ledger.read_bytes() == before
        kept = Path(user.json("ledger", "restore", str(backup), "-y", "--accept-loss")["kept"])
        assert kept.read_bytes() == before
        assert kept.stat().st_mode & 0o777 == 0o600
        assert rows(user.ledger)[:-1] == rows(backup)
        assert other.head() == head(user.ledger)
        (added,) = other.append([NewRow(b"a" * 16, 1, "Noted", STATE % 1)], clock_us=1)
    assert rows(user.ledger)[-1] == added


@pytest.mark.parametrize("head", ["DELETE FROM ledger_head", "UPDATE ledger_head SET position = 0"])
def test_a_database_that_lost_its_head_is_not_taken_for_an_empty_one(
    user: User, backup: Path, database: str, head: str
) -> None:
    user.run("ledger", "restore", str(backup), ledger=database).done()
    before = rows(database)
    administer(database, head)
    assert "cannot be read" in user.run("ledger", "restore", str(backup), "-y", ledger=database).failed(3).error
    again = user.run("ledger", "restore", str(backup), "-y", "--accept-loss", ledger=database).failed(3)
    assert "into an empty database only" in again.error
    assert rows(database) == before


def test_a_checkpoint_signed_here_that_lies_ahead_refuses_the_backup(user: User, backup: Path) -> None:
    user.run("deploy", "restart", app="order-service").done()
    user.run("audit", "checkpoint").done()
    lose(user)
    assert "covers positions up to" in user.run("ledger", "restore", str(backup)).failed(3).error
    assert not user.ledger.exists()
    user.run("ledger", "restore", str(backup), "--accept-loss").done()
    user.run("audit", "checkpoint").done()  # the one that was given up does not stand in the way


def test_a_checkpoint_kept_elsewhere_that_lies_ahead_refuses_the_backup(
    user: User, backup: Path, tmp_path: Path
) -> None:
    user.run("deploy", "restart", app="order-service").done()
    ahead = str(tmp_path / "ahead.checkpoint")
    user.run("audit", "checkpoint", "--file", ahead).done()
    lose(user)
    shutil.rmtree(user.root / "home" / "checkpoints")
    refused = user.run("ledger", "restore", str(backup), "--checkpoint", ahead).failed(3)
    assert "ahead.checkpoint covers positions up to" in refused.error
    piped = user.run("ledger", "restore", str(backup), "--checkpoint", "-", stdin=Path(ahead).read_text()).failed(3)
    assert "the checkpoint - covers positions up to" in piped.error
    user.run("ledger", "restore", str(backup)).done()


def test_two_histories_are_never_signed_by_accident(user: User, backup: Path) -> None:
    user.run("audit", "checkpoint").done()
    user.run("deploy", "restart", app="order-service").done()
    user.run("audit", "checkpoint").done()
    shutil.copy(backup, user.ledger)
    assert "does not continue the checkpoint" in user.run("audit", "checkpoint").failed(7).error


def test_a_replica_is_not_restored(user: User, tmp_path: Path) -> None:
    export, replica = tmp_path / "e.jsonl", tmp_path / "replica.db"
    user.run("audit", "export", "--file", str(export)).done()
    user.run("audit", "import", str(export), ledger=replica).done()
    assert "replica" in user.run("ledger", "restore", str(replica), ledger=tmp_path / "n.db").failed(3).error


def test_the_backup_of_a_ledger_that_ended_is_not_restored_unless_it_is_lost(user: User, tmp_path: Path) -> None:
    file = tmp_path / "ended.db"
    user.run("ledger", "copy", "--to", str(tmp_path / "new.db")).done()
    user.run("ledger", "backup", str(file)).done()
    restored = tmp_path / "restored.db"
    assert "goes on elsewhere" in user.run("ledger", "restore", str(file), ledger=restored).failed(3).error
    user.run("ledger", "restore", str(file), "--accept-loss", ledger=restored).done()
    user.run("deploy", "restart", ledger=restored, app="order-service").done()


def test_a_changed_event_is_located(user: User, backup: Path) -> None:
    (position, state) = query(
        backup, "SELECT notification_id, state FROM stored_events WHERE topic = 'EnvSet' LIMIT 1"
    )[0]
    flip_within(backup, state)
    lose(user)
    error = user.run("ledger", "restore", str(backup)).failed(7).error
    assert f"the backup is damaged at position {position}" in error
    assert not user.ledger.exists()


def test_a_changed_sealed_value_is_found(user: User, backup: Path) -> None:
    ((ciphertext,),) = query(backup, "SELECT ciphertext FROM sealed_values LIMIT 1")
    flip_within(backup, ciphertext)
    assert "not what was sealed" in user.run("ledger", "restore", str(backup), "-y").failed(7).error


def test_no_flipped_byte_gets_into_a_restored_ledger(backup: Path, tmp_path: Path) -> None:
    expected, beside_it = rows(backup), beside(backup)
    content, chance = backup.read_bytes(), random.Random(11)
    caught = 0
    for number, offset in enumerate(chance.sample(range(len(content)), 60)):
        changed = tmp_path / f"changed{number}.db"
        changed.write_bytes(content)
        flip(changed, offset)
        try:
            made = read_backup(changed, tmp_path / f"made{number}", accept_loss=False, progress=silent)
        except LedgerDamagedError:
            caught += 1
        except OneCtlError:
            pass  # what makes it something else than a ledger of ours
        else:  # in the space between, or in read models, which are made anew
            assert rows(made.path) == expected
            assert beside(made.path) == beside_it
    assert caught > 15


def test_what_is_recorded_while_it_is_replaced_is_not_lost(user: User, backup: Path, tmp_path: Path) -> None:
    made = read_backup(backup, tmp_path / "made", accept_loss=False, progress=silent)
    with closing(opened(user.ledger)) as place:
        found = find(place, made)
        user.run("deploy", "restart", app="order-service").done()
        before = rows(user.ledger)
        with pytest.raises(RefusedError, match="changed while it was being replaced"):
            put_back(place, made, found, suffix=".before", progress=silent)
    assert rows(user.ledger) == before


def test_a_restore_leaves_another_one_that_runs_alone(user: User, backup: Path, elsewhere: str) -> None:
    lose(user)
    is_file = "://" not in elsewhere
    place = Path(elsewhere) if is_file else user.root / "home" / "restore"
    staged = place.with_name(f".{place.name}.restore" if is_file else ".restore")
    staged.mkdir(parents=True)
    with alone_at(place):
        refused = user.run("ledger", "restore", str(backup), ledger=elsewhere).failed(1)
        assert "another process is at work on" in refused.error
        assert staged.exists()
    user.run("ledger", "restore", str(backup), ledger=elsewhere).done()
    assert not staged.exists()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"these are my notes\n" * 100, "it is not a database"),
        (b"short", "it is not a database"),
        (b"", "it holds no ledger"),
        (None, "it is a database of something else"),
    ],
    ids=["text", "short", "empty", "theirs"],
)
def test_a_file_that_never_was_a_ledger_is_no_damaged_one(
    user: User, tmp_path: Path, content: bytes | None, why: str
) -> None:
    file = tmp_path / "given"
    if content is None:
        with closing(sqlite3.connect(file)) as theirs:
            theirs.execute("CREATE TABLE theirs (x)")
    else:
        file.write_bytes(content)
    before = user.ledger.read_bytes()
    assert "File name too long" in user.run("ledger", "restore", "b" * 300, "-y").failed(3).error
    error = user.run("ledger", "restore", str(file), "-y").failed(3).error
    assert error.startswith(f"❌ {file} is no backup: {why}\nName the file that 'ledger backup' wrote.\n")
    assert user.ledger.read_bytes() == before


@pytest.mark.parametrize("name", ["ledger", "link", "second name"])
def test_a_file_is_not_put_back_from_itself(user: User, backup: Path, tmp_path: Path, name: str) -> None:
    link, second = tmp_path / "link", tmp_path / "second"
    link.symlink_to(backup)
    second.hardlink_to(backup)
    before, beside_it = backup.read_bytes(), sorted(backup.parent.iterdir())
    file = {"ledger": backup, "link": link, "second name": second}[name]
    error = user.run("ledger", "restore", str(file), "-y", "--accept-loss", ledger=backup).failed(3).error
    assert f"{file} is the file that would be replaced: {backup}" in error
    assert (backup.read_bytes(), sorted(backup.parent.iterdir())) == (before, beside_it)


def test_secrets_are_in_no_file(user: User, backup: Path, tmp_path: Path) -> None:
    user.run("ledger", "restore", str(backup), "-y").done()
    assert files_that_leak(CANARY, user.ledger.parent) == {}
    assert files_that_leak(CANARY, backup.parent) == {}
    assert files_that_leak(CANARY, user.root / "home" / "checkpoints") == {}


def killed(process: Process, staged: Path, chance: random.Random) -> None:
    """Kill a restore some time after it began, unless it is done before."""
    until(lambda: staged.exists() or process.poll() is not None)
    with suppress(subprocess.TimeoutExpired):
        process.wait(chance.uniform(0, 0.5))
    process.kill()
    process.communicate()


@pytest.mark.crash
def test_a_restore_that_is_killed_left_the_old_ledger_or_the_new_one(user: User, tmp_path: Path) -> None:
    grow(user.ledger, 5000)
    backup = tmp_path / "long.db"
    user.run("ledger", "backup", str(backup)).done()
    before, chance = rows(user.ledger), random.Random(3)
    staged = user.ledger.with_name(f".{user.ledger.name}.restore")
    for _ in range(4):
        killed(user.cli.start("ledger", "restore", str(backup), "-y", "--accept-loss"), staged, chance)
        with closing(SqliteStore(user.ledger)) as store:
            now = store.positions(1, limit=len(before) + 9)
        assert now[: len(before)] == before
        assert [row.topic for row in now[len(before) :]] in ([], ["LedgerRestored"])
    user.run("ledger", "restore", str(backup), "-y", "--accept-loss").done()
    assert rows(user.ledger)[:-1] == before
    assert not list(user.ledger.parent.glob(".*.restore"))


@pytest.mark.crash
def test_a_restore_into_a_database_that_is_killed_left_nothing(user: User, tmp_path: Path, database: str) -> None:
    grow(user.ledger, 3000)
    backup = tmp_path / "long.db"
    user.run("ledger", "backup", str(backup)).done()
    process = user.cli.start("ledger", "restore", str(backup), "--ledger", database)
    staged = user.root / "home" / ".restore" / "ledger.db"
    until(lambda: staged.exists() or process.poll() is not None)
    process.kill()
    process.communicate()
    assert head(database) == EMPTY
    user.run("ledger", "restore", str(backup), ledger=database).done()
    assert rows(database)[:-1] == rows(user.ledger)


def test_a_backup_from_before_a_rotation_needs_the_key_of_then(user: User, backup: Path, tmp_path: Path) -> None:
    (path,) = (user.root / "home" / "keys").glob("*.identity.key")
    kept = path.read_text()
    user.run("secret", "rotate-keys", "-y").done()
    lose(user)
    restored = user.run("ledger", "restore", str(backup), "--accept-loss").done()
    assert (
        "sealed to an identity that is not on this machine. Add the lines of the file that was kept" in restored.stderr
    )
    user.run("deploy", "restart", app="order-service").failed(3)
    path.write_text(path.read_text() + kept)
    user.run("deploy", "restart", app="order-service").done()
    done = user.json("secret", "rotate-keys", "-y")
    # What was there before the restore, and the backups of that time, are wrapped for either of them.
    assert (done["left"], done["removed"], [each["line"] for each in done["kept"]]) == (0, 0, [2, 1])
    user.run("deploy", "restart", app="order-service").done()
    assert kept in path.read_text()


def test_a_copy_that_rotates_its_keys_leaves_those_of_the_other_and_says_so(
    user: User, backup: Path, tmp_path: Path
) -> None:
    (path,) = (user.root / "home" / "keys").glob("*.identity.key")
    ((old,),) = [[each["identity"] for each in user.json("ledger", "status")["identities"]]]
    drill = tmp_path / "drill.db"
    restored = user.run("--ledger", str(drill), "ledger", "restore", str(backup), "-y").done()
    assert f"💡 Any other copy of this ledger that is used from here has the same keys: {path}" in restored.stderr
    asked = user.run("secret", "rotate-keys", stdin="y\n", ledger=drill).done()
    assert f"The old key stays in {path}, since the ledger was restored, and backups made until now need it." in (
        asked.stderr
    )
    assert (
        f"The key {old} stays on line 1 of {path}: the ledger was restored, and another copy of it may need the key."
        " Remove that line by hand once no other copy and no backup needs it.\n"
    ) in asked.stderr
    user.run("deploy", "restart", app="order-service").done()
    ours = user.json("secret", "rotate-keys", "-y")
    assert (ours["removed"], [each["line"] for each in ours["kept"]]) == (0, [2, 1])
    told = user.run("secret", "rotate-keys", "-y").done().stderr
    assert f"stays on line 2 of {path}: this ledger's history does not name it, and another copy of it may" in told
    for each in (user.ledger, drill):
        user.run("secret", "rotate-keys", "--dry-run", ledger=each).done()
        assert [row["held"] for row in user.json("ledger", "status", ledger=each)["identities"]] == [True]


def test_a_restore_in_its_own_place_does_not_speak_of_other_copies(user: User, backup: Path) -> None:
    lose(user)
    assert "Any other copy" not in user.run("ledger", "restore", str(backup)).done().stderr
