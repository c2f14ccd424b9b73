"""Who waits for pods waits on while the cluster is away for a moment."""

from __future__ import annotations

import signal
import time
from dataclasses import replace

from tests.cli.test_exit_codes import read_until
from tests.cli_support import Cli
from tests.worker.commands import worker

AWAY = "No usable answer from cluster sandbox; trying again."


def away(cli: Cli, times: int, seconds: float = 0) -> Cli:
    return replace(cli, change="tests.faults.changes:absent_cluster").having(ONECTL_TEST_AWAY=f"{times} {seconds}")


def test_a_status_that_waits_says_that_the_cluster_is_away_and_goes_on(deployed: Cli) -> None:
    waited = away(deployed, 2).run("deploy", "status", "--wait").done()
    assert "Running" in waited.stdout
    assert waited.stderr.count(AWAY) == 1


def test_a_status_that_waits_asks_a_busy_cluster_no_earlier_than_it_says(deployed: Cli) -> None:
    deployed.run("deploy", "status", "--wait").done()
    began = time.monotonic()
    away(deployed, 1, 1.5).run("deploy", "status", "--wait").done()
    assert time.monotonic() - began >= 1.5


def test_a_cluster_that_is_away_up_to_the_end_is_not_taken_for_a_request_that_failed(deployed: Cli) -> None:
    late = away(deployed, 99).run("deploy", "status", "--wait", "--timeout", "0.7s").failed(5)
    assert "applied, but the pods cannot be watched: No usable answer from cluster sandbox" in late.error


def test_a_status_that_waits_applies_what_the_cluster_would_not_hear_at_first(cli: Cli) -> None:
    cli.run("deploy", "--image", "nginx:1", "--detach").done()
    late = away(cli, 99).run("deploy", "status", "--wait", "--timeout", "0.7s").failed(8)
    assert "recorded, but not applied: No usable answer from cluster sandbox" in late.error
    waited = away(cli, 2).run("deploy", "status", "--wait").done()
    assert waited.stderr.count("trying again") == 1


def test_a_status_that_is_followed_says_that_the_cluster_is_away_and_goes_on(deployed: Cli) -> None:
    deployed.run("deploy", "status", "--wait").done()
    with away(deployed, 2).start("deploy", "status", "--watch") as watching:
        read_until(watching, "Running 100%")
        watching.send_signal(signal.SIGINT)
        _, noted = watching.communicate(timeout=30)
    assert watching.returncode == 0
    assert noted.decode().count(AWAY) == 1


def test_a_scale_that_a_worker_applied_is_waited_for_while_the_cluster_is_away(cli: Cli) -> None:
    cli.run("deploy", "--image", "nginx:1", "--wait").done()
    with worker(cli):
        away(cli, 2).run("deploy", "scale", "--replicas", "2", "--wait").done()
        away(cli, 2).run("deploy", "status", "--wait").done()
        unknown = away(cli, 99).run("deploy", "status", "--wait", "--timeout", "0.7s").failed(5)
    assert "the pods cannot be watched from here, and it was scaled after they became ready" in unknown.error
