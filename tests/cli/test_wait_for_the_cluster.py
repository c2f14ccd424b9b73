"""Who waits for pods waits on while the cluster is away for a moment, but not for one that will not do what is asked."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from effects.cluster import ChangedMeanwhileError, Ref
from tests.cli.test_exit_codes import read_until
from tests.cli_support import Cli, Result
from tests.effects.worlds import eventually
from tests.worker.commands import worker

AWAY = "No usable answer from cluster sandbox; trying again."


def away(cli: Cli, times: int, seconds: float = 0) -> Cli:
    return replace(cli, change="tests.faults.changes:absent_cluster").having(ONECTL_TEST_AWAY=f"{times} {seconds}")


# -- Away for a moment -------------------------------------------------------------------------------------------------


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


# -- Refused -----------------------------------------------------------------------------------------------------------


def replace_service(cli: Cli) -> None:
    """Put somebody else's Service where the app's was: what was applied is refused from now on."""
    ref = Ref("Service", "default", "user-service")
    theirs = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": "default", "name": "user-service"},
        "spec": {"ports": [{"port": 80}]},
    }
    cluster = cli.cluster()

    def replaced() -> bool:
        cluster.delete(ref, uid=None)
        try:
            cluster.apply(theirs, manager="kubectl", expect=None)
        except ChangedMeanwhileError:  # a worker was quicker to make the app's again
            return False
        return True

    eventually(replaced)
    cluster.close()


def applied(cli: Cli) -> str:
    return str(cli.run("-o", "json", "deploy", "status").done().json["applied"])


def in_time(cli: Cli, *args: str) -> Result:
    """A command that ends with 8, long before its time is over."""
    began = time.monotonic()
    refused = cli.run(*args, "--wait", "--timeout", "50s").failed(8)
    assert time.monotonic() - began < 40
    return refused


@pytest.fixture(params=["inline", "resident"])
def refused(request: pytest.FixtureRequest, cli: Cli) -> Iterator[Cli]:
    """A user of whose app, all of which was applied and runs, the cluster refuses what is to be set back."""
    cli.run("deploy", "--image", "nginx:1", "--wait").done()
    replace_service(cli)
    if request.param == "inline":
        cli.run("worker", "run", "--once").failed(8)
        yield cli
    else:
        with worker(cli):
            eventually(lambda: applied(cli) == "refused: NotOurs")
            yield cli


def test_a_status_that_waits_for_what_is_refused_ends_at_once_with_what_to_do(refused: Cli) -> None:
    assert applied(refused) == "refused: NotOurs"
    ended = in_time(refused, "deploy", "status")
    error = ended.error
    assert "recorded, but not applied: the cluster refused (NotOurs): service/user-service" in error
    assert "1ctl deploy adopt service/user-service" in error
    assert "1ctl worker retry user-service" in error
    assert ended.stderr.count("worker retry") == 1


def test_pods_are_not_called_healthy_where_a_scale_changes_nothing_of_what_is_refused(cli: Cli) -> None:
    cli.run("deploy", "--image", "nginx:1", "--wait").done()
    replace_service(cli)
    with worker(cli):
        eventually(lambda: applied(cli) == "refused: NotOurs")
        assert "the cluster refused (NotOurs)" in in_time(cli, "deploy", "scale", "--replicas", "1").error


@pytest.mark.parametrize("command", [["deploy", "--image", "held:1"], ["deploy", "restart"]], ids=" ".join)
def test_who_waits_for_pods_that_the_worker_gave_up_hears_of_that(cli: Cli, command: list[str]) -> None:
    with worker(cli):
        cli.run("deploy", "--image", "held:1").done()
        with cli.start(*command, "--wait", "--timeout", "50s") as waiting:
            read_until(waiting, "Waiting for deployment")
            replace_service(cli)
            _, err = waiting.communicate(timeout=40)
    assert waiting.returncode == 8
    assert "recorded, but not applied: the cluster refused (NotOurs)" in err.decode()


def test_a_status_of_what_is_refused_shows_how_far_it_got_where_no_worker_runs(cli: Cli) -> None:
    cli.run("deploy", "--image", "nginx:1", "--wait").done()
    replace_service(cli)
    cli.run("deploy", "--image", "nginx:2").failed(8)
    asked = cli.run("-o", "json", "deploy", "status").failed(8)
    assert (asked.json["applied"], asked.json["release"]) == ("refused: NotOurs", 2)
    assert "recorded, but not applied: the cluster refused (NotOurs)" in asked.error
    shown = cli.run("deploy", "status").failed(8)
    assert "Applied:       refused: NotOurs" in shown.stdout
    position = cli.run("-o", "json", "audit", "log", "--limit", "1").done().json[0]["position"]
    past = cli.run("deploy", "status", "--at-position", str(position)).done()
    assert "Message:       The cluster refused what was asked for" in past.stdout
    assert "worker retry" not in past.stderr
