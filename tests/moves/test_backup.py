"""A backup: everything, at one moment, in one private file."""

from __future__ import annotations

import os
import shutil
import threading
from contextlib import closing
from pathlib import Path

import pytest

from ledger.backup import back_up
from ledger.errors import LedgerBusyError, LedgerEndedError
from ledger.store import ModelStore, NewRow
from ledger.verify import verify_chain
from tests.canary import CANARY, files_that_leak
from tests.ledger.support import STATE
from tests.moves.support import User, backed_up, beside, head, opened, rows, silent

NOTED = NewRow(b"a" * 16, 99, "Noted", b"{}")


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, user: User) -> str:
    """Address of the story's ledger in each kind of store."""
    if request.param == "sqlite":
        return str(user.ledger)
    url = str(request.getfixturevalue("database"))
    user.run("ledger", "copy", "--to", url).done()
    return url


def test_a_backup_has_everything_and_is_for_its_owner_only(user: User, place: str, tmp_path: Path) -> None:
    file = tmp_path / "backup.db"
    user.run("ledger", "backup", str(file), ledger=place).done()
    assert rows(file) == rows(place)
    assert beside(file) == beside(place)
    user.answers_as_told(file)
    of_who_asked = {"backup.db-journal", "backup.db.lock", "backup.db.lock.queue"}  # lists are read models, made there
    names = {path.name for path in tmp_path.iterdir() if "backup" in path.name}
    assert names - of_who_asked == {"backup.db", "backup.db.checkpoint"}
    assert {path.stat().st_mode & 0o777 for path in (file, tmp_path / "backup.db.checkpoint")} == {0o600}
    assert files_that_leak(CANARY, tmp_path) == {}


def test_the_checkpoint_beside_it_is_of_exactly_the_backup(user: User, place: str, tmp_path: Path) -> None:
    file = tmp_path / "backup.db"
    document = user.json("ledger", "backup", str(file), ledger=place)
    checkpoint = file.with_name("backup.db.checkpoint")
    assert document["checkpoint"] == str(checkpoint)
    assert checkpoint.read_text().splitlines()[1] == str(head(place).position)
    user.run("audit", "verify", "--against", str(checkpoint), ledger=place).done()


def test_without_the_signing_key_there_is_a_backup_and_a_word_about_it(user: User, tmp_path: Path) -> None:
    for key in (user.root / "home/keys").glob("*.signing.key"):
        key.unlink()
    file = tmp_path / "backup.db"
    result = user.run("ledger", "backup", str(file)).done()
    assert "No checkpoint was signed: there is no signing key" in result.stderr
    assert file.exists()
    assert not file.with_name("backup.db.checkpoint").exists()


def test_where_no_checkpoint_can_be_kept_there_is_a_backup_with_its_checkpoint_and_a_warning(
    user: User, tmp_path: Path
) -> None:
    shutil.rmtree(user.root / "home/checkpoints", ignore_errors=True)
    (user.root / "home/checkpoints").write_text("a disk that cannot be written")
    file = tmp_path / "backup.db"
    result = user.run("ledger", "backup", str(file)).done()
    assert "cannot be kept" in result.stderr
    assert "--checkpoint" in result.stderr
    user.run("audit", "verify", "--against", str(file.with_name("backup.db.checkpoint"))).done()


def test_nothing_is_recorded_in_a_backup(user: User, place: str, tmp_path: Path) -> None:
    file = tmp_path / "backup.db"
    user.run("ledger", "backup", str(file), ledger=place).done()
    assert "backup" in user.run("deploy", "--image", "n:1", "--detach", ledger=file).failed(3).error
    with closing(opened(file)) as store, pytest.raises(LedgerEndedError):
        store.append([NOTED], clock_us=1)


def test_a_backup_replaces_an_older_one_and_nothing_else(user: User, tmp_path: Path) -> None:
    file, other = tmp_path / "backup.db", tmp_path / "other"
    user.run("ledger", "backup", str(file)).done()
    user.run("deploy", "restart", app="order-service").done()
    user.run("ledger", "backup", str(file)).done()
    assert rows(file) == rows(user.ledger)
    other.write_text("something else")
    assert "is not a backup" in user.run("ledger", "backup", str(other)).failed(3).error
    assert other.read_text() == "something else"
    before = head(user.ledger)
    assert "is not a backup" in user.run("ledger", "backup", str(user.ledger)).failed(3).error
    assert head(user.ledger) == before
    missing = user.run("ledger", "backup", "mnt/backup/b.db").failed(3).error
    assert "/mnt/backup: is it mounted?\nMake it first, or name another file.\n" in missing
    assert "File name too long" in user.run("ledger", "backup", "b" * 300).failed(3).error
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert "is not a backup" in user.run("ledger", "backup", str(pipe)).failed(3).error
    assert pipe.is_fifo()


def test_a_link_to_a_backup_goes_on_leading_to_it(user: User, tmp_path: Path) -> None:
    link, elsewhere = tmp_path / "newest.db", tmp_path / "disk"
    elsewhere.mkdir()
    link.symlink_to(elsewhere / "backup.db")
    for _ in range(2):
        user.run("ledger", "backup", str(link)).done()
    assert link.is_symlink()
    assert rows(elsewhere / "backup.db") == rows(user.ledger)


def test_a_backup_is_of_one_moment_while_others_append(place: str, tmp_path: Path) -> None:
    stop = threading.Event()

    def append() -> None:
        with closing(opened(place)) as store:
            version = 0
            while not stop.wait(0.002):
                version += 1
                store.append([NewRow(b"b" * 16, version, "Noted", STATE % version)], clock_us=1)

    writer = threading.Thread(target=append)
    writer.start()
    try:
        with closing(opened(place)) as store:
            backups = [(path, backed_up(store, path).head) for path in (tmp_path / "one.db", tmp_path / "two.db")]
    finally:
        stop.set()
        writer.join()
    lines = rows(place)
    for path, reached in backups:
        assert rows(path) == lines[: reached.position]
        assert head(path) == reached
        with closing(opened(path)) as copy:
            assert verify_chain(copy).damage is None


def test_of_two_backups_to_one_file_at_once_the_later_one_is_refused_and_the_other_is_whole(
    place: str, tmp_path: Path
) -> None:
    file = tmp_path / "backup.db"
    with closing(opened(place)) as store:

        def meanwhile(_copy: ModelStore) -> None:
            with pytest.raises(LedgerBusyError, match=r"at work on .*/backup\.db"):
                backed_up(store, file)
            backed_up(store, tmp_path / "another.db")

        back_up(store, file, sign=meanwhile, progress=silent)
        assert rows(file) == rows(tmp_path / "another.db") == rows(place)
        assert {path.name for path in tmp_path.iterdir() if "backup" in path.name} == {"backup.db"}
        backed_up(store, file)


def test_a_backup_that_was_killed_is_in_nobodys_way(user: User, tmp_path: Path) -> None:
    (tmp_path / ".backup.db.making").touch()
    (tmp_path / ".backup.db.part").write_bytes(b"half of it")
    user.run("ledger", "backup", str(tmp_path / "backup.db")).done()
    assert rows(tmp_path / "backup.db") == rows(user.ledger)
    assert not list(tmp_path.glob(".backup*"))


def test_where_no_ledger_is_nothing_is_backed_up(user: User, elsewhere: str, tmp_path: Path) -> None:
    assert "there is no ledger" in user.run("ledger", "backup", str(tmp_path / "b"), ledger=elsewhere).failed(3).error
    assert not (tmp_path / "b").exists()
