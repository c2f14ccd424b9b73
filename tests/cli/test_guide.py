"""The guide, played once on the sandbox: what it shows is what its reader sees, to the letter."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cli_support import ROOT, Cli, Result, looks_like, write_toml
from tests.faults import dose

DEPLOY = ("deploy", "--image", "nginx:alpine", "--machine", "compute-main-01")
RULE = "─"


@dataclass(frozen=True, slots=True)
class Played:
    """Each command's result by its name, and the cluster's objects after some of them."""

    results: dict[str, Result]
    objects: dict[str, dict[str, dict[str, Any]]]
    pods: dict[str, list[str]]
    domains: dict[str, str]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    base = tmp_path_factory.mktemp("guide")
    write_toml(base / "services/user-service", "user-service", 8081)
    write_toml(base / "services/order-service", "order-service", 8082)
    # Long enough for the guide's "NotReady (0 pct)" to be seen on a busy machine.
    user = Cli(base / "home", base / "services/user-service", {"ONECTL_SANDBOX_SECONDS": "1.5"})
    order = user.within(base / "services/order-service")
    played = Played({}, {}, {}, {})

    def step(name: str, cli: Cli, *args: str) -> Result:
        played.results[name] = cli.run(*args)
        return played.results[name]

    def look(name: str) -> None:
        cluster = user.cluster()
        try:
            played.pods[name] = [pod.name for pod in cluster.pods("default", "user-service") if pod.ready]
        finally:
            cluster.close()
        played.objects[name] = user.objects()

    step("1 deploy", user, *DEPLOY, "--wait")
    look("1")
    played.domains["first"] = step("2 get", user, "-o", "json", "deploy", "get").json["domain"]
    step("3 too early", order, "env", "create", "--env", "A=b")
    step("3 deploy", order, *DEPLOY, "--wait")
    step("4 wire", order, "env", "create", "--env", f"USER_SERVICE_URL={played.domains['first']}")
    step("5 user", user, "secret", "create", "--kv", "JWT_SECRET=supersecret-jwt-value")
    step("5 order", order, "secret", "create", "--kv", "DATABASE_URL=postgres://user:pw@host:5432/orders")
    look("5")
    step("6 list", user, "deploy", "list")
    step("6 list json", user, "-o", "json", "deploy", "list")
    step("7 releases", user, "deploy", "releases")
    step("8 redeploy", user, *DEPLOY)
    step("8 releases", user, "deploy", "releases")
    played.domains["redeployed"] = step("8 get", user, "-o", "json", "deploy", "get").json["domain"]
    step("8 wait", user, *DEPLOY, "--wait")
    look("8")
    step("9 destroy", user, "deploy", "destroy", "-y")
    step("9 recreate", user, *DEPLOY, "--wait")
    path = str(base / "services/user-service/satusky.toml")
    played.domains["new"] = step("9 get", order, "-o", "json", "deploy", "get", "--config", path).json["domain"]
    step("9 rewire", order, "env", "create", "--env", f"USER_SERVICE_URL={played.domains['new']}")
    step("9 restart", order, "deploy", "restart")
    step("10 user", user, "deploy", "destroy", "-y")
    look("10 half")
    step("10 order", order, "deploy", "destroy", "-y")
    look("10")
    return played


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


def stdout(played: Played, name: str) -> list[str]:
    return played.results[name].lines


def first(played: Played) -> dict[str, str]:
    return looks_like(first_deploy("user-service"), stdout(played, "1 deploy"))


def order_id(played: Played) -> str:
    return looks_like(first_deploy("order-service"), stdout(played, "3 deploy"))["id"]


def kubernetes_key(objects: dict[str, Any], name: str) -> list[str]:
    return sorted(objects[name].get("data", {}))


# Step by step


def test_step_1_prints_the_guides_lines(played: Played) -> None:
    found = first(played)
    assert "user" not in found["domain"]


def test_step_1_makes_the_guides_objects(played: Played) -> None:
    objects, domain = played.objects["1"], first(played)["domain"]
    assert {"Deployment/user-service", "Service/user-service", "HTTPRoute/user-service"} <= objects.keys()
    service = objects["Service/user-service"]["spec"]
    assert service.get("type", "ClusterIP") == "ClusterIP"
    assert [(port["port"], port["protocol"]) for port in service["ports"]] == [(8081, "TCP")]
    assert objects["HTTPRoute/user-service"]["spec"]["hostnames"] == [domain]
    assert objects["Deployment/user-service"]["spec"]["template"]["metadata"]["labels"]["app"] == "user-service"
    assert len(played.pods["1"]) == 1


def test_step_2_reads_the_url(played: Played) -> None:
    assert played.domains["first"] == f"https://{first(played)['domain']}"


def test_step_3_refuses_configuration_before_the_first_deploy(played: Played) -> None:
    refused = played.results["3 too early"]
    assert refused.stdout == ""
    assert refused.stderr.splitlines() == [
        '❌ app "order-service" not found in namespace default',
        "Run '1ctl deploy' first or pass --deployment-id",
    ]
    assert refused.code == 3


def test_step_3_deploys_order_service_with_an_id_and_a_domain_of_its_own(played: Played) -> None:
    found = looks_like(first_deploy("order-service"), stdout(played, "3 deploy"))
    assert found["id"] != first(played)["id"]
    assert found["domain"] != first(played)["domain"]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("4 wire", "✅ Environment order-service created successfully"),
        ("5 user", "✅ Secret user-service created successfully"),
        ("5 order", "✅ Secret order-service created successfully"),
        ("9 rewire", "✅ Environment order-service created successfully"),
    ],
)
def test_steps_4_5_and_9_print_one_line(played: Played, name: str, line: str) -> None:
    assert stdout(played, name) == [line]


def test_step_5_keeps_each_apps_secrets_apart(played: Played) -> None:
    assert kubernetes_key(played.objects["5"], "Secret/user-service-secrets") == ["jwt-secret"]
    assert kubernetes_key(played.objects["5"], "Secret/order-service-secrets") == ["database-url"]


def test_step_6_lists_both_oldest_first(played: Played) -> None:
    assert stdout(played, "6 list") == [
        f"{'DEPLOYMENT ID':<36}  HOSTNAMES        TYPE        STATUS     CREATED",
        f"{RULE * 36}  {RULE * 15}  {RULE * 10}  {RULE * 9}  {RULE * 8}",
        f"{first(played)['id']}  compute-main-01  production  completed  just now",
        f"{order_id(played)}  compute-main-01  production  completed  just now",
    ]


def test_step_6_lists_json_without_domains(played: Played) -> None:
    listed = played.results["6 list json"].json
    assert [each["deployment_id"] for each in listed] == [first(played)["id"], order_id(played)]
    assert [(each["app_label"], each["status"], each["replicas"]) for each in listed] == [
        ("user-service", "completed", 1),
        ("order-service", "completed", 1),
    ]
    assert not any("domain" in each for each in listed)


def test_step_7_shows_one_release(played: Played) -> None:
    assert stdout(played, "7 releases") == [
        "VERSION  IMAGE         STATUS  DEPLOYED",
        "───────  ────────────  ──────  ────────",
        "1        nginx:alpine  active  just now",
    ]


def test_step_8_keeps_id_and_domain_and_says_nothing_of_routes(played: Played) -> None:
    found = looks_like(redeploy("user-service"), stdout(played, "8 redeploy"))
    assert found == first(played)
    assert played.domains["redeployed"] == played.domains["first"]


def test_step_8_supersedes_the_first_release(played: Played) -> None:
    assert stdout(played, "8 releases") == [
        "VERSION  IMAGE         STATUS      DEPLOYED",
        "───────  ────────────  ──────────  ────────",
        "2        nginx:alpine  active      just now",
        "1        nginx:alpine  superseded  just now",
    ]


def test_step_8_rolls_new_pods(played: Played) -> None:
    assert len(played.pods["8"]) == 1
    assert played.pods["8"] != played.pods["1"]


def test_step_8_leaves_order_service_alone(played: Played) -> None:
    for name in ("Deployment/order-service", "Service/order-service", "HTTPRoute/order-service"):
        assert played.objects["8"][name]["spec"] == played.objects["5"][name]["spec"]


def test_step_9_gives_a_recreated_app_a_new_id_and_a_new_domain(played: Played) -> None:
    found = looks_like(first_deploy("user-service"), stdout(played, "9 recreate"))
    assert found["id"] != first(played)["id"]
    assert played.domains["new"] == f"https://{found['domain']}"
    assert played.domains["new"] != played.domains["first"]


def test_step_9_restarts(played: Played) -> None:
    template = [
        "💡 Initiating rolling restart for deployment <id>...",
        "✅ Rolling restart initiated. Pods are being replaced one by one.",
        "💡 Use '1ctl deploy status --deployment-id <id>' to monitor progress.",
    ]
    assert looks_like(template, stdout(played, "9 restart"))["id"] == order_id(played)


def test_step_10_destroys(played: Played) -> None:
    template = ["💡 Destroying deployment <id>...", "✅ Deployment <id> destroyed successfully"]
    assert looks_like(template, stdout(played, "9 destroy"))["id"] == first(played)["id"]
    assert looks_like(template, stdout(played, "10 order"))["id"] == order_id(played)


def test_step_10_removes_every_object_of_the_app_and_none_of_the_others(played: Played) -> None:
    before, half = played.objects["8"], played.objects["10 half"]
    assert not [name for name in half if "user-service" in name]
    assert [name for name in half if "order-service" in name]
    assert [name for name in before if "user-service" in name]
    assert played.objects["10"] == {}


# All of them


def test_every_command_but_the_refused_one_succeeds(played: Played) -> None:
    assert {name: each.code for name, each in played.results.items() if each.code} == {"3 too early": 3}


def test_stderr_holds_notices_only(played: Played) -> None:
    for name, each in played.results.items():
        if name != "3 too early":
            assert all(re.match("💡 |❗️ |  ", line) for line in each.stderr.splitlines()), each.stderr


def test_the_sandbox_says_what_it_is_once_in_every_command_that_uses_it(played: Played) -> None:
    counts = {name: each.stderr.count("Sandbox: ") for name, each in played.results.items()}
    reads = {"2 get", "3 too early", "6 list", "6 list json", "7 releases", "8 releases", "8 get", "9 get"}
    assert {name for name, count in counts.items() if count == 0} == reads
    assert max(counts.values()) == 1


def test_off_a_terminal_there_are_no_escape_codes_and_no_carriage_returns(played: Played) -> None:
    for each in played.results.values():
        assert not re.search(r"[\x1b\r]", each.stdout + each.stderr)


@dose.not_few("the guide is played once more")
def test_the_demo_plays_the_guide(tmp_path: Path) -> None:
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "tests.demo"],
        cwd=ROOT,
        env={**environ, "ONECTL_SANDBOX_SECONDS": "0.2"},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    for line in (*first_deploy("user-service")[:4], '❌ app "order-service" not found in namespace default'):
        assert line in done.stdout.splitlines()
    assert "✅ Ledger is intact" in done.stdout
    assert "\x1b" not in done.stdout
    assert list(tmp_path.iterdir()) == []
