"""F9: the database server is lost and a standby takes over."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from cli.exit_codes import ExitCode
from ledger.comparing import verify_against
from ledger.kept_checkpoints import KeptCheckpoints
from ledger.ledger_key import ledger_key
from ledger.postgres_store import PostgresStore
from ledger.reader import LedgerReader
from tests.faults import dose
from tests.faults import ledger_invariants as invariants
from tests.faults.scenes import AGAIN, ENV, POSTGRES, SCALE, Scene, veteran
from tests.faults.standby import Standby, replicate
from tests.faults.writers import Writer, append, assert_kept, started
from tests.postgres_support import Server

pytestmark = [
    pytest.mark.crash,
    pytest.mark.timeout(600),
    dose.not_few("two database servers"),
]


@contextmanager
def pair(*, synchronously: bool) -> Iterator[tuple[Server, Standby]]:
    """A server and one that follows it."""
    primary = Server()
    try:
        standby = Standby(primary)
        try:
            replicate(primary, synchronously=synchronously)
            standby.wait_until_it_follows(synchronously=synchronously)
            yield primary, standby
        finally:
            standby.close()
    finally:
        primary.close()


def either(url: str, standby: Server) -> str:
    """The address that names both servers: whichever can be written is used."""
    return f"{url},{standby.directory}"


@pytest.mark.fault("F9", on="synchronous standby")
@pytest.mark.parametrize("seed", dose.seeds(few=1, short=2, long=30))
def test_with_a_synchronous_standby_nothing_that_was_acknowledged_is_lost(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    with pair(synchronously=True) as (primary, standby):
        scene = at_both(veteran(tmp_path, POSTGRES, primary), standby)
        url = either(primary.new_database(), standby)
        writers = [Writer(url, number) for number in range(chance.randint(1, 4))]
        started(writers, each=5)
        time.sleep(chance.uniform(0, 0.3))
        primary.kill()
        for writer in writers:
            writer.join(60)
        standby.promote()
        with closing(PostgresStore(url)) as store:
            assert_kept(store, writers)
            for writer in writers:
                assert writer.pending is not None
                writer.acknowledged[writer.pending] = append(store, writer.pending)
            assert_kept(store, writers)
        scene.check()
        result = scene.run(AGAIN)
        scene.settle(AGAIN, result, number=seed)


def at_both(scene: Scene, standby: Server) -> Scene:
    """The same user, whose address names both servers."""
    cli = scene.cli.having(ONECTL_LEDGER=either(scene.address, standby))
    return replace(scene, cli=cli, server=standby)


@pytest.mark.fault("F9", on="asynchronous standby")
@pytest.mark.parametrize("seed", dose.seeds(few=1, short=1, long=20))
def test_what_an_asynchronous_standby_lost_shows_by_the_kept_checkpoint_and_the_request_id(
    seed: int, tmp_path: Path
) -> None:
    with pair(synchronously=False) as (primary, standby):
        scene = veteran(tmp_path, POSTGRES, primary)
        reached(primary, standby)
        both = at_both(scene, standby)
        standby.cut_off()
        lost = [ENV.named("lost-1"), SCALE.named("lost-2")][: 1 + seed % 2]
        for command in lost:
            both.run(command).done()
        both.cli.run("audit", "checkpoint", "--file", str(tmp_path / "kept")).done()
        primary.kill()
        standby.promote()
        # The ledger that is there is whole, and not what was signed.
        assert "Ledger is intact" in both.cli.run("audit", "verify").done().stdout
        damaged = both.cli.run("audit", "verify", "--against", str(tmp_path / "kept")).failed(7)
        assert "the ledger is not what was signed" in damaged.error
        for command in lost:
            assert both.cli.run("-o", "json", "audit", "log", "--request-id", command.request_id).done().json == []
        # Repeated with its id, each is recorded again; the loss itself stays to be seen.
        both.acknowledged.difference_update(command.request_id for command in lost)
        results = [both.run(command) for command in lost]
        assert {result.code for result in results} <= {0, ExitCode.NOT_APPLIED}, "the cluster may reflect what was lost"
        with both.store() as store:
            ledger_id = LedgerReader(store).ledger_id()
            assert ledger_id is not None
            note = KeptCheckpoints(both.cli.home / "checkpoints").newest(ledger_id)
            assert note is not None
            invariants.hold(
                verify_against(store, note, ledger_key(store)).verdict != "consistent", "5: the loss was forgotten"
            )
        # Once that is accepted, the cluster follows what is there.
        both.cli.run("ledger", "restore", "--accept-loss", "--accept-change", "-y").done()
        for command, result in zip(lost, results, strict=True):
            both.settle(command, result, number=seed)
        both.cli.run("audit", "checkpoint").done()


def reached(primary: Server, standby: Server) -> None:
    """Until the standby has all that the primary has."""
    (here,) = primary.ask("SELECT pg_current_wal_lsn()")
    deadline = time.monotonic() + 60
    while standby.ask(f"SELECT pg_last_wal_replay_lsn() < '{here[0]}'") == [(True,)]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
