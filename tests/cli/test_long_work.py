"""Long work says how far it is, on a terminal; interrupted, it leaves nothing half done, and the next try finishes."""

from __future__ import annotations

import os
import pty
import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from ledger.keys import KeyFiles
from ledger.sqlite_store import SqliteStore
from tests.bench.make_ledger import fill
from tests.cli_support import Cli

EVENTS, APPS = 12_000, 200

WORK = {
    "verify": ("audit", "verify"),
    "rebuild": ("ledger", "rebuild"),
    "snapshots": ("ledger", "rebuild", "snapshots"),
    "export": ("audit", "export", "--file", "ledger.jsonl"),
    "import": ("audit", "import", "exported.jsonl", "--ledger", "replica.db"),
    "backup": ("ledger", "backup", "backup.db"),
    "restore": ("ledger", "restore", "kept.db", "-y"),
    "copy": ("ledger", "copy", "--to", "moved.db"),
}


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a user with very many events, an export and a backup of them."""
    root = tmp_path_factory.mktemp("many")
    cli = Cli(root / "home", root)
    (root / "home" / "ledgers").mkdir(parents=True)
    with closing(SqliteStore(cli.ledger)) as store:
        fill(store, events=EVENTS, apps=APPS, keys=KeyFiles(cli.home / "keys"))
    cli.run("audit", "export", "--file", "exported.jsonl").done()
    cli.run("ledger", "backup", "kept.db").done()
    return root


@pytest.fixture
def user(many: Path, tmp_path: Path) -> Cli:
    shutil.copytree(many, tmp_path, dirs_exist_ok=True)
    return Cli(tmp_path / "home", tmp_path)


@contextmanager
def on_a_terminal(user: Cli, args: Sequence[str]) -> Iterator[tuple[int, int]]:
    """A command whose stderr is a terminal: its process, and the terminal's other end."""
    ours, theirs = pty.openpty()
    try:
        with user.start(*args, stderr=theirs) as process:
            os.close(theirs)
            yield process.pid, ours
            process.wait(60)
    finally:
        os.close(ours)


def shown(terminal: int, until: bytes = b"\0") -> bytes:
    """What comes on a terminal until that does, or until its other end is closed."""
    text = b""
    try:
        while until not in text:
            text += os.read(terminal, 65536)
    except OSError:  # EIO: that is how a pseudo-terminal says that nobody is left
        pass
    return text


def files(user: Cli) -> set[str]:
    """What lies where the user works and where the ledger is."""
    return {str(path.relative_to(user.cwd)) for path in user.cwd.rglob("*") if not path.is_dir()}


@pytest.mark.parametrize("name", WORK)
def test_long_work_shows_how_far_it_is_and_wipes_that_away(user: Cli, name: str) -> None:
    with on_a_terminal(user, WORK[name]) as (_, terminal):
        text = shown(terminal)
    bar, _, rest = text.rpartition(b"\r\x1b[K")
    assert b"%" in bar
    assert b"\r" in bar
    assert b"%" not in rest


@pytest.mark.parametrize("name", WORK)
def test_interrupted_work_is_done_by_the_next_try(user: Cli, name: str) -> None:
    before = files(user)
    with on_a_terminal(user, WORK[name]) as (process, terminal):
        assert b"%" in shown(terminal, until=b"%")
        os.kill(process, signal.SIGINT)
        said = shown(terminal)
    assert b"Interrupted" in said
    assert b"Traceback" not in said
    drafts = [path for path in files(user) - before if any(part.startswith(".") for part in Path(path).parts)]
    assert drafts == []
    user.run(*WORK[name]).done()
    ledger = {"import": "replica.db", "copy": "moved.db"}.get(name)
    events = user.run("-o", "json", "audit", "verify", *(("--ledger", ledger) if ledger else ())).done().json["events"]
    assert events >= EVENTS
