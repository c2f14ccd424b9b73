"""`1ctl worker` as an operator runs it, and the other commands beside it, on the sandbox."""

from __future__ import annotations

import gc
import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from cli import resident
from effects.cluster import Ref
from effects.endpoints import serving, yes_or_no
from effects.worker import Stop, TermEnd, Worker
from tests.cli.test_exit_codes import read_until
from tests.cli_support import DOMAIN, ID, Cli, write_toml
from tests.effects.worlds import eventually
from tests.worker.commands import worker

STEPS = [
    "💡 Using pre-built image: nginx:alpine",
    "Step 2/5: Creating/updating deployment user-service ✓",
    "Step 3/5: Configuring services user-service ✓",
    "Step 4/5: Setting up environment and storage user-service ✓",
    f"💡 No existing public route found for deployment {ID}, will create new one: No public route found",
    f"💡 Generated new domain: {DOMAIN}",
    "Step 5/5: Configuring public routing and dependencies user-service ✓",
    f"✅ 🚀 Deployment for user-service is successful! Your app is live at: https://{DOMAIN}",
    f"Deployment ID: {ID}",
    "💡 Waiting for deployment to become healthy...",
    r"💡 Deployment status: NotReady \(0 pct\)",
    "✅ Deployment is healthy — pods Running",
]


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    write_toml(tmp_path / "svc", "user-service")
    return Cli(tmp_path / "home", tmp_path / "svc")


def test_with_a_worker_a_deploy_prints_the_same_lines_and_only_records(cli: Cli) -> None:
    with worker(cli):
        done = cli.run("deploy", "--image", "nginx:alpine", "--machine", "compute-main-01", "--wait").done()
        assert len(done.lines) == len(STEPS)
        assert [line for line, wanted in zip(done.lines, STEPS, strict=True) if not re.fullmatch(wanted, line)] == []
        assert "Sandbox" not in done.stderr
        cli.run("env", "create", "--env", "A=b").done()
        cli.run("deploy", "restart").done()
        log = cli.run("-o", "json", "audit", "log").json
        assert {each["actor"] for each in log if each["kind"] == "ResourcesApplied"} == {"1ctl/worker"}
        cli.run("deploy", "destroy", "-y").done()
        assert cli.objects() == {}


def test_with_a_worker_a_repeated_deploy_is_answered_about_its_own_release(cli: Cli) -> None:
    with worker(cli):
        broken = ("deploy", "--image", "broken:1", "--request-id", "b1", "--wait")
        assert "release 1 failed: ImagePullBackOff" in cli.run(*broken).failed(4).error
        cli.run("deploy", "--image", "nginx:2", "--wait").done()
        assert "release 1 failed: ImagePullBackOff" in cli.run(*broken).failed(4).error


def tell_when_garbage_is_collected() -> None:
    """In another process: a worker that only says this."""

    def run_once(_: Worker, __: Stop) -> TermEnd:
        print(gc.get_threshold(), file=sys.stderr)
        return TermEnd(why=None, failing={})

    Worker.run_once = run_once  # type: ignore[method-assign, assignment]


def test_a_worker_collects_garbage_though_commands_do_not(cli: Cli) -> None:
    ended = replace(cli, change=f"{__name__}:{tell_when_garbage_is_collected.__name__}").run("worker", "run", "--once")
    assert usual_threshold() in ended.done().stderr


def usual_threshold() -> str:
    """What an interpreter begins with."""
    return subprocess.check_output([sys.executable, "-c", "import gc; print(gc.get_threshold())"], text=True).strip()


def test_a_worker_says_how_it_is_doing(cli: Cli) -> None:
    with worker(cli) as run:
        assert run.get("/healthz") == (200, "ok\n")
        assert run.get("/readyz") == (200, "ok\n")
        assert run.get("/secrets")[0] == 404
        cli.run("deploy", "--image", "nginx:alpine", "--wait").done()
        done = r'onectl_work_total\{outcome="done"\} [1-9]'  # more than once: what its pods report is news of the app
        metrics = eventually(lambda: found if re.search(done, found := run.get("/metrics")[1]) else "")
        assert "onectl_leader 1.0" in metrics
        status = cli.run("-o", "json", "worker", "status").done().json
        assert status["enabled"] is True
        assert status["leader"]["term"] == 1
        log = run.log()
        assert log
        assert all({"time", "level", "message"} <= line.keys() for line in log)


