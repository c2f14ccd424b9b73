"""Who cannot read the worker's log learns from commands what keeps it from applying."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
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


@contextmanager
def leading(cli: Cli) -> Iterator[Lease]:
    """A worker that leads and does nothing."""
    with closing(SqliteStore(cli.ledger)) as store:
        lease = store.lease("sandbox", holder="one", note="here", seconds=60)
        assert lease.acquire()
        yield lease
        lease.release()


@pytest.fixture
def leader(cli: Cli) -> Iterator[Lease]:
    with leading(cli) as lease:
        yield lease


@pytest.fixture
def waiting(cli: Cli) -> Cli:
    """A user whose pods are late, and whose newest change waits for a worker."""
    patient = replace(cli, change=None)
    patient.run("deploy", "--image", "held:1", "--detach").done()
    patient.run("deploy", "--image", "held:2", "--detach").done()
    return patient


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


@pytest.mark.parametrize(
    "args",
    [
        ["--image", "nginx:2"],
        ["restart"],
        ["scale", "--replicas", "2"],
        ["rollback", "--version", "1", "-y"],
        ["status"],
    ],
    ids=lambda args: args[0],
)
def test_one_span_bounds_all_of_a_wait_for_a_worker(waiting: Cli, args: list[str]) -> None:
    wait = ("deploy", *args, "--wait", "--timeout", "0.3s")
    began = time.monotonic()
    failed = waiting.run(*wait).failed(8)
    assert re.search(r"no worker was seen for (0|0\.[0-3]\d*) s", failed.error)
    assert time.monotonic() - began < resident.NO_WORKER_SECONDS / 2
    with leading(waiting):
        failed = waiting.run(*wait).failed(8)
        assert re.search(r"the worker has not applied it within (0|0\.[0-3]\d*) s", failed.error)


def test_what_is_left_after_it_is_applied_is_for_the_pods(waiting: Cli) -> None:
    waiting.run("worker", "run", "--once").done()
    with leading(waiting):
        failed = waiting.run("deploy", "status", "--wait", "--timeout", "0.3s").failed(5)
    assert "the pods were not ready within 0.3 s" in failed.error


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
