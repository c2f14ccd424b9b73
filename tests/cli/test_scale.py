"""What a command reads does not grow with the ledger, counted instead of timed: rows, statements, and steps of SQLite."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from ledger.keys import KeyFiles
from ledger.snapshots import STEP
from tests.bench.make_ledger import app_id, make
from tests.cli_support import Cli, write_toml
from tests.faults import dose

EVENTS, APPS, RELEASES = 12_000, 300, 1_000

RUNNER = """
import json, sqlite3, sys

out, sys.argv = sys.argv[1], ["1ctl", *sys.argv[2:]]
counted = {"rows": 0, "steps": 0, "statements": 0}

class Cursor(sqlite3.Cursor):
    def fetchall(self):
        rows = super().fetchall()
        counted["rows"] += len(rows)
        return rows

class Connection(sqlite3.Connection):
    def cursor(self):
        return super().cursor(Cursor)

def count(what, amount=1):
    counted[what] += amount

def connect(*args, _connect=sqlite3.connect, **options):
    connection = _connect(*args, factory=Connection, **options)
    connection.set_trace_callback(lambda text: count("statements"))
    connection.set_progress_handler(lambda: count("steps", 100), 100)
    return connection

sqlite3.connect = connect
from cli.main import main
code = main()
with open(out, "w") as file:
    json.dump(counted, file)
sys.exit(code)
"""


class Work(NamedTuple):
    """What SQLite was asked to do."""

    rows: int
    steps: int
    statements: int


class Place(NamedTuple):
    """A user with a ledger that was made."""

    cli: Cli
    position: int

    def run(self, *args: str) -> Work:
        """One command, counted."""
        out = self.cli.cwd / "counted.json"
        words = [word.format(middle=self.position // 2, end=self.position) for word in args]
        done = subprocess.run(
            [sys.executable, "-c", RUNNER, str(out), *words],
            cwd=self.cli.cwd,
            env=self.cli.environ(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        assert done.returncode == 0, done.stderr
        return Work(**json.loads(out.read_text()))


def place(base: Path, *, events: int, apps: int, releases: int) -> Place:
    cli = Cli(base / "home", base / "svc")
    write_toml(cli.cwd, app_id(0).name)
    keys = KeyFiles(cli.home / "keys")
    make(cli.home / "ledgers" / "sandbox.db", events=events, apps=apps, releases_of_first_app=releases, keys=keys)
    for warm in (("deploy", "get"), ("deploy", "list"), ("deploy", "status")):  # leaves snapshots and the list
        cli.run(*warm).done()
    return Place(cli, events)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return place(tmp_path_factory.mktemp("small"), events=120, apps=3, releases=10)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return place(tmp_path_factory.mktemp("large"), events=EVENTS, apps=APPS, releases=RELEASES)


COMMANDS = (
    "deploy get",
    "deploy get --at-release 1",
    "deploy get --at-release 7",
    "deploy get --at-position {middle}",
    "deploy status --at-release 1",
    "env list",
    "env list --at-release 1",
    "secret list",
    "deploy releases",
    "deploy releases --at-release 5",
    "deploy list",
    "deploy list --at-position {middle}",
    "deploy diff 1 2",
    "deploy rollback --dry-run",
    "deploy rollback --version 1 --dry-run",
    "deploy scale --replicas 7 --dry-run",
    "deploy --image nginx:1 --dry-run",
    "deploy events",
)


@pytest.mark.parametrize("command", dose.of(few=COMMANDS[::4], short=COMMANDS, long=COMMANDS))
def test_what_is_read_does_not_grow_with_the_ledger(small: Place, large: Place, command: str) -> None:
    few, many = small.run(*command.split()), large.run(*command.split())
    folds = 4  # at most so many states of an app are folded by one command, each from its nearest snapshot
    assert many.rows <= few.rows + folds * (STEP + 50), (few, many)
    assert many.statements <= few.statements + 2 * folds, (few, many)
    assert many.steps <= few.steps + 60_000, (few, many)


@pytest.mark.parametrize("command", ["deploy releases --wide", "deploy list --all", "audit log", "ledger status"])
def test_what_a_page_reads_is_bounded(large: Place, command: str) -> None:
    """They show more than a small ledger has; a page of it, or of what is known about it."""
    work = large.run(*command.split())
    assert work.rows <= 2_500, work
    assert work.steps <= 250_000, work


@pytest.mark.parametrize("release", [2, RELEASES // 2, RELEASES])
def test_any_release_is_found_without_reading_those_before_or_after(large: Place, release: int) -> None:
    work = large.run("deploy", "get", "--at-release", str(release))
    assert work.rows <= STEP + 50
    assert work.steps <= 100_000, "the index is counted along, nothing else"


def test_what_a_write_reads_does_not_grow_with_the_ledger(small: Place, large: Place) -> None:
    few, many = (each.run("deploy", "scale", "--replicas", "6") for each in (small, large))
    assert many.rows <= few.rows + 6 * (STEP + 50), (few, many)
    assert many.steps <= few.steps + 60_000, (few, many)
