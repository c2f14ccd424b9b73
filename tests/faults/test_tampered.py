"""F7: somebody with every right changes what is stored: each change is found, and where it is."""

from __future__ import annotations

import random
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psycopg
import pytest

from cli.exit_codes import ExitCode
from ledger.comparing import verify_against
from ledger.errors import LedgerDamagedError, LedgerUnavailableError
from ledger.ledger_key import ledger_key
from ledger.sqlite_store import SqliteStore
from ledger.store import ModelStore, Row
from ledger.verify import verify_chain
from tests.cli.in_process import run
from tests.faults import dose
from tests.faults.ledger_invariants import ALL, hold
from tests.faults.scenes import POSTGRES, SQLITE, Command, Kind, Scene, veteran
from tests.postgres_support import Server

pytestmark = pytest.mark.timeout(3600)

COLUMNS = (
    "notification_id", "originator_id", "originator_version", "topic", "state", "recorded_us", "leaf", "chain"
)  # fmt: skip
INSERT = f"INSERT INTO stored_events ({', '.join(COLUMNS)}) VALUES ({', '.join('%s' for _ in COLUMNS)})"


class Administrator(Protocol):
    """Who may run any statement on the tables of a ledger; its own guards are out of the way."""

    def do(self, statement: str, *parameters: object) -> None:
        """Run a statement; ``%s`` stands for a parameter."""


@dataclass(frozen=True, slots=True)
class SqliteAdministrator:
    connection: sqlite3.Connection

    def do(self, statement: str, *parameters: object) -> None:
        self.connection.execute(statement.replace("%s", "?"), parameters)


@dataclass(frozen=True, slots=True)
class PostgresAdministrator:
    connection: psycopg.Connection[Any]

    def do(self, statement: str, *parameters: object) -> None:
        self.connection.execute(statement.encode(), parameters)


@dataclass(frozen=True, slots=True)
class Found:
    """Where a change must be found.

    Attributes:
        position: The first that is not as it was.
        by_checkpoint: Whether only a checkpoint that was kept elsewhere shows it.
    """

    position: int
    by_checkpoint: bool = False


Change = Callable[[Administrator, Sequence[Row], random.Random], Found]


# -- What an administrator may do ----------------------------------------------------------------------------------


def edit_a_field(admin: Administrator, rows: Sequence[Row], chance: random.Random) -> Found:
    row = chance.choice(rows)
    column = chance.choice(("topic", "state", "recorded_us", "originator_id", "originator_version", "leaf", "chain"))
    now = getattr(row, {"originator_id": "stream", "originator_version": "version"}.get(column, column))
    admin.do(f"UPDATE stored_events SET {column} = %s WHERE notification_id = %s", _other(now, chance), row.position)
    return Found(row.position)


def delete_a_row(admin: Administrator, rows: Sequence[Row], chance: random.Random) -> Found:
    row = chance.choice(rows)
    admin.do("DELETE FROM stored_events WHERE notification_id = %s", row.position)
    return Found(row.position)


def delete_a_row_and_close_the_gap(admin: Administrator, rows: Sequence[Row], chance: random.Random) -> Found:
    row = chance.choice(rows[:-1])
    delete_until = [row.position]
    admin.do("DELETE FROM stored_events WHERE notification_id = %s", *delete_until)
    for later in rows[row.position :]:
        move = "UPDATE stored_events SET notification_id = %s WHERE notification_id = %s"
        admin.do(move, later.position - 1, later.position)
    return Found(row.position)


def swap_two_rows(admin: Administrator, rows: Sequence[Row], chance: random.Random) -> Found:
    one, other = sorted(chance.sample(range(1, len(rows) + 1), 2))
    for now, then in ((one, -1), (other, one), (-1, other)):
        admin.do("UPDATE stored_events SET notification_id = %s WHERE notification_id = %s", then, now)
    return Found(one)


def swap_what_two_rows_say(admin: Administrator, rows: Sequence[Row], chance: random.Random) -> Found:
    one, other = sorted(chance.sample(rows, 2), key=lambda row: row.position)
    for place, content in ((one, other), (other, one)):
        change = "UPDATE stored_events SET topic = %s, state = %s WHERE notification_id = %s"
        admin.do(change, content.topic, content.state, place.position)
    return Found(one.position)


def cut_the_tail(admin: Administrator, rows: Sequence[Row], chance: random.Random) -> Found:
    left = chance.randrange(len(rows))
    admin.do("DELETE FROM stored_events WHERE notification_id > %s", left)
    return Found(left + 1)


def cut_the_tail_and_put_the_head_back(admin: Administrator, rows: Sequence[Row], chance: random.Random) -> Found:
    last = chance.choice(rows[:-1])
    admin.do("DELETE FROM stored_events WHERE notification_id > %s", last.position)
    head = "UPDATE ledger_head SET position = %s, recorded_us = %s, chain = %s"
    admin.do(head, last.position, last.recorded_us, last.chain)
    return Found(last.position + 1, by_checkpoint=True)


