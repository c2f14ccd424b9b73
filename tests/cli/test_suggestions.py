"""A command that does not exist is answered with the one that was meant, and never with its opposite."""

from __future__ import annotations

import pytest

from tests.cli_support import Cli


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("env set A=b", "create"),
        ("env sett A=b", "create"),
        ("secret rm", "unset"),
        ("destroy", "deploy destroy"),
        ("destory", "deploy destroy"),
        ("rollback", "deploy rollback"),
        ("deploy undo", "rollback"),
        ("history", "deploy releases"),
        ("log", "audit log"),
        ("up", "deploy"),
        ("app ls", "list"),
        ("secret get PW", "list"),
        ("env get A", "list"),
        ("get", "deploy get"),
        ("version", "1ctl --version"),
        ("help", "1ctl --help"),
        ("deploy help", "1ctl deploy --help"),
    ],
)
def test_it_names_the_command_that_there_is(cli: Cli, typed: str, meant: str) -> None:
    assert f"not found. Did you mean '{meant}'?" in cli.run(*typed.split()).failed(2).error


@pytest.mark.parametrize(
    "typed", ["shop --image nginx", "nginx:3", "--image nginx shop", "shop --image=nginx", "xyzzy"]
)
def test_a_name_or_image_without_its_option_is_taken_for_no_command(cli: Cli, typed: str) -> None:
    word = next(each for each in typed.split() if each in ("shop", "nginx:3", "xyzzy"))
    told = f'command "{word}" not found. An app is named with --name, an image with --image\n'
    assert told in cli.run("deploy", *typed.split()).failed(2).error


def test_a_word_after_deploy_may_be_a_command_or_a_name(cli: Cli) -> None:
    told = "command \"shop\" not found. Did you mean 'get'? An app is named with --name, an image with --image\n"
    assert told in cli.run("deploy", "shop").failed(2).error


def test_a_kind_of_event_that_is_misspelt_is_not_said_to_be_the_only_one(cli: Cli) -> None:
    assert "Did you mean Deployed?\n" in cli.run("audit", "log", "--kind", "Deploy").failed(2).error


def test_what_there_is_not_is_said(cli: Cli) -> None:
    assert "kubectl logs -l app=NAME" in cli.run("logs").failed(2).error
    assert "Did you mean" not in cli.run("nonsense").failed(2).error


@pytest.mark.parametrize("typed", ["deploy --image", "env create --env", "deploy scale --replicas"])
def test_an_option_without_its_value_is_told_with_its_command(cli: Cli, typed: str) -> None:
    command = typed.rpartition(" ")[0]
    assert f"Run '1ctl {command} --help' for usage" in cli.run(*typed.split()).failed(2).error


def test_a_misspelt_name_is_not_to_be_deployed(deployed: Cli) -> None:
    error = deployed.run("deploy", "status", "--name", "user-servic").failed(3).error
    assert 'Did you mean "user-service"? See which there are: 1ctl deploy list --all --wide' in error
    assert "1ctl deploy --name" not in error
