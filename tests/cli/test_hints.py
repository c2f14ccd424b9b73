"""What a failed command names as the next step is what the user can type."""

from __future__ import annotations

import pytest

from tests.cli_support import Cli


def test_a_ledger_that_is_not_there_is_not_named_in_the_command_without_it(cli: Cli) -> None:
    refused = cli.run("--ledger", "nope.db", "audit", "verify").failed(3)
    assert refused.error.endswith("see which one is used without --ledger: 1ctl profile current\n")


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("ONECTL_DOMAIN_SUFFIX", "bad domain", "Example: ONECTL_DOMAIN_SUFFIX="),
        ("ONECTL_GATEWAY", "zz", "Example: ONECTL_GATEWAY="),
        ("ONECTL_NAMESPACE", "No", "Example: ONECTL_NAMESPACE="),
    ],
)
def test_a_bad_value_of_a_variable_is_told_with_the_variable(cli: Cli, name: str, value: str, hint: str) -> None:
    refused = cli.run("deploy", "--image", "nginx:1", env={name: value}).failed(3)
    assert hint in refused.error
    assert "--" not in refused.error


def test_a_bad_value_of_an_option_is_told_with_the_option(cli: Cli) -> None:
    args = ("profile", "create", "p", "--context", "c", "--namespace", "n", "--gateway", "zz")
    assert "Example: --gateway " in cli.run(*args).failed(3).error


@pytest.mark.parametrize("pair", ["1A=x", "A"])
def test_a_bad_pair_is_told_with_one_as_it_is_typed(cli: Cli, pair: str) -> None:
    refused = cli.run("deploy", "--image", "nginx:1", "--env", pair).failed(3)
    assert refused.error.endswith("\nExample: --env LOG_LEVEL=debug\n")


@pytest.mark.parametrize(
    ("args", "command"),
    [
        ("deploy get --at-release 1 --as-of 1h", "deploy get"),
        ("audit prove", "audit prove"),
        ("-o json audit prove", "audit prove"),
        ("worker run --drift foo", "worker run"),
        ("app releases --all --limit 1", "app releases"),
    ],
)
def test_a_command_line_that_cannot_be_understood_names_its_own_help(cli: Cli, args: str, command: str) -> None:
    assert cli.run(*args.split()).failed(2).error.endswith(f"\nRun '1ctl {command} --help' for usage\n")


@pytest.mark.parametrize("command", ["get", "releases"])
def test_an_app_that_was_deployed_later_is_said_to_have_been(deployed: Cli, command: str) -> None:
    refused = deployed.run("deploy", command, "--at-position", "1").failed(3)
    assert "💡 It was deployed later than that; see when: 1ctl deploy events\n❌" in refused.stderr


def test_a_value_is_told_with_what_it_came_from(cli: Cli) -> None:
    assert "Example: --lease 1m30s" in cli.run("worker", "run", "--lease", "foo").failed(3).error
    assert "resync 'foo' must be" in cli.run("worker", "run", "--resync", "foo").failed(3).error
    named = cli.having(ONECTL_REQUEST_ID="bad id").run("deploy", "--image", "nginx").failed(3)
    assert "Example: ONECTL_REQUEST_ID=" in named.error
