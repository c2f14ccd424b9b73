"""Who cannot read the worker's log learns from commands what keeps it from applying."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cli import resident
from ledger.lease import Lease, Trouble
from ledger.sqlite_store import SqliteStore
from tests.cli_support import Cli, write_toml

AWAY = Trouble(reason="unreachable", message="the API server cannot be reached", seconds=20.0, app=None)


def be_impatient() -> None:
    """In another process: waits less."""
    resident.APPLY_SECONDS = 0.5


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    write_toml(tmp_path / "svc", "user-service")
    cli = Cli(tmp_path / "home", tmp_path / "svc", change=f"{__name__}:{be_impatient.__name__}")
    cli.run("worker", "enable").done()
    return cli


@pytest.fixture
def leader(cli: Cli) -> Iterator[Lease]:
    """A worker that leads and does nothing."""
    with closing(SqliteStore(cli.ledger)) as store:
        lease = store.lease("sandbox", holder="one", note="here", seconds=60)
        assert lease.acquire()
        yield lease
        lease.release()


def test_what_keeps_the_worker_from_applying_is_shown_where_somebody_waits_for_it(cli: Cli, leader: Lease) -> None:
    assert leader.renew(1, AWAY)
    failed = cli.run("deploy", "--image", "nginx:alpine").failed(8)
    assert "has not applied it within 0.5 s: the API server cannot be reached (unreachable, for 2" in failed.error
    assert "Leader:  here, seen" in (shown := cli.run("worker", "status").done().stdout)
    assert "Failing: the API server cannot be reached (unreachable, for 2" in shown
    trouble = cli.run("-o", "json", "worker", "status").done().json["trouble"]
    assert (trouble["reason"], trouble["message"], trouble["app"]) == ("unreachable", AWAY.message, None)
    assert trouble["seconds"] >= AWAY.seconds
    status = cli.run("-o", "json", "deploy", "status").done().json
    assert status["applied"] == "pending"
    assert status["message"].startswith("The worker cannot apply it: the API server cannot be reached")


def test_what_keeps_it_from_another_app_does_not_concern_this_one(cli: Cli, leader: Lease) -> None:
    assert leader.renew(1, AWAY._replace(reason="odd", app="default/order-service"))
    failed = cli.run("deploy", "--image", "nginx:alpine").failed(8)
    assert "cannot be reached" not in failed.error
    assert "cannot be reached" not in cli.run("deploy", "status").done().stdout
    assert "default/order-service: the API server cannot be reached" in cli.run("worker", "status").done().stdout


def test_when_all_is_well_nothing_is_said(cli: Cli, leader: Lease) -> None:
    assert leader.renew(1)
    assert "Failing: no" in cli.run("worker", "status").done().stdout
    assert cli.run("-o", "json", "worker", "status").json["trouble"] is None
    assert "has not applied it within 0.5 s\n" in cli.run("deploy", "--image", "nginx:alpine").failed(8).error
