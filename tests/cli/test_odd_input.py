"""Input that no one means but anybody may give: bytes that are no text, numbers too large, names that disguise."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from cli.options import DIGITS, LARGEST_NUMBER, NEVER_EMPTY, words_of
from effects.cluster import ClusterError
from effects.kubernetes_cluster import KubernetesCluster
from ledger.checkpoint import SigningKey
from tests.cli_support import Cli
from tests.docs.command_reference import commands

NO_TEXT = "\udcff"
EMPTY_FILES = [
    ["audit", "checkpoint", "--file"],
    ["audit", "export", "--file"],
    ["audit", "prove", "--position", "1", "--since"],
    ["audit", "verify", "--against"],
    ["audit", "witness"],
    ["audit", "witness-key"],
    ["audit", "verify-proof", "x", "--key"],
    ["audit", "verify-proof", "x", "--key", "k", "--witness"],
    ["audit", "import"],
    ["deploy", "--kv-file"],
    ["deploy", "get", "--config"],
    ["env", "create", "--env-file"],
    ["ledger", "backup"],
    ["ledger", "copy", "--to"],
    ["ledger", "restore"],
    ["ledger", "restore", "x", "--checkpoint"],
]
EMPTY_KEYS = [
    ["secret", "create", "--key"],
    ["secret", "unset", "--key"],
    ["secret", "purge", "-y"],
    ["env", "unset", "--key"],
    ["deploy", "blame"],
    ["deploy", "--image", "nginx", "--key"],
]
HUGE = "99999999999999999999999"


@pytest.mark.parametrize(
    "args",
    [
        ["deploy", "get", "-d", NO_TEXT],
        ["deploy", "--image", f"nginx{NO_TEXT}"],
        ["profile", "create", "p", "--context", NO_TEXT, "--namespace", "shop"],
        ["env", "create", "--env", f"A={NO_TEXT}"],
        [NO_TEXT],
    ],
    ids=ascii,
)
def test_an_argument_that_is_no_text_is_refused(cli: Cli, args: list[str]) -> None:
    assert "an argument is not UTF-8 text" in cli.run(*args).failed(2).error
    assert not cli.home.exists()


@pytest.mark.parametrize("args", EMPTY_FILES + EMPTY_KEYS, ids=" ".join)
def test_a_file_or_key_that_is_empty_is_a_variable_that_is_not_set(deployed: Cli, args: list[str]) -> None:
    refused = deployed.run(*args, "").failed(2)
    assert " is empty\nIs the variable that it comes from set?" in refused.error
    assert refused.stdout == ""


def test_every_option_that_names_a_file_says_so() -> None:
    named = [param for command in commands().values() for param in command.params if param.type.name == "path"]
    assert named
    assert [param.name for param in named if not words_of(param) & NEVER_EMPTY] == []


@pytest.mark.parametrize("name", ["ONECTL_ACTOR", "ONECTL_LEDGER", "ONECTL_REQUEST_ID"])
def test_a_variable_of_ours_that_is_no_text_is_refused(cli: Cli, name: str) -> None:
    refused = cli.run("deploy", "--image", "nginx", env={name: NO_TEXT}).failed(2)
    assert f"{name} is not UTF-8 text" in refused.error
    assert not cli.home.exists()


@pytest.mark.parametrize("name", ["ONECTL_HOME", "ONECTL_LEDGER", "ONECTL_KUBECONFIG"])
def test_the_home_of_nobody_is_refused(cli: Cli, name: str) -> None:
    refused = cli.run("deploy", "list", env={name: "~no-such-user/x"}).failed(3)
    assert 'the home directory that "~no-such-user/x" begins with is not known' in refused.error
    assert "ONECTL_HOME=/path" in refused.error
    assert not cli.home.exists()


def test_a_profile_with_a_file_in_the_home_of_nobody_is_refused(cli: Cli) -> None:
    place = ("--context", "c", "--namespace", "shop")
    for option in ("--kubeconfig", "--ledger"):
        refused = cli.run("profile", "create", "p", *place, option, "~no-such-user/x").failed(3)
        assert 'that "~no-such-user/x" begins with is not known' in refused.error


def test_the_default_kubeconfig_of_nobody_is_an_error_of_the_cluster() -> None:
    with pytest.raises(ClusterError, match="is not known"):
        KubernetesCluster.connect(kubeconfig=Path("~no-such-user/config"), context="c")


def test_a_variable_of_the_ci_that_is_no_text_keeps_nobody_from_deploying(cli: Cli) -> None:
    cli.run("deploy", "--image", "nginx", env={"CI_JOB_URL": f"https://ci/{NO_TEXT}"}).done()


@pytest.mark.parametrize(
    "args",
    [
        ["deploy", "rollback", "-y", "--version", HUGE],
        ["deploy", "mark-bad", HUGE, "--reason", "no"],
        ["deploy", "get", "--at-release", HUGE],
        ["env", "list", "--at-position", "9223372036854775808"],
        ["ledger", "redact", "--position", "9223372036854775808", "--field", "values.A", "--reason", "no", "-y"],
        ["audit", "prove", "--position", HUGE],
        ["audit", "prove", "--release", HUGE],
        ["audit", "log", "--limit", HUGE],
        ["deploy", "events", "--limit", HUGE],
        ["deploy", "releases", "--limit", HUGE],
        ["deploy", "list", "--limit", HUGE],
    ],
    ids=" ".join,
)
def test_a_number_larger_than_any_can_be_is_refused(deployed: Cli, args: list[str]) -> None:
    assert f"must be at most {LARGEST_NUMBER}" in deployed.run(*args).failed(2).error


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["deploy", "rollback", "-y", "--version"], 3),
        (["deploy", "mark-bad", "--reason", "no"], 3),
        (["deploy", "get", "--at-release"], 3),
        (["env", "list", "--at-position"], 3),
        (["ledger", "redact", "--field", "values.A", "--reason", "no", "-y", "--position"], 3),
        (["audit", "prove", "--position"], 3),
        (["audit", "log", "--limit"], 0),
        (["deploy", "events", "--limit"], 0),
        (["deploy", "releases", "--limit"], 0),
        (["deploy", "list", "--limit"], 0),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_the_largest_number_is_only_a_number(deployed: Cli, args: list[str], code: int) -> None:
    result = deployed.run(*args, str(LARGEST_NUMBER))
    assert result.code == code, result.stderr
    assert "unexpected" not in result.stderr


@pytest.mark.parametrize("moment", [HUGE, f"@{HUGE}", f"{HUGE} days ago", "9" * 5000])
def test_a_moment_that_is_a_number_too_large_is_refused(deployed: Cli, moment: str) -> None:
    assert "is not a release, a position or a time" in deployed.run("deploy", "diff", moment).failed(3).error


def test_a_moment_long_before_everything_is_before_the_ledger(deployed: Cli) -> None:
    assert "nothing was recorded by then" in deployed.run("deploy", "get", "--as-of", "999999999 weeks ago").error


def test_a_number_with_few_digits_is_not_too_large() -> None:
    assert int("9" * DIGITS) <= LARGEST_NUMBER


@pytest.mark.parametrize("actor", [" ", "a\nb", "x" * 2000, "1ctl/effects", "1ctl/worker"], ids=ascii)
def test_an_actor_that_would_disguise_who_asks_is_refused(deployed: Cli, actor: str) -> None:
    before = deployed.events()

    refused = deployed.run("deploy", "restart", env={"ONECTL_ACTOR": actor}).failed(3)

    assert "Name who asks: ONECTL_ACTOR=ana" in refused.error
    assert deployed.events() == before


def test_a_branch_whose_name_is_no_text_keeps_nobody_from_deploying(cli: Cli) -> None:
    branch = b"refs/heads/b\xff"
    for args in (["init", "-q"], ["symbolic-ref", "HEAD", branch], ["add", "satusky.toml"], ["commit", "-qm", "x"]):
        named = ["git", "-c", "user.name=ana", "-c", "user.email=ana@example.com"]
        subprocess.run([*named, *args], cwd=cli.cwd, check=True, capture_output=True)

    cli.run("deploy", "--image", "nginx").done()

    assert len(cli.run("-o", "json", "deploy", "releases").json[0]["commit"]) == 40


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    "args", [["--help"], ["--version"], ["deploy", "get", "--help"], ["audit", "-h"]], ids=" ".join
)
def test_help_that_cannot_be_written_ends_as_any_output_does(cli: Cli, args: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        process = cli.start(*args, stdout=full)
        said = process.communicate(timeout=60)[1].decode()

    assert (process.returncode, said) == (1, f"❌ the output cannot be written: {os.strerror(28)}\n")


@pytest.mark.parametrize(
    "args",
    [
        ["audit", "verify-proof", "/dev/zero", "--key", "KEY"],
        ["audit", "verify-proof", "/dev/null", "--key", "/dev/zero"],
        ["audit", "witness", ".", "--accept", "/dev/zero", "--key", "KEY"],
        ["deploy", "--image", "nginx", "--env-file", "/dev/zero"],
        ["secret", "create", "--kv-file", "/dev/zero"],
    ],
    ids=lambda args: " ".join(args[:2]),
)
def test_what_has_no_end_is_not_read_to_its_end(cli: Cli, args: list[str]) -> None:
    key = str(SigningKey.generate("1ctl.dev/ledger/none").verifier)
    given = [each if each != "KEY" else key for each in args]
    limited = ["bash", "-c", 'ulimit -v 1000000; exec "$@"', "-", *cli.argv(*given)]
    done = subprocess.run(
        limited, cwd=cli.cwd, env=cli.environ(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (3, "")
    assert "/dev/zero cannot be read: it is larger than 16 MiB" in done.stderr