def test_of_two_workers_one_leads_and_the_other_follows_it(cli: Cli) -> None:
    with worker(cli, code=None) as first:
        second = cli.start("worker", "run", "--listen", "none", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            holder = cli.run("-o", "json", "worker", "status").json["leader"]["holder"]
            first.process.kill()
            first.process.wait()
            led = eventually(
                lambda: (
                    lead
                    if (lead := cli.run("-o", "json", "worker", "status").json["leader"]) and lead["holder"] != holder
                    else None
                )
            )
            assert led["term"] == 2
            cli.run("deploy", "--image", "nginx:alpine", "--wait").done()
        finally:
            second.send_signal(signal.SIGTERM)
            assert second.wait(30) == 0


def test_8_when_no_worker_is_seen_and_a_worker_that_comes_applies_it(cli: Cli) -> None:
    with worker(cli):
        pass
    failed = cli.run("deploy", "--image", "nginx:alpine").failed(8)
    assert f"recorded, but not applied: no worker was seen for {resident.NO_WORKER_SECONDS:.0f} s" in failed.error
    assert "1ctl worker run" in failed.error
    assert "very same command" not in failed.error  # it would only look on
    shown = cli.run("deploy", "status").done()
    assert "Applied:       pending" in shown.stdout
    assert "Leader:  none; the last one was seen" in cli.run("worker", "status").done().stdout
    with worker(cli):
        eventually(lambda: "ResourcesApplied" in cli.events())


def test_disabling_ends_the_worker_and_commands_apply_again(cli: Cli) -> None:
    with worker(cli) as run:
        cli.run("deploy", "--image", "nginx:alpine").done()
        disabled = cli.run("worker", "disable", "-y", "--reason", "moved").done()
        assert "The worker of cluster sandbox is disabled" in disabled.stdout
        assert run.process.wait(30) == 0
    assert "no change" in cli.run("worker", "disable").done().stdout
    cli.run("deploy", "scale", "--replicas", "2").done()
    actors = {each["actor"] for each in cli.run("-o", "json", "audit", "log", "--kind", "ResourcesApplied").json}
    assert actors == {"1ctl/worker", "1ctl/effects"}


def test_a_destroy_waits_on_for_an_object_that_lingers_while_it_is_deleted(cli: Cli) -> None:
    with worker(cli):
        cli.run("deploy", "--image", "nginx:alpine").done()
        ref = Ref("Service", "default", "user-service")
        cluster = cli.cluster()
        cluster.edit(ref, {"metadata": {"finalizers": ["1ctl.dev/test"]}})
        destroy = cli.start("deploy", "destroy", "-y", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        eventually(lambda: "ApplyRefused" in cli.events())
        assert "failed" in cli.run("deploy", "list", "--all").done().stdout.split()
        cluster.edit(ref, {"metadata": {"finalizers": None}})
        cluster.close()
        assert destroy.wait(30) == 0
    assert cli.objects() == {}


def test_disabling_ends_every_worker_and_one_that_starts_afterwards_waits_until_it_is_enabled(cli: Cli) -> None:
    with worker(cli) as first, worker(cli, leads=False, name="stand-by") as second:
        eventually(lambda: second.get("/readyz")[0] == 200)
        disabled = cli.run("worker", "disable", "-y").done()
        assert "1ctl worker enable" in disabled.stderr
        assert [each.process.wait(30) for each in (first, second)] == [0, 0]
    assert cli.run("-o", "json", "worker", "status").json["leader"] is None
    with worker(cli, leads=False, name="restarted") as run:
        (said,) = eventually(lambda: [line for line in run.log() if line["message"] == "disabled"])
        assert "1ctl worker enable" in str(said["detail"])
        assert (run.get("/healthz")[0], run.get("/readyz")[0]) == (200, 503)
        cli.run("deploy", "--image", "nginx:alpine").done()
        assert not run.leads()
        assert "A worker is enabled" in cli.run("worker", "enable").done().stdout
        assert "no change" in cli.run("worker", "enable").done().stdout
        eventually(run.leads)
        assert run.get("/readyz")[0] == 200
    assert [each for each in cli.events() if each.startswith("Worker") and each != "WorkerIdentitySet"] == [
        "WorkerEnabled",
        "WorkerDisabled",
        "WorkerEnabled",
    ]


def test_once_applies_what_is_recorded_and_enables_no_worker(cli: Cli) -> None:
    cli.run("deploy", "--image", "nginx:alpine", "--detach").done()
    done = cli.run("worker", "run", "--once").done()
    assert done.lines[-1] == "✅ The cluster is as the ledger asks"
    assert "Deployment/user-service" in cli.objects()
    assert "WorkerEnabled" not in cli.events()


def test_once_ends_with_8_and_names_what_the_cluster_refuses(cli: Cli) -> None:
    theirs(cli, "Service")
    cli.run("deploy", "--image", "nginx:alpine", "--detach").done()
    failed = cli.run("worker", "run", "--once").failed(8)
    assert "user-service" in failed.error
    status = cli.run("worker", "status").done()
    assert "NotOurs" in status.stdout
    assert cli.run("-o", "json", "worker", "status").json["parked"][0]["reason"] == "NotOurs"


def theirs(cli: Cli, kind: str) -> str:
    """Somebody else has an object where one of the app's would be; its uid."""
    cluster = cli.cluster()
    metadata = {"name": "user-service", "namespace": "default"}
    spec = {"ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}], "selector": {"app": "theirs"}}
    manifest = {"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": spec}
    seen = cluster.apply(manifest, manager="theirs", expect=None)
    cluster.close()
    return seen.uid


def test_with_a_worker_an_object_of_somebody_else_can_be_taken_over_as_the_hint_says(cli: Cli) -> None:
    with worker(cli):
        uid = theirs(cli, "Service")
        adopt = f"1ctl deploy adopt service/user-service --uid {uid} --reason TEXT"
        assert adopt in cli.run("deploy", "--image", "nginx:alpine").failed(8).error
        assert adopt in cli.run("deploy", "status").done().stderr
        named = adopt.replace("adopt", "adopt --name user-service")  # one of many apps, whatever the directory is about
        assert named in cli.run("worker", "status").done().stderr
        cli.run(*named.split()[1:]).done()
        assert cli.run("-o", "json", "worker", "status").done().json["parked"] == []


def test_an_object_of_somebody_else_is_refused_and_can_be_taken_over(cli: Cli) -> None:
    uid = theirs(cli, "Service")
    refused = cli.run("deploy", "--image", "nginx:alpine").failed(3)
    assert f"1ctl deploy adopt service/user-service --uid {uid} --reason TEXT" in refused.error
    assert cli.events() == []
    other = cli.run("deploy", "adopt", "service/user-service", "--uid", "another", "--reason", "x").failed(3)
    assert f"has another uid: {uid}" in other.error
    before = cli.events()
    named = ("deploy", "adopt", "service/user-service", "--uid", uid, "--reason", "made by hand")
    shown = cli.run("-o", "json", *named, "--dry-run").done().json
    assert [each["kind"] for each in shown["events"]] == ["ObjectAdopted"]
    assert cli.events() == before
    adopted = cli.run(*named).done()
    assert "the next deploy of user-service does it" in adopted.stdout
    cli.run("deploy", "--image", "nginx:alpine").done()
    service = cli.objects()["Service/user-service"]
    assert service["metadata"]["uid"] == uid
    assert service["spec"]["selector"] == {"app": "user-service"}


def test_who_waits_for_pods_of_what_is_applied_is_not_told_that_a_later_refusal_is_about_it(cli: Cli) -> None:
    with worker(cli), cli.start("deploy", "--image", "held:1", "--wait", "--timeout", "50s") as waiting:
        read_until(waiting, "Waiting for deployment")
        cluster = cli.cluster()
        metadata = {"name": "user-service-secrets", "namespace": "default"}
        cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata}, manager="theirs", expect=None)
        cluster.close()
        later = cli.run("secret", "create", input="TOKEN=abc").failed(8)
        _, err = waiting.communicate(timeout=40)
    assert "recorded, but not applied: the cluster refused (NotOurs): secret/user-service-secrets" in later.error
    assert waiting.returncode == 5
    said = "applied, but nobody watches its pods while a later request is refused: the cluster refused (NotOurs)"
    assert said in err.decode()
    assert "recorded, but not applied" not in err.decode()
    assert "1ctl deploy status" in err.decode()


@pytest.mark.parametrize(
    ("named", "why"),
    [
        ("secret/user-service-secrets", "a Secret cannot be adopted"),
        ("service/other", 'is not an object of app "user-service"'),
        ("service", 'is not an object of app "user-service"'),
    ],
)
def test_only_objects_that_the_app_has_can_be_adopted(cli: Cli, named: str, why: str) -> None:
    assert why in cli.run("deploy", "adopt", named, "--uid", "u", "--reason", "x").failed(2).error


def test_drift_shows_in_status_until_it_is_set_back(cli: Cli) -> None:
    cli.run("deploy", "--image", "nginx:alpine", "--wait").done()
    with worker(cli, "--drift", "report"):
        cluster = cli.cluster()
        cluster.edit(Ref("Deployment", "default", "user-service"), {"spec": {"replicas": 4}})
        cluster.close()
        eventually(lambda: "DriftDetected" in cli.events())
        status = cli.run("-o", "json", "deploy", "status").done().json
        assert status["drift"] == ["deployment/user-service spec.replicas"]
    with worker(cli):
        eventually(lambda: "DriftHealed" in cli.events())
        eventually(lambda: cli.run("-o", "json", "deploy", "status").done().json["drift"] == [])
    shown = cli.run("audit", "log", "--kind", "DriftDetected").done().stdout
    assert "fields=spec.replicas, by=kubectl-edit (Update)" in shown


def test_a_status_that_is_watched_prints_what_changes(cli: Cli) -> None:
    with worker(cli):
        cli.run("deploy", "--image", "nginx:alpine").done()
        process = cli.start("-o", "json", "deploy", "status", "--watch")
        try:
            assert process.stdout is not None
            seen: list[dict[str, object]] = []
            while not seen or seen[-1]["status"] != "Running":
                seen.append(json.loads(process.stdout.readline()))
        finally:
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=30)
        assert process.returncode == 0, err
        assert len({json.dumps(each) for each in seen}) == len(seen)


