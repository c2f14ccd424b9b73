"""Long work says how far it is, on a terminal; interrupted, it leaves nothing half done, and the next try finishes."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ledger.keys import KeyFiles
from ledger.sqlite_store import SqliteStore
from tests.bench.make_ledger import fill
from tests.cli_support import Cli
from tests.faults import dose

EVENTS, APPS = 12_000, 200
ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)"

ALL_WORK = {
    "verify": ("audit", "verify"),
    "rebuild": ("ledger", "rebuild"),
    "snapshots": ("ledger", "rebuild", "snapshots"),
    "export": ("audit", "export", "--file", "ledger.jsonl"),
    "import": ("audit", "import", "exported.jsonl", "--ledger", "replica.db"),
    "backup": ("ledger", "backup", "backup.db"),
    "restore": ("ledger", "restore", "kept.db", "-y"),
    "copy": ("ledger", "copy", "--to", "moved.db"),
}
WORK = {name: ALL_WORK[name] for name in dose.of(few=("verify", "copy"), short=ALL_WORK, long=ALL_WORK)}


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


def stand_still_once_shown() -> None:
    """In another process: work goes no further than to where it first says how far it is."""
    from cli import progress

    class Standing:
        still = True

        def __getattr__(self, name: str) -> Any:
            return getattr(sys.stderr, name)

        def write(self, text: str) -> None:
            stands, self.still = self.still, False  # before it is seen: who is interrupted then takes the line away
            sys.stderr.write(text)
            sys.stderr.flush()
            for _ in range(600 if stands else 0):
                time.sleep(0.1)  # a signal that comes just before a sleep is heard after it

    progress.sys = SimpleNamespace(stderr=Standing())  # type: ignore[assignment, attr-defined]


@pytest.mark.parametrize("name", WORK)
def test_interrupted_work_is_done_by_the_next_try(user: Cli, name: str) -> None:
    before = files(user)
    held = replace(user, change=f"{__name__}:{stand_still_once_shown.__name__}")
    with on_a_terminal(held, WORK[name]) as (process, terminal):
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


def ask_without_end() -> None:
    """From now on the ledger's head is the answer of a statement that never ends."""

    def head(store: SqliteStore) -> Any:
        sys.stderr.write("asking\n")
        sys.stderr.flush()
        return store.query(f"{ENDLESS} SELECT count(*) FROM n", {})

    SqliteStore.head = head  # type: ignore[assignment, method-assign]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_statement_that_does_not_end_is_ended_by_a_signal(deployed: Cli, number: int, code: int) -> None:
    asking = replace(deployed, change=f"{__name__}:{ask_without_end.__name__}")
    with asking.start("audit", "verify") as process:
        assert process.stderr is not None
        assert process.stderr.readline() == b"asking\n"
        time.sleep(0.2)  # into the statement
        process.send_signal(number)
        try:
            _, stderr = process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    assert process.returncode == code
    assert b"Nothing was recorded." in stderr
    assert b"Traceback" not in stderr


def test_a_file_that_would_never_answer_is_refused_at_once(deployed: Cli) -> None:
    with closing(sqlite3.connect(deployed.cwd / "sent.db")) as sent:
        with closing(sqlite3.connect(deployed.ledger)) as ours:
            ours.backup(sent)
        sent.execute("DROP TABLE stored_events")
        sent.execute(f"CREATE VIEW stored_events AS {ENDLESS} SELECT x AS notification_id FROM n")
    for args in (("ledger", "restore", "sent.db", "-y"), ("--ledger", "sent.db", "audit", "verify")):
        refused = deployed.run(*args).failed(7)
        assert 'a view "stored_events", which no ledger has' in refused.error
    deployed.run("audit", "verify").done()
