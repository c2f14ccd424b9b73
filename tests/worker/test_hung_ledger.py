"""A database that is stopped answers nothing and hangs up on nobody: a worker says so, waits, and goes on."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from cli import worker_run
from ledger import postgres_growth
from tests.cli_support import Cli, write_toml
from tests.effects.worlds import eventually
from tests.faults import dose
from tests.postgres.test_patience import stopped
from tests.postgres_support import Server
from tests.worker.commands import Run, worker

LEASE = 2.0
ALIVE = 12.0


def be_hasty() -> None:
    """In another process: time passes as if these were the limits, in their order."""
    worker_run.ANSWER_SECONDS = 2.0
    postgres_growth.LOOK_SECONDS = 0.2
    worker_run.ALIVE_SECONDS = ALIVE


@pytest.fixture
def cli(tmp_path: Path, database: str) -> Cli:
    write_toml(tmp_path / "svc", "user-service")
    hasty = f"{database}&connect_timeout=2"  # it is 10 s otherwise, nearly as long as a worker may look hung
    cli = Cli(tmp_path / "home", tmp_path / "svc").having(ONECTL_LEDGER=hasty)
    cli.run("ledger", "migrate").done()
    return replace(cli, change=f"{__name__}:{be_hasty.__name__}")


def lag(run: Run) -> str:
    (line,) = [line for line in run.get("/metrics")[1].splitlines() if line.startswith("onectl_lag_positions ")]
    return line.split()[1]


@dose.not_few("the database is stopped for longer than workers are patient")
def test_workers_stay_healthy_and_are_not_ready_while_the_database_is_stopped(cli: Cli, postgres: Server) -> None:
    lease = ("--lease", f"{LEASE:g}s")
    with worker(cli, *lease) as leads, worker(cli, *lease, leads=False, name="stand-by") as stands_by:
        eventually(lambda: all(run.get("/readyz")[0] == 200 for run in (leads, stands_by)))
        eventually(lambda: lag(leads) == lag(stands_by) == "0.0")
        with stopped(postgres):
            until = time.monotonic() + 1.5 * ALIVE
            eventually(lambda: all(run.get("/readyz")[0] == 503 for run in (leads, stands_by)), within=LEASE + 2)
            while time.monotonic() < until:
                began = time.monotonic()
                assert [run.get("/healthz")[0] for run in (leads, stands_by)] == [200, 200]
                assert (lag(leads), lag(stands_by)) == ("NaN", "NaN")
                assert time.monotonic() - began < 1, "nobody waits for the database to say how it is doing"
                time.sleep(0.5)
        eventually(lambda: all(run.get("/readyz")[0] == 200 for run in (leads, stands_by)))
        replace(cli, change=None).run("deploy", "--image", "nginx:alpine").done()
