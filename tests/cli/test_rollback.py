"""Rolling back, purging and restoring: what is asked first, and what a no or a missing value leaves as it was."""

from __future__ import annotations

import pytest

from tests.cli_support import Cli


@pytest.fixture
def twice(cli: Cli) -> Cli:
    cli.run("deploy", "--image", "nginx:1", "--wait").done()
    cli.run("secret", "create", "--key", "TOKEN", input="value\n").done()
    cli.run("deploy", "--image", "nginx:2", "--wait").done()
    return cli


@pytest.mark.parametrize("args", [["deploy", "rollback"], ["secret", "purge", "TOKEN"]], ids=" ".join)
@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_only_a_yes_is_a_yes(twice: Cli, args: list[str], answer: str) -> None:
    before = twice.events()
    result = twice.run(*args, input=answer)
    assert "[y/N]: " in result.stderr
    assert twice.events() == before
    twice.run(*args, input="y\n").done()
    assert len(twice.events()) > len(before)


@pytest.fixture
def leaked(twice: Cli) -> Cli:
    """A user who has replaced a secret since release 2, and deployed two more, of which the last one failed."""
    twice.run("secret", "create", "--key", "TOKEN", input="another\n").done()
    twice.run("deploy", "--image", "nginx:3", "--env", "A=b", "--wait").done()
    twice.run("deploy", "--image", "broken:4", "--wait").failed(4)
    twice.run("deploy", "--image", "nginx:3", "--wait").done()
    return twice


BACK = "env A removed; image nginx:3 → nginx:2; secret TOKEN version 2 → 1"


def test_what_a_rollback_takes_back_is_told_before_it_is_asked(leaked: Cli) -> None:
    told, asked = leaked.run("deploy", "rollback", "--version", "2", input="n\n").done().stderr.splitlines()
    assert told == f"💡 Changes: {BACK}"
    assert asked.startswith("Roll back ")


def test_what_a_rollback_takes_back_is_told_to_whoever_is_not_asked(leaked: Cli) -> None:
    back = ("deploy", "rollback", "-y", "--version", "2", "--request-id", "r1")
    assert f"💡 Changes: {BACK}\n" in leaked.run(*back).done().stderr
    assert "Changes" not in leaked.run(*back).done().stderr


def test_a_secret_that_no_pod_has_read_yet_is_told_to_be_taken_back(twice: Cli) -> None:
    twice.run("deploy", "--image", "nginx:3", "--wait").done()
    twice.run("secret", "create", "--key", "TOKEN", input="another\n").done()
    told = twice.run("deploy", "rollback", "-y").done().stderr
    assert "💡 Changes: image nginx:3 → nginx:2; secret TOKEN version 2 → 1\n" in told


@pytest.mark.parametrize("how", ["-y", "--dry-run"])
def test_going_back_to_a_release_that_failed_is_told(leaked: Cli, how: str) -> None:
    told = leaked.run("deploy", "rollback", "--version", "4", how).done().stderr
    assert (
        '❗️ Release 4 had failed: ImagePullBackOff: Back-off pulling image "broken:4". '
        "See which were healthy: 1ctl deploy releases --wide\n"
    ) in told
    assert "had failed" not in leaked.run("deploy", "rollback", "--version", "2", how).done().stderr


def test_only_the_code_or_only_the_configuration_is_restored(twice: Cli) -> None:
    twice.run("env", "create", "--env", "A=b").done()
    twice.run("deploy", "rollback", "-y", "--only", "code", "--wait").done()
    assert twice.run("-o", "json", "deploy", "get").json["image"] == "nginx:1"
    assert "A " in twice.run("env", "list").stdout
    twice.run("deploy", "rollback", "-y", "--version", "2", "--only", "config", "--wait").done()
    assert twice.run("-o", "json", "deploy", "get").json["image"] == "nginx:1"
    assert twice.run("-o", "json", "env", "list").json == []