def test_spans_are_made_where_somebody_asks_for_them(cli: Cli) -> None:
    cli.run("deploy", "--image", "nginx:alpine", "--detach").done()
    traced = cli.having(OTEL_TRACES_EXPORTER="console").run("worker", "run", "--once").done()
    assert '"name": "app"' in traced.stdout
    assert '"app": "user-service"' in traced.stdout
    assert '"service.name": "1ctl-worker"' in traced.stdout
    named = cli.having(OTEL_TRACES_EXPORTER="console", OTEL_SERVICE_NAME="worker-of-staging")
    assert '"service.name": "worker-of-staging"' in named.run("worker", "run", "--once").done().stdout
    unknown = cli.having(OTEL_TRACES_EXPORTER="carrier-pigeon").run("worker", "run", "--once").failed(1)
    assert 'OTEL_TRACES_EXPORTER "carrier-pigeon" is not supported' in unknown.error


def test_it_listens_on_an_address_of_either_family() -> None:
    for host, url in (("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")):
        with serving((host, 0), {"/healthz": lambda: yes_or_no(True)}) as port:
            assert urllib.request.urlopen(f"http://{url}:{port}/healthz", timeout=10).read() == b"ok\n"


def test_head_is_answered_as_get_without_its_body() -> None:
    with serving(("127.0.0.1", 0), {"/healthz": lambda: yes_or_no(True), "/readyz": lambda: yes_or_no(False)}) as port:
        for path, status in (("/healthz", 200), ("/readyz", 503), ("/nothing", 404)):
            told = []
            for method in ("GET", "HEAD"):
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
                connection.request(method, path)
                with connection.getresponse() as reply:
                    told.append((reply.status, reply.headers["Content-Type"], reply.headers["Content-Length"]))
                    assert bool(reply.read()) == (method == "GET")
                connection.close()
            assert told[0] == told[1]
            assert told[0][0] == status


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["--drift", "ignore"], 2, 'invalid --drift "ignore": expected heal or report'),
        (["--listen", "nowhere"], 2, 'invalid --listen "nowhere": expected HOST:PORT or none'),
        (["--listen", "127.0.0.1:99999"], 1, "127.0.0.1:99999 cannot be listened on"),
        (["--once", "--listen", "nowhere"], 2, 'invalid --listen "nowhere": expected HOST:PORT or none'),
        (["--lease", "0.5s"], 3, '--lease "0.5s" is too short'),
    ],
)
def test_what_makes_no_sense_is_refused_and_enables_no_worker(cli: Cli, args: list[str], code: int, said: str) -> None:
    cli.run("deploy", "--image", "nginx:alpine").done()
    assert said in cli.run("worker", "run", *args).failed(code).error
    assert "WorkerEnabled" not in cli.events()


