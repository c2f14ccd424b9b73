"""F8: the database server is killed, or ends connections, while others append."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

import psycopg
import pytest

from cli.exit_codes import ExitCode
from ledger.postgres_store import PostgresStore
from tests.effects.worlds import eventually
from tests.faults import dose
from tests.faults import ledger_invariants as invariants
from tests.faults.dose import Cases
from tests.faults.scenes import (
    AGAIN,
    COMMANDS,
    DESTROY,
    ENV,
    FIRST,
    POSTGRES,
    RESTART,
    SCALE,
    SECRET,
    Command,
    Scene,
)
from tests.faults.writers import PATIENCE, Writer, append, assert_kept, started
from tests.postgres_support import Server

pytestmark = [pytest.mark.crash, pytest.mark.timeout(600)]

ENDED_BY_THE_SERVER = {0, ExitCode.FAILED, ExitCode.UNKNOWN, ExitCode.NOT_APPLIED, ExitCode.TIMED_OUT}
WAITING = Command("redeploy and wait", ("deploy", "--image", "nginx:3", "--wait", "--timeout", "9s"))
PURGE = Command("purge", ("secret", "purge", "JWT_SECRET", "-y", "--reason", "leaked"))
MARK = Command("mark bad", ("deploy", "mark-bad", "1", "--reason", "slow"))
STEPWISE = (FIRST, SECRET, WAITING, DESTROY, AGAIN, ENV, SCALE, RESTART, PURGE, MARK)


@pytest.fixture(scope="module")
def mortal() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.mark.fault("F8", on="server killed")
@pytest.mark.parametrize("seed", dose.seeds(few=1, short=5, long=150))
def test_every_acknowledged_append_survives_a_server_that_is_killed(mortal: Server, seed: int) -> None:
    chance = random.Random(seed)
    url = mortal.new_database()
    writers = [Writer(url, number) for number in range(chance.randint(1, 4))]
    started(writers, each=5)
    time.sleep(chance.uniform(0, 0.2))
    mortal.kill()
    for writer in writers:
        writer.join(60)
    mortal.start_again()
    with closing(PostgresStore(url)) as store:
        assert_kept(store, writers)
        for writer in writers:
            assert writer.pending is not None
            writer.acknowledged[writer.pending] = append(store, writer.pending)
        assert_kept(store, writers)


@contextmanager
def connections_ended(url: str, chance: random.Random, *, pause: float) -> Iterator[list[int]]:
    """A block during which somebody ends every connection to the database now and then; counts them."""
    done = threading.Event()
    count = [0]

    def end() -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            while not done.wait(chance.uniform(0, pause)):
                ended = connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
                ).fetchall()
                count[0] += len(ended)

    ending = threading.Thread(target=end)
    ending.start()
    try:
        yield count
    finally:
        done.set()
        ending.join()


@pytest.mark.fault("F8", on="connections ended")
@pytest.mark.parametrize("seed", dose.seeds(few=1, short=5, long=100))
def test_writers_whose_connections_are_ended_record_each_request_once(
    postgres: Server, database: str, seed: int
) -> None:
    chance = random.Random(seed)
    with closing(PostgresStore(database)) as store:
        append(store, "9-1")
        writers = [Writer(database, number, through=True) for number in range(chance.randint(1, 4))]
        with connections_ended(database, chance, pause=0.03) as ended:
            started(writers, each=dose.of(few=20, short=20, long=50))
            eventually(lambda: ended[0], within=PATIENCE)  # they go on meanwhile
        for writer in writers:
            writer.enough()
        for writer in writers:
            writer.join(60)
        writers[0].acknowledged["9-1"] = 1
        assert_kept(store, writers)


@pytest.mark.fault("F8", on="connections of commands ended")
@pytest.mark.parametrize("seed", dose.seeds(few=1, short=10, long=100))
def test_a_command_whose_connection_is_ended_says_what_became_of_it(
    seed: int, prepared: Callable[..., Scene], tmp_path: Path
) -> None:
    chance = random.Random(seed)
    command = COMMANDS[seed % len(COMMANDS)]
    scene = prepared(POSTGRES, command).moved(tmp_path)
    with connections_ended(scene.address, chance, pause=chance.choice((0.001, 0.01, 0.05))):
        result = scene.run(command)
    invariants.hold(result.code in ENDED_BY_THE_SERVER, f"7: {result}")
    scene.settle(command, result, number=seed)
    scene.gone()


@pytest.mark.fault("F8", on="connection of a command broken at each statement")
@pytest.mark.parametrize(
    "command", dose.of(few=STEPWISE[:1], short=STEPWISE[:4], long=STEPWISE), ids=lambda each: each.name
)
@pytest.mark.parametrize("how", dose.of(few=["ended"], short=["ended", "deaf"], long=["ended", "deaf"]))
def test_a_command_says_what_became_of_it_whichever_statement_its_connection_breaks_at(
    how: str, command: Command, prepared: Callable[..., Scene], cases: Cases, tmp_path: Path
) -> None:
    cases.count = 0
    for number in [dose.ONLY] if dose.ONLY is not None else dose.of(few=count(2, 6), short=count(1), long=count(1)):
        cases.now = number
        scene = prepared(POSTGRES, command).moved(tmp_path / str(number))
        broken = tmp_path / f"broken {number}"
        breaking = scene.cli.having(ONECTL_TEST_BREAKS=f"{how} {number} {broken}")
        faulty = replace(scene, cli=replace(breaking, change="tests.faults.changes:broken_connection"))
        result = faulty.run(command)
        scene.settle(command, result, number=number)
        scene.gone()
        if not broken.exists():
            break
        cases.count += 1
        invariants.hold(result.code in ENDED_BY_THE_SERVER, f"7: {result}")
