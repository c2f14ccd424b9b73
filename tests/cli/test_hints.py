"""What a failed command names as the next step is what the user can type."""

from __future__ import annotations

import re

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


@pytest.mark.parametrize(
    "args", ["deploy get", "deploy status", "deploy releases", "env list", "deploy get --name shop"]
)
def test_a_moment_before_an_app_is_told_with_the_one_at_which_it_came(deployed: Cli, args: str) -> None:
    deployed.run("deploy", "--name", "shop", "--image", "nginx").done()
    name = "shop" if "shop" in args else "user-service"
    named = " --name shop" if "shop" in args else ""
    came = deployed.run("-o", "json", "audit", "log", "--kind", "Deployed").done().json[-1 if named else 0]["position"]

    error = deployed.run(*args.split(), "--at-position", "2").failed(3).error

    when = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+00:00"
    assert re.fullmatch(
        f'❌ app "{name}" not found in namespace default\n'
        f"It was first deployed at position {came}, {when}.\nSee all that happened to it: 1ctl deploy events{named}\n",
        error,
    )


def test_a_moment_at_which_no_app_ever_was_is_no_reason_for_another_hint(deployed: Cli) -> None:
    error = deployed.run("deploy", "get", "--name", "user-servic", "--at-position", "2").failed(3).error
    assert 'Did you mean "user-service"?' in error


@pytest.mark.parametrize("command", ["get", "releases"])
def test_a_deployment_is_told_not_to_have_been_open_then(deployed: Cli, command: str) -> None:
    now = deployed.run("-o", "json", "deploy", "get").json["deployment_id"]
    error = deployed.run("deploy", command, "-d", now, "--at-position", "2").failed(3).error
    assert f'deployment "{now}" was not open at position 2\nSee when it was: 1ctl deploy events' in error


def test_a_deployment_id_that_there_is_not_is_told_with_the_one_that_may_be_meant(deployed: Cli) -> None:
    now = deployed.run("-o", "json", "deploy", "get").json["deployment_id"]
    for given in (now[:8], now.upper(), f" {now}", "user-service"):
        error = deployed.run("deploy", "releases", "-d", given).failed(3).error
        assert error == (
            f'❌ no deployment "{given}" in this ledger\n'
            f'Did you mean {now}, of app "user-service"? See which there are: 1ctl deploy list --all --wide\n'
        )
    nothing = deployed.run("deploy", "releases", "-d", "x").failed(3).error
    assert nothing == '❌ no deployment "x" in this ledger\nSee which there are: 1ctl deploy list --all --wide\n'
    assert "--deployment-id is empty" in deployed.run("deploy", "releases", "-d", "").failed(2).error


@pytest.mark.parametrize("named", [["user-servic"], ["--name", "user-servic"]], ids=" ".join)
def test_a_name_to_retry_that_no_app_has_is_told_with_the_one_that_may_be_meant(
    deployed: Cli, named: list[str]
) -> None:
    error = deployed.run("worker", "retry", *named).failed(3).error
    assert 'Did you mean "user-service"? See which there are: 1ctl deploy list --all --wide\n' in error


def test_what_is_said_of_an_app_that_was_retried_by_its_name_names_it(deployed: Cli) -> None:
    other = deployed.having(ONECTL_LEDGER="other.db")
    other.run("deploy", "--image", "nginx", "--detach").done()
    other.run("deploy", "status").failed(8)
    error = other.run("worker", "retry", "user-service").failed(8).error
    assert "1ctl deploy status --name user-service applies it" in error


def test_a_value_is_told_with_what_it_came_from(cli: Cli) -> None:
    assert "Example: --lease 1m30s" in cli.run("worker", "run", "--lease", "foo").failed(3).error
    assert "resync 'foo' must be" in cli.run("worker", "run", "--resync", "foo").failed(3).error
    named = cli.having(ONECTL_REQUEST_ID="bad id").run("deploy", "--image", "nginx").failed(3)
    assert "Example: ONECTL_REQUEST_ID=" in named.error


def test_a_hint_that_leads_to_the_list_of_apps_shows_their_names(deployed: Cli) -> None:
    hint = deployed.run("deploy", "get", "--name", "unlike").failed(3).error.splitlines()[1]
    listed = deployed.run(*hint.partition("1ctl ")[2].split()).done()
    assert "user-service" in listed.stdout


@pytest.mark.parametrize("json", [[], ["-o", "json"]], ids=["table", "json"])
@pytest.mark.parametrize("asked", [["audit", "log", "--app"], ["deploy", "events", "--name"]], ids=" ".join)
def test_a_history_of_an_app_that_never_was_is_not_empty_but_refused(
    deployed: Cli, asked: list[str], json: list[str]
) -> None:
    error = deployed.run(*json, *asked, "user-servic").failed(3).stderr
    assert 'Did you mean "user-service"? See which there are: 1ctl deploy list --all --wide\n' in error
    deployed.run("deploy", "destroy", "-y").done()
    assert "Destroyed" in deployed.run(*json, *asked, "user-service").done().stdout


def test_an_app_that_was_is_known_whatever_else_is_asked_of_its_history(deployed: Cli) -> None:
    deployed.run("deploy", "destroy", "-y").done()
    for args in (["--actor", "nobody"], ["--at-position", "1"], ["--key", "NONE"]):
        shown = deployed.run("audit", "log", "--app", "user-service", *args).done()
        assert "No events found" in shown.stdout + shown.stderr
    error = deployed.run("audit", "log", "--app", "user-service", "--namespace", "shop").failed(3).error
    assert 'nothing was ever recorded about an app "user-service" in namespace shop' in error
    elsewhere = deployed.having(ONECTL_CLUSTER="other", ONECTL_NAMESPACE="shop", ONECTL_LEDGER=str(deployed.ledger))
    elsewhere.run("audit", "log", "--app", "user-service", "--key", "NONE").done()


def test_the_events_of_the_app_of_this_directory_are_none_before_it_is_deployed(cli: Cli) -> None:
    assert cli.run("-o", "json", "deploy", "events").done().json == []


@pytest.mark.parametrize("option", ["--app", "--namespace", "--actor", "--key", "--request-id"])
def test_an_empty_filter_is_told_and_finds_not_nothing(deployed: Cli, option: str) -> None:
    error = deployed.run("audit", "log", option, "").failed(2).error
    assert f"{option} is empty\nIs the variable that it comes from set?" in error
