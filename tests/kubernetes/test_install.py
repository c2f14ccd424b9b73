"""The manifests of docs/install on a real API server: what the worker's service account may do, and that it is enough."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml

from tests.cli_support import Cli, write_toml
from tests.effects.worlds import eventually
from tests.kubernetes.support import Kubectl, data_of, make_profile, require_kubectl
from tests.kubernetes_support import Administrator, kubeconfig
from tests.worker.commands import worker

pytestmark = pytest.mark.kubernetes

ROOT = Path(__file__).parents[2]
VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
EVERYBODYS = {"selfsubjectaccessreviews.authorization.k8s.io", "selfsubjectrulesreviews.authorization.k8s.io"}
TOKEN = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}


@dataclass(frozen=True, slots=True)
class Installed:
    """The manifests as they were edited and applied.

    Attributes:
        directory: They.
        worker: The administrator's kubectl in the worker's namespace.
        apps: The same in the apps' namespace.
        account: kubectl in the apps' namespace as the service account.
        user: The same as somebody of the group that user-namespace is for.
    """

    directory: Path
    worker: Kubectl
    apps: Kubectl
    account: Kubectl
    user: Kubectl


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    file = kubeconfig()
    require_kubectl()
    directory = tmp_path_factory.mktemp("install")
    own = f"onectl-worker-{uuid4().hex[:12]}"
    administrator = Administrator(file)
    with administrator.namespace() as shop:
        worker, apps = (Kubectl(file, administrator.context, namespace) for namespace in (own, shop))
        edit(ROOT / "docs" / "install", directory, {"onectl": own, "shop": shop})
        apps("apply", "-k", str(directory / "app-namespace"))
        apps("apply", "-k", str(directory / "user-namespace"))
        worker("apply", "-k", str(directory / "worker"))
        token = worker(
            "create",
            "--raw",
            f"/api/v1/namespaces/{own}/serviceaccounts/onectl-worker/token",
            "-f",
            "-",
            given=json.dumps(TOKEN),
        )
        account = as_somebody(file, {"token": json.loads(token)["status"]["token"]}, directory / "account.kubeconfig")
        own_user = {**own_user_of(file), "as": "ana", "as-groups": ["deployers"]}
        user = as_somebody(file, own_user, directory / "user.kubeconfig")
        yield Installed(directory, worker, apps, Kubectl(account, "worker", shop), Kubectl(user, "worker", shop))
        worker("delete", "namespace", own, "--wait=false")
    administrator.close()


def edit(source: Path, target: Path, namespaces: Mapping[str, str]) -> None:
    """A copy in which namespaces have names of their own, as somebody who installs it edits it."""
    shutil.copytree(source, target, dirs_exist_ok=True)
    for path in target.rglob("*.yaml"):
        text = path.read_text()
        for name, own in namespaces.items():
            text = re.sub(rf"^( *(?:namespace|value): ){name}( |$)", rf"\g<1>{own}\2", text, flags=re.MULTILINE)
        path.write_text(text)
    namespace = target / "worker" / "namespace.yaml"
    namespace.write_text(namespace.read_text().replace("  name: onectl", f"  name: {namespaces['onectl']}"))


def own_user_of(file: Path) -> dict[str, Any]:
    """The administrator's credentials: whoever has them may act as anybody."""
    (user,) = json.loads(file.read_text())["users"]
    found: dict[str, Any] = user["user"]
    return found


def as_somebody(file: Path, user: Mapping[str, Any], path: Path) -> Path:
    """A kubeconfig of the same server for a user with these credentials and nothing else."""
    content = json.loads(file.read_text())
    (cluster,) = content["clusters"]
    context = {"cluster": cluster["name"], "user": "worker"}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [cluster],
        "contexts": [{"name": "worker", "context": context}],
        "users": [{"name": "worker", "user": dict(user)}],
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(document))
    return path


