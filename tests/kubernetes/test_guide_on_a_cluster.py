"""The guide on a real API server: what its reader sees, and what an operator sees with kubectl."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.cli_support import Cli, looks_like
from tests.effects.worlds import eventually
from tests.kubernetes.support import (
    Cable,
    Kubectl,
    closed_port,
    data_of,
    kubeconfig_at,
    make_profile,
    server_port,
)

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(600)]

DEPLOY = ("deploy", "--image", "nginx:alpine", "--machine", "compute-main-01")
RULE = "─"
DESTROYED = ["💡 Destroying deployment <id>...", "✅ Deployment <id> destroyed successfully"]
RESTARTED = [
    "💡 Initiating rolling restart for deployment <id>...",
    "✅ Rolling restart initiated. Pods are being replaced one by one.",
    "💡 Use '1ctl deploy status --deployment-id <id>' to monitor progress.",
]


def first_deploy(app: str) -> list[str]:
    return [
        "💡 Using pre-built image: nginx:alpine",
        f"Step 2/5: Creating/updating deployment {app} ✓",
        f"Step 3/5: Configuring services {app} ✓",
        f"Step 4/5: Setting up environment and storage {app} ✓",
        "💡 No existing public route found for deployment <id>, will create new one: No public route found",
        "💡 Generated new domain: <domain>",
        f"Step 5/5: Configuring public routing and dependencies {app} ✓",
        f"✅ 🚀 Deployment for {app} is successful! Your app is live at: https://<domain>",
        "Deployment ID: <id>",
        "💡 Waiting for deployment to become healthy...",
        "💡 Deployment status: NotReady (0 pct)",
        "✅ Deployment is healthy — pods Running",
    ]


def redeploy(app: str) -> list[str]:
    return [line for line in first_deploy(app)[:9] if "route found" not in line and "Generated" not in line]


def as_if_new(lines: Sequence[str]) -> list[str]:
    """A table whose last column is an age, as it is within the first minute; a busy machine may take longer."""
    young = (re.sub(r"\d+ minutes? ago", "just now", line) for line in lines)
    return [re.sub(f"{RULE}+$", RULE * len("just now"), line) for line in young]


def one_ready_pod(kubectl: Kubectl, app: str) -> str:
    """Waits until the app has one pod and that is ready; its name."""

    def once() -> str | None:
        pods = kubectl.pods(app)
        return next(iter(pods)) if list(pods.values()) == [True] else None

    return eventually(once)


def variables(thing: dict[str, Any]) -> dict[str, tuple[str, str, str]]:
    """Of a pod or Deployment: by variable, what kind of object it is read from, that object's name, and the key."""
    spec = thing["spec"]["template"]["spec"] if thing["kind"] == "Deployment" else thing["spec"]
    found = {}
    for each in spec["containers"][0].get("env", []):
        ((kind, source),) = each["valueFrom"].items()
        found[each["name"]] = (kind, source["name"], source["key"])
    return found


def value_in_pods(kubectl: Kubectl, app: str, variable: str) -> str:
    """What the app's one pod gets for a variable, by following its reference."""
    pod = one_ready_pod(kubectl, app)
    objects = kubectl.objects(app)
    kind, name, key = variables(objects[f"Pod/{pod}"])[variable]
    if kind == "secretKeyRef":
        return b64decode(data_of(objects[f"Secret/{name}"])[key]).decode()
    return data_of(objects[f"ConfigMap/{name}"])[key]


def assert_deployed(kubectl: Kubectl, app: str, port: int, found: dict[str, str]) -> None:
    """What the guide says is on the cluster after a deploy."""
    pod = one_ready_pod(kubectl, app)
    objects = kubectl.objects(app)
    assert kubectl("get", "deployment", app, "--no-headers").split()[:2] == [app, "1/1"]
    service = kubectl("get", "service", app, "--no-headers").split()
    assert (service[0], service[1], service[4]) == (app, "ClusterIP", f"{port}/TCP")
    route = objects[f"HTTPRoute/{app}"]
    assert route["spec"]["hostnames"] == [found["domain"]]
    assert route["spec"]["rules"][0]["backendRefs"][0]["name"] == app
    assert objects[f"Service/{app}"]["spec"]["selector"] == {"app": app}
    running = objects[f"Pod/{pod}"]
    assert running["status"]["phase"] == "Running"
    assert running["spec"]["nodeName"] == "compute-main-01"
    assert running["metadata"]["labels"]["app"] == app
    assert {each["metadata"]["labels"]["1ctl.dev/deployment-id"] for each in objects.values()} == {found["id"]}


