"""`1ctl worker replay`: a cluster whose objects are lost gets them back from the ledger alone, as of now or then."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.exit_codes import ExitCode
from effects.cluster import DIGEST_ANNOTATION
from tests.cli_support import Cli, Result, write_toml
from tests.effects.worlds import eventually
from tests.faults.plan import Fault, Once, Plan
from tests.faults.proxy import CONTEXT, FaultProxy
from tests.kubernetes.support import Kubectl, a_cluster_user
from tests.kubernetes_support import kubeconfig

pytestmark = pytest.mark.kubernetes
APP = "user-service"
MANY = 24
"""Apps, of which an interrupted replay leaves some: three times as many as are applied at once."""


@pytest.fixture
def user(tmp_path: Path) -> Iterator[tuple[Cli, Kubectl]]:
    with a_cluster_user(tmp_path) as made:
        yield made


def replay(user: tuple[Cli, Kubectl], *more: str) -> Result:
    cli, kubectl = user
    place = ("--kubeconfig", str(kubectl.file), "--context", kubectl.context)
    return cli.run("-o", "json", "worker", "replay", "-y", *place, *more)


def lost(kubectl: Kubectl) -> None:
    """Everything of all apps is gone from the cluster."""
    kubectl("delete", "deployment,service,httproute,secret,configmap", "-l", "1ctl.dev/ledger", "--wait=true")
    eventually(lambda: not [name for name in kubectl.names() if not name.startswith("pod/")])


def digests(kubectl: Kubectl, app: str = APP) -> dict[str, str]:
    """What stands for the content of each of the app's objects."""
    return {
        name: each["metadata"]["annotations"][DIGEST_ANNOTATION]
        for name, each in kubectl.objects(app).items()
        if not name.startswith("Pod/")
    }


def head(cli: Cli) -> int:
    return max(int(each["position"]) for each in cli.run("-o", "json", "audit", "log").done().json)


def image(kubectl: Kubectl) -> Any:
    return kubectl.objects(APP)[f"Deployment/{APP}"]["spec"]["template"]["spec"]["containers"][0]["image"]


def test_what_was_lost_comes_back_and_nothing_is_recorded_or_sent_twice(user: tuple[Cli, Kubectl]) -> None:
    cli, kubectl = user
    cli.run("deploy", "--image", "nginx:1", "--wait").done()
    cli.run("env", "create", "--env", "A=1").done()
    cli.run("secret", "create", input="TOKEN=not-in-the-ledger\n").done()
    cli.run("deploy", "restart").done()
    before, position = digests(kubectl), head(cli)
    lost(kubectl)
    document = replay(user).done().json
    assert (document["apps"], document["failed"]) == (1, [])
    assert document["objects_sent"] == len(before)
    assert digests(kubectl) == before
    eventually(lambda: any(kubectl.pods(APP).values()))
    again = replay(user).done()
    assert again.json["objects_sent"] == 0
    assert "not-in-the-ledger" not in again.stdout + again.stderr
    assert head(cli) == position


def test_a_past_state_can_be_filled_in_and_never_over_a_later_one(user: tuple[Cli, Kubectl]) -> None:
    cli, kubectl = user
    cli.run("deploy", "--image", "nginx:1").done()
    first = head(cli)
    cli.run("deploy", "--image", "nginx:2").done()
    lost(kubectl)
    replay(user, "--at-position", str(first)).done()
    assert image(kubectl) == "nginx:1"
    assert replay(user).done().json["objects_sent"] == 1
    assert image(kubectl) == "nginx:2"
    refused = replay(user, "--at-position", str(first)).failed(ExitCode.FAILED)
    assert "later" in refused.stdout + refused.stderr
    assert image(kubectl) == "nginx:2"


def test_a_destroyed_app_stays_away_now_and_is_there_as_of_then(user: tuple[Cli, Kubectl]) -> None:
    cli, kubectl = user
    cli.run("deploy", "--image", "nginx:1").done()
    moment = max(each["recorded_at"] for each in cli.run("-o", "json", "audit", "log").json)
    cli.run("deploy", "destroy", "-y").done()
    assert replay(user).done().json["apps"] == 0
    assert digests(kubectl) == {}
    assert replay(user, "--as-of", moment).done().json["apps"] == 1
    assert image(kubectl) == "nginx:1"


