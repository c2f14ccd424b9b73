"""An app that was destroyed: it is gone from the cluster, but nobody is told that it never was."""

from __future__ import annotations

import re

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

    assert re.fullmatch(GONE, error[error.index("❌") :])


def test_a_deploy_without_an_image_names_both_ways_back(destroyed: Cli) -> None:
    error = destroyed.run("deploy").failed(3).error

    assert "1ctl deploy --image nginx:alpine\n" in error
    assert "Or as it last was, before it was destroyed: 1ctl deploy restore" in error


def test_an_app_that_was_never_deployed_is_told_as_before(cli: Cli) -> None:
    assert "Run '1ctl deploy' first or pass --deployment-id" in cli.run("deploy", "get").failed(3).error
    assert "restore" not in cli.run("deploy").failed(3).error