def untouched(kubectl: Kubectl, app: str) -> dict[str, tuple[str, str]]:
    """By object that is not on its way out: uid and version; pods by uid alone, since nodes write their status."""
    return {
        name: (
            each["metadata"]["uid"],
            "" if each["kind"] in ("Pod", "Deployment") else each["metadata"]["resourceVersion"],
        )
        for name, each in kubectl.objects(app).items()
        if "deletionTimestamp" not in each["metadata"]
    }


def settled(kubectl: Kubectl, app: str) -> dict[str, tuple[str, str]]:
    one_ready_pod(kubectl, app)
    return untouched(kubectl, app)


def test_the_guide_from_the_first_deploy_to_the_last_destroy(user: Cli, kubectl: Kubectl) -> None:
    play(user, user.within(user.cwd.parent / "order-service"), kubectl)


def play(user: Cli, order: Cli, kubectl: Kubectl) -> None:
    """The guide, by one user of each service."""
    # 1  Deploy user-service
    shown = user.run(*DEPLOY, "--wait").done()
    first = looks_like(first_deploy("user-service"), shown.lines)
    assert shown.stderr == ""
    assert_deployed(kubectl, "user-service", 8081, first)

    # 2  Read the URL
    assert user.run("-o", "json", "deploy", "get").json["domain"] == f"https://{first['domain']}"
    assert user.run("deploy", "get", "-o", "json").json["domain"] == f"https://{first['domain']}"

    # 3  Configuration before the first deploy is refused; then deploy order-service
    refused = order.run("env", "create", "--env", "A=b").failed(3)
    assert refused.stderr.splitlines() == [
        f'❌ app "order-service" not found in namespace {kubectl.namespace}',
        "Run '1ctl deploy' first or pass --deployment-id",
    ]
    assert refused.stdout == ""
    assert not kubectl.objects("order-service")
    before = settled(kubectl, "user-service")
    second = looks_like(first_deploy("order-service"), order.run(*DEPLOY, "--wait").done().lines)
    assert second["id"] != first["id"]
    assert second["domain"] != first["domain"]
    assert_deployed(kubectl, "order-service", 8082, second)
    assert untouched(kubectl, "user-service") == before

    # 4  Wire the URL
    pod = one_ready_pod(kubectl, "order-service")
    wired = order.run("env", "create", "--env", f"USER_SERVICE_URL=https://{first['domain']}").done()
    assert wired.lines == ["✅ Environment order-service created successfully"]
    environment = kubectl.objects("order-service")["ConfigMap/order-service-environments"]
    assert data_of(environment) == {"user-service-url": f"https://{first['domain']}"}
    assert one_ready_pod(kubectl, "order-service") == pod

    # 5  Secrets, per app
    assert user.run("secret", "create", "--kv", "JWT_SECRET=supersecret-jwt-value").done().lines == [
        "✅ Secret user-service created successfully"
    ]
    url = "postgres://user:pw@host:5432/orders"
    assert order.run("secret", "create", "--kv", f"DATABASE_URL={url}").done().lines == [
        "✅ Secret order-service created successfully"
    ]
    for app, key, value in (
        ("user-service", "jwt-secret", "supersecret-jwt-value"),
        ("order-service", "database-url", url),
    ):
        data = data_of(kubectl.objects(app)[f"Secret/{app}-secrets"])
        assert {name: b64decode(text).decode() for name, text in data.items()} == {key: value}
    assert one_ready_pod(kubectl, "order-service") == pod

    # 6  List
    assert as_if_new(user.run("deploy", "list").done().lines) == [
        f"{'DEPLOYMENT ID':<36}  HOSTNAMES        TYPE        STATUS     CREATED",
        f"{RULE * 36}  {RULE * 15}  {RULE * 10}  {RULE * 9}  {RULE * 8}",
        f"{first['id']}  compute-main-01  production  completed  just now",
        f"{second['id']}  compute-main-01  production  completed  just now",
    ]
    listed = user.run("-o", "json", "deploy", "list").json
    assert [(each["app_label"], each["deployment_id"], each["status"], each["replicas"]) for each in listed] == [
        ("user-service", first["id"], "completed", 1),
        ("order-service", second["id"], "completed", 1),
    ]
    assert not any("domain" in each for each in listed)

    # 7  Releases
    assert as_if_new(user.run("deploy", "releases").done().lines) == [
        "VERSION  IMAGE         STATUS  DEPLOYED",
        "───────  ────────────  ──────  ────────",
        "1        nginx:alpine  active  just now",
    ]

    # 8  Redeploy
    old, other = one_ready_pod(kubectl, "user-service"), settled(kubectl, "order-service")
    assert looks_like(redeploy("user-service"), user.run(*DEPLOY).done().lines) == first
    assert as_if_new(user.run("deploy", "releases").done().lines) == [
        "VERSION  IMAGE         STATUS      DEPLOYED",
        "───────  ────────────  ──────────  ────────",
        "2        nginx:alpine  active      just now",
        "1        nginx:alpine  superseded  just now",
    ]
    eventually(
        lambda: list(kubectl.pods("user-service").values()) == [True] and old not in kubectl.pods("user-service")
    )
    assert_deployed(kubectl, "user-service", 8081, first)
    assert value_in_pods(kubectl, "user-service", "JWT_SECRET") == "supersecret-jwt-value"
    assert untouched(kubectl, "order-service") == other
    assert user.run("-o", "json", "deploy", "get").json["domain"] == f"https://{first['domain']}"

    # 9  After destroy + recreate: new domain, rewire, restart
    assert looks_like(DESTROYED, user.run("deploy", "destroy", "-y").done().lines)["id"] == first["id"]
    assert not [name for name in kubectl.objects("user-service") if not name.startswith("Pod/")]
    assert untouched(kubectl, "order-service") == other
    again = looks_like(first_deploy("user-service"), user.run(*DEPLOY, "--wait").done().lines)
    assert again["id"] != first["id"]
    assert again["domain"] != first["domain"]
    eventually(lambda: len(kubectl.pods("user-service")) == 1)
    assert_deployed(kubectl, "user-service", 8081, again)
    path = str(user.cwd / "satusky.toml")
    new_url = order.run("-o", "json", "deploy", "get", "--config", path).json["domain"]
    assert new_url == f"https://{again['domain']}"
    assert order.run("env", "create", "--env", f"USER_SERVICE_URL={new_url}").done().lines == [
        "✅ Environment order-service created successfully"
    ]
    assert looks_like(RESTARTED, order.run("deploy", "restart").done().lines)["id"] == second["id"]
    eventually(
        lambda: list(kubectl.pods("order-service").values()) == [True] and pod not in kubectl.pods("order-service")
    )
    assert value_in_pods(kubectl, "order-service", "USER_SERVICE_URL") == new_url
    assert value_in_pods(kubectl, "order-service", "DATABASE_URL") == url
    assert_deployed(kubectl, "order-service", 8082, second)

    # 10  Clean up
    other = settled(kubectl, "order-service")
    assert looks_like(DESTROYED, user.run("deploy", "destroy", "-y").done().lines)["id"] == again["id"]
    assert not [name for name in kubectl.names() if "user-service" in name and not name.startswith("pod/")]
    assert untouched(kubectl, "order-service") == other
    assert looks_like(DESTROYED, order.run("deploy", "destroy", "-y").done().lines)["id"] == second["id"]
    eventually(lambda: kubectl.names() == set())
    assert "Ledger is intact" in user.run("audit", "verify").done().stdout


