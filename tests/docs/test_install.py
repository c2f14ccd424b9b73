"""What is written down for a cluster: a pod that may do nothing that it need not, and an image that fits it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from ledger.keys import KeyFiles

ROOT = Path(__file__).parents[2]
INSTALL = ROOT / "docs" / "install"
CONTAINERFILE = (ROOT / "Containerfile").read_text()


def manifest(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((INSTALL / name).read_text())
    return found


@pytest.fixture
def pod() -> dict[str, Any]:
    found: dict[str, Any] = manifest("worker/deployment.yaml")["spec"]["template"]["spec"]
    return found


@pytest.fixture
def container(pod: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod["containers"]
    found: dict[str, Any] = only
    return found


def variables(container: dict[str, Any]) -> dict[str, Any]:
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container["env"]}


@pytest.mark.parametrize("directory", ["worker", "app-namespace", "user-namespace"])
def test_every_manifest_is_applied(directory: str) -> None:
    listed = manifest(f"{directory}/kustomization.yaml")["resources"]
    assert {*listed, "kustomization.yaml"} == {path.name for path in (INSTALL / directory).iterdir()}


def test_the_pod_is_nobody_and_can_become_nobody_else(pod: dict[str, Any], container: dict[str, Any]) -> None:
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 1000
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC", "hostPath"} & pod.keys()
    assert {kind for volume in pod["volumes"] for kind in volume if kind != "name"} == {"emptyDir", "secret"}


def test_a_worker_that_runs_for_months_does_not_keep_a_heap_for_each_thread(container: dict[str, Any]) -> None:
    assert variables(container)["MALLOC_ARENA_MAX"] == "2"
    soak = re.search(r"^\t@(.*)-m tests\.soak", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert soak is not None
    assert "MALLOC_ARENA_MAX=2" in soak[1], "the soak is to be what is deployed"


def test_two_pods_serve_their_state_where_they_are_probed(container: dict[str, Any]) -> None:
    assert manifest("worker/deployment.yaml")["spec"]["replicas"] == 2
    (port,) = container["ports"]
    assert (port["name"], port["containerPort"]) == ("metrics", 9464)
    assert container["command"] == ["1ctl", "worker", "run", "--listen", f"0.0.0.0:{port['containerPort']}"]
    probed = {name: probe["httpGet"] for name, probe in container.items() if name.endswith("Probe")}
    assert probed == {
        "startupProbe": {"path": "/healthz", "port": "metrics"},
        "livenessProbe": {"path": "/healthz", "port": "metrics"},
        "readinessProbe": {"path": "/readyz", "port": "metrics"},
    }


def test_nothing_secret_is_written_down_and_every_key_is_where_the_variables_say(
    pod: dict[str, Any], container: dict[str, Any]
) -> None:
    given = variables(container)
    assert given["ONECTL_LEDGER"] == {"secretKeyRef": {"name": "onectl-ledger", "key": "url"}}
    assert given["ONECTL_IN_CLUSTER"] == "1"
    mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    assert Path(given["ONECTL_IDENTITY"]).parent == Path(mounts["identity"])
    assert all(each["readOnly"] for each in container["volumeMounts"] if each["name"] == "identity")
    written = [mounts[volume["name"]] for volume in pod["volumes"] if "emptyDir" in volume]
    assert written == [given["ONECTL_HOME"]] == [given["HOME"]] == [given["TMPDIR"]]


def test_every_secret_that_the_pod_needs_is_made_by_a_command_in_the_readme(pod: dict[str, Any]) -> None:
    readme = (INSTALL / "README.md").read_text()
    secrets = {volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume} | {"onectl-ledger"}
    assert set(re.findall(r"create secret generic (\S+)", readme)) == secrets


def test_the_readme_names_the_files_that_keys_really_lie_in() -> None:
    identity = KeyFiles(Path("keys")).identity_path("LEDGER-ID")
    readme = (INSTALL / "README.md").read_text()
    assert f"`{identity}`" in readme
    used = re.findall(r'--from-file=identity\.key="\$HOME/\.local/share/1ctl/([^"]+)"', readme)
    assert used == [str(identity)] * 2


def rules(role: dict[str, Any]) -> dict[str, set[str]]:
    """Verbs by resource."""
    return {
        ".".join(filter(None, (resource, *rule["apiGroups"]))): set(rule["verbs"])
        for rule in role["rules"]
        for resource in rule["resources"]
    }


def roles(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((INSTALL / name / "role.yaml").read_text()))


@pytest.mark.parametrize(("directory", "column"), [("app-namespace", "the worker"), ("user-namespace", "a user")])
def test_a_role_is_the_column_of_the_table_in_operations(directory: str, column: str) -> None:
    section = (ROOT / "docs/operations.md").read_text().split("## Rights in the cluster\n")[1].split("\n## ")[0]
    head, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"
    ]
    verbs = {
        resource: set(re.findall(r"[a-z]+", row[head.index(column)])) - {"none"}
        for row in rows
        for resource in re.findall(r"`([^`]+)`", row[0])
    }
    role, binding = roles(directory)
    assert rules(role) == {resource: allowed for resource, allowed in verbs.items() if allowed}
    assert binding["roleRef"]["name"] == role["metadata"]["name"]


def test_the_image_is_pinned_and_ends_as_the_number_that_the_pod_runs_as(pod: dict[str, Any]) -> None:
    (base,) = re.findall(r"^ARG BASE=(\S+)$", CONTAINERFILE, re.MULTILINE)
    assert re.fullmatch(r"python:\d+\.\d+\.\d+-\S+", base)
    assert set(re.findall(r"^FROM (\S+)", CONTAINERFILE, re.MULTILINE)) == {"${BASE}"}
    assert "--require-hashes -r requirements.txt" in CONTAINERFILE
    context = pod["securityContext"]
    users = re.findall(r"^USER (\S+)$", CONTAINERFILE, re.MULTILINE)
    assert users[-1] == f"{context['runAsUser']}:{context['runAsGroup']}"


def pins(name: str) -> dict[str, str]:
    """Each requirement's hashes, by name and version."""
    text = (ROOT / name).read_text()
    return dict(re.findall(r"^(\S+==\S+)(?: ; [^\\]+)?((?: \\\n    --hash=sha256:[0-9a-f]{64})+)", text, re.MULTILINE))


def test_what_builds_it_is_pinned_by_hash_and_is_what_is_tested() -> None:
    build = pins("requirements-build.txt")
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    assert build.keys() >= set(required)
    assert len(build) == len(re.findall(r"^\w", (ROOT / "requirements-build.txt").read_text(), re.MULTILINE))
    assert build.items() <= pins("requirements-dev.txt").items()


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt", "requirements-build.txt"])
def test_pins_name_no_index(name: str) -> None:
    assert "://" not in (ROOT / name).read_text()


def test_every_install_from_here_checks_hashes_or_fetches_nothing() -> None:
    lines = [line for text in (CONTAINERFILE, (ROOT / "README.md").read_text()) for line in text.splitlines()]
    installs = [line.split() for line in lines if re.search(r"/pip (install|wheel) ", line)]
    assert len(installs) == 6
    for words in installs:
        assert "--require-hashes" in words or {"--no-deps", "--no-build-isolation"} <= {*words} or "--no-index" in words


def test_the_image_is_made_from_what_is_there_and_holds_every_package() -> None:
    copied = {
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", CONTAINERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    }
    assert all((ROOT / source).exists() for source in copied)
    assert {"ledger", "projections", "effects", "cli", "pyproject.toml", "requirements.txt"} <= copied