def test_a_part_that_cannot_be_restored_is_a_mistake_of_the_command_line(twice: Cli) -> None:
    told = twice.run("deploy", "rollback", "-y", "--only", "pods").failed(2).error
    assert 'invalid --only "pods": expected code or config' in told


def test_the_time_to_wait_is_the_users(twice: Cli) -> None:
    assert "--timeout" in twice.run("deploy", "rollback", "-y", "--timeout", "soon").failed(3).error
    assert "RolledBack" not in twice.events()


def test_a_restore_needs_the_secrets_or_leave_to_do_without(twice: Cli) -> None:
    old = twice.run("-o", "json", "deploy", "get").json
    twice.run("deploy", "destroy", "-y").done()
    before = twice.events()
    assert "TOKEN" in twice.run("deploy", "restore").failed(3).error
    assert twice.events() == before
    twice.run("deploy", "restore", "--key", "TOKEN", input="another\n").done()
    new = twice.run("-o", "json", "deploy", "get").json
    assert new["image"] == old["image"] == "nginx:2"
    assert new["deployment_id"] != old["deployment_id"]
    assert new["domain"] != old["domain"]
    assert "TOKEN" in twice.run("secret", "list").stdout


def test_a_life_that_ended_is_named_when_its_id_is_asked_for(twice: Cli) -> None:
    old = twice.run("-o", "json", "deploy", "get").json["deployment_id"]
    twice.run("deploy", "destroy", "-y").done()
    twice.run("deploy", "--image", "nginx:3").done()
    assert old in twice.run("deploy", "get", "--deployment-id", old).failed(3).error
    told = twice.run("deploy", "get", "--deployment-id", old, "--at-position", str(len(twice.events()))).failed(3)
    assert f'deployment "{old}" was not open at position' in told.error


def test_a_mark_can_be_taken_back_and_the_history_has_both(deployed: Cli) -> None:
    deployed.run("deploy", "--image", "nginx:2").done()
    deployed.run("deploy", "mark-bad", "1", "--reason", "slow").done()
    deployed.run("deploy", "rollback", "--version", "1", "-y").failed(3)
    then = len(deployed.events())
    said = deployed.run("deploy", "mark-bad", "1", "--undo", "--reason", "it was the network").done()
    assert "Release 1 is no longer marked as bad" in said.stdout
    assert (
        "Release 1 is not marked as bad"
        in deployed.run("deploy", "mark-bad", "1", "--undo", "--reason", "sure").done().stdout
    )

    def marked(*when: str) -> object:
        releases = deployed.run("-o", "json", "deploy", "releases", "--wide", *when).done().json
        return next(each for each in releases if each["version_number"] == 1).get("marked_bad")

    assert (marked(), marked("--at-position", str(then))) == (None, "slow")
    kinds = {"ReleaseMarkedBad": "slow", "ReleaseUnmarked": "it was the network"}
    log = deployed.run("-o", "json", "audit", "log").done().json
    assert {each["kind"]: each["reason"] for each in log if each["kind"] in kinds} == kinds
    deployed.run("deploy", "rollback", "--version", "1", "-y").done()


def test_another_reason_for_a_mark_is_not_dropped_without_a_word(deployed: Cli) -> None:
    again = ("deploy", "mark-bad", "1", "--reason")
    deployed.run(*again, "slow").done()
    assert "To change why" not in deployed.run(*again, "slow").done().stderr
    assert (
        "💡 To change why, take the mark back first: 1ctl deploy mark-bad 1 --undo --reason TEXT\n"
        in deployed.run(*again, "wrong").done().stderr
    )


def test_to_mark_the_release_that_runs_stops_nothing_and_says_so(deployed: Cli) -> None:
    deployed.run("deploy", "--image", "nginx:2").done()
    older = deployed.run("deploy", "mark-bad", "1", "--reason", "slow").done()
    running = deployed.run("deploy", "mark-bad", "2", "--reason", "slow").done()
    assert "runs" not in older.stderr
    assert "Release 2 is the one that runs, and goes on. Deploy an image that works, or go back" in running.stderr