def documented(column: str = "the worker") -> dict[str, set[str]]:
    """Verbs by resource, as docs/operations.md has them."""
    section = (ROOT / "docs/operations.md").read_text().split("## Rights in the cluster\n")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:2] == "| "]
    place = rows[0].index(column)
    found: dict[str, set[str]] = {}
    for row in rows[1:]:
        verbs = set(row[place].replace("none", "").replace(",", " ").split())
        found |= dict.fromkeys(re.findall(r"`([^`]+)`", row[0]), verbs)
    return {resource: verbs for resource, verbs in found.items() if verbs}


def answer(kubectl: Kubectl, *args: str) -> tuple[int, str]:
    """Exit code and output of a kubectl command that may be refused."""
    command = ["kubectl", f"--kubeconfig={kubectl.file}", f"--context={kubectl.context}", "-n", kubectl.namespace]
    done = subprocess.run([*command, *args], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


def may(kubectl: Kubectl, *question: str) -> bool:
    """What the server says to `kubectl auth can-i`."""
    _, said = answer(kubectl, "auth", "can-i", *question)
    (word,) = {line for line in said.splitlines() if line in ("yes", "no")}
    return word == "yes"


def leaves(thing: Any, path: str = "") -> dict[str, Any]:
    """Every value in a document, by its path."""
    inner: dict[str, Any] = {}
    if isinstance(thing, dict):
        inner = {f"{path}.{name}": each for name, each in thing.items()}
    elif isinstance(thing, list):
        inner = {f"{path}[{number}]": each for number, each in enumerate(thing)}
    else:
        return {path: thing}
    return {at: value for name, each in inner.items() for at, value in leaves(each, name).items()}


def test_the_server_keeps_every_field_that_is_written_down(installed: Installed) -> None:
    """A field that the API does not know vanishes without a word on an older server."""
    written = yaml.safe_load((installed.directory / "worker" / "deployment.yaml").read_text())
    kept = leaves(json.loads(installed.worker("get", "deployment", "onectl-worker", "-o", "json")))
    assert {path: kept.get(path) for path in leaves(written)} == leaves(written)


def test_both_pods_run(installed: Installed) -> None:
    installed.worker("rollout", "status", "deployment/onectl-worker", "--timeout=50s")
    pods = json.loads(installed.worker("get", "pods", "-o", "json"))["items"]
    assert [pod["spec"]["serviceAccountName"] for pod in pods] == ["onectl-worker"] * 2


def allowed(kubectl: Kubectl) -> dict[str, set[str]]:
    """Verbs by resource, as the server lists them."""
    code, listed = answer(kubectl, "auth", "can-i", "--list", "--no-headers")
    assert code == 0, listed
    return {
        resource: set(verbs.split())
        for resource, verbs in re.findall(r"^(\S+) +\[\] +\[\] +\[(.*)\]$", listed, re.MULTILINE)
        if resource not in EVERYBODYS
    }


def test_the_account_may_do_what_the_table_says_and_nothing_else(installed: Installed) -> None:
    assert allowed(installed.account) == documented()
    assert len(documented()) == 7


def test_a_user_may_do_what_the_table_says_and_nothing_else(installed: Installed) -> None:
    assert allowed(installed.user) == documented("a user")
    assert len(documented("a user")) == 9
    assert may(installed.user, "get", f"namespaces/{installed.apps.namespace}")
    assert not may(installed.user, "list", "namespaces")
    assert not may(installed.user, "get", "pods", "-n", installed.worker.namespace)


@pytest.mark.parametrize("resource", ["secrets", "pods", "deployments.apps", "roles.rbac.authorization.k8s.io"])
def test_each_verb_is_answered_like_the_table(installed: Installed, resource: str) -> None:
    for verb in VERBS:
        assert may(installed.account, verb, resource) is (verb in documented().get(resource, set())), verb


def test_what_is_not_in_that_namespace_is_not_the_accounts(installed: Installed) -> None:
    for question in (
        ("list", "namespaces"),
        ("get", "nodes"),
        ("create", "deployments.apps", "-n", installed.worker.namespace),
        ("create", "secrets", "-n", "kube-system"),
        ("create", "pods"),
        ("create", "pods/exec"),
        ("create", "serviceaccounts/token"),
        ("escalate", "roles.rbac.authorization.k8s.io"),
    ):
        assert not may(installed.account, *question), question


def test_the_account_cannot_read_a_secret_in_any_way(installed: Installed) -> None:
    installed.apps("create", "secret", "generic", "theirs", "--from-literal=password=canary-5d1f")
    for attempt in (
        ("get", "secret", "theirs", "-o", "yaml"),
        ("get", "secrets", "-o", "yaml"),
        ("get", "secrets", "--watch"),
        ("get", "--raw", f"/api/v1/namespaces/{installed.apps.namespace}/secrets/theirs"),
        ("get", "secrets", "-n", installed.worker.namespace),
    ):
        code, said = answer(installed.account, *attempt)
        assert code != 0
        assert "Forbidden" in said
        assert "canary-5d1f" not in said


@pytest.mark.parametrize("who", ["account", "user"])
def test_the_guide_works_with_exactly_those_rights(installed: Installed, tmp_path: Path, who: str) -> None:
    app, kubectl = "user-service", installed.apps
    write_toml(tmp_path / app, app, 8081)
    user = Cli(tmp_path / "home", tmp_path / app)
    make_profile(user, "worker", getattr(installed, who).file, "worker", kubectl.namespace)
    user.run("profile", "use", "worker").done()

    user.run("deploy", "--image", "nginx:alpine", "--machine", "compute-main-01", "--wait").done()
    user.run("env", "create", "--env", "LOG_LEVEL=debug").done()
    user.run("secret", "create", input="JWT_SECRET=not-for-everybody\n").done()
    user.run("deploy", "restart").done()
    user.run("deploy", "--image", "nginx:2", "--wait").done()

    objects = kubectl.objects(app)
    assert {name for name in objects if not name.startswith("Pod/")} >= {
        f"Deployment/{app}",
        f"Service/{app}",
        f"HTTPRoute/{app}",
    }
    assert data_of(objects[f"ConfigMap/{app}-environments"]) == {"log-level": "debug"}
    assert b64decode(data_of(objects[f"Secret/{app}-secrets"])["jwt-secret"]).decode() == "not-for-everybody"
    assert "Running" in user.run("deploy", "status").done().stdout
    assert user.run("-o", "json", "deploy", "diff", "live").done().json == []

    user.run("deploy", "destroy", "-y").done()
    eventually(lambda: kubectl.objects(app) == {})


def test_a_worker_works_with_exactly_those_rights(installed: Installed, tmp_path: Path) -> None:
    app, kubectl = "order-service", installed.apps
    write_toml(tmp_path / app, app, 8082)
    user = Cli(tmp_path / "home", tmp_path / app)
    make_profile(user, "worker", installed.account.file, "worker", kubectl.namespace)
    user.run("profile", "use", "worker").done()

    with worker(user) as run:
        assert (run.get("/healthz")[0], run.get("/readyz")[0]) == (200, 200)
        user.run("deploy", "--image", "nginx:alpine", "--machine", "compute-main-01", "--wait").done()
        user.run("env", "create", "--env", "LOG_LEVEL=debug").done()
        user.run("secret", "create", input="JWT_SECRET=not-for-everybody\n").done()
        user.run("deploy", "restart").done()
        user.run("deploy", "--image", "nginx:2", "--wait").done()
        assert b64decode(data_of(kubectl.objects(app)[f"Secret/{app}-secrets"])["jwt-secret"]) == b"not-for-everybody"

        kubectl("delete", "service", app)
        eventually(lambda: f"Service/{app}" in kubectl.objects(app))

        user.run("deploy", "destroy", "-y").done()
        eventually(lambda: kubectl.objects(app) == {})
        refusals = [line for line in run.log() if "forbidden" in str(line).lower()]
        assert refusals == []