def add_a_row(admin: Administrator, rows: Sequence[Row], chance: random.Random) -> Found:
    like, position = chance.choice(rows), len(rows) + chance.choice((1, 1, 5))
    admin.do(INSERT, position, like.stream, 10_000, like.topic, like.state, rows[-1].recorded_us, like.leaf, like.chain)
    return Found(len(rows) + 1)


def add_a_row_before_the_first(admin: Administrator, rows: Sequence[Row], chance: random.Random) -> Found:
    like, position = chance.choice(rows), -chance.randrange(1000)
    admin.do(INSERT, position, like.stream, 10_000, like.topic, like.state, like.recorded_us, like.leaf, like.chain)
    return Found(position)


def move_the_head(admin: Administrator, rows: Sequence[Row], chance: random.Random) -> Found:
    to = chance.choice([*range(len(rows)), len(rows) + 1, len(rows) + 7])
    admin.do("UPDATE ledger_head SET position = %s", to)
    return Found(min(to, len(rows)) + 1 if to else len(rows))  # 0 is no head at all: what is missing is at the end


def change_the_head(admin: Administrator, rows: Sequence[Row], chance: random.Random) -> Found:
    admin.do("UPDATE ledger_head SET chain = %s", _other(rows[-1].chain, chance))
    return Found(len(rows))


CHANGES: Sequence[Change] = (
    edit_a_field,
    edit_a_field,
    edit_a_field,
    delete_a_row,
    delete_a_row_and_close_the_gap,
    swap_two_rows,
    swap_what_two_rows_say,
    cut_the_tail,
    cut_the_tail_and_put_the_head_back,
    add_a_row,
    add_a_row_before_the_first,
    move_the_head,
    change_the_head,
)


def _other(value: object, chance: random.Random) -> object:
    """Another value of the same kind, often a near one."""
    match value:
        case int():
            return value + chance.choice((1000, 1_000_003))
        case bytes():
            place = chance.randrange(len(value))
            return value[:place] + bytes([value[place] ^ (1 << chance.randrange(8))]) + value[place + 1 :]
        case str():
            return chance.choice([each for each in ("EnvSet", "Deployed", "Deployee", value + "d") if each != value])
        case _:
            raise AssertionError(value)


# -- The ledgers ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def original(in_memory: Path) -> Scene:
    """A user whose ledger is a file."""
    return veteran(Path(tempfile.mkdtemp(dir=in_memory)), SQLITE)


@pytest.fixture(scope="module")
def shared(in_memory: Path, postgres: Server) -> Scene:
    """A user whose ledger is in a database."""
    return veteran(Path(tempfile.mkdtemp(dir=in_memory)), POSTGRES, postgres)


@contextmanager
def administering(scene: Scene, kind: Kind) -> Iterator[Administrator]:
    """What an administrator does, in one transaction, behind the back of every guard."""
    if kind == SQLITE:
        with closing(sqlite3.connect(scene.address)) as file, file:
            for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
                file.execute(f"DROP TRIGGER {name}")
            yield SqliteAdministrator(file)
        return
    with psycopg.connect(scene.address) as database:
        database.execute("SET search_path = onectl, public")
        database.execute("ALTER TABLE stored_events DISABLE TRIGGER ALL")
        yield PostgresAdministrator(database)


@contextmanager
def put_back(scene: Scene, kind: Kind, rows: Sequence[Row]) -> Iterator[Scene]:
    """A block after which the ledger is as it was."""
    try:
        yield scene
    finally:
        with administering(scene, kind) as admin:
            admin.do("DELETE FROM stored_events")
            for row in rows:
                admin.do(INSERT, *row)
            last = rows[-1]
            head = "UPDATE ledger_head SET position = %s, recorded_us = %s, chain = %s"
            admin.do(head, last.position, last.recorded_us, last.chain)


# -- Changes by SQL ------------------------------------------------------------------------------------------------


@pytest.mark.fault("F7", on="kind")
@pytest.mark.parametrize("kind", [SQLITE, POSTGRES])
def test_every_change_of_a_row_is_found_where_it_was_made(
    kind: Kind, request: pytest.FixtureRequest, cases: dose.Cases
) -> None:
    scene: Scene = request.getfixturevalue("original" if kind == SQLITE else "shared")
    rows = scene.past.rows
    for seed in cases.each(dose.seeds(few=13, short=100, long=2000)):
        chance = random.Random(seed)
        change = CHANGES[seed % len(CHANGES)]
        with put_back(scene, kind, rows):
            with administering(scene, kind) as admin:
                expected = change(admin, rows, chance)
            with scene.store() as store:
                where = f"{change.__name__}, seed {seed}"
                assert_found(store, expected, scene, where)
            if seed % 10 == 0 and not expected.by_checkpoint:
                assert_told(scene, expected, where)
        with scene.store() as store:
            assert verify_chain(store).damage is None


