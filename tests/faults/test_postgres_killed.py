"""F8: the database server is killed, or ends connections, while others append."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest

from cli.exit_codes import ExitCode
from ledger.postgres_store import PostgresStore
from tests.faults import dose
from tests.faults import ledger_invariants as invariants
from tests.faults.scenes import COMMANDS, POSTGRES, Scene
from tests.faults.writers import Writer, append, assert_kept, started
from tests.postgres_support import Server

pytestmark = [pytest.mark.crash, pytest.mark.timeout(600)]

ENDED_BY_THE_SERVER = {0, ExitCode.FAILED, ExitCode.UNKNOWN, ExitCode.NOT_APPLIED, ExitCode.TIMED_OUT}


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
        for writer in writers:
            writer.enough()
        for writer in writers:
            writer.join(60)
        assert ended[0] > 0
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