FOREIGN = {
    "deployment": ("create", "deployment", "user-service", "--image=theirs:1"),
    "service": ("create", "service", "clusterip", "user-service", "--tcp=80"),
    "configmap": ("create", "configmap", "user-service-environments", "--from-literal=theirs=x"),
    "secret": ("create", "secret", "generic", "user-service-secrets", "--from-literal=theirs=x"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_someone_elses_object_is_refused_and_left_unchanged(user: Cli, kubectl: Kubectl, kind: str) -> None:
    kubectl(*FOREIGN[kind])
    name = {"configmap": "user-service-environments", "secret": "user-service-secrets"}.get(kind, "user-service")

    def content() -> Any:
        found = json.loads(kubectl("get", kind, name, "-o", "json"))
        return {**found, "status": None, "metadata": {**found["metadata"], "resourceVersion": "", "managedFields": []}}

    if kind == "deployment":
        kubectl("rollout", "status", "deployment", "user-service")
    before, there = content(), {name for name in kubectl.names() if not name.startswith("pod/")}
    refused = user.run(*DEPLOY).failed(3)
    assert f"{kind}/{name}" in refused.error
    assert "is not ours" in refused.error
    reached = f"kubectl --context {kubectl.context} --kubeconfig {kubectl.file} -n {kubectl.namespace}"
    assert f"{reached} get {kind}/{name}" in refused.error
    assert content() == before
    assert {name for name in kubectl.names() if not name.startswith("pod/")} == there
    assert user.run("deploy", "list").done().stdout == "💡 No deployments found\n"


def test_a_broken_image_fails_with_its_reason_while_the_old_pods_stay_ready(user: Cli, kubectl: Kubectl) -> None:
    user.run(*DEPLOY, "--env", "GREETING=hello", "--wait").done()
    old = one_ready_pod(kubectl, "user-service")
    user.run("env", "create", "--env", "GREETING=bye").done()
    failed = user.run("deploy", "--image", "nginx:does-not-exist", "--wait").failed(4)
    assert "ImagePullBackOff" in failed.error
    assert "nginx:does-not-exist" in failed.error
    assert "The pods of the earlier release keep running." in failed.error
    assert kubectl.pods("user-service")[old] is True
    objects = kubectl.objects("user-service")
    _, name, key = variables(objects[f"Pod/{old}"])["GREETING"]
    assert data_of(objects[f"ConfigMap/{name}"])[key] == "hello"
    assert [line.split()[2] for line in user.run("deploy", "releases").done().lines[2:]] == ["failed", "active"]
    assert "Failed" in user.run("deploy", "status").done().stdout
    user.run("deploy", "--image", "nginx:2", "--wait").done()
    assert value_in_pods(kubectl, "user-service", "GREETING") == "bye"


def test_pods_that_the_cluster_does_not_let_be_made_are_explained(user: Cli, kubectl: Kubectl) -> None:
    limit = {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "small"}}
    limits = {"limits": [{"type": "Container", "max": {"memory": "1Mi"}}]}
    kubectl("create", "-f", "-", given=json.dumps({**limit, "spec": limits}))
    deploy = (*DEPLOY, "--request-id", "r1")
    user.run(*deploy).done()
    eventually(lambda: "FailedCreate" in user.run("deploy", "status").done().stdout)
    late = user.run(*deploy, "--wait", "--timeout", "1s").failed(5)
    assert "FailedCreate: pods" in late.error
    assert "maximum memory usage per Container is 1Mi" in late.error


def test_pods_that_find_no_node_time_out(user: Cli, kubectl: Kubectl) -> None:
    deploy = ("deploy", "--image", "nginx:alpine", "--machine", "no-such-node", "--request-id", "r1")
    user.run(*deploy).done()
    eventually(lambda: "Unschedulable" in user.run("deploy", "status").done().stdout)
    late = user.run(*deploy, "--wait", "--timeout", "1s")
    assert "not ready within 1 s (0 of 1 ready)" in late.failed(5).error
    assert "Unschedulable" in late.error
    assert "💡 Deployment status: NotReady (0 pct)" in late.lines
    assert list(kubectl.pods("user-service").values()) == [False]
    user.run(*DEPLOY, "--wait").done()
    shown = user.run("-o", "json", "deploy", "get").json
    found = {"id": shown["deployment_id"], "domain": shown["domain"].removeprefix("https://")}
    assert_deployed(kubectl, "user-service", 8081, found)


def test_a_namespace_that_does_not_exist_is_refused_with_the_command_that_makes_it(user: Cli, kubectl: Kubectl) -> None:
    make_profile(user, "nowhere", kubectl.file, kubectl.context, "never-made")
    refused = user.run("-p", "nowhere", *DEPLOY).failed(3)
    assert 'namespace "never-made" does not exist' in refused.error
    reached = f"kubectl --context {kubectl.context} --kubeconfig {kubectl.file}"
    assert f"{reached} create namespace never-made" in refused.error
    assert not (user.home / "ledgers" / "nowhere.db").exists()


def test_a_server_that_is_down_fails_a_deploy_before_anything_is_recorded(
    user: Cli, kubectl: Kubectl, tmp_path: Path
) -> None:
    file = kubeconfig_at(kubectl.file, closed_port(), tmp_path)
    make_profile(user, "down", file, kubectl.context, kubectl.namespace)
    failed = user.run("-p", "down", *DEPLOY).failed(1)
    assert "Connection refused" in failed.error
    assert failed.stdout == ""
    assert not (user.home / "ledgers" / "down.db").exists()
    assert user.run("-p", "down", "deploy", "list").done().stdout == "💡 No deployments found\n"


def test_a_server_that_goes_down_after_the_append_leaves_a_deploy_recorded_but_not_applied(
    user: Cli, kubectl: Kubectl, tmp_path: Path
) -> None:
    ledger = user.home / "ledgers" / "guide.db"
    with Cable(server_port(kubectl.file), lambda: "Deployed" in user.events(ledger)) as cable:
        file = kubeconfig_at(kubectl.file, cable.port, tmp_path)
        failed = user.run(*DEPLOY, "--request-id", "r1", env={"ONECTL_KUBECONFIG": str(file)}).failed(8)
        assert cable.cuts >= 1
    assert "recorded, but not applied" in failed.error
    assert "1ctl deploy status" in failed.error
    assert user.events(ledger).count("Deployed") == 1
    assert kubectl.names() == set()
    assert [each["status"] for each in user.run("-o", "json", "deploy", "list").json] == ["pending"]
    done = user.run(*DEPLOY, "--request-id", "r1", "--wait").done()
    found = looks_like(first_deploy("user-service"), done.lines)
    assert user.events(ledger).count("Deployed") == 1
    assert_deployed(kubectl, "user-service", 8081, found)


def test_a_change_while_the_server_is_down_is_applied_by_asking_how_it_is(
    user: Cli, kubectl: Kubectl, tmp_path: Path
) -> None:
    user.run(*DEPLOY, "--wait").done()
    file = kubeconfig_at(kubectl.file, closed_port(), tmp_path)
    user.run("env", "create", "--env", "A=b", env={"ONECTL_KUBECONFIG": str(file)}).failed(8)
    assert data_of(kubectl.objects("user-service")["ConfigMap/user-service-environments"]) == {}
    assert "Running" in user.run("deploy", "status").done().stdout
    assert data_of(kubectl.objects("user-service")["ConfigMap/user-service-environments"]) == {"a": "b"}


def test_what_was_changed_by_hand_is_shown_beside_the_ledger(user: Cli, kubectl: Kubectl) -> None:
    user.run(*DEPLOY, "--env", "GREETING=hello", "--wait").done()
    assert user.run("-o", "json", "deploy", "diff", "live").done().json == []
    kubectl("scale", "deployment", "user-service", "--replicas=3")
    kubectl("delete", "service", "user-service")
    found = user.run("-o", "json", "deploy", "diff", "live").done().json
    assert [(each["kind"], each["field"], each["ledger"], each["live"]) for each in found] == [
        ("Deployment", "spec.replicas", 1, 3),
        ("Service", "", "present", None),
    ]
