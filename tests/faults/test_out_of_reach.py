"""F6: the ledger cannot be written, is not there, or is locked by another; then it is there again."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from cli.exit_codes import ExitCode
from tests.faults import dose
from tests.faults import ledger_invariants as invariants
from tests.faults.scenes import AGAIN, ENV, FIRST, POSTGRES, SQLITE, Command, Kind, Scene
from tests.ledger.appender import NOBODY
from tests.ledger.support import holder
from tests.postgres_support import administer, holding

pytestmark = [pytest.mark.fault("F6", on="kind"), pytest.mark.timeout(300)]

Obstacle = Callable[[Scene], AbstractContextManager[object]]


# -- Rights --------------------------------------------------------------------------------------------------------


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that every user may enter."""
    directory = Path(tempfile.mkdtemp(prefix="faults"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@contextmanager
def only_readable(scene: Scene, *paths: Path) -> Iterator[None]:
    """All of the user's files belong to somebody without rights, who may not write some of them."""
    everything = [scene.cli.home.parent, *scene.cli.home.parent.rglob("*")]
    for path in everything:
        os.chown(path, NOBODY, NOBODY)
        path.chmod(0o755 if path.is_dir() else 0o644)
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield
    for path in everything:
        os.chown(path, os.geteuid(), os.getegid())
        path.chmod(0o700 if path.is_dir() else 0o600)


def places(scene: Scene, which: str) -> list[Path]:
    """What may not be written."""
    home = scene.cli.home
    ledgers = home / "ledgers"
    return {
        "the ledger": [scene.cli.ledger],
        "the ledger's directory": [ledgers],
        "all of it": [home, ledgers, *ledgers.iterdir(), *(home / "keys").iterdir()],
    }[which]


ALL_PLACES = ["the ledger", "the ledger's directory", "all of it"]


@pytest.mark.parametrize("which", dose.of(few=ALL_PLACES[:1], short=ALL_PLACES, long=ALL_PLACES))
@pytest.mark.parametrize("command", dose.of(few=[AGAIN], short=[AGAIN], long=[AGAIN, ENV]), ids=lambda each: each.name)
@pytest.mark.parametrize("kind", [SQLITE])
def test_what_may_not_be_written_is_left_alone_and_can_be_read(
    kind: Kind, command: Command, which: str, prepared: Callable[..., Scene], open_directory: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody without rights")
    scene = prepared(kind, command).moved(open_directory / "user")
    powerless = replace(scene, cli=replace(scene.cli, change="tests.faults.changes:powerless"))
    with only_readable(scene, *places(scene, which)):
        result = powerless.run(command)
        invariants.hold(result.code == ExitCode.FAILED, f"7: {result}")
        invariants.hold("Nothing was recorded" in result.stderr, f"7: {result}")
        for question, answer in scene.past.answers[:5]:
            told = powerless.cli.run(*question)
            invariants.hold(told.answer == answer, f"3: {told}")
    scene.settle(command, result)


# -- Not there -----------------------------------------------------------------------------------------------------


@contextmanager
def not_a_directory(scene: Scene) -> Iterator[None]:
    """Something else has the name of the directory."""
    ledgers = scene.cli.home / "ledgers"
    aside = ledgers.rename(ledgers.with_name("aside"))
    ledgers.touch()
    yield
    ledgers.unlink()
    aside.rename(ledgers)


@contextmanager
def not_a_database(scene: Scene) -> Iterator[None]:
    """Something else has the name of the file."""
    aside = scene.cli.ledger.rename(scene.cli.ledger.with_name("aside"))
    scene.cli.ledger.write_bytes(b"no database at all" * 1000)
    yield
    scene.cli.ledger.unlink()
    aside.rename(scene.cli.ledger)


@contextmanager
def no_server(scene: Scene) -> Iterator[None]:
    """The server has another database of that name, without tables; ours is elsewhere."""
    assert scene.server is not None
    scene.wait_alone()
    scene.server.execute(f"ALTER DATABASE {scene.database} RENAME TO aside")
    yield
    scene.server.execute(f"ALTER DATABASE aside RENAME TO {scene.database}")


@contextmanager
def no_tables(scene: Scene) -> Iterator[None]:
    """Some of the tables are elsewhere."""
    administer(scene.address, "ALTER TABLE stored_events RENAME TO aside")
    yield
    administer(scene.address, "ALTER TABLE aside RENAME TO stored_events")


MISSING: dict[str, tuple[Kind, Obstacle, int]] = {
    "its directory": (SQLITE, not_a_directory, ExitCode.REFUSED),  # the cluster has what this ledger knows nothing of
    "its file": (SQLITE, not_a_database, ExitCode.DAMAGED),
    "its database": (POSTGRES, no_server, ExitCode.FAILED),
    "a table": (POSTGRES, no_tables, ExitCode.FAILED),
}


@pytest.mark.parametrize(
    ("kind", "missing", "code"),
    [pytest.param(*MISSING[what], id=what) for what in dose.of(few=["its file"], short=[*MISSING], long=[*MISSING])],
)
def test_a_ledger_that_is_not_there_is_told_and_nothing_is_made_in_its_place(
    kind: Kind, missing: Obstacle, code: int, prepared: Callable[..., Scene], tmp_path: Path
) -> None:
    scene = prepared(kind, AGAIN).moved(tmp_path)
    with missing(scene):
        result = scene.run(AGAIN)
        invariants.hold(result.code == code, f"7: {result}")
    scene.settle(AGAIN, result)
    scene.gone()


# -- Locked --------------------------------------------------------------------------------------------------------


@contextmanager
def another_writer(scene: Scene) -> Iterator[None]:
    """A process of ours that has its turn and does not come back."""
    with holder(scene.cli.ledger):
        yield


@contextmanager
def another_program(scene: Scene) -> Iterator[None]:
    """A program that knows nothing of the queue and locks the file itself."""
    with closing(sqlite3.connect(scene.cli.ledger, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")


def another_transaction(scene: Scene) -> AbstractContextManager[None]:
    """A transaction that is about to append."""
    return holding(scene.address, "SELECT * FROM ledger_head FOR UPDATE")


@contextmanager
def another_administrator(scene: Scene) -> Iterator[None]:
    """Somebody who rebuilds the table."""
    with psycopg.connect(scene.address) as connection:
        connection.execute("LOCK TABLE onectl.stored_events IN EXCLUSIVE MODE")
        yield
        connection.rollback()


LOCKED: dict[str, tuple[Kind, Obstacle]] = {
    "a writer": (SQLITE, another_writer),
    "a program": (SQLITE, another_program),
    "a transaction": (POSTGRES, another_transaction),
    "an administrator": (POSTGRES, another_administrator),
}


@pytest.mark.parametrize(
    "command", dose.of(few=[AGAIN], short=[FIRST, AGAIN], long=[FIRST, AGAIN, ENV]), ids=lambda each: each.name
)
@pytest.mark.parametrize(
    ("kind", "locked"),
    [pytest.param(*LOCKED[who], id=who) for who in dose.of(few=["a writer"], short=[*LOCKED], long=[*LOCKED])],
)
def test_a_ledger_that_is_locked_is_waited_for_and_then_told(
    kind: Kind, locked: Obstacle, command: Command, prepared: Callable[..., Scene], tmp_path: Path
) -> None:
    scene = prepared(kind, command).moved(tmp_path)
    if command is FIRST:  # something to lock
        scene.run(ENV.named("before"))
        scene.cli.ledger.parent.mkdir(parents=True, exist_ok=True)
    impatient = replace(scene, cli=replace(scene.cli, change="tests.faults.changes:impatient"))
    with locked(scene):
        result = impatient.run(command)
    invariants.hold(result.code == ExitCode.FAILED, f"7: {result}")
    invariants.hold("locked" in result.stderr and "Nothing was recorded" in result.stderr, f"7: {result}")
    scene.settle(command, result)
    scene.gone()


@dose.not_few("the lock is held for 30 seconds")
@pytest.mark.parametrize("kind", [SQLITE])
def test_a_ledger_that_is_locked_for_thirty_seconds_is_told_of_within_thirty_one(
    kind: Kind, prepared: Callable[..., Scene], tmp_path: Path
) -> None:
    scene = prepared(kind, AGAIN).moved(tmp_path)
    scene.run(
        Command("", ("deploy", "--image", "nginx:1", "--wait"), request_id="waited")
    ).done()  # so that nothing is observed
    with another_writer(scene):
        result = scene.run(AGAIN)
    invariants.hold(result.code == ExitCode.FAILED, f"7: {result}")
    invariants.hold("locked by another process for 30 s" in result.stderr, f"7: {result}")
    scene.settle(AGAIN, result)
