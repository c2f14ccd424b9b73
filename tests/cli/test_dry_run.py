"""``--dry-run``: says what would be recorded and changed, and leaves every file as it is."""

from __future__ import annotations

import hashlib

import pytest

from tests.cli_support import Cli


def state(cli: Cli) -> dict[str, str]:
    files = (path for path in cli.home.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def running(cli: Cli) -> Cli:
    cli.run("deploy", "--image", "nginx:1", "--env", "A=b", "--wait").done()
    cli.run("secret", "create", "--key", "TOKEN", input="value\n").done()
    cli.run("deploy", "--image", "nginx:2", "--wait").done()
    return cli


@pytest.mark.parametrize(
    ("args", "events", "objects"),
    [
        (["deploy", "--image", "nginx:3"], ["Deployed"], {("update", "Deployment")}),
        (["deploy", "scale", "--replicas", "2"], ["Scaled"], {("update", "Deployment")}),
        (["deploy", "restart"], ["Restarted"], {("update", "Deployment")}),
        (["deploy", "rollback", "--version", "1"], ["RolledBack"], {("update", "Deployment")}),
        (["env", "create", "--env", "A=c"], ["EnvSet"], {("update", "ConfigMap")}),
        (["env", "unset", "--key", "A"], ["EnvUnset"], {("update", "ConfigMap")}),
        (["secret", "unset", "--key", "TOKEN"], ["SecretUnset"], {("delete", "Secret")}),
        (["secret", "purge", "TOKEN"], ["SecretPurged"], set()),
        (["deploy", "mark-bad", "1", "--reason", "slow"], ["ReleaseMarkedBad"], set()),
        (["deploy", "destroy"], ["Destroyed"], {("delete", "Deployment"), ("delete", "HTTPRoute")}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_it_tells_and_does_nothing(
    running: Cli, args: list[str], events: list[str], objects: set[tuple[str, str]]
) -> None:
    before, there = state(running), running.objects()
    document = running.run("-o", "json", *args, "--dry-run").done().json
    assert document["dry_run"] is True
    assert [each["kind"] for each in document["events"]][: len(events)] == events
    found = {(each["change"], each["kind"]) for each in document["objects"]}
    assert objects <= found
    assert ("update", "Service") not in found
    assert state(running) == before
    assert running.objects() == there


@pytest.mark.parametrize(
    ("args", "changes"),
    [
        (["deploy", "--image", "nginx:3", "--env", "ZED=1"], "env ZED added; image nginx:2 → nginx:3"),
        (["deploy", "--port", "81"], "port 8081 → 81"),
        (["deploy", "scale", "--replicas", "2"], "replicas 1 → 2"),
        (["deploy", "rollback", "--version", "1"], "image nginx:2 → nginx:1; secret TOKEN removed"),
        (["env", "create", "--env", "A=c"], "env A changed"),
        (["secret", "create", "--kv", "TOKEN=other"], "secret TOKEN version 1 → 2"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_it_tells_what_a_run_would_change(running: Cli, args: list[str], changes: str) -> None:
    assert running.run(*args, "--dry-run").done().lines[1] == f"Would change: {changes}"


def test_a_dry_run_of_a_deploy_tells_what_the_run_then_tells(running: Cli) -> None:
    deploy = ("deploy", "--image", "nginx:3", "--env", "ZED=1", "--machine", "node-1")
    told = running.run(*deploy, "--dry-run").done().lines[1].removeprefix("Would change: ")
    assert f"💡 Changed: {told}\n" in running.run(*deploy).done().stderr


def test_a_first_deploy_makes_not_even_a_key(cli: Cli) -> None:
    shown = cli.run("deploy", "--image", "nginx", "--dry-run").done()
    assert "Would record: " in shown.stdout
    assert "create  Deployment" in shown.stdout
    assert "Would change" not in shown.stdout
    assert state(cli) == {}


def test_of_a_request_that_was_recorded_nothing_more_would_be(running: Cli) -> None:
    scale = ("deploy", "scale", "--replicas", "2", "--request-id", "s2")
    running.run(*scale).done()
    before = state(running)
    shown = running.run("-o", "json", *scale, "--dry-run").done()
    assert (shown.json["events"], shown.json["objects"]) == ([], [])
    assert 'Request "s2" was recorded before; it is not recorded again.' in shown.stderr
    other = ("deploy", "scale", "--replicas", "3", "--request-id", "s2", "--dry-run")
    assert 'request id "s2" was used for another request' in running.run(*other).failed(3).error
    assert state(running) == before


def test_a_deployment_that_is_gone_is_not_taken_for_the_one_that_runs(running: Cli) -> None:
    old = running.run("-o", "json", "deploy", "get").done().json["deployment_id"]
    destroy = ("deploy", "destroy", "-d", old, "-y", "--request-id", "d1")
    running.run(*destroy).done()
    running.run("deploy", "--image", "nginx:3").done()
    refused = running.run("deploy", "destroy", "-d", old, "--dry-run").failed(3)
    assert f'deployment "{old}" of app "user-service" was destroyed' in refused.error
    assert running.run("-o", "json", *destroy, "--dry-run").done().json["objects"] == []


@pytest.mark.parametrize("args", [["restart"], ["rollback", "--version", "2"], ["--image", "nginx:3"]])
def test_secrets_that_cannot_be_opened_here_refuse_it(running: Cli, args: list[str]) -> None:
    running.run("deploy", "restart").done()
    refused = running.having(ONECTL_IDENTITY="/nope").run("deploy", *args, "--dry-run").failed(3)
    assert "has secrets that this machine cannot open" in refused.error


def test_where_nothing_is_recorded_nothing_is_planned(running: Cli) -> None:
    running.run("audit", "export", "--file", "all.jsonl").done()
    replica = running.having(ONECTL_LEDGER="replica.db")
    replica.run("audit", "import", "all.jsonl").done()
    for args in (["deploy", "scale", "--replicas", "5"], ["env", "unset", "--key", "A"]):
        assert "replica" in replica.run(*args, "--dry-run").failed(3).error


def test_what_a_rule_refuses_is_refused(running: Cli) -> None:
    assert "there is no release 9" in running.run("deploy", "rollback", "--version", "9", "--dry-run").failed(3).error


@pytest.mark.parametrize("args", [["deploy", "--image", "nginx"], ["deploy", "restore"]], ids=" ".join)
def test_a_place_that_the_command_refuses_is_refused(running: Cli, args: list[str]) -> None:
    running.run("deploy", "destroy", "-y").done()
    other = running.having(ONECTL_LEDGER="other.db")
    other.run("deploy", "--image", "nginx").done()
    given = ["--without-secrets"] if "restore" in args else []

    refused = running.run(*args, *given).failed(3)
    assert running.run(*args, *given, "--dry-run").failed(3).error == refused.error
    assert "is not ours" in refused.error


@pytest.mark.parametrize("how", ["secret create", "deploy", "deploy --image nginx", "deploy restore"])
def test_secrets_that_are_too_large_are_refused_as_the_command_refuses_them(running: Cli, how: str) -> None:
    running.run("secret", "create", "--key", "HELD", input="h" * 300_000).done()
    if how in ("deploy --image nginx", "deploy restore"):
        running.run("deploy", "destroy", "-y").done()
    size = 800_000 if how in ("secret create", "deploy") else 1_100_000
    (running.cwd / "secrets.env").write_text(f"BIG={'hunter2' * (size // 7)}\nTOKEN=value\n")
    args = (*how.split(), "--kv-file", "secrets.env")
    before = state(running)

    refused = running.run(*args, "--dry-run").failed(3)
    assert "secrets must be at most 1,048,576 bytes in all" in refused.error
    assert "hunter2" not in refused.stdout + refused.stderr
    assert state(running) == before
    assert running.run(*args).failed(3).error == refused.error


def test_secrets_of_a_repeated_request_are_not_weighed(running: Cli) -> None:
    create = ("secret", "create", "--key", "TWO", "--request-id", "s1")
    running.run(*create, input="one").done()
    assert running.run("-o", "json", *create, "--dry-run", input="1" * 1_100_000).done().json["events"] == []


def test_it_lists_what_the_run_then_records_host_names_included(cli: Cli) -> None:
    for args in (
        ["deploy", "--image", "nginx:1", "--env", "A=b"],
        ["deploy", "destroy", "-y"],
        ["deploy", "restore"],
        ["deploy", "--image", "nginx:2"],
    ):
        planned = [each["kind"] for each in cli.run("-o", "json", *args, "--dry-run").done().json["events"]]
        cli.run(*args, "--request-id", (name := f"r{len(cli.events())}")).done()
        lines = cli.run("-o", "json", "audit", "log", "--app", "user-service", "--request-id", name).done().json
        assert [each["kind"] for each in lines if each["actor"] != "1ctl/effects"] == planned


@pytest.mark.parametrize(
    "args",
    [["--image", "nginx:3"], ["scale", "--replicas", "2"], ["restart"], ["mark-bad", "1", "--reason", "slow"]],
    ids=" ".join,
)
def test_a_request_about_a_life_that_ended_is_refused_as_the_run_is(running: Cli, args: list[str]) -> None:
    request = ("deploy", *args, "--request-id", "r1")
    running.run(*request).done()
    running.run("deploy", "destroy", "-y").done()
    running.run("deploy", "--image", "nginx:4").done()
    refused = running.run(*request).failed(3).error
    assert "was destroyed since" in refused
    assert running.run(*request, "--dry-run").failed(3).error.endswith(refused)


def test_a_destroy_that_was_recorded_is_not_refused(running: Cli) -> None:
    destroy = ("deploy", "destroy", "-y", "--request-id", "d1")
    running.run(*destroy).done()
    assert running.run("-o", "json", *destroy, "--dry-run").done().json["events"] == []
