"""Secret values: where they may come from, and where they end up. That they are nowhere else: `test_canary.py`."""

from __future__ import annotations

import subprocess

import pytest

from tests.canary import CANARY, files_that_leak, leaks
from tests.cli_support import Cli

WARNING = "❗️ A secret on the command line is visible to others in `ps`, and stays in your shell's history.\n"


def keys(cli: Cli) -> list[str]:
    found = cli.run("-o", "json", "secret", "list").done().json
    return list(found[0]["keys"]) if found else []


# Where values come from


@pytest.mark.parametrize("args", [["secret", "create"], ["deploy", "--image", "nginx:2"]], ids=["secret", "deploy"])
def test_what_is_typed_for_a_key_has_to_be_text(deployed: Cli, args: list[str]) -> None:
    before = deployed.events()
    done = subprocess.run(
        deployed.argv(*args, "--key", "TOKEN"),
        cwd=deployed.cwd,
        env=deployed.environ(),
        input=b"\xff\xfe",
        capture_output=True,
        check=False,
    )
    assert done.returncode == 3
    assert "value of TOKEN" in done.stderr.decode()
    assert "must be valid UTF-8" in done.stderr.decode()
    assert deployed.events() == before


def test_a_pair_on_the_command_line_warns_once_on_stderr(deployed: Cli) -> None:
    result = deployed.run("secret", "create", "--kv", "A=1", "--kv", "B=2").done()
    assert result.stdout == "✅ Secret user-service created successfully\n"
    assert result.stderr.count(WARNING) == 1
    assert keys(deployed) == ["A", "B"]


def test_the_originals_other_spelling_is_accepted(deployed: Cli) -> None:
    assert WARNING in deployed.run("secret", "create", "--env", "A=1").done().stderr
    assert keys(deployed) == ["A"]


def test_a_file_warns_of_nothing(deployed: Cli) -> None:
    (deployed.cwd / "secrets.env").write_text("# comment\nA=1\nexport B='two words'\n")
    assert "❗️" not in deployed.run("secret", "create", "--kv-file", "secrets.env").done().stderr
    assert keys(deployed) == ["A", "B"]


@pytest.mark.parametrize("args", [[], ["--kv-file", "-"]])
def test_stdin_holds_many_at_once(deployed: Cli, args: list[str]) -> None:
    assert "❗️" not in deployed.run("secret", "create", *args, input="A=1\nB=2\nC=3\n").done().stderr
    assert keys(deployed) == ["A", "B", "C"]


def test_each_key_asked_for_takes_a_line_of_stdin(deployed: Cli) -> None:
    deployed.run("secret", "create", "--key", "A", "-k", "B", input="1\n2\n").done()
    assert keys(deployed) == ["A", "B"]


PEM = "-----BEGIN SECRET-----\nbGluZSBvbmU=\nbGluZSB0d28=\n-----END SECRET-----"


def test_one_key_takes_all_lines_of_stdin(deployed: Cli) -> None:
    escaped = PEM.replace("\n", "\\n")
    found = []
    for args, given in ((["--key", "PEM"], f"{PEM}\n"), (["--kv-file", "-"], f'PEM="{escaped}"\n')):
        deployed.run("secret", "create", *args, input=given).done()
        found.append(deployed.objects()["Secret/user-service-secrets"]["data"]["pem"])
    assert found[0] == found[1]


def test_a_line_may_end_as_windows_ends_it(deployed: Cli) -> None:
    def after(given: bytes, *keys: str) -> object:
        ask = (part for key in keys or ("A",) for part in ("--key", key))
        args = deployed.argv("secret", "create", *ask)
        subprocess.run(args, cwd=deployed.cwd, env=deployed.environ(), input=given, capture_output=True, check=True)
        return deployed.objects()["Secret/user-service-secrets"]["data"]

    one = after(b"hunter2")
    assert after(b"hunter2\r\n") == after(b"hunter2\n") == one
    assert after(b"hunter2\r") != one
    several = after(b"two\r\nlines")
    assert after(b"two\r\nlines\r\n") == several
    assert after(b"two\nlines") != several
    assert after(b"1\r\n2\r\n", "A", "B") == after(b"1\n2\n", "A", "B") == after(b"1\r\n2", "A", "B")


def test_more_lines_than_keys_are_refused_and_not_echoed(deployed: Cli) -> None:
    refused = deployed.run("secret", "create", "--key", "A", "--key", "B", input=f"1\n{PEM}\n").failed(3)
    assert "5 lines of input for 2 keys" in refused.error
    assert "BEGIN" not in refused.stdout + refused.stderr
    assert keys(deployed) == []