def assert_found(store: ModelStore, expected: Found, scene: Scene, where: str) -> None:
    """The first position that is not as it was is named, and what is called intact is."""
    result = verify_chain(store)
    if expected.by_checkpoint:
        # The chain is whole; that something beside it is not what the lines say may show all the same.
        shown = result.damage is None or result.damage.fault in ("unfindable", "beside")
        hold(shown, f"5: {where}: the chain is whole, and {result.damage} was found")
        compared = verify_against(store, scene.past.note or b"", ledger_key(store))
        hold(compared.verdict != "consistent", f"5: {where}: the checkpoint shows nothing")
        hold(compared.size == expected.position - 1, f"5: {where}: {compared.detail}")
        return
    hold(result.damage is not None, f"5: {where}: nothing was found")
    assert result.damage is not None
    hold(result.damage.position == expected.position, f"5: {where}: expected {expected.position}, {result.damage}")
    intact = tuple(store.positions(1, result.events, limit=ALL)) if result.events else ()
    hold(intact == scene.past.rows[: result.events], f"5: {where}: called {result.events} lines intact")


def assert_told(scene: Scene, expected: Found, where: str) -> None:
    """A person hears of it, with the exit code for it."""
    said = run("audit", "verify", cwd=scene.cli.cwd, env=scene.cli.environ())
    hold(said.code == ExitCode.DAMAGED, f"7: {where}: {said}")
    hold(f"damaged at position {expected.position} " in said.stderr, f"5: {where}: {said.stderr}")


# -- Changes of the file -------------------------------------------------------------------------------------------

FLIPS = ("bit", "bit", "page of zeros", "two pages swapped", "page of an older file", "shortened", "older file")


@pytest.mark.fault("F7", on="SQLite, pages")
def test_every_change_of_the_file_is_harmless_or_found(original: Scene, cases: dose.Cases, tmp_path: Path) -> None:
    older = tmp_path / "older.db"
    shutil.copy(original.address, older)
    scene = original.moved(tmp_path / "now")
    for number in range(12):
        scene.run(
            Command("", ("env", "create", "--env", f"KEY{number}={'x' * 200 * number}"), request_id=f"more-{number}")
        )
    scene = scene.remembering()
    content = Path(scene.address).read_bytes()
    page = int.from_bytes(content[16:18], "big")
    found = 0
    for seed in cases.each(dose.seeds(few=14, short=100, long=3000)):
        chance = random.Random(seed)
        kind = FLIPS[seed % len(FLIPS)]
        damaged = tmp_path / "damaged.db"
        changed = flipped(kind, content, older.read_bytes(), page, chance)
        damaged.write_bytes(changed)
        found += not harmless(damaged, scene, f"{kind}, seed {seed}") if changed != content else 0
        for file in tmp_path.glob("damaged.db*"):
            file.unlink()
    assert found > cases.count / 4 or dose.ONLY is not None, "most of the file is events"


def flipped(kind: str, content: bytes, older: bytes, page: int, chance: random.Random) -> bytes:
    """The file after something happened to it."""
    changed = bytearray(content)
    pages = len(content) // page
    one, other = (chance.randrange(1, pages) * page for _ in range(2))
    match kind:
        case "bit":
            changed[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        case "page of zeros":
            changed[one : one + page] = bytes(page)
        case "two pages swapped":
            changed[one : one + page], changed[other : other + page] = (
                content[other : other + page],
                content[one : one + page],
            )
        case "page of an older file":
            place = chance.randrange(len(older) // page) * page
            changed[place : place + page] = older[place : place + page]
        case "shortened":
            del changed[chance.randrange(len(content)) :]
        case "older file":
            changed[:] = older
        case _:
            raise AssertionError(kind)
    return bytes(changed)


def harmless(path: Path, scene: Scene, where: str) -> bool:
    """Whether all is as it was; if not, it was found, by the chain, by SQLite or by the kept checkpoint, and where."""
    rows = scene.past.rows
    with closing(SqliteStore(path)) as store:
        try:
            result = verify_chain(store)
            now = readable(store)
        except LedgerUnavailableError as error:  # it does not even look like a ledger any more
            hold(str(path) in error.message, f"7: {where}: {error.message}")
            return False
        first = next((at for at, pair in enumerate(zip(now, rows, strict=False), 1) if pair[0] != pair[1]), None)
        if first is None and len(now) != len(rows):
            first = min(len(now), len(rows)) + 1
        if result.damage is not None:
            # An index, or the head, may be damaged before the first line that is.
            hold(first is None or result.damage.position <= first, f"5: {where}: {result.damage}, not {first}")
            hold(tuple(now[: result.events]) == rows[: result.events], f"5: {where}: called {result.events} intact")
            return False
        if first is not None:
            compared = verify_against(store, scene.past.note or b"", ledger_key(store)) if now else None
            hold(compared is None or compared.verdict != "consistent", f"5: {where}: nothing found it")
            return False
    return True


def readable(store: ModelStore) -> list[Row]:
    """Every line up to the first that cannot be read."""
    rows: list[Row] = []
    with suppress(LedgerDamagedError):
        while more := store.positions(rows[-1].position + 1 if rows else -(2**63), limit=1):
            rows += more
    return rows
