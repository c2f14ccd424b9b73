"""Request ids: a request that is repeated is recorded once and answered the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.cli_support import Cli, write_toml

DEPLOY = ("deploy", "--image", "nginx:alpine", "--machine", "compute-main-01", "--request-id", "ci-1")
NOTICE = '💡 Request "ci-1" was recorded before; it is not recorded again.\n'


def test_a_repeated_deploy_is_one_release_and_prints_the_same_lines(cli: Cli) -> None:
    first, again = cli.run(*DEPLOY).done(), cli.run(*DEPLOY).done()
    assert again.stdout == first.stdout
    assert NOTICE not in first.stderr
    assert NOTICE in again.stderr
    assert cli.events().count("Deployed") == 1
    assert len(cli.run("deploy", "releases").done().lines) == 3


def test_the_environment_names_the_request_too(cli: Cli) -> None:
    named = cli.having(ONECTL_REQUEST_ID="ci-1")
    first, again = named.run(*DEPLOY[:-2]).done(), named.run(*DEPLOY[:-2]).done()
    assert again.stdout == first.stdout
    assert NOTICE in again.stderr
    assert cli.events().count("Deployed") == 1


def test_the_option_wins_over_the_environment(cli: Cli) -> None:
    cli.having(ONECTL_REQUEST_ID="ci-0").run(*DEPLOY).done()
    assert NOTICE in cli.run(*DEPLOY).done().stderr


@pytest.mark.parametrize(
    "args",
    [
        ["deploy", "--image", "nginx:other", "--machine", "compute-main-01"],
        ["deploy", "restart"],
        ["deploy", "destroy", "-y"],
        ["deploy", "scale", "--replicas", "2"],
        ["env", "create", "--env", "A=b"],
        ["secret", "create", "--kv", "A=b"],
    ],
)
def test_the_id_of_another_request_is_refused(cli: Cli, args: list[str]) -> None:
    cli.run(*DEPLOY).done()
    result = cli.run(*args, "--request-id", "ci-1").failed(3)
    assert 'request id "ci-1" was used for another request' in result.error
    assert "Nothing was recorded. Use a new id, or repeat the very same command." in result.error
    assert cli.events().count("Deployed") == 1
    assert cli.objects()


@pytest.mark.parametrize(
    ("args", "topic"),
    [
        (["deploy", "restart"], "Restarted"),
        (["deploy", "scale", "--replicas", "2"], "Scaled"),
        (["env", "create", "--env", "A=b"], "EnvSet"),
        (["secret", "create", "--kv", "A=b"], "SecretSet"),
        (["deploy", "destroy", "-y"], "Destroyed"),
    ],
)
def test_every_repeated_change_is_recorded_once_and_prints_the_same_lines(
    deployed: Cli, args: list[str], topic: str
) -> None:
    first = deployed.run(*args, "--request-id", "ci-1").done()
    again = deployed.run(*args, "--request-id", "ci-1").done()
    assert again.stdout == first.stdout
    assert NOTICE in again.stderr
    assert deployed.events().count(topic) == 1


def test_a_repeated_secret_says_that_values_are_not_compared(deployed: Cli) -> None:
    args = ["secret", "create", "--key", "A", "--request-id", "ci-1"]
    deployed.run(*args, input="one\n").done()
    assert "Secret values of a repeated request are not compared." in deployed.run(*args, input="two\n").done().stderr


def test_json_says_whether_it_is_a_repetition(cli: Cli) -> None:
    first, again = (cli.run(*DEPLOY, "-o", "json").done().json for _ in range(2))
    assert (first["repeated"], again["repeated"]) == (False, True)
    assert first["request_id"] == again["request_id"] == "ci-1"
    assert first["deployment_id"] == again["deployment_id"]


def test_a_repeated_deploy_after_a_destroy_does_not_deploy_again(cli: Cli) -> None:
    cli.run(*DEPLOY).done()
    cli.run("deploy", "destroy", "-y").done()
    error = cli.run(*DEPLOY).failed(3).error
    assert "was destroyed since" in error
    assert "use a new request id" in error
    assert cli.objects() == {}


def test_a_repeated_destroy_does_not_destroy_what_was_deployed_since(deployed: Cli) -> None:
    destroy = ("deploy", "destroy", "-y", "--request-id", "ci-1")
    first = deployed.run(*destroy).done()
    deployed.run("deploy", "--image", "nginx:alpine").done()
    again = deployed.run(*destroy).done()
    assert again.stdout == first.stdout
    assert NOTICE in again.stderr
    assert "Deployment/user-service" in deployed.objects()
    assert deployed.run("-o", "json", *destroy).done().json["destroyed"] is True


def test_a_repeated_detached_deploy_names_the_release_it_made(cli: Cli) -> None:
    first = cli.run(*DEPLOY, "--detach").done()
    cli.run("deploy", "--image", "nginx:2", "--detach").done()
    assert cli.run(*DEPLOY, "--detach").done().stdout == first.stdout
    assert first.lines[1] == "✅ Release 1 of user-service is recorded"


def test_a_repeated_deploy_is_answered_about_its_own_release(cli: Cli) -> None:
    broken = ("deploy", "--image", "broken:1", "--request-id", "b1", "--wait")
    cli.run(*broken).failed(4)
    cli.run("deploy", "--image", "nginx:30", "--request-id", "n1", "--wait").done()
    again = cli.run("-o", "json", *broken).failed(4)
    assert "release 1 failed: ImagePullBackOff" in again.error
    found = again.json
    assert (found["release"], found["image"], found["request_id"]) == (1, "broken:1", "b1")
    cli.run("deploy", "--image", "nginx:31", "--wait").done()
    assert "Release 2 became healthy" in cli.run("deploy", "--image", "nginx:30", "--request-id", "n1", "--wait").stdout


def test_a_release_that_was_overtaken_before_anybody_looked_was_superseded(cli: Cli) -> None:
    first = ("deploy", "--image", "nginx:1", "--request-id", "ci-1")
    cli.run(*first, "--detach").done()
    cli.run("deploy", "--image", "nginx:2", "--wait").done()
    assert "release 1 was superseded before its pods were ready" in cli.run(*first, "--wait").failed(4).error


def test_a_repeated_rollback_waits_for_its_own_pods(cli: Cli) -> None:
    cli.run("deploy", "--image", "broken:1", "--wait").failed(4)
    cli.run("deploy", "--image", "nginx:2", "--wait").done()
    back = ("deploy", "rollback", "--version", "1", "-y", "--wait", "--request-id", "r1")
    cli.run(*back).failed(4)
    cli.run("deploy", "--image", "nginx:3", "--wait").done()
    assert "release 3 failed: ImagePullBackOff" in cli.run(*back).failed(4).error


ABOUT_A_LIFE = [
    ["env", "create", "--env", "A=1"],
    ["secret", "create", "--kv", "TOKEN=value"],
    ["deploy", "scale", "--replicas", "5"],
    ["deploy", "restart"],
    ["deploy", "rollback", "--version", "1", "-y", "--wait"],
    ["deploy", "mark-bad", "1", "--reason", "slow"],
]


@pytest.mark.parametrize("args", ABOUT_A_LIFE, ids=" ".join)
def test_a_repeated_request_is_never_answered_about_another_life(deployed: Cli, args: list[str]) -> None:
    deployed.run("deploy", "--image", "nginx:2").done()
    request = ("-o", "json", *args, "--request-id", "q1")
    first = deployed.run(*request).done().json["deployment_id"]
    deployed.run("deploy", "destroy", "-y").done()
    while_gone = deployed.run(*request).failed(3)
    deployed.run("deploy", "--image", "nginx:alpine", "--wait").done()
    before = deployed.events()
    for again in (while_gone, deployed.run(*request).failed(3)):
        assert f"what this request was about, {first}, was destroyed since" in again.error
        assert again.json["error"]["name"] == "REFUSED"
    assert deployed.events() == before


def another_life_opens_first() -> None:
    """From now on the app is destroyed and deployed again just before what a command asks for is decided."""
    from cli import origin
    from ledger.commands import Deploy, Destroy
    from ledger.ledger import Ledger

    execute = Ledger.execute

    def overtaken(self: Ledger, app_id: Any, command: Any, request: Any, **more: Any) -> Any:
        for first in (Destroy(), Deploy(image="nginx:between")):
            execute(self, app_id, first, origin.request())
        return execute(self, app_id, command, request, **more)

    Ledger.execute = overtaken  # type: ignore[method-assign]


@pytest.mark.parametrize("args", [*ABOUT_A_LIFE, ["deploy", "--image", "nginx:3"]], ids=" ".join)
def test_a_deployment_id_never_stands_for_another_life(deployed: Cli, args: list[str]) -> None:
    old = deployed.run("-o", "json", "deploy", "--image", "nginx:2").done().json["deployment_id"]
    overtaken = replace(deployed, change=f"{__name__}:{another_life_opens_first.__name__}")

    refused = overtaken.run(*args, "-d", old).failed(3)

    assert f'deployment "{old}" of app "user-service" was destroyed' in refused.error
    found = deployed.run("-o", "json", "deploy", "get").done().json
    assert (found["image"], found["release"], found["replicas"]) == ("nginx:between", 1, 1)
    assert deployed.run("-o", "json", "env", "list").done().json == []


def test_another_reason_to_mark_a_release_as_bad_is_another_request(deployed: Cli) -> None:
    bad = ("deploy", "mark-bad", "1", "--request-id", "q1", "--reason")
    deployed.run(*bad, "slow").done()
    assert 'request id "q1" was used for another request' in deployed.run(*bad, "loses orders").failed(3).error
    assert NOTICE.replace("ci-1", "q1") in deployed.run(*bad, "slow").done().stderr
    (position,) = [
        each["position"]
        for each in deployed.run("-o", "json", "audit", "log").json
        if each["kind"] == "ReleaseMarkedBad"
    ]
    redact = ["ledger", "redact", "--position", str(position), "--field", "reason", "--reason", "a name", "-y"]
    deployed.run(*redact).done()
    deployed.run(*bad, "slow").done()


def test_another_reason_to_take_a_mark_back_is_another_request(deployed: Cli) -> None:
    deployed.run("deploy", "mark-bad", "1", "--reason", "slow").done()
    good = ("deploy", "mark-bad", "1", "--undo", "--request-id", "q1", "--reason")
    deployed.run(*good, "it was the network").done()
    assert 'request id "q1" was used for another request' in deployed.run(*good, "it is fast").failed(3).error
    assert NOTICE.replace("ci-1", "q1") in deployed.run(*good, "it was the network").done().stderr


def test_a_repeated_mark_is_answered_as_it_was_though_it_was_taken_back_since(deployed: Cli) -> None:
    bad = ("-o", "json", "deploy", "mark-bad", "1", "--reason", "slow", "--request-id", "q1")
    first = deployed.run(*bad).done().json
    deployed.run("deploy", "mark-bad", "1", "--undo", "--reason", "it was the network").done()
    assert deployed.run(*bad).done().json == {**first, "repeated": True}


def test_what_was_recorded_before_is_not_refused_for_a_key_that_is_gone(deployed: Cli) -> None:
    deployed.run("secret", "create", "--kv", "TOKEN=value").done()
    deployed.run("deploy", "restart", "--request-id", "q1").done()
    for key in (deployed.home / "keys").glob("*.identity.key"):
        key.rename(key.with_suffix(".away"))
    assert "has secrets that this machine cannot open" in deployed.run("deploy", "restart").failed(3).error
    deployed.run("deploy", "restart", "--request-id", "q1").done()


def test_a_repeated_adoption_is_not_refused_because_the_first_one_was_done(deployed: Cli) -> None:
    cluster = deployed.cluster()
    manifest = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "other", "namespace": "default"},
        "spec": {"ports": [{"port": 80, "protocol": "TCP"}], "selector": {"app": "theirs"}},
    }
    uid = cluster.apply(manifest, manager="theirs", expect=None).uid
    cluster.close()
    other = deployed.within(write_toml(deployed.cwd.parent / "other", "other").parent)
    adopt = ("deploy", "adopt", "service/other", "--uid", uid, "--reason", "ours", "--request-id", "q1")
    other.run(*adopt).done()
    other.run("deploy", "--image", "nginx:alpine").done()
    assert "service/other belongs to other now" in other.run(*adopt).done().stdout
    assert other.run("-o", "json", *adopt, "--dry-run").done().json["events"] == []


def somebody_else_is_first() -> None:
    """From now on another release is recorded while a deploy looks at the cluster."""
    from cli import deploy_flow, origin
    from cli.recording import record
    from ledger.commands import Deploy

    def overtaken(session: Any, app_id: Any, command: Any, request: Any, **more: Any) -> Any:
        session.ledger.execute(app_id, Deploy(image="nginx:between"), origin.request())
        return record(session, app_id, command, request, **more)

    deploy_flow.record = overtaken  # type: ignore[attr-defined]


def test_what_a_release_changes_is_told_beside_the_one_before_it(deployed: Cli) -> None:
    overtaken = replace(deployed, change=f"{__name__}:{somebody_else_is_first.__name__}")
    told = overtaken.run("deploy", "--image", "nginx:2").done().stderr
    assert "Changed: image nginx:between → nginx:2\n" in told


AWAY = ("--ledger", "postgresql://postgres@/ledger?host=/nowhere")


def test_where_the_ledger_is_away_a_named_request_is_not_said_to_be_in_no_ledger(cli: Cli) -> None:
    failed = cli.run(*AWAY, "deploy", "--image", "nginx", "--request-id", "r1").failed(1)
    assert failed.error.splitlines()[-2:] == [
        "Nothing was recorded now. Check its address, and that it is up.",
        "Whether it was before: 1ctl --ledger 'postgresql://postgres@/ledger?host=/nowhere' audit log --request-id r1",
    ]
    failed = cli.run(*AWAY, "deploy", "--image", "nginx").failed(1)
    assert failed.error.splitlines()[-1] == "Nothing was recorded. Check its address, and that it is up."