def test_all_sources_may_be_used_at_once(deployed: Cli) -> None:
    (deployed.cwd / "secrets.env").write_text("A=1\n")
    deployed.run("secret", "create", "--kv-file", "secrets.env", "--kv", "B=2", "--key", "C", input="3\n").done()
    assert keys(deployed) == ["A", "B", "C"]


def test_a_key_whose_stdin_is_empty_is_told_what_stdin_is_for(deployed: Cli) -> None:
    one = deployed.run("secret", "create", "--key", "A").failed(3).error
    assert one == "❌ no value given for A\nWith one --key, stdin is its value; it was empty.\n"
    assert "Each --key takes one line" in deployed.run("secret", "create", "-k", "A", "-k", "B").failed(3).error


def test_the_name_of_a_secret_is_not_called_one_of_the_environment(deployed: Cli) -> None:
    error = deployed.run("secret", "create", "--key", "x-y", input="1\n").failed(3).error
    assert "secret name 'x-y' must be" in error
    assert error.endswith("Example: JWT_SECRET\n")


def test_a_key_without_a_line_of_stdin_is_refused(deployed: Cli) -> None:
    assert (
        "no value given for B"
        in deployed.run("secret", "create", "--key", "A", "--key", "B", input="1\n").failed(3).error
    )
    assert keys(deployed) == []


def test_nothing_given_is_refused_with_the_ways_to_give(deployed: Cli) -> None:
    error = deployed.run("secret", "create").failed(2).error
    assert error == (
        "❌ no secret given: pass --kv-file FILE, or KEY=VALUE lines on stdin, or --key KEY\n"
        "Run '1ctl secret create --help' for usage\n"
    )


@pytest.mark.parametrize(
    "args",
    [["secret", "create", "--kv-file"], ["env", "create", "--env-file"], ["deploy", "--image", "x", "--kv-file"]],
)
def test_a_file_without_a_value_is_named(deployed: Cli, args: list[str]) -> None:
    (deployed.cwd / "empty.env").write_text("# rendered to nothing\n\n")
    refused = deployed.run(*args, "empty.env").failed(3).error
    assert refused.startswith("❌ empty.env holds no KEY=VALUE line\n")
    assert "stdin holds no KEY=VALUE line" in deployed.run(*args, "-", input="\n").failed(3).error


def test_two_that_would_read_stdin_are_refused_before_it_is_read(deployed: Cli) -> None:
    before = deployed.events()
    for args in (["secret", "create"], ["deploy", "--image", "nginx:2"], ["deploy", "restore"]):
        refused = deployed.run(*args, "--kv-file", "-", "--key", "B", input="A=1\n").failed(2)
        assert "--kv-file - and --key would both read stdin" in refused.error
    assert deployed.events() == before


def test_a_missing_file_is_named(deployed: Cli) -> None:
    assert "none.env cannot be read" in deployed.run("secret", "create", "--kv-file", "none.env").failed(3).error


def test_pods_read_it_after_a_restart(deployed: Cli) -> None:
    deployed.run("secret", "create", "--kv", "A=1").done()
    assert deployed.run("secret", "list").done().lines[-1].endswith("  after restart")
    deployed.run("deploy", "restart").done()
    assert deployed.run("secret", "list").done().lines[-1].endswith("  not yet")
    deployed.run("deploy", "status", "--wait").done()
    assert deployed.run("secret", "list").done().lines[-1].endswith("  yes")


# What is wrong is said without what was given


@pytest.mark.parametrize(
    "pair", ["hunter2", "postgres://user:hunter2@host/db?ssl=on", "=hunter2", "hunter-2=x", "9hunter2=x", "a hunter2=b"]
)
def test_a_malformed_pair_is_never_echoed(deployed: Cli, pair: str) -> None:
    result = deployed.run("secret", "create", "--kv", pair).failed(3)
    assert "hunter" not in result.stdout + result.stderr


BY_OPTION: list[tuple[str, str | None]] = [
    ("--key PW=hunter2", None),
    ("--kv-file PW=hunter2", None),
    ("--kv-file -", "A=1\nhunter2==\n"),
]
BY_ITSELF: list[tuple[str, str | None]] = [("", "hunter2=\n"), ("--kv hunter2=", None), ("--kv hunter2==", None)]


@pytest.mark.parametrize(
    ("command", "args", "typed"),
    [
        *(("secret create", *given) for given in [*BY_OPTION, *BY_ITSELF]),
        *(("deploy", *given) for given in BY_OPTION),
        *(("deploy restore", *given) for given in BY_OPTION),
        ("secret unset", "--key PW=hunter2", None),
        ("secret purge", "PW=hunter2", None),
    ],
)
def test_a_secret_in_the_place_of_a_name_is_neither_kept_nor_echoed(
    deployed: Cli, command: str, args: str, typed: str | None
) -> None:
    deployed.run("secret", "create", "--kv", "A=1").done()
    deployed.run("deploy", "status", "--wait").done()
    if command == "deploy restore":
        deployed.run("deploy", "destroy", "-y").done()
    before = deployed.events()
    result = deployed.run("-o", "json", *command.split(), *args.split(), input=typed).failed(3)
    assert "hunter" not in result.stdout + result.stderr
    assert deployed.events() == before


