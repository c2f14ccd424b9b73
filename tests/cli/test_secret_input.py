"""Secret values: where they may come from, and where they end up. That they are nowhere else: `test_canary.py`."""

from __future__ import annotations

import pytest

from tests.canary import CANARY
from tests.cli_support import Cli

WARNING = "❗️ A secret on the command line is visible to others in `ps`, and stays in your shell's history.\n"


def keys(cli: Cli) -> list[str]:
    found = cli.run("-o", "json", "secret", "list").done().json
    return list(found[0]["keys"]) if found else []


# Where values come from


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


def test_all_sources_may_be_used_at_once(deployed: Cli) -> None:
    (deployed.cwd / "secrets.env").write_text("A=1\n")
    deployed.run("secret", "create", "--kv-file", "secrets.env", "--kv", "B=2", "--key", "C", input="3\n").done()
    assert keys(deployed) == ["A", "B", "C"]


def test_a_key_without_a_line_of_stdin_is_refused(deployed: Cli) -> None:
    assert (
        "no value given for B"
        in deployed.run("secret", "create", "--key", "A", "--key", "B", input="1\n").failed(3).error
    )
    assert keys(deployed) == []


def test_nothing_given_is_refused_with_the_ways_to_give(deployed: Cli) -> None:
    error = deployed.run("secret", "create").failed(3).error
    assert error == "❌ no secret given\nPass --kv-file FILE, or KEY=VALUE lines on stdin, or --key KEY.\n"


def test_a_missing_file_is_named(deployed: Cli) -> None:
    assert "none.env cannot be read" in deployed.run("secret", "create", "--kv-file", "none.env").failed(3).error


def test_pods_read_it_after_a_restart(deployed: Cli) -> None:
    deployed.run("secret", "create", "--kv", "A=1").done()
    assert deployed.run("secret", "list").done().lines[-1].endswith("  after restart")
    deployed.run("deploy", "restart").done()
    assert deployed.run("secret", "list").done().lines[-1].endswith("  yes")


# What is wrong is said without what was given


@pytest.mark.parametrize(
    "pair", ["hunter2", "postgres://user:hunter2@host/db?ssl=on", "=hunter2", "hunter-2=x", "9hunter2=x", "a hunter2=b"]
)
def test_a_malformed_pair_is_never_echoed(deployed: Cli, pair: str) -> None:
    result = deployed.run("secret", "create", "--kv", pair).failed(3)
    assert "hunter" not in result.stdout + result.stderr


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
