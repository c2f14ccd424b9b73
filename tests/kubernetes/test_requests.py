"""What a deploy asks of a real API server, request by request, where no worker runs: nothing twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli_support import Cli
from tests.effects.worlds import eventually
from tests.faults.proxy import CONTEXT, FaultProxy
from tests.kubernetes.support import Kubectl, make_profile
from tests.kubernetes_support import kubeconfig

pytestmark = pytest.mark.kubernetes

MINE = [("get", kind) for kind in ("configmaps", "deployments", "services", "httproutes")]
COPY = ("get", "configmaps")
SECRET = ("patch", "secrets")
"""Asks whether it is ours, without reading it; only before a life begins, if that never has secrets."""

CREATE, CLAIM = ("create", "services"), ("patch", "services")


@pytest.fixture
def proxy(user: Cli, tmp_path: Path) -> Iterator[FaultProxy]:
    with FaultProxy(kubeconfig()) as proxy:
        namespace = user.run("-o", "json", "profile", "current").done().json["namespace"]
        make_profile(user, "counted", proxy.kubeconfig(tmp_path), CONTEXT, namespace)
        user.run("profile", "use", "counted").done()
        proxy.forget()
        yield proxy


def asked(proxy: FaultProxy) -> list[tuple[str, str]]:
    """By verb and kind what was asked; how an old server has a Service made counts as the one apply that others take."""
    found: list[tuple[str, str]] = [
        (each.asked.verb, each.asked.kind) for each in proxy.exchanges if each.status != 500
    ]
    proxy.forget()
    if CREATE in found:
        assert found[found.index(CREATE) + 1] == CLAIM, "made, then claimed"
        found.remove(CREATE)
    return found


def is_written_last(kubectl: Kubectl) -> bool:
    """Whether the Deployment's controller has nothing more to write: a write between look and patch has both repeated."""
    status = kubectl.objects("user-service")["Deployment/user-service"]["status"]
    reasons = {each["type"]: each["reason"] for each in status["conditions"]}
    return status.get("availableReplicas") == 1 and reasons.get("Progressing") == "NewReplicaSetAvailable"


def test_a_first_deploy_looks_once_at_each_name_and_sends_each_object_once(user: Cli, proxy: FaultProxy) -> None:
    user.run("deploy", "--image", "nginx:1", "--env", "A=b").done()
    assert asked(proxy) == [
        ("get", "namespaces"),
        MINE[0],
        SECRET,
        *MINE[1:],
        ("patch", "configmaps"),
        COPY,
        ("patch", "configmaps"),
        ("patch", "deployments"),
        ("patch", "services"),
        ("patch", "httproutes"),
    ]


def test_a_new_image_looks_once_at_each_object_and_sends_one(user: Cli, kubectl: Kubectl, proxy: FaultProxy) -> None:
    user.run("deploy", "--image", "nginx:1", "--env", "A=b", "--wait").done()
    eventually(lambda: is_written_last(kubectl))
    proxy.forget()
    user.run("deploy", "--image", "nginx:2").done()
    assert sorted(asked(proxy)) == sorted([*MINE, COPY, ("patch", "deployments")])


def test_a_request_that_is_known_looks_and_sends_nothing(user: Cli, proxy: FaultProxy) -> None:
    user.run("deploy", "--image", "nginx:1", "--env", "A=b", "--wait", "--request-id", "once").done()
    proxy.forget()
    user.run("deploy", "--image", "nginx:1", "--env", "A=b", "--request-id", "once").done()
    assert sorted(asked(proxy)) == sorted([*MINE, COPY])