def test_someone_elses_object_is_left_alone_and_the_other_apps_are_filled_in(user: tuple[Cli, Kubectl]) -> None:
    cli, kubectl = user
    cli.run("deploy", "--image", "nginx:1").done()
    other = Cli(cli.home, cli.cwd.parent / "order-service")
    other.run("deploy", "--image", "nginx:1").done()
    lost(kubectl)
    kubectl("create", "service", "clusterip", APP, "--tcp=80")
    theirs = kubectl("get", "service", APP, "-o", "jsonpath={.metadata.resourceVersion}")
    result = replay(user).failed(ExitCode.FAILED)
    (failed,) = result.json["failed"]
    assert failed["app"] == APP
    assert "exists and is not ours" in failed["message"]
    assert kubectl("get", "service", APP, "-o", "jsonpath={.metadata.resourceVersion}") == theirs
    assert "Deployment/order-service" in digests(kubectl, "order-service")
    kubectl("delete", "service", APP)
    assert replay(user).done().json["failed"] == []
    assert f"Service/{APP}" in digests(kubectl)


def test_without_yes_and_without_a_terminal_nothing_is_sent(user: tuple[Cli, Kubectl]) -> None:
    cli, kubectl = user
    cli.run("deploy", "--image", "nginx:1").done()
    lost(kubectl)
    place = ("--kubeconfig", str(kubectl.file), "--context", kubectl.context)
    cli.run("worker", "replay", *place).failed(ExitCode.USAGE)
    assert digests(kubectl) == {}


def test_on_a_bad_way_to_the_server_it_goes_on_until_every_app_is_there(
    user: tuple[Cli, Kubectl], tmp_path: Path
) -> None:
    cli, _ = user
    for number in range(4):
        write_toml(tmp_path / f"app-{number}", f"app-{number}")
        cli.within(tmp_path / f"app-{number}").run("deploy", "--image", "nginx:1", "--detach").done()
    wrong = (
        Once(Fault.UNAVAILABLE, "get", "deployments", 2),
        Once(Fault.RESET_BEFORE, "patch", "configmaps", 1),
        Once(Fault.RESET_AFTER, "patch", "deployments", 1),
        Once(Fault.TOO_MANY_REQUESTS, "patch", "services", 3),
        Once(Fault.HALF_A_BODY, "patch", "httproutes", 2),
    )
    with FaultProxy(kubeconfig(), Plan(once=wrong)) as proxy:
        place = ("--kubeconfig", str(proxy.kubeconfig(tmp_path)), "--context", CONTEXT)
        filled = cli.run("-o", "json", "worker", "replay", "-y", *place).done()
    assert (filled.json["apps"], filled.json["failed"]) == (4, [])
    assert "It is tried again: " in filled.stderr
    assert len(proxy.plan.faults()) == len(wrong)
    assert replay(user).done().json["objects_sent"] == 0


def test_interrupted_it_ends_what_is_in_work_and_the_next_try_sends_only_the_rest(
    user: tuple[Cli, Kubectl], tmp_path: Path
) -> None:
    cli, kubectl = user
    for number in range(MANY):
        write_toml(tmp_path / f"app-{number}", f"app-{number}")
        cli.within(tmp_path / f"app-{number}").run("deploy", "--image", "nginx:1", "--detach").done()
    with FaultProxy(kubeconfig(), Plan(latency=0.05)) as proxy:
        place = ("--kubeconfig", str(proxy.kubeconfig(tmp_path)), "--context", CONTEXT)
        with cli.start("worker", "replay", "-y", *place) as run:
            eventually(lambda: proxy.requests()["patch", "deployments"])
            os.kill(run.pid, signal.SIGINT)
            _, said = run.communicate(timeout=60)
    assert run.returncode == 130
    assert b"Interrupted" in said
    told = re.search(rb"At least (\d+) of (\d+) apps are applied. Run it again", said)
    assert told is not None, said
    assert int(told[2]) == MANY
    assert b"Traceback" not in said
    objects = kubectl("get", "deployment,service,httproute,configmap", "-l", "1ctl.dev/ledger", "-o", "name").split()
    rest = replay(user).done().json
    assert (rest["apps"], rest["failed"]) == (MANY, [])
    each = len(digests(kubectl, "app-0"))
    assert 0 < len(objects) < MANY * each
    assert len(objects) % each == 0, "an app was left half done"
    assert int(told[1]) <= len(objects) / each
    assert rest["objects_sent"] == MANY * each - len(objects)
    assert replay(user).done().json["objects_sent"] == 0
