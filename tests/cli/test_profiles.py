"""Profiles: where commands act. A real cluster is never chosen by accident."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.follow_up import completed, tell_kubectl
from cli.options import INVOCATION
from cli.status_facts import why_not_ready
from effects.cluster import Rollout, standstill
from effects.rollout import RolloutLook
from tests.cli_support import Cli

PROD = ("profile", "create", "prod", "--context", "ctx", "--namespace", "shop")


def current(cli: Cli, *args: str, **env: str) -> dict[str, Any]:
    found: dict[str, Any] = cli.having(**env).run(*args, "-o", "json", "profile", "current").done().json
    return found


@pytest.fixture
def prod(cli: Cli) -> Cli:
    """A user with a profile, which is not the default."""
    cli.run(*PROD).done()
    return cli


def test_without_a_profile_it_is_the_sandbox(cli: Cli) -> None:
    assert current(cli) == {
        "profile": None,
        "context": None,
        "kubeconfig": None,
        "namespace": "default",
        "cluster": "sandbox",
        "ledger": str(cli.home / "ledgers" / "sandbox.db"),
        "domain_suffix": "satusky.com",
        "gateway": "gateway-system/satusky-gateway",
        "in_cluster": False,
    }
    assert not cli.home.exists()


def test_an_ambient_kubeconfig_is_ignored(cli: Cli) -> None:
    assert current(cli, KUBECONFIG="/etc/kubernetes/admin.conf") == current(cli)
    cli.having(KUBECONFIG="/none").run("deploy", "--image", "nginx").done()


def test_a_profile_is_made_listed_used_shown_and_deleted(cli: Cli) -> None:
    assert cli.run("profile", "list").done().stdout.startswith("💡 No profiles found")
    assert cli.run(*PROD).done().stdout == "✅ Profile prod created\n"
    assert cli.run("profile", "list").done().stdout == (
        "NAME  CONTEXT  NAMESPACE  CURRENT\n────  ───────  ─────────  ───────\nprod  ctx      shop\n"
    )
    assert cli.run("profile", "use", "prod").done().stdout == "✅ Using prod\n"
    assert cli.run("profile", "list").done().lines[-1].split() == ["prod", "ctx", "shop", "yes"]
    assert cli.run("profile", "current").done().lines[0] == "prod"
    assert cli.run("profile", "delete", "prod").done().stdout == "✅ Profile prod deleted\n"
    assert current(cli)["cluster"] == "sandbox"


def test_a_ledger_that_is_named_before_the_command_is_the_profiles(cli: Cli) -> None:
    cli.run("--ledger", "/x/l.db", *PROD).done()
    assert current(cli, "-p", "prod")["ledger"] == "/x/l.db"
    cli.run("--ledger", "/x/l.db", *PROD, "--ledger", "/x/own.db", "--force").done()
    assert current(cli, "-p", "prod")["ledger"] == "/x/own.db"


def test_every_field_can_be_given(cli: Cli) -> None:
    more = ["--kubeconfig", "~/kc", "--cluster", "eu-1", "--ledger", "/x/l.db", "--domain-suffix", "example.org"]
    cli.run(*PROD, *more, "--gateway", "infra/public").done()
    assert current(cli, "-p", "prod") == {
        "profile": "prod",
        "context": "ctx",
        "kubeconfig": str(cli.home.parent / "kc"),
        "namespace": "shop",
        "cluster": "eu-1",
        "ledger": "/x/l.db",
        "domain_suffix": "example.org",
        "gateway": "infra/public",
        "in_cluster": False,
    }


def test_a_profile_has_a_ledger_of_its_own(prod: Cli) -> None:
    assert current(prod, "-p", "prod")["ledger"] == str(prod.home / "ledgers" / "prod.db")


@pytest.mark.parametrize("args", [["-p", "prod"], ["--profile", "prod"], ["--profile=prod"]])
def test_it_may_be_chosen_for_one_run_before_the_command(prod: Cli, args: list[str]) -> None:
    assert current(prod, *args)["cluster"] == "ctx"
    assert current(prod)["cluster"] == "sandbox"


def test_it_may_be_chosen_for_one_run_after_the_command(prod: Cli) -> None:
    assert prod.run("profile", "current", "-p", "prod", "-o", "json").done().json["cluster"] == "ctx"
    assert prod.run("deploy", "-p", "prod", "list").done().stdout == "💡 No deployments found\n"


def test_back_to_the_sandbox(prod: Cli) -> None:
    prod.run("profile", "use", "prod").done()
    prod.run("profile", "use", "sandbox").done()
    assert current(prod)["cluster"] == "sandbox"


def test_the_environment_stands_between_option_and_default(prod: Cli) -> None:
    prod.run("profile", "create", "other", "--context", "c2", "--namespace", "n2").done()
    prod.run("profile", "use", "other").done()
    assert current(prod, ONECTL_PROFILE="prod")["profile"] == "prod"
    assert current(prod, "-p", "other", ONECTL_PROFILE="prod")["profile"] == "other"


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("ONECTL_CONTEXT", "other", "context"),
        ("ONECTL_KUBECONFIG", "/kc", "kubeconfig"),
        ("ONECTL_NAMESPACE", "team-a", "namespace"),
        ("ONECTL_CLUSTER", "eu-2", "cluster"),
        ("ONECTL_LEDGER", "/y/l.db", "ledger"),
        ("ONECTL_DOMAIN_SUFFIX", "example.net", "domain_suffix"),
        ("ONECTL_GATEWAY", "a/b", "gateway"),
    ],
)
def test_every_field_has_an_environment_twin_that_wins(prod: Cli, name: str, value: str, field: str) -> None:
    assert current(prod, "-p", "prod", **{name: value})[field] == value


def test_a_cluster_can_be_chosen_by_environment_alone(cli: Cli) -> None:
    found = current(cli, ONECTL_CONTEXT="ctx", ONECTL_NAMESPACE="shop")
    assert (found["profile"], found["cluster"], found["namespace"]) == (None, "ctx", "shop")


def test_a_cluster_without_a_namespace_is_refused(cli: Cli) -> None:
    error = cli.having(ONECTL_CONTEXT="ctx").run("deploy", "list").failed(3).error
    assert 'no namespace is named for the cluster "ctx"' in error


def test_the_ledger_can_be_chosen_for_one_run(cli: Cli) -> None:
    other = str(cli.home / "other.db")
    cli.run("--ledger", other, "deploy", "--image", "nginx").done()
    assert cli.run("deploy", "list").done().stdout == "💡 No deployments found\n"
    assert len(cli.run("deploy", "list", "--ledger", other).done().lines) == 3
    assert not cli.ledger.exists()


@pytest.mark.parametrize(
    "args", [["-p", "prod", "deploy", "list"], ["profile", "use", "prod"], ["profile", "delete", "prod"]]
)
def test_an_unknown_profile_is_refused(cli: Cli, args: list[str]) -> None:
    assert cli.run(*args).failed(3).error == (
        '❌ profile "prod" does not exist\nMake one: 1ctl profile create --help\n'
    )


def test_an_unknown_profile_among_others_points_to_their_list(prod: Cli) -> None:
    assert "See those that do: 1ctl profile list" in prod.run("-p", "pord", "deploy", "list").failed(3).error


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["p", "--context", "sandbox", "--namespace", "n"], 'the cluster name "sandbox" is kept for the sandbox'),
        (["p", "--context", "c", "--namespace", "n", "--cluster", "sandbox"], "--cluster NAME"),
        (["sandbox", "--context", "c", "--namespace", "n"], 'the name "sandbox" is kept'),
        (["p", "--context", "c", "--namespace", "Shop"], "Example: --namespace team-a"),
        (
            ["p", "--context", "c", "--namespace", "n", "--gateway", "x"],
            "Example: --gateway gateway-system/satusky-gateway",
        ),
        (
            ["p", "--context", "c", "--namespace", "n", "--domain-suffix", "https://x"],
            "Example: --domain-suffix satusky.com",
        ),
        (["../p", "--context", "c", "--namespace", "n"], '"../p" is not a profile name'),
    ],
)
def test_what_no_command_could_use_is_refused(cli: Cli, args: list[str], says: str) -> None:
    assert says in cli.run("profile", "create", *args).failed(3).error
    assert not (cli.home / "profiles.json").exists()


def test_a_profile_is_not_overwritten(prod: Cli) -> None:
    assert "1ctl profile delete prod" in prod.run(*PROD).failed(3).error


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"current": null}',
        '{"current": null, "profiles": {"p": {"context": 5}}}',
        '{"current": ["x"], "profiles": {}}',
        "\x00",
    ],
)
def test_a_file_of_profiles_that_is_none_is_told(cli: Cli, content: str) -> None:
    cli.home.mkdir()
    (cli.home / "profiles.json").write_text(content)
    result = cli.run("deploy", "list").failed(1)
    assert "profiles.json is not a file of profiles" in result.error


def test_a_relative_kubeconfig_means_the_same_file_everywhere(cli: Cli) -> None:
    cli.run("profile", "create", "p", "--context", "c", "--namespace", "n", "--kubeconfig", "kc").done()
    elsewhere = cli.within(cli.home.parent)
    assert elsewhere.run("-p", "p", "-o", "json", "profile", "current").done().json["kubeconfig"] == str(cli.cwd / "kc")


@pytest.mark.parametrize("command", [["deploy", "list"], ["profile", "current"]], ids=" ".join)
@pytest.mark.parametrize("option", ["-p", "--profile", "--ledger"])
def test_an_empty_option_never_means_the_default_place(cli: Cli, command: list[str], option: str) -> None:
    for args in ([option, "", *command], [*command, option, ""]):
        refused = cli.run(*args).failed(2)
        assert "is empty" in refused.error
        assert "Is the variable that it comes from set?" in refused.error
    assert not cli.home.exists()


def test_an_empty_variable_means_that_it_is_not_set(cli: Cli) -> None:
    assert current(cli, ONECTL_PROFILE="", ONECTL_LEDGER="", ONECTL_CONTEXT="") == current(cli)


@pytest.mark.parametrize(
    "option",
    ["--context", "--namespace", "--kubeconfig", "--cluster", "--ledger", "--domain-suffix", "--gateway"],
)
def test_a_profile_is_not_made_of_an_empty_option(cli: Cli, option: str) -> None:
    assert f"{option} is empty" in cli.run(*PROD, option, "").failed(2).error
    assert not cli.home.exists()


def test_the_sandbox_may_be_chosen_for_one_run(prod: Cli) -> None:
    before = current(prod)
    prod.run("profile", "use", "prod").done()

    assert current(prod, "-p", "sandbox") == before
    assert current(prod, ONECTL_PROFILE="sandbox") == before
    assert current(prod)["cluster"] == "ctx"


def test_the_sandbox_is_not_chosen_where_the_environment_names_a_cluster(prod: Cli) -> None:
    named = prod.having(ONECTL_CONTEXT="ctx", ONECTL_NAMESPACE="shop")

    error = named.run("-p", "sandbox", "deploy", "list").failed(3).error

    assert "the sandbox is asked for, but the environment names the cluster ctx" in error


def test_a_hint_keeps_the_sandbox_that_was_chosen(prod: Cli) -> None:
    prod.run("profile", "use", "prod").done()
    prod.run("-p", "sandbox", "deploy", "--image", "nginx").done()

    assert "1ctl -p sandbox deploy restart" in prod.run("-p", "sandbox", "env", "create", "--env", "A=1").done().stderr


def test_a_profile_is_changed_by_replacing_it(prod: Cli) -> None:
    prod.run("profile", "use", "prod").done()
    again = ("profile", "create", "prod", "--context", "other", "--namespace", "team-a")
    assert "replace all of that one: --force" in prod.run(*again).failed(3).error
    assert current(prod)["context"] == "ctx"

    assert prod.run(*again, "--force").done().stdout == "✅ Profile prod replaced\n"

    assert (current(prod)["context"], current(prod)["namespace"]) == ("other", "team-a")


@pytest.fixture
def told_kubectl() -> Iterator[None]:
    tell_kubectl("my ctx", Path("/my/kc"))
    yield
    INVOCATION.kubectl = ""


@pytest.mark.usefixtures("told_kubectl")
def test_a_namespace_is_made_in_the_cluster_that_is_meant() -> None:
    said = "Create it: kubectl create namespace shop"
    to_be_typed = "Create it: kubectl --context 'my ctx' --kubeconfig /my/kc create namespace shop"
    assert completed(said) == completed(to_be_typed) == to_be_typed
    INVOCATION.kubectl = ""
    assert completed(said) == said


@pytest.mark.usefixtures("told_kubectl")
def test_a_paused_deployment_is_resumed_in_the_cluster_that_is_meant() -> None:
    paused = standstill({"metadata": {"namespace": "shop", "name": "web"}, "spec": {"paused": True}})
    rollout = Rollout(1, 0, 0, 0, 0, observed=False, complete=False, failed=None, pods=[], trouble=paused)
    progress = RolloutLook(verdict="waiting", ready=0, desired=1, rollout=rollout)
    resume = "kubectl --context 'my ctx' --kubeconfig /my/kc -n shop rollout resume deployment/web"
    assert why_not_ready(progress) == f"DeploymentPaused: somebody paused it; go on with {resume}"


# Addresses of databases

CANARY = "c4n4ry"
SECRET = [
    f"postgresql://u:{CANARY}@h/db",
    f"postgresql://u:p%2F{CANARY}@h/db",
    f"postgresql://u@h/db?password={CANARY}",
    f"postgresql://u@h/db?oauth_client_secret={CANARY}",
    f"postgresql://u@h/db?sslpassword={CANARY}",
]
MALFORMED = [f"postgresql://u:p/{CANARY}@h/db", f"postgresql://u:p@{CANARY}@h/db", f"postgresql://u@h/db?{CANARY}"]


@pytest.mark.parametrize("address", SECRET)
def test_a_profile_keeps_no_password(cli: Cli, address: str) -> None:
    refused = cli.run(*PROD, "--ledger", address).failed(3)
    assert "holds a password" in refused.error
    assert "~/.pgpass" in refused.error
    assert CANARY not in refused.stdout + refused.stderr
    assert not cli.home.exists()


@pytest.mark.parametrize("address", MALFORMED)
def test_a_profile_keeps_no_address_that_is_none(cli: Cli, address: str) -> None:
    refused = cli.run(*PROD, "--ledger", address).failed(3)
    assert "is not a PostgreSQL URL" in refused.error
    assert "Example: --ledger postgresql://user@host/database" in refused.error
    assert CANARY not in refused.stdout + refused.stderr
    assert not cli.home.exists()


@pytest.mark.parametrize("address", [*SECRET, *MALFORMED])
def test_an_address_is_shown_without_what_is_secret_in_it(prod: Cli, address: str) -> None:
    file = prod.home / "profiles.json"
    file.write_text(file.read_text().replace('"ledger": null', f'"ledger": "{address}"'))  # of an earlier version
    for args in (["-o", "json", "profile", "list"], ["-p", "prod", "profile", "current"]):
        shown = prod.run(*args).done().stdout
        assert CANARY not in shown
        assert "postgresql://" in shown
    named = prod.having(ONECTL_LEDGER=address)
    assert CANARY not in named.run("-o", "json", "profile", "current").done().stdout


def test_an_address_without_a_password_is_kept_as_it_is(cli: Cli) -> None:
    address = "postgresql://alice@db.example.com:5433/ledger?sslmode=verify-full"
    cli.run(*PROD, "--ledger", address).done()
    assert address in (cli.home / "profiles.json").read_text()
    assert current(cli, "-p", "prod")["ledger"] == "postgresql://alice@db.example.com:5433/ledger"


@pytest.mark.parametrize(
    "environment",
    [{"ONECTL_CONTEXT": "c9"}, {"ONECTL_CLUSTER": "c9"}, {"ONECTL_CLUSTER": "c9", "ONECTL_IN_CLUSTER": "1"}],
)
def test_without_a_profile_nobody_is_told_of_the_sandbox_where_the_environment_names_a_cluster(
    cli: Cli, environment: dict[str, str]
) -> None:
    there = cli.having(ONECTL_NAMESPACE="shop", **environment)
    assert there.run("profile", "current").done().stdout.startswith("No profile: the environment names the cluster\n")
    listed = there.run("profile", "list").done().stdout
    assert listed == f"💡 No profiles found: commands use what the environment names ({', '.join(environment)})\n"
    assert cli.run("profile", "current").done().stdout.startswith("No profile: the sandbox on this machine\n")


def test_whoever_changes_the_default_is_told_where_it_is_not_what_commands_use(cli: Cli) -> None:
    for name in ("prod", "staging"):
        cli.run("profile", "create", name, "--context", name, "--namespace", "shop").done()
    assert cli.run("profile", "use", "prod").done().stderr == ""
    elsewhere = cli.having(ONECTL_PROFILE="staging").run("profile", "use", "prod").done()
    assert (
        "The environment comes first (ONECTL_PROFILE). See where commands act: 1ctl profile current" in elsewhere.stderr
    )
    assert cli.run("profile", "delete", "staging").done().stderr == ""
    assert (
        "It was the default. Without one, commands use the sandbox"
        in cli.run("profile", "delete", "prod").done().stderr
    )
