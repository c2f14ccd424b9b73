"""Who waits for pods waits on while the database is away for a moment, with a worker and without."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import pytest

from tests.cli_support import Cli, Process
from tests.postgres_support import Server
from tests.worker.commands import worker


@pytest.fixture(scope="module")
def mortal() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def wait_past(waiting: Process, server: Server) -> tuple[list[str], str]:
    """What a command that waits for pods printed, and noted, which met a restart of the database."""
    assert waiting.stdout is not None
    for line in waiting.stdout:
        if b"Waiting for deployment" in line:
            break
    server.kill()
    server.start_again()
    out, err = waiting.communicate(timeout=60)
    assert waiting.returncode == 0, err.decode()
    return out.decode().splitlines(), err.decode()


@pytest.mark.parametrize("mode", ["inline", "resident"])
def test_pods_are_waited_for_through_a_restart_of_the_database(mode: str, cli: Cli, mortal: Server) -> None:
    user = cli.having(ONECTL_LEDGER=mortal.new_database(), ONECTL_SANDBOX_SECONDS="4")
    user.run("ledger", "migrate").done()
    with worker(user) if mode == "resident" else nullcontext():
        waiting = user.start("deploy", "--image", "nginx:1", "--wait", "--timeout", "60s")
        lines, _ = wait_past(waiting, mortal)
    assert lines[-1] == "✅ Deployment is healthy — pods Running"


def test_a_status_that_waits_says_that_the_database_is_away_and_goes_on(cli: Cli, mortal: Server) -> None:
    user = cli.having(ONECTL_LEDGER=mortal.new_database(), ONECTL_SANDBOX_SECONDS="4")
    user.run("ledger", "migrate").done()
    user.run("deploy", "--image", "nginx:1").done()
    lines, noted = wait_past(user.start("deploy", "status", "--wait", "--timeout", "60s"), mortal)
    assert any(line.startswith("Status:        Running") for line in lines)
    assert noted.count("; trying again.") == 1
