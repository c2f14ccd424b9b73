"""A told story as a user's files, and what must be the same wherever its ledger goes."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from ledger.backup import BackedUp, back_up
from ledger.codec import encode
from ledger.envelope import Envelope, Source, Subject
from ledger.events import EnvSet
from ledger.leaf import GENESIS
from ledger.spec import AppId
from ledger.sqlite_store import SqliteStore
from ledger.store import Head, ModelStore, NewRow, Row
from ledger.stores import open_store
from ledger.streams import app_stream
from ledger.transfer import beside_digest
from tests.cli import in_process
from tests.cli.story import LISTS, READS, Story
from tests.cli_support import Cli, Result

EMPTY = Head(0, 0, GENESIS)
SANDBOX = "home/ledgers/sandbox.db"


class User:
    """A user with a copy of the story's files."""

    def __init__(self, story: Story, root: Path) -> None:
        shutil.copytree(story.root, root, dirs_exist_ok=True)
        self.story = story
        self.root = root
        self.ledger = root / SANDBOX

    def run(self, *args: str, ledger: object = None, stdin: str = "", app: str = "user-service") -> Result:
        env = {
            "ONECTL_HOME": str(self.root / "home"),
            "ONECTL_SANDBOX_SECONDS": "0.02",
            "ONECTL_ACTOR": "ann",
            "TZ": "UTC",
            **({"ONECTL_LEDGER": str(ledger)} if ledger is not None else {}),
        }
        return in_process.run(*args, cwd=self.root / app, env=env, stdin=stdin)

    def json(self, *args: str, ledger: object = None) -> Any:
        return self.run("-o", "json", *args, ledger=ledger).done().json

    @property
    def cli(self) -> Cli:
        """The same user, each command a process."""
        return Cli(self.root / "home", self.root / "user-service")

    def answers_as_told(self, ledger: object, *, every: int | None = None) -> None:
        """Every question about the past has the answer that the story was told with, byte for byte.

        Of a database, where each question connects anew, only one position in four is asked about by default.
        """
        every = every or (4 if "://" in str(ledger) else 1)
        for number, (position, answers) in enumerate(list(self.story.answers.items())[::-every]):
            asked = READS if number % 4 else (*READS, *LISTS)
            for app in self.story.domains:
                for read in asked:
                    args = ("-o", "json", *read, "--at-position", str(position))
                    result = self.run(*args, ledger=ledger, app=app)
                    assert result.answer == answers[app, *read], (position, app, read, result.stderr)


def rows(address: object) -> Sequence[Row]:
    with closing(opened(address)) as store:
        return store.positions(1, limit=100_000)


def beside(address: object) -> str:
    with closing(opened(address)) as store:
        return beside_digest(store)


def head(address: object) -> Head:
    with closing(opened(address)) as store:
        return store.head()


def opened(address: object) -> ModelStore:
    return open_store(address if isinstance(address, Path) else str(address))


def backed_up(store: ModelStore, path: Path) -> BackedUp:
    return back_up(store, path, sign=lambda copy: None, progress=silent)


@contextmanager
def silent(_what: str) -> Iterator[Any]:
    with nullcontext():
        yield lambda _done, _total: None


def grow(path: Path, count: int) -> None:
    """Many more events in a ledger, about an app that nobody asks about."""
    envelope = Envelope(
        actor="ann",
        reason=None,
        request_id=None,
        source=Source(program="test", host="h"),
        subject=Subject(cluster="sandbox", namespace="default", app="many", deployment_id=""),
        correlation_id="c",
        causation=None,
        clock="2026-01-31T09:30:00.000000Z",
        salt="00",
    )
    stream = app_stream(AppId("sandbox", "default", "many")).bytes
    with closing(SqliteStore(path)) as store:
        state = encode(EnvSet(values={"N": "1"}), envelope)
        lines = [NewRow(stream, version, "EnvSet", state) for version in range(1, count + 1)]
        store.append(lines, clock_us=0)


def until(condition: Any, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def files_holding(root: Path, text: str) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 0x01
    path.write_bytes(content)


def flip_within(path: Path, needle: bytes) -> None:
    """Flip a byte of the last occurrence of some bytes."""
    offset = path.read_bytes().rindex(needle)
    flip(path, offset + len(needle) // 2)


def position_of(user: User, kind: str, ledger: object = None) -> int:
    return int(json.loads(user.run("-o", "json", "audit", "log", "--kind", kind, ledger=ledger).stdout)[0]["position"])