def test_a_worker_whose_port_is_taken_is_not_enabled(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        failed = cli.run("worker", "run", "--listen", f"127.0.0.1:{port}").failed(1)
    assert f"127.0.0.1:{port} cannot be listened on" in failed.error
    assert not cli.ledger.exists()


def test_where_the_worker_was_disabled_enabling_it_is_what_lets_it_apply(cli: Cli) -> None:
    remote = cli.having(ONECTL_CLUSTER="prod", ONECTL_NAMESPACE="shop")
    remote.run("worker", "enable").done()
    remote.run("worker", "disable", "-y").done()
    refused = remote.run("deploy", "--image", "nginx:alpine").failed(3)
    assert "let a worker apply what is recorded: 1ctl worker enable" in refused.error


def test_a_cluster_that_only_the_worker_reaches_needs_no_context_here(cli: Cli) -> None:
    remote = cli.having(ONECTL_CLUSTER="prod", ONECTL_NAMESPACE="shop")
    refused = remote.run("deploy", "--image", "nginx:alpine").failed(3)
    assert "nothing says how to reach cluster prod from here" in refused.error
    assert "1ctl worker run" in refused.error
    assert remote.run("deploy", "list").done().stdout == "💡 No deployments found\n"


def test_a_secret_that_somebody_deleted_is_there_again_after_the_next_request(cli: Cli) -> None:
    with worker(cli):
        cli.run("deploy", "--image", "nginx:alpine").done()
        cli.run("secret", "create", input="TOKEN=x\n").done()
        cli.run("deploy", "restart").done()
        before = {name for name in cli.objects() if name.startswith("Secret/")}
        cluster = cli.cluster()
        for name in before:
            cluster.delete(Ref("Secret", "default", name.removeprefix("Secret/")), uid=None)
        cluster.close()
        assert not {name for name in cli.objects() if name.startswith("Secret/")}
        cli.run("deploy", "scale", "--replicas", "2").done()
        assert {name for name in cli.objects() if name.startswith("Secret/")} == before


def test_a_running_worker_goes_on_with_a_new_key_for_secrets(cli: Cli) -> None:
    with worker(cli) as run:
        cli.run("deploy", "--image", "nginx:alpine", "--wait").done()
        cli.run("secret", "create", "--key", "TOKEN", input="one\n").done()
        cli.run("deploy", "restart").done()
        for value in ("two", "three"):
            cli.run("secret", "rotate-keys", "-y").done()
            cli.run("secret", "create", "--key", "TOKEN", input=f"{value}\n").done()
            cli.run("deploy", "--image", f"nginx:{value}", "--wait").done()
        assert "parked" not in {line["message"] for line in run.log()}
    log = cli.run("-o", "json", "audit", "log", "--kind", "SecretsFingerprinted").done().json
    assert [list(each["data"]["fingerprints"]["TOKEN"]) for each in log] == [["1"], ["2"], ["3"]]


def test_a_worker_with_a_copy_of_the_key_needs_the_new_one_and_no_restart(cli: Cli, tmp_path: Path) -> None:
    cli.run("deploy", "--image", "nginx:alpine", "--wait").done()
    (path,) = (cli.home / "keys").glob("*.identity.key")
    copy = Path(shutil.copy(path, tmp_path / "mounted.key"))
    with worker(cli.having(ONECTL_IDENTITY=str(copy))):
        cli.run("secret", "create", "--key", "TOKEN", input="one\n").done()
        cli.run("secret", "rotate-keys", "-y").done()
        cli.run("secret", "create", "--key", "TOKEN", input="two\n").failed(8)
        parked = eventually(lambda: cli.run("-o", "json", "worker", "status").done().json["parked"])
        assert [each["reason"] for each in parked] == ["Sealed"]
        shutil.copy(path, copy)
        cli.run("worker", "retry").done()
        eventually(lambda: not cli.run("-o", "json", "worker", "status").done().json["parked"])
        cli.run("deploy", "--image", "nginx:2", "--wait").done()


def test_a_worker_needs_no_signing_key(cli: Cli) -> None:
    cli.run("deploy", "--image", "nginx:1", "--wait").done()
    (key,) = (cli.home / "keys").glob("*.signing.key")
    key.unlink()
    with worker(cli.having(ONECTL_SIGNING_KEY=str(key))):
        cli.run("secret", "create", "--key", "TOKEN", input="one\n").done()
        cli.run("deploy", "--image", "nginx:2", "--wait").done()
        cli.run("deploy", "destroy", "-y").done()
    assert not key.exists()