@pytest.mark.parametrize(
    "args",
    [
        ["secret", "create", "PW=hunter2"],
        ["secret", "create", "--key", "A", "PW=hunter2 's"],
        ["secret", "PW=hunter2"],
        ["PW=hunter2"],
        ["deploy", "--replicas=PW=hunter2"],
    ],
    ids=" ".join,
)
def test_a_pair_in_a_wrong_place_is_not_echoed(deployed: Cli, args: list[str]) -> None:
    result = deployed.run("-o", "json", *args).failed(2)
    assert "hunter" not in result.stdout + result.stderr
    assert "[not shown]" in result.error


def test_a_line_without_a_value_is_named_with_the_way_to_give_one(deployed: Cli) -> None:
    error = deployed.run("secret", "create", input="A=1\nuJcb0vQwEr4=\n").failed(3).error
    assert error == (
        "❌ stdin:2 must have a value after its NAME= (what was given is not shown)\n"
        "A value that has no name before it is given with one: --key JWT_SECRET\n"
    )


@pytest.mark.parametrize("line", ["hunter2", "postgres://user:hunter2@h/db?a=b", 'A="hunter2', "A=1\nA=hunter2"])
def test_a_malformed_line_is_never_echoed_and_is_named(deployed: Cli, line: str) -> None:
    result = deployed.run("secret", "create", input=f"{line}\n").failed(3)
    assert "hunter" not in result.stdout + result.stderr
    assert "stdin:" in result.error


def test_a_key_that_the_environment_has_is_refused_without_its_value(deployed: Cli) -> None:
    deployed.run("env", "create", "--env", "A=1").done()
    result = deployed.run("secret", "create", "--kv", "A=hunter2").failed(3)
    assert "hunter" not in result.stdout + result.stderr


def test_a_value_too_big_is_never_echoed(deployed: Cli) -> None:
    result = deployed.run("secret", "create", input=f"A={'hunter2' * 200_000}\n").failed(3)
    assert "hunter" not in result.stdout + result.stderr
    assert len(result.stderr) < 2000


# Where they end up


def test_its_value_reaches_the_cluster(deployed: Cli) -> None:
    deployed.run("secret", "create", "--key", "TOKEN", input=f"{CANARY}\n").done()
    deployed.run("deploy", "restart").done()
    one = deployed.objects()["Secret/user-service-secrets"]["data"]["token"]
    deployed.run("secret", "create", "--key", "TOKEN", input="another\n").done()
    assert deployed.objects()["Secret/user-service-secrets"]["data"]["token"] != one
    deployed.run("secret", "create", "--key", "TOKEN", input=f"{CANARY}\n").done()
    assert deployed.objects()["Secret/user-service-secrets"]["data"]["token"] == one


