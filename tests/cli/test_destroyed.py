"""An app that was destroyed: it is gone from the cluster, but nobody is told that it never was."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.cli_support import Cli

GONE = r"""❌ app "user-service" not found in namespace default: it was destroyed \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+00:00
Deploy it again as it last was: 1ctl deploy restore
Its history is still there: 1ctl deploy releases .*--at-release N.*
"""


@pytest.fixture
def destroyed(deployed: Cli) -> Cli:
    """A user whose app is gone."""
    deployed.run("deploy", "destroy", "-y").done()
    return deployed


@pytest.mark.parametrize(
    "args",
    [
        ["deploy", "get"],
        ["deploy", "scale", "--replicas", "2"],
        ["deploy", "restart"],
        ["deploy", "rollback", "-y"],
        ["deploy", "mark-bad", "1", "--reason", "no"],
        ["deploy", "mark-bad", "1", "--undo", "--reason", "no"],
        ["deploy", "blame"],
        ["deploy", "status"],
        ["deploy", "destroy", "-y"],
        ["env", "create", "--env", "A=b"],
        ["env", "list"],
        ["secret", "list"],
    ],
    ids=" ".join,
)
def test_every_command_says_when_it_was_destroyed_and_what_can_be_done(destroyed: Cli, args: list[str]) -> None:
    assert re.fullmatch(GONE, destroyed.run(*args).failed(3).error)


def test_what_is_named_works(destroyed: Cli) -> None:
    destroyed.run("deploy", "releases").done()
    destroyed.run("env", "list", "--at-release", "1").done()
    destroyed.run("deploy", "restore").done()


def test_between_two_lives_it_was_destroyed_then(destroyed: Cli) -> None:
    position = len(destroyed.events())
    destroyed.run("deploy", "--image", "nginx:2").done()

    error = destroyed.run("deploy", "get", "--at-position", str(position)).failed(3).error

    gone = GONE.splitlines()[0]
    assert re.fullmatch(rf"{gone}\nSee when it was deployed: 1ctl deploy events\n", error)


def test_a_deploy_without_an_image_names_both_ways_back(destroyed: Cli) -> None:
    error = destroyed.run("deploy").failed(3).error

    assert "1ctl deploy --image nginx:alpine\n" in error
    assert "Or as it last was, before it was destroyed: 1ctl deploy restore" in error


def test_an_app_that_was_never_deployed_is_told_as_before(cli: Cli) -> None:
    assert "Run '1ctl deploy' first or pass --deployment-id" in cli.run("deploy", "get").failed(3).error
    assert "restore" not in cli.run("deploy").failed(3).error


def test_a_restore_says_that_what_comes_back_had_failed(cli: Cli) -> None:
    cli.run("deploy", "--image", "broken:1", "--wait").failed(4)
    cli.run("deploy", "destroy", "-y").done()
    warned = "❗️ Release 1 of "
    for args in (["--dry-run"], []):
        said = cli.run("deploy", "restore", *args).done().stderr
        assert warned in said
        assert " had failed: ImagePullBackOff: " in said
        assert "deploy an image that works: 1ctl deploy --image IMAGE" in said
    cli.run("deploy", "--image", "nginx:1", "--wait").done()
    cli.run("deploy", "destroy", "-y").done()
    assert warned not in cli.run("deploy", "restore").done().stderr


def test_a_release_that_only_a_former_life_had_is_named_with_that_life(deployed: Cli) -> None:
    former = deployed.run("-o", "json", "deploy", "--image", "nginx:2").json["deployment_id"]
    for image in ("nginx:3", "nginx:4"):
        deployed.run("deploy", "destroy", "-y").done()
        deployed.run("deploy", "--image", image).done()
    ask = ("deploy", "get", "--at-release", "2")
    error = deployed.run(*ask).failed(3).error
    assert (
        f"See them: 1ctl deploy releases\nAn earlier deployment of the app had one; ask about it: --deployment-id {former}"
        in error
    )
    assert "nginx:2" in deployed.run(*ask, "--deployment-id", former).done().stdout
    assert "An earlier" not in deployed.run("deploy", "get", "--at-release", "3").failed(3).error


def test_a_former_life_is_not_told_to_be_rolled_back(destroyed: Cli) -> None:
    former = destroyed.run("-o", "json", "deploy", "list", "--all").json[0]["deployment_id"]
    now = destroyed.run("-o", "json", "deploy", "--image", "nginx:2").json["deployment_id"]
    error = destroyed.run("deploy", "restore", "-d", former).failed(3).error
    assert "rollback" not in error
    assert f"1ctl deploy destroy -d {now}\n" in error


def test_a_deploy_says_what_it_does_not_take_over_and_how_to_have_it_back(cli: Cli) -> None:
    cli.run("deploy", "--image", "nginx:1", "--env", "A=1", "--replicas", "3", "--machine", "node-1").done()
    cli.run("secret", "create", "--key", "S", input="value\n").done()
    first = cli.run("-o", "json", "deploy", "get").done().json["deployment_id"]
    cli.run("deploy", "destroy", "-y").done()
    unlike = (
        f"💡 This is a new deployment, which takes nothing over from {first}, destroyed before. "
        "Unlike that one: env A removed; machines node-1 → any; replicas 3 → 1; secret S removed\n"
    )

    planned = cli.run("deploy", "--image", "nginx:2", "--dry-run").done().stderr
    said = cli.run("deploy", "--image", "nginx:2").done().stderr
    second = cli.run("-o", "json", "deploy", "get").done().json["deployment_id"]

    to_have_it = "💡 To have it as it was, but for values of secrets, which ended with it: "
    restore = f"1ctl deploy restore -d {first} --kv-file FILE\n"
    assert f"{unlike}{to_have_it}{restore}" in planned
    assert f"{unlike}{to_have_it}1ctl deploy destroy -d {second}, then {restore}" in said
    assert "takes nothing over" not in cli.run("deploy", "--image", "nginx:3").done().stderr
    cli.run("deploy", "destroy", "-d", second, "-y").done()
    (cli.cwd / "FILE").write_text("S=value\n")
    cli.run("deploy", "restore", "-d", first, "--kv-file", "FILE").done()
    assert "A    1" in cli.run("env", "list").done().stdout


def test_a_secret_that_was_set_again_is_not_said_to_have_ended_and_the_restore_still_needs_it(cli: Cli) -> None:
    cli.run("deploy", "--image", "nginx:1", "--env", "A=1", "--kv-file", "-", input="S=v\n").done()
    cli.run("deploy", "destroy", "-y").done()
    said = cli.run("deploy", "--image", "nginx:1", "--kv-file", "-", input="S=v\n").done().stderr
    assert "Unlike that one: env A removed\n💡 To have it as it was, but for values of secrets" in said
    assert said.endswith(" --kv-file FILE\n")


def test_a_secret_that_only_the_new_deployment_has_did_not_end_with_the_other(cli: Cli) -> None:
    cli.run("deploy", "--image", "nginx:1").done()
    cli.run("deploy", "destroy", "-y").done()
    said = cli.run("deploy", "--image", "nginx:1", "--kv-file", "-", input="S=v\n").done().stderr
    assert "Unlike that one: secret S added\n" in said
    assert "Values of secrets ended with it" not in said


def test_where_only_secrets_are_left_behind_no_restore_is_promised_to_bring_them_back(cli: Cli) -> None:
    cli.run("deploy", "--image", "nginx:1").done()
    cli.run("secret", "create", "--key", "S", input="value\n").done()
    cli.run("deploy", "destroy", "-y").done()
    said = cli.run("deploy", "--image", "nginx:1").done().stderr
    assert "secret S removed\n💡 Values of secrets ended with it. Set them again: 1ctl secret create --key KEY" in said
    assert "deploy restore" not in said


def test_where_no_secret_is_left_behind_nothing_is_said_of_any(cli: Cli) -> None:
    cli.run("deploy", "--image", "nginx:1", "--env", "A=1").done()
    cli.run("deploy", "destroy", "-y").done()
    said = cli.run("deploy", "--image", "nginx:1").done().stderr
    assert "💡 To have it as it was: 1ctl deploy destroy -d" in said


def test_a_deploy_that_leaves_nothing_behind_but_the_image_says_nothing_of_it(destroyed: Cli) -> None:
    assert "takes nothing over" not in destroyed.run("deploy", "--image", "nginx:2").done().stderr


def test_a_restore_of_an_app_that_was_deployed_again_names_what_ran_before(destroyed: Cli) -> None:
    (first,) = (each["deployment_id"] for each in destroyed.run("-o", "json", "deploy", "list", "--all").json)
    destroyed.run("deploy", "--image", "nginx:2").done()
    second = destroyed.run("-o", "json", "deploy", "get").done().json["deployment_id"]

    for dry_run in ([], ["--dry-run"]):
        error = destroyed.run("deploy", "restore", *dry_run).failed(3).error
        assert (
            "To go back to an earlier release: 1ctl deploy rollback\n"
            f"To have what ran before it was destroyed: 1ctl deploy destroy -d {second}\n"
            f"And then: 1ctl deploy restore -d {first}\n"
        ) in error

    destroyed.run("deploy", "destroy", "-d", second, "-y").done()
    destroyed.run("deploy", "restore", "-d", first).done()
    restored = destroyed.run("-o", "json", "audit", "log", "--kind", "Deployed").json[-1]
    assert restored["data"]["restored_from"] == first


def test_a_restore_of_an_app_that_never_ended_names_no_other_deployment(deployed: Cli) -> None:
    error = deployed.run("deploy", "restore").failed(3).error
    assert error.endswith("To go back to an earlier release: 1ctl deploy rollback\n")


def test_who_finishes_what_another_request_destroyed_is_told_that_nothing_is_recorded(deployed: Cli) -> None:
    deployed.run("worker", "enable").done()  # none runs, so what is destroyed is not removed yet
    deployed.run("deploy", "destroy", "-y", "--request-id", "first").failed(8)
    deployed.run("worker", "disable", "-y").done()
    told = "💡 Another request has destroyed it: what is left is removed, and nothing is recorded.\n"
    planned = deployed.run("-o", "json", "deploy", "destroy", "--dry-run", "--request-id", "second").done()
    assert told in planned.stderr
    assert planned.json["events"] == []
    assert {"change": "delete", "kind": "Deployment", "name": "user-service"} in planned.json["objects"]
    shown = deployed.run("deploy", "destroy", "--dry-run").done().stdout
    assert "Would record" not in shown
    assert "delete  Deployment  user-service" in shown
    assert told in deployed.run("deploy", "destroy", "-y", "--request-id", "second").done().stderr
    assert told not in deployed.run("deploy", "destroy", "-y", "--request-id", "first").done().stderr
    assert [line["request_id"] for line in destroyed_lines(deployed)] == ["first"]


def destroyed_lines(cli: Cli) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = cli.run("-o", "json", "audit", "log", "--kind", "Destroyed").done().json
    return found