def test_files_are_readable_by_their_owner_only(deployed: Cli) -> None:
    deployed.run("secret", "create", "--kv", "A=1").done()
    deployed.run("profile", "create", "p", "--context", "c", "--namespace", "n").done()
    for path in [deployed.home, *deployed.home.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_pair_wins_over_a_line_of_a_file_in_what_pods_read(deployed: Cli) -> None:
    def after(*args: str) -> object:
        deployed.run("secret", "create", *args).done()
        return deployed.objects()["Secret/user-service-secrets"]["data"]["b"]

    (deployed.cwd / "secrets.env").write_text("B=file\n")
    both, pair, file = (
        after("--kv-file", "secrets.env", "--kv", "B=pair"),
        after("--kv", "B=pair"),
        after("--kv-file", "secrets.env"),
    )
    assert both == pair != file


# With a release


def in_pods(cli: Cli) -> dict[str, str]:
    """Of each secret, whether the pods have it."""
    return {line.split()[0]: line.split()[-1] for line in cli.run("secret", "list").done().lines[2:]}


def test_the_first_release_comes_with_its_secrets_in_one_append(cli: Cli) -> None:
    (cli.cwd / "secrets.env").write_text("TOKEN=one\n")

    cli.run("deploy", "--image", "nginx", "--env", "A=b", "--kv-file", "secrets.env", "--wait").done()

    assert cli.events()[2:7] == ["Deployed", "DomainAssigned", "EnvSet", "SecretSet", "DomainClaimed"]
    assert cli.events().count("ResourcesApplied") == 1
    assert in_pods(cli) == {"TOKEN": "yes"}


@pytest.mark.parametrize("args", [["--kv-file", "-"], ["--key", "TOKEN"]])
def test_the_values_of_a_release_may_be_typed(cli: Cli, args: list[str]) -> None:
    cli.run("deploy", "--image", "nginx", *args, "--wait", input="TOKEN=one\n").done()
    assert in_pods(cli) == {"TOKEN": "yes"}


def test_a_later_release_sets_secrets_and_keeps_the_others(deployed: Cli) -> None:
    deployed.run("secret", "create", "--key", "OLD", input="one\n").done()
    deployed.run("deploy", "--key", "NEW", "--key", "OLD", "--wait", input="two\nthree\n").done()

    assert in_pods(deployed) == {"NEW": "yes", "OLD": "yes"}
    versions = {line.split()[0]: line.split()[1] for line in deployed.run("secret", "list").done().lines[2:]}
    assert versions == {"NEW": "1", "OLD": "2"}


def test_a_repeated_first_release_does_not_compare_secret_values(cli: Cli) -> None:
    args = ("deploy", "--image", "nginx", "--key", "TOKEN", "--request-id", "ci-1")
    cli.run(*args, input="one\n").done()

    assert "Secret values of a repeated request are not compared." in cli.run(*args, input="two\n").done().stderr
    assert cli.events().count("Deployed") == 1
    cli.run("deploy", "--image", "nginx", "--request-id", "ci-1").failed(3)


def test_a_first_release_with_secrets_can_be_shown_without_making_it(cli: Cli) -> None:
    shown = cli.run("deploy", "--image", "nginx", "--key", "TOKEN", "--dry-run", input="one\n").done()
    assert "Would record: Deployed, DomainAssigned, SecretSet" in shown.stdout
    assert not cli.events()


def test_a_key_is_either_a_secret_or_an_environment_value_of_a_release(cli: Cli) -> None:
    args = ("deploy", "--image", "nginx", "--env", "A=b", "--key", "A")
    assert "A is an environment value of this app already" in cli.run(*args, input="one\n").failed(3).error


def test_a_password_in_the_environment_of_a_first_release_is_told_how_it_can_be_sealed(cli: Cli) -> None:
    refused = cli.run("deploy", "--image", "nginx", "--env", "PASSWORD=hunter2").failed(3)
    assert "Seal it instead: 1ctl deploy --key PASSWORD" in refused.error

    cli.run("deploy", "--image", "nginx", "--key", "PASSWORD", input="hunter2\n").done()


def test_the_secrets_of_a_release_are_kept_as_sealed_as_any(cli: Cli) -> None:
    (cli.home.parent / "secrets.env").write_text(f"TOKEN='{CANARY.replace(chr(39), '')}'\n")
    told = cli.run("deploy", "--image", "nginx", "--kv-file", str(cli.home.parent / "secrets.env"), "--detach").done()

    assert not leaks(CANARY.replace("'", ""), (told.stdout + told.stderr).encode())
    assert files_that_leak(CANARY.replace("'", ""), cli.home) == {}


@pytest.mark.parametrize("args", [["deploy", "--image", "nginx"], ["env", "create"]], ids=" ".join)
def test_the_environment_may_come_from_stdin_as_secrets_do(deployed: Cli, args: list[str]) -> None:
    deployed.run(*args, "--env-file", "-", input="# comment\nA=1\nB='two words'\n").done()
    assert deployed.run("-o", "json", "env", "list").done().stdout.count("two words") == 1

    refused = deployed.run(*args, "--env-file", "-", input="no pair\n").failed(3)
    assert "stdin:1" in refused.error


def test_what_a_failed_release_was_to_read_is_not_said_to_be_in_pods(cli: Cli) -> None:
    cli.run("deploy", "--image", "nginx:1", "--env", "LOG=a", "--detach").done()
    assert cli.run("env", "list").done().lines[-1].split() == ["LOG", "a", "not", "yet"]
    cli.run("deploy", "status", "--wait").done()
    assert cli.run("env", "list").done().lines[-1].split() == ["LOG", "a", "yes"]
    cli.run("env", "create", "--env", "LOG=b").done()
    cli.run("secret", "create", "--kv", "T=1").done()
    cli.run("deploy", "--image", "broken:2", "--wait").failed(4)

    assert cli.run("env", "list").done().lines[-1].split() == ["LOG", "b", "no"]
    assert in_pods(cli) == {"T": "no"}
    assert cli.run("-o", "json", "env", "list").done().json[0]["key_values"][0]["in_pods"] is False
    assert cli.run("-o", "json", "secret", "list").done().json[0]["versions"][0]["in_pods"] is False
